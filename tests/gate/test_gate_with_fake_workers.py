"""A gate from its options to its files, with workers that have no homes, and have accidents."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from chaos import current
from chaos.errors import Misuse
from chaos.gate import crew as crews
from chaos.gate.holding import Gate
from chaos.gate.options import Options
from chaos.gate.result import SCHEMA, Budget, Result
from tests.gate.fake_worker import SCENARIOS

pytestmark = pytest.mark.timeout(60)
FAKE = (sys.executable, "-m", "tests.gate.fake_worker")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """Return a function that holds a gate whose workers have these accidents, by number (``*``: all others)."""
    monkeypatch.chdir(ROOT)

    def hold(accidents: dict[str, dict[str, object]] | None = None, **options: object) -> Result:
        monkeypatch.setenv("OWNFRAME_FAKE", json.dumps(accidents or {}))
        told = {"budget": Budget(cases=40), "seed": 1, "workers": 1} | options
        held = Gate(
            Options(
                evidence=tmp_path / "evidence",
                json=tmp_path / "result.json",
                junit=tmp_path / "junit.xml",
                command=FAKE,
                **told,
            )
        )
        result = held.hold()
        assert not held.crew.at_work
        assert all(h.process.poll() is not None for h in held.crew.hands), "nothing of it runs any more"
        written = json.loads((tmp_path / "result.json").read_text())
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(written)
        assert (written["verdict"], written["exit_code"]) == (result.verdict, result.exit_code)
        assert written["finished"] is True
        assert (tmp_path / "junit.xml").is_file()
        assert result.verdict in (held.folder / "index.html").read_text()
        return result

    return hold


def orders(tmp_path: Path) -> list[dict[str, object]]:
    """Return what all workers were told, each in its order."""
    files = sorted((tmp_path / "evidence" / "latest").glob("told-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def searched(tmp_path: Path) -> list[tuple[object, object, object]]:
    return [(o["scenario"], o["round"], o["cases"]) for o in orders(tmp_path) if o["message"] == "search"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_budget_of_cases_is_spent_round_robin_and_everything_adds_up(gate, tmp_path, workers):
    result = gate(workers=workers)
    assert (result.verdict, result.exit_code, result.reasons) == ("passed", 0, ())
    by_scenario = Counter(name for name, _, _ in searched(tmp_path))
    assert {s.id for s in SCENARIOS} == set(by_scenario)
    assert max(by_scenario.values()) - min(by_scenario.values()) <= 1
    assert sum(cases for _, _, cases in searched(tmp_path)) == 39, "and a plain test is a case too"
    assert (result.cases, result.asks, result.strong_asks, result.displayed) == (40, 120, 120, 120)
    assert result.bound_95 == 3 / 120
    assert result.witnessed == {"ada.camera": {"latency": 120}}
    assert result.control.after.cut_links.seen is True
    assert [s.name for s in result.scenarios] == ["Alpha", "Beta", "test_plain"]
    assert "1 in 40" in result.headline
    assert result.notes == ("a note",)


@pytest.mark.parametrize(("busy", "workers"), [(30.0, 3), (95.0, 1)])
def test_more_workers_are_hired_while_processors_idle(gate, monkeypatch, busy, workers):
    monkeypatch.setattr(crews, "GLANCE_SECONDS", 0.1)
    monkeypatch.setattr(crews.psutil, "cpu_percent", lambda: busy)
    result = gate({"*": {"seconds_a_case": 0.05}}, budget=Budget(cases=120), more=2)
    assert (result.verdict, result.cases, result.workers) == ("passed", 120, workers)


def test_no_worker_is_hired_when_too_little_time_is_left_for_it(gate, monkeypatch):
    monkeypatch.setattr(crews, "GLANCE_SECONDS", 0.1)
    monkeypatch.setattr(crews, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr(crews, "FEWEST_SECONDS", 0.5)
    monkeypatch.setattr(crews.psutil, "cpu_percent", lambda: 0.0)
    result = gate({"*": {"seconds_a_case": 0.02}}, budget=Budget(seconds=4), more=2)
    assert (result.verdict, result.workers) == ("passed", 1)


def test_the_rounds_of_a_scenario_have_seeds_of_their_own_and_the_same_seed_the_same(gate, tmp_path):
    gate(seed=7)
    first = {(o["scenario"], o["round"]): o["seed"] for o in orders(tmp_path) if o["message"] == "search"}
    gate(seed=7, workers=2)
    again = {(o["scenario"], o["round"]): o["seed"] for o in orders(tmp_path) if o["message"] == "search"}
    gate(seed=8)
    other = {(o["scenario"], o["round"]): o["seed"] for o in orders(tmp_path) if o["message"] == "search"}
    assert len(set(first.values())) == len(first) == 6
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_a_budget_of_time_ends_in_time(gate, tmp_path, monkeypatch):
    monkeypatch.setattr(crews, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr(crews, "FEWEST_SECONDS", 0.5)
    result = gate({"*": {"seconds_a_case": 0.02}}, budget=Budget(seconds=3))
    assert result.verdict == "passed"
    assert len(searched(tmp_path)) > 2
    assert result.seconds < 30


def test_a_budget_too_small_for_anything_is_inconclusive_and_says_what_to_do(gate):
    result = gate(budget=Budget(seconds=3))
    assert (result.verdict, result.exit_code, result.cases) == ("inconclusive", 2, 0)
    assert "more than 3 s (--budget)" in result.headline


def test_a_leak_ends_the_search_of_all_and_is_told_with_its_program(gate, tmp_path):
    result = gate({"1": {"leaks_in_task": 2}, "*": {"seconds_a_case": 0.02}}, workers=3, budget=Budget(cases=5000))
    assert (result.verdict, result.exit_code) == ("leak", 1)
    assert result.headline == "Leak: ada saw grace"
    assert not any("displayed" in r for r in result.reasons), "what was cut short says nothing of that"
    (finding,) = result.findings
    assert (finding.program, finding.reproduction.hits, finding.reproduction.tries) == ("self.ask('ada')", 4, 5)
    assert result.bound_95 is None
    assert result.seconds_to_first_foreign is not None
    assert 0 < result.cases_to_first_foreign < 100
    assert 0 < finding.seconds <= result.seconds
    assert [o["quick"] for o in orders(tmp_path) if o["message"] == "close"] == [True] * 3
    junit = (tmp_path / "junit.xml").read_text()
    assert "[[ATTACHMENT|/p.png]]" in junit
    assert 'failures="1"' in junit


def test_a_leak_whose_worker_dies_over_shrinking_it_is_a_leak(gate):
    result = gate({"1": {"leaks_in_task": 2, "dies_shrinking": True}})
    assert (result.verdict, result.exit_code) == ("leak", 1)
    assert result.findings[0].sentence == "ada saw grace, at first"
    assert (result.findings[0].reproduction.tries, result.findings[0].picture) == (0, "/first.png")
    assert any("worker 1 was lost" in n for n in result.notes)


@pytest.mark.parametrize("accident", ["dies_in_task", "garbled_in_task"])
def test_a_worker_that_dies_is_told_and_its_work_is_done_again(gate, tmp_path, accident):
    result = gate({"1": {accident: 3}})
    assert (result.verdict, result.cases) == ("passed", 40), result.reasons
    assert [n for n in result.notes if n.startswith("worker 1 was lost after")]
    rounds = Counter((o["scenario"], o["round"]) for o in orders(tmp_path) if o["message"] == "search")
    first = {(s.id, 0) for s in SCENARIOS}
    assert {r for r, times in rounds.items() if times == 2} == first, "its cases had no control after them"


def test_a_worker_that_dies_while_it_closes_is_not_believed(gate):
    result = gate({"1": {"dies_closing": True}})
    assert (result.verdict, result.cases) == ("passed", 40)
    assert any("worker 1 was lost" in n for n in result.notes)


def test_a_plain_test_that_is_done_counts_though_its_worker_dies_later(gate, tmp_path):
    gate({"1": {"dies_in_task": 3}})
    assert [o["test"] for o in orders(tmp_path) if o["message"] == "once"] == ["test_c.py::test_plain"]


def test_workers_that_die_over_and_over_make_a_gate_that_could_not_run(gate):
    result = gate({"*": {"dies_in_task": 1}}, workers=2)
    assert (result.verdict, result.exit_code) == ("unusable", 3)
    assert "SIGKILL" in result.headline
    assert "the fake worker's log" in result.reasons[0]
    assert len(result.notes) <= 6


@pytest.mark.parametrize("trouble", ["misuse", "cannot run here"])
def test_what_another_worker_would_stumble_over_too_is_not_tried_again(gate, trouble):
    result = gate({"*": {"breaks": [trouble, "there is no such thing; did you mean that?"]}})
    assert (result.verdict, result.exit_code, result.reasons) == (
        "unusable",
        3,
        ("there is no such thing; did you mean that?",),
    )
    assert result.notes == ()


def test_surroundings_that_fail_are_tried_again(gate):
    result = gate({"1": {"breaks": ["surroundings", "a port was taken"]}})
    assert result.verdict == "passed"
    assert "a port was taken" in result.notes[-1]


def test_a_worker_that_says_nothing_is_taken_for_hung(gate, monkeypatch):
    monkeypatch.setattr(crews, "SILENCE", 1.0)
    monkeypatch.setattr(crews, "SILENCE_AT_START", 5.0)
    result = gate({"1": {"silent_in_task": 3}})
    assert result.verdict == "passed"
    assert "it said nothing for" in result.notes[-1]


def test_a_control_that_is_not_seen_is_no_pass(gate):
    result = gate({"*": {"control_unseen": True}}, workers=2)
    assert (result.verdict, result.exit_code, result.bound_95) == ("inconclusive", 2, None)
    assert ": control cut links was not seen" in result.reasons[0]
    assert result.control.after.cut_links.seen is False
    assert result.control.after.cut_links.details == ("a way around",)


def test_a_scenario_that_has_no_more_plans_is_not_asked_for_ever(gate):
    result = gate({"1": {"barren": True}}, budget=Budget(cases=10_000))
    assert result.verdict == "passed"


def test_a_scenario_that_its_author_skips_is_told_and_the_rest_counts(gate, tmp_path):
    result = gate({"1": {"skips": SCENARIOS[0].id}})
    assert result.verdict == "passed"
    assert "Alpha was skipped: not today" in result.notes
    assert [s for s, _, _ in searched(tmp_path)].count(SCENARIOS[0].id) == 1


def test_paths_without_a_scenario_are_misuse(gate):
    result = gate({"1": {"scenarios": 0}})
    assert (result.verdict, result.exit_code) == ("unusable", 3)
    assert "no scenario" in result.headline


def test_a_path_where_nothing_is_is_misuse_before_anything_starts(tmp_path):
    with pytest.raises(Misuse, match=r"there is no file or folder .*scenarois"):
        Gate(Options(paths=(tmp_path / "scenarois",), evidence=tmp_path / "evidence", command=FAKE))
    assert not (tmp_path / "evidence").exists()


def test_its_own_time_out_ends_a_gate_and_the_result_is_written(gate):
    result = gate({"*": {"seconds_a_case": 0.1}}, budget=Budget(cases=100_000), timeout=3.0, workers=2)
    assert (result.verdict, result.exit_code) == ("inconclusive", 2)
    assert result.headline.startswith("Inconclusive: its time-out of 3 s has passed")
    assert 0 < result.cases < 200
    assert result.bound_95 is None


@contextlib.contextmanager
def signalled(number: int, after: float = 3.0):
    """Send this process a signal in a while, as a CI service does that cancels a job."""
    timer = threading.Timer(after, os.kill, (os.getpid(), number))
    with current.stoppable():
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_gate_and_the_result_is_written(gate, number):
    with signalled(number):
        result = gate({"*": {"seconds_a_case": 0.1}}, budget=Budget(cases=100_000))
    assert (result.verdict, result.exit_code) == ("inconclusive", 2)
    assert re.match(r"Inconclusive: stopped by a signal after \d s", result.headline)


def test_a_leak_that_was_seen_before_a_signal_is_a_leak(gate):
    with signalled(signal.SIGTERM, after=4.0):
        result = gate({"1": {"leaks_in_task": 2, "shrinks_for": 50}}, budget=Budget(cases=100_000))
    assert (result.verdict, result.exit_code) == ("leak", 1)
    assert result.findings[0].sentence == "ada saw grace, at first"


def test_while_a_gate_works_its_file_says_that_it_has_not_concluded(tmp_path, monkeypatch):
    monkeypatch.setenv("OWNFRAME_FAKE", "{}")
    seen = []

    def watch(gate: Gate) -> None:
        seen.append(json.loads((tmp_path / "result.json").read_text()))

    Gate(Options(evidence=tmp_path, json=tmp_path / "result.json", command=FAKE, budget=Budget(cases=30)), watch).hold()
    assert {(r["finished"], r["verdict"], r["exit_code"]) for r in seen} == {(False, "inconclusive", 2)}
    assert "still runs, or it was killed" in seen[0]["headline"]

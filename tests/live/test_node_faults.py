"""Faults of whole nodes as processes: what a process can suffer, proof that asks met it, and proof that it is over."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from typing import get_args

import psutil
import pytest
from hypothesis.stateful import rule

from chaos.children import Scratch
from chaos.conditions import Fault
from chaos.contracts.reference import Reference
from chaos.errors import Misuse, Surroundings
from chaos.evidence import Evidence
from chaos.history import Asked, Met, NodeFaultSet, Restarted
from chaos.home import Home
from chaos.household import Household, any_home, any_node_fault
from chaos.identity import Key
from chaos.plan import Ask, Attach, Detach, NodeFault, Pause, Plan, Restart, Resume, SetClock
from chaos.remote import Remote
from chaos.run import Chapter, Run, Settings, sentence
from chaos.stacks.process import ProcessStack
from chaos.verdict import Outcome, Rules, Verdict, exercised, judge

from .docker_home import engine

pytestmark = pytest.mark.live
OWNERS = ("ada", "grace", "lin")
PATIENCE = {"relay": 1.0, "ada.camera": 0.5, "cache": 0.3, "accounts": 0.3}
"""Seconds after which the reference home gives up when that node is silent (docs/reference-home.md)."""


@pytest.fixture(scope="module")
def home(tmp_path_factory, toxiproxy_binary):
    scratch = Scratch()
    evidence = Evidence(tmp_path_factory.mktemp("home") / "evidence")
    made = Home(Reference(OWNERS), ProcessStack(scratch), (Key.fresh(),), evidence)
    try:
        made.start(scratch.folder / "home")
        yield made
    finally:
        made.stop()
        evidence.close()
        scratch.remove()


def _execute(home, *steps):
    events = home.execute(Plan(OWNERS, steps))
    frames = judge(events, Rules())
    assert {j.verdict for j in frames} <= {Verdict.OWN, Verdict.BLANK}
    return events, exercised(events, frames)


def _asks(events):
    return [e for e in events if isinstance(e, Asked)]


def _met(events):
    return {e.fault for e in events if isinstance(e, Met) and e.amount > 0}


def _status(home, node):
    return psutil.Process(home.stack._children[node].pid).status()


@pytest.mark.parametrize("node", PATIENCE)
def test_an_ask_whose_way_has_a_paused_node_waits_as_long_as_its_home_is_patient(home, node):
    events, exercise = _execute(home, Pause(node), Ask("ada"))
    (ask,) = _asks(events)
    assert ask.outcome == "unavailable"
    assert ask.settled - ask.began >= PATIENCE[node]
    assert _met(events) == {Fault(node, "paused")}
    assert exercise.unmet == ()
    assert _status(home, node) != psutil.STATUS_STOPPED


def test_asks_that_do_not_cross_a_paused_node_do_not_meet_it(home):
    events, exercise = _execute(home, Pause("ada.camera"), Ask("grace"), Resume("ada.camera"), Ask("ada"))
    assert [a.outcome for a in _asks(events)] == ["picture", "picture"]
    assert exercise.unmet == (Fault("ada.camera", "paused"),)


@pytest.mark.parametrize("node", ["relay", "cache", "accounts", "ada.camera", "ada.hub"])
def test_a_stream_that_broke_or_the_first_ask_afterwards_met_a_restart(home, node):
    events, exercise = _execute(home, Ask("ada", feed="stream"), Restart(node), Ask("ada"), Ask("ada"))
    assert exercise.unmet == ()
    assert Fault(node, "restarted") in _met(events)
    last = _asks(events)[-1].ask
    assert last not in {e.ask for e in events if isinstance(e, Met)}, "the second ask afterwards met nothing new"


def test_a_restart_ends_a_pause_and_what_the_hub_showed_is_known(home):
    events, _ = _execute(home, Ask("ada", feed="stream"), Pause("ada.hub"), Ask("ada"), Restart("ada.hub"), Ask("ada"))
    assert [a.outcome for a in _asks(events)] == ["picture", "lost", "picture"]
    resumed = next(e for e in events if isinstance(e, NodeFaultSet) and not e.on)
    restarted = next(e for e in events if isinstance(e, Restarted))
    assert resumed.ended <= restarted.began
    assert Fault("ada.hub", "paused") in _met(events)


def test_a_cache_that_was_restarted_while_the_relay_stood_still_has_its_devices_again(home):
    events, _ = _execute(home, Pause("relay"), Restart("cache"), Resume("relay"), Ask("ada"))
    assert [a.outcome for a in _asks(events)] == ["picture"]


def _captured(home, node) -> datetime:
    remote = Remote(node, home.stack.address(node, "public"))
    url = remote._base + "/still?width=64"
    answer = remote._http.request("GET", url, headers={"X-Device-Secret": "device-of-" + node.split(".")[0]})
    remote.close()
    return datetime.fromisoformat(answer.headers["X-Captured-At"])


@pytest.mark.parametrize("first", [(), (Pause("ada.camera"),)])
def test_a_cameras_clock_is_wrong_for_the_case_and_right_after_it(home, first):
    wrong = SetClock("ada.camera", -31_536_000, "America/Los_Angeles")
    case = home.case()
    for step in (*first, wrong, Resume("ada.camera")):
        case.do(step)
    told = _captured(home, "ada.camera")
    assert datetime.now(UTC) - told > timedelta(days=364)
    assert told.utcoffset() in (timedelta(hours=-8), timedelta(hours=-7))
    assert case.ask("ada").outcome == "picture"
    events = home.finish(case)
    assert Fault("ada.camera", "clock") in _met(events)
    assert abs(datetime.now(UTC) - _captured(home, "ada.camera")) < timedelta(hours=1)


def test_a_case_that_breaks_off_leaves_nothing_to_the_next(home):
    case = home.case()
    case.pause("relay")
    case.pause("ada.hub")
    case.set_clock("ada.camera", offset_s=86_400)
    events, _ = _execute(home, Ask("ada"))
    assert [a.outcome for a in _asks(events)] == ["picture"]
    assert abs(datetime.now(UTC) - _captured(home, "ada.camera")) < timedelta(hours=1)


def test_a_node_that_does_not_go_on_is_a_sentence(home, monkeypatch):
    from chaos.stacks import process

    case = home.case()
    case.pause("ada.camera")
    monkeypatch.setattr(process, "READY_WITHIN", 0.2)
    monkeypatch.setattr(home.stack._children["ada.camera"], "send_signal", lambda _: None)
    with pytest.raises(Surroundings, match=r"ada.camera did not go on within"):
        home.finish(case)
    with pytest.raises(Surroundings, match=r"ada.camera did not go on within"):
        home.case()
    os.kill(home.stack._children["ada.camera"].pid, signal.SIGCONT)
    monkeypatch.undo()
    home.finish(home.case())


def test_a_clock_that_somebody_else_set_back_wrongly_is_a_sentence(home, monkeypatch):
    case = home.case()
    case.set_clock("ada.camera", offset_s=60)
    told = Remote.post
    monkeypatch.setattr(Remote, "post", lambda *a: b"" if "clock" in a[1] else told(*a))
    with pytest.raises(Surroundings, match=r"ada.camera was told the clock \+0 s, UTC and has \+60 s, UTC"):
        home.finish(case)
    monkeypatch.undo()
    home.finish(home.case())


@pytest.mark.parametrize("step", [Detach("relay"), Attach("relay"), Attach("relay", new_address=True)])
def test_a_plan_that_this_stack_cannot_do_is_refused_before_anything_runs(home, step):
    number = home.scene.case
    with pytest.raises(Misuse, match=r"(detach|attach)\('relay'.*cannot be done on --stack process.*--stack docker"):
        home.execute(Plan(OWNERS, (Ask("ada"), step)))
    assert home.scene.case == number, "no case was begun"


def test_processes_that_stand_still_end_with_the_run(tmp_path, toxiproxy_binary):
    scratch = Scratch()
    evidence = Evidence(tmp_path / "evidence")
    made = Home(Reference(OWNERS), ProcessStack(scratch), (Key.fresh(),), evidence)
    try:
        made.start(scratch.folder / "home")
        case = made.case()
        for node in ("relay", "cache", "ada.hub"):
            case.pause(node)
        processes = list(made.stack._children.values())
    finally:
        made.stop()
        evidence.close()
        scratch.remove()
    assert all(p.poll() is not None for p in processes)


class NodesInTrouble(Household):
    """Nodes stand still, lose their network, come back elsewhere, forget the time, while owners ask."""

    homes = OWNERS
    motifs = ()
    rules_of_age = Rules(minimum_strong_asks=0)
    """How many asks show anything in five cases depends on what is drawn, and that on any constant in the sources."""

    @rule(home=any_home)
    def an_owner_watches_live(self, home):
        self.ask(home, feed="stream")

    @rule(fault=any_node_fault)
    def a_node_is_in_trouble(self, fault):
        self.add(fault)


@pytest.mark.parametrize("stack", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_search_draws_faults_of_nodes_meets_each_and_finds_nothing_in_a_home_that_is_right(tmp_path, stack):
    if stack == "docker":
        engine()
    with Run(Settings(stack=stack, evidence=tmp_path, cases=5)) as run:
        finding, conclusion = NodesInTrouble.search(run, name="trouble", seeded=1)
    assert finding is None
    assert (conclusion.outcome, conclusion.reasons) == (Outcome.PASSED, ())
    kinds = {f.kind for f, _ in conclusion.exercise.met} & set(get_args(NodeFault))  # others are of the last looks
    assert len(kinds) >= 3, "which of them depends on the seed; that each that was drawn was met is in the outcome"


def test_a_node_that_stands_still_brings_out_a_leak_and_is_named_in_its_headline(tmp_path):
    with Run(Settings(update="december-26", evidence=tmp_path)) as run:
        chapter = Chapter(run, "still", OWNERS, Rules())
        result = chapter.execute(Plan(OWNERS, (Ask("ada"), Ask("grace"), Pause("ada.camera"), Ask("ada"))))
    assert result.leaks, "the relay serves the last good still, which is Grace's"
    assert sentence(result.leaks[0]) == (
        "ada saw grace's living-room on the hub in ada's home, while ada.camera stood still."
    )

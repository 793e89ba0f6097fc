"""`ownframe replay` and replay files under pytest, on a home that is played; with a real one in tests/planted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chaos.cli import main
from chaos.plan import Ask, SetConditions
from chaos.register import Register
from chaos.run import Chapter, Run
from tests.makers import OWNERS, SLOW, both_controls, plan
from tests.test_register import MECHANISM, REPLAY
from tests.test_run import CAUSE, PlayedHome

FILE = msgspec.structs.replace(REPLAY, plan=plan(*CAUSE), earlier=None)


@pytest.fixture
def played(monkeypatch):
    """Let every run have a played home that leaks as the test says."""

    def leaks_when(leaks):
        homes: dict[int, PlayedHome] = {}

        def home(run, owners, rooms=()):
            assert owners == OWNERS
            made = homes.setdefault(id(run), PlayedHome(run, leaks))
            made.faults = type("Faults", (), {"check": lambda *_: None})
            return made

        monkeypatch.setattr(Run, "home", home)
        monkeypatch.setattr(Chapter, "_control", lambda self: self.events.extend(both_controls()))

    leaks_when(lambda number: False)
    return leaks_when


def ownframe(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


def written(tmp_path, **changes):
    path = tmp_path / "replay.json"
    path.write_bytes(msgspec.structs.replace(FILE, **changes).to_json())
    return path


def test_what_needs_nodes_that_know_nothing_is_executed_on_restarted_ones(tmp_path, monkeypatch, played, capsys):
    restarts = []
    monkeypatch.setattr(PlayedHome, "restart_nodes", lambda home: restarts.append(len(home.executed)))
    played(lambda number: True)
    ownframe("replay", written(tmp_path, anew=True), "--times", 3, "--evidence", tmp_path / "evidence")

    assert "reproduced 3 of 3 times, each on restarted nodes: ada saw grace's" in capsys.readouterr().out
    assert restarts == [0, 1, 2]


def test_what_leaks_is_reproduced_k_of_n_with_code_1(tmp_path, played, capsys):
    played(lambda number: number % 2 == 1)
    code = ownframe("replay", written(tmp_path), "--times", 5, "--evidence", tmp_path / "evidence")

    said = capsys.readouterr().out
    assert code == 1
    assert "reproduced 3 of 5 times: ada saw grace's living-room" in said
    assert "picture: " in said


def test_what_does_not_leak_is_not_reproduced_at_a_bound_with_code_0(tmp_path, played, capsys):
    code = ownframe("replay", written(tmp_path), "--times", 9, "--evidence", tmp_path / "evidence")

    said = capsys.readouterr().out
    assert code == 0
    assert "not reproduced in 9 executions, so at 95 % it happens in fewer than 28% of them; it was 5 of 5" in said


def test_what_shows_nothing_is_inconclusive_with_code_2(tmp_path, played, capsys):
    code = ownframe("replay", written(tmp_path, plan=plan(Ask("lin"))), "--evidence", tmp_path / "evidence")

    assert code == 2
    assert "inconclusive: nothing was displayed" in capsys.readouterr().out


def test_exactly_the_plan_is_executed_and_as_often_as_was_said(tmp_path, played, monkeypatch):
    executed = []
    execute = PlayedHome.execute
    monkeypatch.setattr(PlayedHome, "execute", lambda self, p: (executed.append(p), execute(self, p))[1])
    ownframe("replay", written(tmp_path), "--times", 4, "--evidence", tmp_path / "evidence")
    ownframe("replay", written(tmp_path, hits=3, tries=10), "--evidence", tmp_path / "evidence")

    assert executed == [plan(*CAUSE)] * (4 + 9)


def test_what_is_under_test_now_is_told_where_it_differs(tmp_path, played, capsys):
    ownframe("replay", written(tmp_path), "--no-update", "--evidence", tmp_path / "evidence")

    said = capsys.readouterr().out
    assert "under test is something else: the update is none, was december-26" in said
    assert "the update's folder is not there, was bb" in said


def test_the_register_hears_of_it(tmp_path, played):
    register = Register(tmp_path / "evidence")
    register.reproduced(FILE, MECHANISM, 5, 5)

    ownframe("replay", written(tmp_path), "--times", 12, "--evidence", tmp_path / "evidence")
    assert register.get(FILE.fingerprint).state == "fixed", "the played home's parts are not those of the file"

    played(lambda number: True)
    ownframe("replay", written(tmp_path), "--times", 2, "--evidence", tmp_path / "evidence")
    known = register.get(FILE.fingerprint)
    assert (known.state, known.hits, known.tries) == ("reproduced", 2, 2)


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"update": "december-25"}, (), "was found with the update december-25, and there is no update 'december-25'"),
        ({}, ("--update", "december-25"), "there is no update 'december-25'; did you mean 'december-26'"),
        ({}, ("--stack", "dokcer"), "there is no stack 'dokcer'; did you mean 'docker'"),
        ({"update": "./gone"}, (), r"was found with the update ./gone, and gone is no update"),
        ({"plan": plan(Ask("eve"))}, (), "the plan's step ask('eve'): there is no 'eve'"),
        ({"plan": plan(Ask("ada", "porch"))}, (), "no camera 'porch'; known: living-room"),
        (
            {"plan": plan(SetConditions("ada.cam", SLOW), Ask("ada"))},
            (),
            "there is no 'ada.cam'; did you mean 'ada.camera'",
        ),
        ({"earlier": plan(Ask("eve"))}, (), "the plan's step ask('eve'): there is no 'eve'"),
        ({"plan": msgspec.structs.replace(plan(Ask("ada")), homes=("ada",))}, (), "at least 3 different"),
        ({}, ("--update", "x", "--no-update"), "exclude each other"),
    ],
)
def test_what_is_wrong_is_a_sentence_with_code_3(tmp_path, capsys, changes, options, sentence):
    code = ownframe("replay", written(tmp_path, **changes), *options, "--evidence", tmp_path / "evidence")

    said = capsys.readouterr().err
    assert code == 3
    assert sentence in said
    assert "Traceback" not in said


STOCK = Path(__file__).parents[1] / "scenarios" / "stock" / "compose.json"


def test_what_was_found_on_a_compose_file_is_executed_on_that_file_or_on_another(tmp_path, played, monkeypatch):
    systems = []
    monkeypatch.setattr(Chapter, "_control", lambda self: systems.append((self.run.settings.stack, self.run.title)))
    found = {"update": None, "compose": (str(STOCK),), "plan": plan(Ask("ada"))}
    ownframe("replay", written(tmp_path, **found), "--times", 1, "--evidence", tmp_path / "evidence")
    other = tmp_path / "other.json"
    other.write_text(STOCK.read_text().replace("./", f"{STOCK.parent}/").replace('"."', f'"{STOCK.parent}"'))
    ownframe(
        "replay", written(tmp_path, **found), "--compose", other, "--times", 1, "--evidence", tmp_path / "evidence"
    )

    assert systems[::2] == [("docker", "docker, compose.json"), ("docker", "docker, other.json")], "before and after"


def test_a_compose_file_that_is_gone_is_a_sentence_with_code_3(tmp_path, capsys):
    path = written(tmp_path, update=None, compose=(str(tmp_path / "gone.json"),))

    assert ownframe("replay", path, "--evidence", tmp_path / "evidence") == 3
    said = capsys.readouterr().err
    assert "there is no compose file" in said
    assert "--compose names another file" in said


def test_a_file_that_is_cut_is_a_sentence_with_code_3(tmp_path, capsys):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:100])

    assert ownframe("replay", path) == 3
    assert "the rest of it is missing" in capsys.readouterr().err


# Under pytest.

CONFTEST = """
import chaos.replay, chaos.current
from chaos.errors import Misuse, Surroundings
from chaos.plugin import _Session
from chaos.replay import Replayed
from chaos.verdict import Outcome

def execute(run, file, times):
    print("executed", times, file.fingerprint)
    return Replayed(Outcome.{}, 0, times, "the text", None)

chaos.replay.execute = execute
_Session.run = lambda self: None
"""


@pytest.mark.parametrize(
    ("outcome", "code", "counts"),
    [("PASSED", 0, {"passed": 1}), ("LEAK", 1, {"failed": 1}), ("INCONCLUSIVE", 2, {"errors": 1})],
)
def test_a_committed_file_is_a_test(pytester, outcome, code, counts):
    pytester.makeconftest(CONFTEST.format(outcome))
    (pytester.path / "december.ownframe.json").write_bytes(FILE.to_json())
    (pytester.path / "replay.json").write_bytes(FILE.to_json())  # as a run leaves it: not collected

    result = pytester.runpytest_subprocess("-v", "-s", "--replay-times", "7")

    assert result.ret == code
    result.assert_outcomes(**counts)
    result.stdout.fnmatch_lines([f"*december.ownframe.json*executed 7 {FILE.fingerprint}*"])


def test_a_committed_file_that_is_damaged_is_unusable(pytester):
    pytester.makeconftest(CONFTEST.format("PASSED"))
    (pytester.path / "cut.ownframe.json").write_bytes(FILE.to_json()[:100])

    result = pytester.runpytest_subprocess()

    assert result.ret == 3
    result.stdout.fnmatch_lines(["*the rest of it is missing*"])

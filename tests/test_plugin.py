"""pytest inside pytest: what a verdict looks like to the user, in the exit status and in JUnit."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

SCENARIO = """
from hypothesis.stateful import rule
from chaos import Household, any_home

class Evening(Household):
    @rule(home=any_home)
    def asks(self, home):
        self.ask(home)

TestEvening = Evening.TestCase
"""

ENDS = {
    "leak": "raise Leak('ada saw grace\\'s living-room on the hub in ada\\'s home', '/evidence/frames/1.png')",
    "inconclusive": "raise Inconclusive('inconclusive: nothing was displayed')",
    "misuse": "raise Misuse('there is no update')",
    "surroundings": "raise Surroundings('Toxiproxy died')",
    "passed": "pass",
}


def _run(pytester: pytest.Pytester, end: str, *arguments: str) -> tuple[pytest.RunResult, ET.Element]:
    pytester.makeconftest(f"""
from chaos import Household, Inconclusive, Leak, Misuse, Surroundings

def check(run, *, name):
    {ENDS[end]}

Household.check = check
import chaos.current as current
from chaos.plugin import _Session
_Session.run = lambda self: None
""")
    pytester.makepyfile(test_evening=SCENARIO)
    result = pytester.runpytest_subprocess("--junitxml=out.xml", *arguments)
    return result, ET.parse(pytester.path / "out.xml").getroot().find("testsuite")


@pytest.mark.parametrize(
    ("end", "code", "failures", "errors"),
    [("leak", 1, 1, 0), ("inconclusive", 2, 0, 1), ("misuse", 3, 0, 1), ("surroundings", 3, 0, 1), ("passed", 0, 0, 0)],
)
def test_a_verdict_is_the_exit_status_and_what_junit_shows(pytester, end, code, failures, errors):
    result, suite = _run(pytester, end)
    assert (int(suite.get("failures")), int(suite.get("errors"))) == (failures, errors)
    assert result.ret == code


@pytest.mark.parametrize("how", [(), ("-v",)])
def test_a_terminal_shows_the_numbers_of_a_search_and_a_log_does_not(pytester, how):
    pytester.makeconftest("""
from types import SimpleNamespace as N
from chaos import Household
from chaos.plugin import _Session
from chaos.verdict import Verdict

def check(run, *, name):
    run._say("control: crossed scenes")
    for verdict in (Verdict.FOREIGN, Verdict.BLANK):
        run._count(N(plan=N(asks=4), frames=[N(verdict=verdict)] * 5))

Household.check = check
_Session.run = lambda self: self
""")
    pytester.makepyfile(test_evening=SCENARIO)
    words = [sys.executable, "-m", "pytest", *how]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, cwd=pytester.path)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # what a terminal's end is told by, once nobody has it open
        while piece := os.read(ours, 10_000):
            seen += piece
    os.close(ours)
    assert process.wait() == 0, seen
    numbers = "2 cases, 8 asks, 10 frames judged, worst verdict foreign"
    assert f"\x1b7\x1b[K {numbers}\x1b8\x1b7\x1b[K \x1b8" in seen.decode(), "and gone before pytest's own word"
    assert "control: crossed scenes" in seen.decode()
    assert "cases" not in subprocess.run(words, cwd=pytester.path, capture_output=True, text=True, check=True).stdout


def test_a_scenario_file_that_cannot_be_read_is_wrong_use_and_not_inconclusive(pytester):
    pytester.makepyfile(test_evening=SCENARIO + "\nfrom chaos import conditions\nconditions.EDGGE\n")
    assert pytester.runpytest_subprocess().ret == 3


def test_a_file_that_cannot_be_read_and_has_no_scenario_is_pytests_own_affair(pytester):
    pytester.makepyfile(test_other="import nothing_of_that_name")
    assert pytester.runpytest_subprocess().ret == 2


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_cases_is_at_least_one(pytester, number):
    result = pytester.runpytest_subprocess("--cases", number)
    assert result.ret == 4, "what pytest says of any wrong option"
    result.stderr.fnmatch_lines(["*expected 1 or more*"])


@pytest.mark.parametrize(("findings", "code"), [(["a finding"], 1), ([], 2)])
def test_stopped_while_a_leak_was_looked_into_is_a_leak(pytester, findings, code):
    pytester.makeconftest(f"""
from types import SimpleNamespace
from chaos import Household
from chaos.plugin import _Session

def check(run, *, name):
    raise KeyboardInterrupt

Household.check = check
evidence = SimpleNamespace(folder="here")
_Session.run = lambda self: None
_Session.close = lambda self: None
_Session.started = SimpleNamespace(findings={findings}, conclusions={{}}, by_fingerprint={{}}, evidence=evidence)
""")
    pytester.makepyfile(test_evening=SCENARIO)

    assert pytester.runpytest_subprocess().ret == code


def test_a_leak_is_told_by_its_headline_without_a_stack_trace_of_ours(pytester):
    result, _ = _run(pytester, "leak")
    result.stdout.fnmatch_lines(["*ada saw grace's living-room*"])
    result.stdout.no_fnmatch_line("*household.py*")


def test_a_leaks_picture_is_attached_by_its_path(pytester):
    _, suite = _run(pytester, "leak", "-o", "junit_logging=system-out")
    (case,) = suite.iter("testcase")
    told = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert told == {"ownframe": "leak", "ownframe.picture": "/evidence/frames/1.png"}
    assert "[[ATTACHMENT|/evidence/frames/1.png]]" in case.findtext("system-out")


RAISES = """
from hypothesis.stateful import rule
from chaos import Household, any_home
from chaos.errors import Surroundings
from chaos.run import Run

class Evening(Household):
    motifs = ()

    @rule(home=any_home)
    def asks(self, home):
        {}

TestEvening = Evening.TestCase
"""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "self.ask(home); raise ZeroDivisionError('by me')",
            ["*ZeroDivisionError*by me*", "*came from Evening itself*"],
        ),
        ("assert home == 'nobody'", ["*AssertionError*", "*came from Evening itself: no verdict*"]),
        ("self.ask('gracie')", ["*no home 'gracie'; did you mean 'grace'*"]),
    ],
)
def test_a_rule_that_raises_is_told_from_a_leak_and_from_a_pass(pytester, line, words):
    """Nothing is started: a chapter is played, whose plans are never executed."""
    pytester.makeconftest("""
from chaos import run
from tests.test_household import _Chapter
run.Chapter = lambda *_, **__: _Chapter()
from chaos.plugin import _Session
from types import SimpleNamespace
_Session.run = lambda self: SimpleNamespace(settings=SimpleNamespace(cases=3, known=False, database=None))
""")
    pytester.makepyfile(test_evening=RAISES.format(line))

    result = pytester.runpytest_subprocess("--junitxml=out.xml")

    suite = ET.parse(pytester.path / "out.xml").getroot().find("testsuite")
    assert result.ret == 3
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")
    result.stdout.fnmatch_lines(words)


def test_what_is_no_leak_has_nothing_attached(pytester):
    _, suite = _run(pytester, "inconclusive", "-o", "junit_logging=system-out")
    assert [p.get("name") for p in suite.iter("property")] == ["ownframe"]


def test_the_plugin_costs_nothing_where_it_is_not_used(tmp_path):
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    code = (
        "import sys, pytest; code = pytest.main(['-q', '-p', 'no:hypothesispytest', 'test_nothing.py']);"
        "heavy = {'numpy', 'cv2', 'hypothesis', 'aiohttp', 'toxiproxy', 'scapy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

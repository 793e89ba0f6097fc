"""What CI services are given: JUnit, GitHub's summary and annotations; hostile words are escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from chaos.gate import ci
from chaos.gate.result import (
    Acceptances,
    Budget,
    Control,
    Finding,
    Moment,
    Reproduction,
    Result,
    Scenario,
    Seen,
    UnderTest,
    Untouched,
    Update,
)

SEEN = Moment(Seen(True, 2), Seen(True, 2))
HOSTILE = "ada saw <b>grace's</b> porch | ::error::x %0A `rm`\n*now* \x1b[31m"


def made(verdict: str, *findings: Finding, scenario: str | None = None, reasons: tuple[str, ...] = ()) -> Result:
    one = Scenario(
        "Evening", "/clone/scenarios/test_evening.py", 12, scenario or verdict, 9, 99, 60, 200, None, reasons
    )
    return Result(
        1, verdict, 0, True, "The headline: 100 %", reasons, ("a note",), "2026-01-02T03:04:05Z", 61.5, Budget(60.0),
        None, 2, 7, 9, 99, 60, 200, 1, 0, 0, 3, 0, Control(SEEN, SEEN), {"ada.camera": {"latency": 9}}, {},
        Untouched({"ada.hub": ("refused",)}, ("relay.cache",), ("slicer",)), None, None, Reproduction(), 0.05,
        UnderTest("process", Update("quick", "Quicker", "abc"), {}, {}, "0.1.0", "3.11"), (one,), findings,
        Acceptances((), (), ()), "/ev",
    )  # fmt: skip


WHERE = "It turned foreign at the relay."
LEAK = Finding(
    "Evening", "ada saw grace", "foreign", Reproduction(5, 4), 12.0, "self.ask('ada')", "{}", "/ev/p.png", where=WHERE
)


def suite(result: Result) -> ET.Element:
    return ET.fromstring(ci.junit(result)).find("testsuite")


@pytest.mark.parametrize(
    ("verdict", "scenario", "counts"),
    [
        ("passed", "passed", (0, 0, 0)),
        ("leak", "leak", (1, 0, 0)),
        ("inconclusive", "inconclusive", (0, 1, 0)),
        ("inconclusive", "not finished", (0, 1, 0)),
        ("leak", "not finished", (0, 0, 1)),
        ("passed", "skipped", (0, 0, 1)),
    ],
)
def test_a_leak_is_a_failure_and_what_is_unknown_an_error(verdict, scenario, counts):
    told = suite(made(verdict, *[LEAK] * (scenario == "leak"), scenario=scenario, reasons=("because",)))
    assert tuple(int(told.get(n)) for n in ("failures", "errors", "skipped")) == counts


def test_a_leak_has_its_program_and_its_picture_attached():
    (case,) = suite(made("leak", LEAK)).iter("testcase")
    assert case.find("failure").get("message") == "ada saw grace"
    assert "    self.ask('ada')\n\nreproduced 4 of 5 times" in case.find("failure").text
    assert WHERE in case.find("failure").text
    assert case.findtext("system-out") == "[[ATTACHMENT|/ev/p.png]]"
    assert {p.get("name"): p.get("value") for p in case.iter("property")}["ownframe.picture"] == "/ev/p.png"


def test_a_gate_that_could_not_run_is_an_error_without_a_scenario():
    from msgspec.structs import replace

    told = suite(replace(made("unusable", reasons=("no engine",)), scenarios=()))
    assert (told.get("tests"), told.get("errors")) == ("1", "1")


def test_hostile_words_neither_break_xml_nor_markdown_nor_a_workflow_command():
    from msgspec.structs import replace

    hostile = replace(LEAK, sentence=HOSTILE, program=f"self.ask('```')\n{HOSTILE}")
    result = made("leak", hostile)
    assert "\x1b" not in suite(result).find("testcase").find("failure").get("message")
    text = ci.markdown(result)
    assert "<b>" not in text.replace(ci._text(hostile).partition("\n")[2].strip(), "")
    assert "\n````\n" in text
    commands = list(ci.annotations(result, Path("/clone")))
    assert all("\n" not in c for c in commands)
    assert commands[0].startswith("::error title=Leak,file=scenarios/test_evening.py,line=12::ada saw ")
    assert "%250A" in commands[0]


def test_github_gets_its_summary_and_annotations_and_nobody_else_does(tmp_path):
    summary = tmp_path / "summary.md"
    result = made("inconclusive", reasons=("too little",))
    assert list(ci.tell_github(result, {})) == []
    told = list(ci.tell_github(result, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}))
    assert summary.read_text().startswith("## ⚠️ The headline: 100 %\n")
    assert "- relay.cache" not in summary.read_text()
    assert "links on which no ask met a fault: relay.cache" in summary.read_text()
    assert [c.split("::")[1].split()[0] for c in told] == ["error", "error", "notice"]

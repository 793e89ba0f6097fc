"""A gate with real homes: what it finds, what it passes, what it leaves behind."""

from __future__ import annotations

import json
import os

import pytest

from chaos.evidence import read_history
from chaos.gate.holding import Gate
from chaos.gate.options import Options
from chaos.gate.result import Budget
from chaos.rejudging import tell

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

SCENARIO = """
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from chaos import Household, any_home, conditions


class SlowUplinks(Household):
    motifs = ()

    @rule(home=any_home, ms=st.sampled_from([600, 75]))
    def the_uplink_is_slow_and_two_ask(self, home, ms):
        other = "grace" if home == "ada" else "ada"
        self.set_conditions(f"{home}.camera", conditions.of(conditions.toxic("latency", way="down", latency=ms)))
        self.ask(other)
        self.ask(home)
        self.clear(f"{home}.camera")


TestSlowUplinks = SlowUplinks.TestCase


def test_a_plain_evening(home):
    home.set_conditions("relay.cache", conditions.of(conditions.toxic("latency", way="down", latency=30)))
    for owner in ("ada", "grace", "lin"):
        assert home.ask(owner).outcome == "picture"


@pytest.mark.skip(reason="not in winter")
def test_skipped(home): ...


def test_of_no_home():
    raise AssertionError("a gate does not run it")
"""


def hold(tmp_path, **options: object):
    (tmp_path / "test_uplinks.py").write_text(SCENARIO)
    told = Options(
        paths=(tmp_path,),
        evidence=tmp_path / "evidence",
        json=tmp_path / "gate.json",
        seed=1,
        shrink_budget=4,
        **options,
    )
    return Gate(told).hold()


def test_a_leak_is_found_by_either_kind_of_test_and_told_with_all_that_belongs_to_it(tmp_path):
    result = hold(tmp_path, update="december-26", budget=Budget(cases=20))
    assert (result.verdict, result.exit_code) == ("leak", 1), result.reasons
    (finding,) = result.findings
    assert finding.scenario == "SlowUplinks"
    assert finding.fingerprint
    assert "conditions.toxic('latency', way='down', latency=600)" in finding.program
    assert finding.reproduction.hits >= 1
    if os.environ.get("CI") == "true":  # who may not read loopback's packets is told so
        assert "relay" in finding.where
    assert "latency" in result.witnessed[f"{finding.sentence.split()[0]}.camera"], "what the leak met was exercised"
    assert result.under_test.update.name == "december-26"
    assert set(result.under_test.sources) == {"accounts", "cache", "camera", "hub", "relay"}
    folder = tmp_path / "evidence" / "latest"
    assert json.loads((folder / "gate.json").read_text())["verdict"] == "leak"
    page = (folder / "worker-1" / "index.html").read_text()
    assert "<td>SlowUplinks</td>" in page, "what was tried until then"
    assert "process, december-26" in page
    assert read_history(folder / "worker-1")
    assert tell([folder], (), 1, lambda _: None) == 1, "judged again, it is one still"


def test_the_reference_passes_with_its_strength_and_what_was_left_out_is_told(tmp_path):
    result = hold(tmp_path, budget=Budget(cases=5), workers=1)
    assert (result.verdict, result.exit_code) == ("passed", 0), result.reasons
    assert {s.name: s.verdict for s in result.scenarios} == {
        "SlowUplinks": "passed",
        "test_a_plain_evening": "passed",
        "test_skipped": "skipped",
    }
    assert result.strong_asks >= 3
    assert result.bound_95 == 3 / result.strong_asks
    assert result.control.before.crossed_scenes.seen is True
    assert result.control.after.cut_links.seen is True
    assert any("1 test that takes no home left to pytest" in n for n in result.notes)

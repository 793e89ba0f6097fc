"""The short form of ``tox -e power``: one update, its control and the reference, in every way of searching."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import power

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

CASES = 4
"""december-26 took one case in each of ten seeds (docs/power.md)."""


def test_december_26_is_found_and_shrunk_and_nothing_else_is_called_a_leak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "power.jsonl"
    words = ["december-26", "--seeds", "1", "--cases", str(CASES), "--workers", "1", "--store", str(store)]
    power.main(words)
    results = {(r["update"], r["way"]): r for r in power.read(store)}
    assert set(results) == {
        *(("december-26", way) for way in (*power.WAYS, power.BY_HAND)),
        ("december-26-fixed", "guided"),
        ("reference", "guided"),
    }
    guided = results["december-26", "guided"]
    assert guided["found"]
    assert guided["foreign"] >= 1
    assert guided["rate"] > 0
    hand = results["december-26", power.BY_HAND]
    assert (hand["size"], hand["rate"] > 0) == (3, True)
    assert guided["size"] < guided["drawn"]
    assert guided["folder"] >= 1, "its plan is on disk, and those of executions that leaked"
    for name in ("december-26-fixed", "reference"):
        clean = results[name, "guided"]
        assert (clean["found"], clean["foreign"]) == (False, 0)
        assert clean["frames"] > CASES
        assert clean["executions"] == clean["cases"] == CASES, "the budget, exactly"
    sums = json.loads(store.with_suffix(".json").read_text())
    assert sums["searches without a leak that did not execute their budget exactly"] == 0
    assert sums["foreign among them"] == 0
    assert sums["both"] == "1.000 (1 of 1)"
    assert "december-26-fixed" in capsys.readouterr().out

    power.main(words)  # what is stored is not measured again
    assert len(power.read(store)) == len(results)

"""Small ones of the campaign and of the table that docs/badge.md has; `tests/bench` runs the large ones."""

from __future__ import annotations

import pytest

from tests.bench import campaign, readability


def test_nobody_is_named_who_is_not_in_the_picture():
    counted = campaign.read_part(part=1_000, frames=1_000)
    assert counted["false"] == []
    assert counted["adversarial"] == 600
    assert set(counted["kinds"]) == {*campaign.ADVERSARIAL, *campaign.GENUINE}


def test_the_campaign_reads_what_is_there_and_would_see_a_false_identity(monkeypatch):
    named = campaign.read_part(part=1_001, frames=100)["named"]
    assert named["whole"] == named["JPEG"] == named["torn in two"] == 5
    nobody = campaign.Studio.frame
    monkeypatch.setattr(campaign.Studio, "frame", lambda self, i: (*nobody(self, i)[:2], set()))
    assert len(campaign.read_part(part=1_001, frames=100)["false"]) > 40


NOT_EACH = ("bits of the file", "restart intervals", "blended 50", "of packets lost", "100 kbit/s", "screenshot")
"""Conditions of which the table tells how many frames are lost."""


@pytest.mark.parametrize("name", [n for n in readability.CONDITIONS if not any(w in n for w in NOT_EACH)])
def test_frames_are_read_right_under(name):
    for _, shown in zip(range(3), readability.frames(name, part=30), strict=False):
        seen = readability.read_shown(shown.plane, shown)
        assert {(s.owner, s.case) for s in seen} == {(b.owner, b.case) for b in shown.badges}


def test_the_bound_of_a_share_is_the_one_of_tables():
    # the rule of three, and Clopper and Pearson's exact bound for 95 of 100 (0.8977 by R's binom.test)
    assert readability.lower_bound(3_000, 3_000) == pytest.approx(1 - 3 / 3_000, abs=1e-5)
    assert readability.lower_bound(95, 100) == pytest.approx(0.8977, abs=2e-4)
    assert readability.lower_bound(0, 10) == 0

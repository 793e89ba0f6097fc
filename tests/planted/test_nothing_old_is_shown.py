"""A bound on age is judged by the badge: a kept picture breaks it, and a camera whose clock is wrong does not."""

from __future__ import annotations

import pytest

from chaos.conditions import OUTAGE
from chaos.plan import Ask, Clear, LetAge, Plan, SetClock, SetConditions, SetPicture
from chaos.run import Run, Settings, sentence
from chaos.verdict import Rules, Verdict, is_leak, judge
from tests.planted.directed import OWNERS

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
RULES = Rules(stale_after=1.2, forbid_stale=True)
PLAN = Plan(
    OWNERS,
    (
        SetClock("ada.camera", 86_400, "Asia/Tokyo"),  # what it burns in is a day ahead, and nine hours
        SetClock("grace.camera", -31_536_000, "Asia/Kolkata"),
        SetPicture("ada.camera", night=True, quality=3),
        Ask("ada"),
        Ask("grace"),
        LetAge("ada", 2000),
        SetConditions("ada.camera", OUTAGE),
        Ask("ada"),
        Clear("ada.camera"),
    ),
)


def _frames(tmp_path, update):
    with Run(Settings(update=update, evidence=tmp_path)) as run:
        return judge(run.home(OWNERS).execute(PLAN), RULES)


def test_the_owner_s_own_picture_is_too_old_when_it_was_kept(tmp_path):
    """It is the control of december-26: nobody sees a stranger, and ada sees what was."""
    stale = [f for f in _frames(tmp_path, "december-26-fixed") if f.verdict is Verdict.STALE]
    assert {f.frame.hub for f in stale} == {"ada"}
    assert all(is_leak(f, RULES) for f in stale)
    assert sentence(stale[0]).startswith("ada was shown an old picture of ada's living-room on the hub in ada's home")
    assert not is_leak(stale[0], Rules())


def test_a_wrong_clock_and_another_time_zone_make_nothing_old(tmp_path):
    seen = [f.verdict for f in _frames(tmp_path, None)]
    assert seen.count(Verdict.OWN) >= 2
    assert not [v for v in seen if v < Verdict.AGE_UNKNOWN]

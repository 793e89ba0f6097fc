"""What owners do to their accounts, on a home that runs: who sees what afterwards, and by which camera."""

from __future__ import annotations

import pytest

from chaos import shared
from chaos.history import Asked, SignedIn
from chaos.plan import Ask, ChangeAccount, Plan, Protect, ResetPassword, Sell, Share, Unshare
from chaos.run import Run, Settings
from chaos.verdict import Verdict, conclude, judge
from tests.planted.directed import OWNERS

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]
BOUND = 2000
"""Milliseconds: the hub's lease of 1.5 s, and a half."""
STEPS = (
    Share("ada", "grace"),
    Ask("grace", camera=shared("ada"), feed="stream"),
    Unshare("ada", "grace", BOUND),
    Ask("grace", camera=shared("ada")),
    ChangeAccount("lin", "ada"),  # with the right password
    Ask("lin"),
    Protect("ada"),
    ResetPassword("ada", BOUND),
    ChangeAccount("lin", "ada"),  # with the old one
    Ask("lin"),
    ChangeAccount("ada", "ada"),  # with the new one, and a code
    Ask("ada"),
    ChangeAccount("lin", "lin"),
    Sell("ada", "lin", BOUND),
    Ask("ada"),
    Ask("lin"),
    Sell("ada", "grace", BOUND),  # she has none any more
    Sell("lin", "ada", BOUND),
    Ask("ada"),
)


def test_a_right_home_shows_each_what_is_theirs_at_every_moment(tmp_path):
    with Run(Settings(evidence=tmp_path)) as run:
        home = run.home(OWNERS)
        events = home.execute(Plan(OWNERS, STEPS))
        again = home.execute(Plan(OWNERS, (Ask("ada"), Ask("grace"), Ask("lin"))))
    asks = [(e.hub, e.outcome) for e in events if isinstance(e, Asked)]
    assert asks == [
        ("grace", "picture"),
        ("grace", "unavailable"),
        ("lin", "picture"),
        ("lin", "unavailable"),
        ("ada", "picture"),
        ("ada", "unavailable"),
        ("lin", "picture"),
        ("ada", "picture"),
    ]
    frames = judge(events)
    assert {f.verdict for f in frames} == {Verdict.OWN, Verdict.BLANK}
    shown = [(f.frame.hub, s.owner) for f in frames for s in f.frame.reading.sightings]
    assert {("grace", "ada"), ("lin", "ada"), ("lin", "lin")} <= set(shown)
    sign_ins = [(e.hub, e.owner, e.proof, e.noticed) for e in events if isinstance(e, SignedIn)][3:]
    assert sign_ins == [
        ("lin", "ada", "password", True),
        ("lin", None, "old password", False),
        ("ada", "ada", "second factor", None),
        ("lin", "lin", "password", None),
    ]
    assert [j.verdict for j in judge(again)].count(Verdict.OWN) == 3, "nothing of it is left in the next case"
    assert not conclude([*events, *again]).leaks

"""A suspended integration: from its bound on, camera content is revoked, whosever account is signed in."""

from __future__ import annotations

import pytest

from chaos.errors import Misuse
from chaos.history import Restored, Suspended, Unlinked, from_line, to_line
from chaos.plan import Restore, Suspend, Unlink
from chaos.run import sentence
from chaos.verdict import Outcome, Verdict, conclude, suspensions
from tests.makers import SLOW, asked, conditions_set, judged_in_case, passing_run, seen, shown, signed_in

ADA, GRACE = seen("ada"), seen("grace")
FROM_10 = Suspended(began=9.0, ended=10.0, within=2.0)
"""In effect from 12 on."""
BACK_AT_20 = Restored(began=20.0, ended=21.0, cameras=True)
WITHOUT_CAMERAS = Restored(began=20.0, ended=21.0, cameras=False)


@pytest.mark.parametrize(
    ("what", "expected", "events"),
    [
        ("before it", Verdict.OWN, [FROM_10, shown(5, 8, ADA)]),
        ("into the bound", Verdict.OWN, [FROM_10, shown(5, 11.9, ADA)]),
        ("within the bound", Verdict.OWN, [FROM_10, shown(10.5, 11, ADA)]),
        ("to the very end of the bound", Verdict.REVOKED, [FROM_10, shown(5, 12, ADA)]),
        ("after the bound", Verdict.REVOKED, [FROM_10, shown(13, 14, ADA)]),
        ("for no time at all", Verdict.REVOKED, [FROM_10, shown(13, 13, ADA)]),
        ("a stranger after the bound", Verdict.FOREIGN, [FROM_10, shown(13, 14, GRACE)]),
        ("a stranger beside herself", Verdict.FOREIGN, [FROM_10, shown(13, 14, ADA, GRACE)]),
        ("another camera of hers", Verdict.REVOKED, [FROM_10, shown(13, 14, seen("ada", "porch"))]),
        ("static tiles alone", Verdict.REVOKED, [FROM_10, shown(13, 14, seen(captured=None))]),
        ("a picture that nobody can read", Verdict.UNREADABLE, [FROM_10, shown(13, 14)]),
        ("a dark screen", Verdict.BLANK, [FROM_10, shown(13, 14, blank=True)]),
        ("once it is restored", Verdict.OWN, [FROM_10, BACK_AT_20, shown(21, 22, ADA)]),
        ("while it is restored", Verdict.OWN, [FROM_10, BACK_AT_20, shown(20, 20.5, ADA)]),
        ("until it is restored", Verdict.REVOKED, [FROM_10, BACK_AT_20, shown(19, 20, ADA)]),
        ("once all but cameras is restored", Verdict.REVOKED, [FROM_10, WITHOUT_CAMERAS, shown(22, 23, ADA)]),
        ("restored before it had to be in effect", Verdict.OWN, [
            FROM_10, Restored(began=11.0, ended=11.5, cameras=True), shown(10.5, 13, ADA)]),
        ("suspended twice, by the first", Verdict.REVOKED, [
            FROM_10, Suspended(began=12.0, ended=12.5, within=2.0), shown(12.7, 13, ADA)]),
        ("a suspension that had no bound", Verdict.REVOKED, [
            Suspended(began=9.0, ended=10.0, within=0.0), shown(10.1, 11, ADA)]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_what_is_shown_of_a_suspended_integration(what, expected, events):
    assert judged_in_case(*events).verdict is expected


UNLINKED = Unlinked(owner="ada", began=9.0, ended=10.0, within=2.0)
"""In effect from 12 on."""


@pytest.mark.parametrize(
    ("what", "expected", "events"),
    [
        ("within the bound", Verdict.OWN, [UNLINKED, shown(10.5, 11.9, ADA)]),
        ("after the bound", Verdict.REVOKED, [UNLINKED, shown(11, 13, ADA)]),
        ("another camera of hers", Verdict.REVOKED, [UNLINKED, shown(13, 14, seen("ada", "porch"))]),
        ("somebody else's", Verdict.FOREIGN, [UNLINKED, shown(13, 14, GRACE)]),
        ("another's account was unlinked", Verdict.OWN, [
            Unlinked(owner="grace", began=9.0, ended=10.0, within=2.0), shown(13, 14, ADA)]),
        ("signed in anew before it had to be in effect", Verdict.OWN, [
            UNLINKED, signed_in("ada", 10.5, 11.0), asked(11.5, ask=2), shown(11.6, 13, ADA)]),
        ("signed in anew after it had to be", Verdict.REVOKED, [
            UNLINKED, signed_in("ada", 15.0, 16.0), shown(13, 14, ADA)]),
        ("once it is signed in anew", Verdict.OWN, [
            UNLINKED, signed_in("ada", 15.0, 16.0), asked(17, ask=2), shown(18, 19, ADA)]),
        ("signed in anew on another hub", Verdict.REVOKED, [
            UNLINKED, signed_in("ada", 15.0, 16.0, hub="lin"), shown(18, 19, ADA)]),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_what_is_shown_of_an_account_that_was_unlinked(what, expected, events):
    judged = judged_in_case(*events)
    assert judged.verdict is expected
    assert (judged.withdrawn == "unlinked") is (expected is Verdict.REVOKED)


def test_an_unlinked_account_is_told_as_that():
    assert sentence(judged_in_case(UNLINKED, shown(13, 14, ADA))) == (
        "the hub in ada's home, unlinked, showed ada's living-room, while all links were clear."
    )


def test_a_camera_that_is_shown_while_suspended_is_a_leak_and_told_as_that():
    history = passing_run(FROM_10, shown(13, 14, seen("ada", case=2)))
    conclusion = conclude(history)
    assert conclusion.outcome is Outcome.LEAK
    assert sentence(conclusion.leaks[0]) == (
        "the hub in ada's home, suspended, showed ada's living-room, while relay.cache was 1000 ms latency down."
    )


def test_the_conditions_told_are_those_at_the_moment_from_which_it_was_revoked():
    turned = conditions_set("ada.hub", SLOW, 9.0)
    frame = judged_in_case(turned, FROM_10, shown(5, 14, ADA))
    assert [link for link, _ in frame.under] == ["ada.hub"]
    assert judged_in_case(turned, shown(5, 14, ADA)).under == (), "an own one has what it appeared under"


def test_a_hub_that_is_signed_out_is_told_from_one_that_is_suspended():
    frame = judged_in_case(signed_in(None, 10.0, 12.0), shown(13, 14, ADA))
    assert frame.verdict is Verdict.REVOKED
    assert "signed out" in sentence(frame)


def test_a_run_whose_suspension_met_no_picture_says_nothing():
    dark = conclude(passing_run(Suspended(began=990.0, ended=990.1, within=0.0)))
    assert dark.outcome is Outcome.INCONCLUSIVE
    assert any("'suspended while a hub shows a camera' was aimed at 1 times" in r for r in dark.reasons)
    lit = passing_run(Suspended(began=8.0, ended=8.1, within=2.0))  # hers stands from 6 to 9
    assert conclude(lit).outcome is Outcome.PASSED


def test_a_suspension_lasts_until_cameras_are_restored_whatever_the_order_of_events():
    assert suspensions([BACK_AT_20, WITHOUT_CAMERAS, FROM_10]) == ((12.0, 20.0),)
    assert suspensions([WITHOUT_CAMERAS, FROM_10]) == ((12.0, float("inf")),)
    assert suspensions([BACK_AT_20]) == ()


@pytest.mark.parametrize("event", [FROM_10, BACK_AT_20, UNLINKED])
def test_the_events_survive_their_line(event):
    assert from_line(to_line(event)) == event


@pytest.mark.parametrize("within", [-1, 60_001, 1.5, True])
def test_a_bound_that_is_none_is_refused(within):
    with pytest.raises(Misuse, match="expected whole milliseconds from 0 to 60,000"):
        Suspend(within)
    with pytest.raises(Misuse, match=r"unlink\.within_ms is"):
        Unlink("ada", within)


def test_restoring_all_is_simpler_than_restoring_all_but_cameras():
    assert list(Restore(cameras=False).simpler()) == [Restore()]
    assert list(Restore().simpler()) == []

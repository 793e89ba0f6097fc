"""The judge, from section 5 of the design: permitted sets, windows, worst wins, and unknown is never a pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chaos import conditions
from chaos.conditions import Fault
from chaos.history import (
    Asked,
    CaseEnded,
    CaseStarted,
    ConditionsSet,
    ControlSeen,
    Displayed,
    Event,
    Met,
    Reading,
    Restarted,
    Sighting,
    Unseen,
)
from chaos.verdict import Outcome, Rules, Verdict, by_case, conclude, exercised, judge, together, weaknesses
from tests import makers
from tests.makers import (
    OWNERS,
    ROOM,
    SLOW,
    asked,
    both_controls,
    case,
    case_ended,
    closed,
    conditions_set,
    control,
    judged_in_case,
    met,
    node_fault,
    only,
    passing_run,
    planned_case,
    seen,
    shown,
    signed_in,
)

# Verdicts of one frame. Ada signed in on her hub from 0 to 1 and asked for her living room from 2 to 3.

ADA, GRACE, LIN = seen("ada"), seen("grace"), seen("lin")
TO_GRACE = signed_in("grace", 10.0, 12.0)
SIGNED_OUT = signed_in(None, 10.0, 12.0)
PORCH = asked(10.0, 12.0, ask=2, camera="porch")
ADAS_PORCH = seen("ada", "porch")

F, R, M, U, S, A, O, B = (  # noqa: E741 - a table of one letter a verdict
    Verdict.FOREIGN,
    Verdict.REVOKED,
    Verdict.MISDIRECTED,
    Verdict.UNREADABLE,
    Verdict.STALE,
    Verdict.AGE_UNKNOWN,
    Verdict.OWN,
    Verdict.BLANK,
)


@pytest.mark.parametrize(
    ("what", "expected", "events"),
    [
        # the plain ones
        ("her own home", O, [shown(5, 6, ADA)]),
        ("a stranger's home", F, [shown(5, 6, GRACE)]),
        ("a stranger's home for no time at all", F, [shown(5, 5, GRACE)]),
        ("an owner whom nobody registered", F, [shown(5, 6, seen("unknown owner 17"))]),
        ("a stranger by static tiles alone", F, [shown(5, 6, seen("grace", captured=None))]),
        ("a stranger from an earlier case", F, [shown(5, 6, seen("grace", case=0))]),
        ("a stranger's other camera", F, [shown(5, 6, seen("grace", "porch"))]),
        ("a stranger in a picture that we damaged", F, [shown(5, 6, GRACE, damaged=True)]),
        ("a stranger on a screen that is called blank", F, [shown(5, 6, GRACE, blank=True)]),
        ("a picture that nobody can read", U, [shown(5, 6)]),
        ("a picture that we damaged and nobody can read", U, [shown(5, 6, damaged=True)]),
        ("no camera content", B, [shown(5, 6, blank=True)]),
        ("no camera content on a hub that is signed out", B, [SIGNED_OUT, shown(15, 16, blank=True)]),
        ("her own home, age unknown", A, [shown(5, 6, seen(captured=None))]),
        ("her own home from an earlier case", S, [shown(5, 6, seen(case=0))]),
        ("her own home from an earlier case, age unknown", S, [shown(5, 6, seen(case=0, captured=None))]),
        ("her own porch, which she did not ask for", M, [shown(5, 6, ADAS_PORCH)]),
        ("her own porch from an earlier case", M, [shown(5, 6, seen("ada", "porch", case=0))]),
        # two owners in one frame
        ("a torn still of herself and a stranger", F, [shown(5, 6, ADA, GRACE)]),
        ("the same, named the other way round", F, [shown(5, 6, GRACE, ADA)]),
        ("two of her cameras in one frame", M, [shown(5, 6, ADA, ADAS_PORCH)]),
        ("an old and a new half of her own", S, [shown(5, 6, ADA, seen(case=0))]),
        ("both accounts torn, during the change", O, [TO_GRACE, shown(10.5, 11.5, ADA, GRACE)]),
        # before anybody signed in, asked, or while signing in
        ("a picture before the first sign-in", F, [shown(-3, -2, ADA)]),
        ("a picture that stands from before the first sign-in", F, [shown(-1, 6, ADA)]),
        ("her home while she signs in and before she asked", M, [shown(0.2, 0.4, ADA)]),
        ("her home while she asks", O, [shown(2.1, 2.2, ADA)]),
        ("her home at the very moment that she asks", O, [shown(2, 2, ADA)]),
        ("her home just before she asks", M, [shown(1.9, 2.2, ADA)]),
        ("nobody's home before the first sign-in", U, [shown(-3, -2)]),
        # an account changes from 10 to 12
        ("the new owner before the change", F, [TO_GRACE, shown(8, 9, GRACE)]),
        ("the new owner from before into the change", F, [TO_GRACE, shown(9.9, 11, GRACE)]),
        ("the new owner during the change", O, [TO_GRACE, shown(10.5, 11.5, GRACE)]),
        ("the new owner from the first moment of the change", O, [TO_GRACE, shown(10, 11, GRACE)]),
        ("the new owner after the change", O, [TO_GRACE, asked(10, 12.001, ask=2), shown(13, 14, GRACE)]),
        ("the new owner's home, which she did not ask for", M, [TO_GRACE, shown(13, 14, GRACE)]),
        ("the old owner before the change", O, [TO_GRACE, shown(8, 9, ADA)]),
        ("the old owner during the change", O, [TO_GRACE, shown(10.5, 11.5, ADA)]),
        ("the old owner until the change is confirmed", O, [TO_GRACE, shown(8, 12, ADA)]),
        ("the old owner one moment longer", F, [TO_GRACE, shown(8, 12.001, ADA)]),
        ("the old owner after the change", F, [TO_GRACE, shown(13, 14, ADA)]),
        ("a third owner during the change", F, [TO_GRACE, shown(10.5, 11.5, LIN)]),
        ("the new owner from during to after", O, [TO_GRACE, asked(10, 12.001, ask=2), shown(11, 14, GRACE)]),
        # several changes in one window
        (
            "the owner who comes back, over both changes",
            F,
            [TO_GRACE, signed_in("ada", 20, 22), shown(8, 25, ADA)],
        ),
        (
            "the owner who comes back before the other was confirmed",
            O,
            [TO_GRACE, signed_in("ada", 11, 13), asked(10, 13.001, ask=2), shown(8, 25, ADA)],
        ),
        (
            "the owner of the middle, over both changes",
            F,
            [TO_GRACE, signed_in("lin", 20, 22), shown(11, 25, GRACE)],
        ),
        (
            "the owner of the middle, within her time",
            O,
            [TO_GRACE, signed_in("lin", 20, 22), asked(10, 12.001, ask=2), shown(10, 22, GRACE)],
        ),
        (
            "each new owner while their changes overlap",
            O,
            [TO_GRACE, signed_in("lin", 11, 13), shown(11.2, 11.8, GRACE, LIN)],
        ),
        (
            "the first owner when the first of two overlapping changes is confirmed",
            F,
            [TO_GRACE, signed_in("lin", 11, 13), shown(12.5, 12.6, ADA)],
        ),
        (
            "the owner in between when both overlapping changes are confirmed",
            F,
            [TO_GRACE, signed_in("lin", 11, 13), shown(13.5, 14, GRACE)],
        ),
        (
            "the last owner when both overlapping changes are confirmed",
            O,
            [TO_GRACE, signed_in("lin", 11, 13), asked(10, 13.001, ask=2), shown(13.5, 14, LIN)],
        ),
        (
            "the owner who was gone, for a short time of a long window",
            F,
            [TO_GRACE, signed_in("ada", 13, 14), shown(8, 100, ADA)],
        ),
        (
            "the owner whose change began first and was confirmed last",
            O,
            [signed_in("grace", 10, 20), signed_in("lin", 12, 14), asked(10, 20.001, ask=2), shown(21, 22, GRACE)],
        ),
        (
            "the owner whose change began and was confirmed within another's",
            F,
            [signed_in("grace", 10, 20), signed_in("lin", 12, 14), shown(21, 22, LIN)],
        ),
        # signed out from 10 to 12
        ("the old owner while she signs out", O, [SIGNED_OUT, shown(10.5, 11.5, ADA)]),
        ("the old owner after she signed out", R, [SIGNED_OUT, shown(13, 14, ADA)]),
        ("the old owner over her signing out", R, [SIGNED_OUT, shown(8, 14, ADA)]),
        ("a stranger after she signed out", F, [SIGNED_OUT, shown(13, 14, GRACE)]),
        ("her other camera after she signed out", R, [SIGNED_OUT, shown(13, 14, ADAS_PORCH)]),
        (
            "the owner before the last after the last signed out",
            F,
            [TO_GRACE, signed_in(None, 20, 22), shown(23, 24, ADA)],
        ),
        ("the last owner after she signed out", R, [TO_GRACE, signed_in(None, 20, 22), shown(23, 24, GRACE)]),
        ("an owner who will sign in later", F, [SIGNED_OUT, signed_in("grace", 20, 22), shown(13, 14, GRACE)]),
        (
            "an owner who signed out and comes back, in between",
            R,
            [SIGNED_OUT, signed_in("ada", 20, 22), shown(13, 14, ADA)],
        ),
        ("the last owner until the next signs in", F, [SIGNED_OUT, signed_in("grace", 20, 22), shown(13, 23, ADA)]),
        # another camera is asked for from 10 to 12, and closed
        ("the new camera before it was asked for", M, [PORCH, shown(8, 9, ADAS_PORCH)]),
        ("both cameras while the other is asked for", O, [PORCH, shown(10.5, 11.5, ADA, ADAS_PORCH)]),
        ("the new camera", O, [PORCH, shown(13, 14, ADAS_PORCH)]),
        ("the old camera after the ask was taken", M, [PORCH, shown(13, 14, ADA)]),
        ("the old camera over the ask", M, [PORCH, shown(8, 14, ADA)]),
        ("her home while the feed is closed", O, [closed(10, 12), shown(8, 11, ADA)]),
        ("her home after the feed was closed", M, [closed(10, 12), shown(13, 14, ADA)]),
        ("the same camera asked for again", O, [asked(10, 12, ask=2), shown(8, 14, ADA)]),
        ("another hub's change", O, [signed_in("grace", 10, 12, hub="grace"), shown(8, 14, ADA)]),
        ("another hub's ask", M, [asked(10, 12, ask=2, hub="grace", camera="porch"), shown(13, 14, ADAS_PORCH)]),
    ],
)  # fmt: skip
def test_a_displayed_frame_gets_the_verdict_that_the_design_gives_it(what, expected, events):
    assert judged_in_case(*events).verdict is expected, what


@pytest.mark.parametrize(
    ("stale_after", "captured", "expected"),
    [
        (None, -1e6, O),
        (2.0, 4.0, O),
        (2.0, 3.0, O),  # exactly the bound
        (2.0, 2.999, S),
        (2.0, None, A),
        (0.0, 5.0, O),
    ],
)
def test_an_own_frame_is_stale_when_it_appears_older_than_the_bound(stale_after, captured, expected):
    history = [case(), signed_in("ada", 0, 1), asked(2), shown(5, 60, seen(captured=captured))]

    assert only(judge(history, Rules(stale_after=stale_after))).verdict is expected


def test_verdicts_are_ordered_worst_first_and_spelt_as_the_documents_spell_them():
    assert [v.word for v in sorted(Verdict)] == [
        "foreign",
        "revoked",
        "misdirected",
        "unreadable",
        "stale",
        "own, age unknown",
        "own",
        "blank",
    ]


def test_a_picture_that_survived_a_reset_names_the_case_that_it_comes_from():
    history = [case(1), case_ended(1), case(2), signed_in("ada", 0, 1), asked(2), shown(5, 6, seen("grace", case=1))]

    frame = only(judge(history))

    assert (frame.verdict, frame.case, frame.carried_over) == (F, 2, 1)


def test_a_picture_of_an_earlier_run_is_foreign_whatever_its_numbers_say():
    # the same name and case by chance: two runs number their owners and cases for themselves
    frame = judged_in_case(shown(5, 6, msgspec.structs.replace(ADA, run="7ed633d3")))
    assert (frame.verdict, frame.carried_over) == (F, None)


def test_a_picture_of_this_case_is_not_carried_over():
    assert judged_in_case(shown(5, 6, GRACE)).carried_over is None


def test_the_carried_over_case_is_that_of_the_owner_who_decided_the_verdict():
    frame = judged_in_case(shown(5, 6, seen("ada", case=0), GRACE))

    assert frame.guilty == GRACE
    assert frame.carried_over is None


def test_of_two_strangers_in_one_frame_the_one_with_more_tiles_is_named():
    frame = judged_in_case(shown(5, 6, seen("grace", tiles=2), seen("lin", tiles=5)))

    assert frame.guilty is not None
    assert frame.guilty.owner == "lin"


def test_sightings_that_differ_in_nothing_but_a_missing_age_can_be_judged():
    frame = judged_in_case(shown(5, 6, seen("grace", captured=None), seen("grace", captured=4.0)))

    assert frame.verdict is F


def test_a_frame_tells_who_was_permitted_what_was_asked_and_what_the_network_was():
    edge, cut = conditions.EDGE, conditions.OUTAGE
    frame = judged_in_case(
        TO_GRACE,
        conditions_set("relay.cache", edge, 4.0),
        conditions_set("ada.camera", cut, 3.0),
        conditions_set("ada.camera", conditions.CLEAR, 4.5),
        conditions_set("ada.hub", cut, 11.1),
        asked(9.0, ask=5),
        asked(11.1, ask=6),
        shown(11, 14, LIN),
    )

    assert frame.owners == ("ada", "grace")
    assert frame.ask is not None
    assert frame.ask.ask == 5
    assert frame.under == (("relay.cache", edge),)


def test_conditions_that_were_set_twice_count_as_they_were_set_last():
    frame = judged_in_case(
        conditions_set("relay.cache", conditions.OUTAGE, 4.0),
        conditions_set("relay.cache", conditions.GPRS, 4.5),
        shown(5, 6, GRACE),
    )

    assert frame.under == (("relay.cache", conditions.GPRS),)


def test_accounts_and_asks_of_an_earlier_case_permit_nothing_in_the_next():
    history = [case(1), signed_in("grace", 0, 1), asked(2), case_ended(1), case(2), shown(5, 6, seen("grace", case=2))]

    assert only(judge(history)).verdict is F


# What a run comes to.


def outcome(history: Sequence[Event], rules: Rules | None = None) -> Outcome:
    return conclude(history, rules).outcome


def reason(history: Sequence[Event]) -> str:
    """Return the one reason that a run is inconclusive."""
    conclusion = conclude(history)
    assert conclusion.outcome is Outcome.INCONCLUSIVE
    assert conclusion.leaks == ()
    (single,) = conclusion.reasons
    return single


def without(history: Sequence[Event], *kinds: type) -> list[Event]:
    return [e for e in history if not isinstance(e, kinds)]


def test_outcomes_are_the_exit_codes():
    assert [(o.name, int(o)) for o in Outcome] == [("PASSED", 0), ("LEAK", 1), ("INCONCLUSIVE", 2), ("UNUSABLE", 3)]


def test_a_run_in_which_everybody_saw_their_own_home_under_faults_passes():
    conclusion = conclude(passing_run())

    assert conclusion.outcome is Outcome.PASSED
    assert conclusion.reasons == ()
    assert conclusion.counts == {"own": 6, "blank": 6}


@pytest.mark.parametrize(
    ("frame", "rules", "expected"),
    [
        (shown(6, 7, seen("grace", case=2)), Rules(), Outcome.LEAK),
        (shown(6, 7, seen("grace", case=1)), Rules(), Outcome.LEAK),
        (shown(6, 7, seen("ada", case=2), seen("grace", case=2)), Rules(), Outcome.LEAK),
        (shown(6, 7, seen("ada", "porch", case=2)), Rules(), Outcome.LEAK),
        (shown(6, 7, seen("ada", "porch", case=2)), Rules(forbid_misdirected=False), Outcome.PASSED),
        (shown(6, 7, seen("ada", case=1)), Rules(), Outcome.PASSED),
        (shown(6, 7, seen("ada", case=1)), Rules(forbid_stale=True), Outcome.LEAK),
        (shown(6, 7, seen("ada", case=2, captured=1)), Rules(stale_after=2.0), Outcome.PASSED),
        (shown(6, 7, seen("ada", case=2, captured=1)), Rules(stale_after=2.0, forbid_stale=True), Outcome.LEAK),
        (shown(6, 7, seen("ada", case=2, captured=None)), Rules(stale_after=2.0, forbid_stale=True), Outcome.PASSED),
        (shown(6, 7), Rules(), Outcome.INCONCLUSIVE),
        (shown(6, 7, damaged=True), Rules(), Outcome.PASSED),
        (shown(6, 7, blank=True), Rules(), Outcome.PASSED),
        (shown(0.5, 0.6, seen("grace", case=2)), Rules(), Outcome.LEAK),
    ],
)
def test_one_more_frame_makes_a_run_that_would_pass_what_the_scenario_says(frame, rules, expected):
    assert outcome(passing_run(frame), rules) is expected


def test_a_frame_on_a_hub_that_was_signed_out_is_a_leak():
    history = passing_run(signed_in(None, 20, 22), shown(23, 24, seen("ada", case=2)))

    assert [j.verdict for j in conclude(history).leaks] == [R]


def test_a_leak_is_a_leak_even_when_everything_else_is_missing():
    history = [case(), shown(5, 6), shown(6, 7, GRACE)]

    conclusion = conclude(history)

    assert conclusion.outcome is Outcome.LEAK
    assert [j.frame.at for j in conclusion.leaks] == [6]
    assert conclusion.reasons


def test_a_foreign_frame_outside_of_every_case_was_seen_all_the_same():
    assert outcome([shown(5, 6, GRACE), *passing_run()]) is Outcome.LEAK


def test_an_empty_history_is_inconclusive_for_every_reason_there_is():
    reasons = conclude([]).reasons

    assert [r.split(";")[0] for r in reasons] == [
        "nothing was displayed in any case",
        "control crossed scenes ran 0 of 2 times",
        "control cut links ran 0 of 2 times",
    ]


def test_a_run_that_displayed_nothing_is_inconclusive():
    assert "nothing was displayed" in reason(without(passing_run(), Displayed))


def test_a_run_whose_screens_stayed_blank_displayed_nothing():
    blank = Reading("blank")
    history = [msgspec.structs.replace(e, reading=blank) if isinstance(e, Displayed) else e for e in passing_run()]

    assert "nothing was displayed" in reason(history)


def test_two_asks_that_met_a_fault_are_too_few():
    history = [e for e in passing_run(cases=1) if not (isinstance(e, Met) and e.ask == 12)]

    assert "2 asks met a fault and displayed own content; at least 3" in reason(history)


def test_three_asks_that_met_a_fault_are_enough():
    assert outcome(passing_run(cases=1)) is Outcome.PASSED


def test_a_kind_of_fault_that_was_drawn_and_met_by_no_ask_is_named():
    late = conditions_set("ada.camera", conditions.EDGE, 100.0)

    assert reason(passing_run(late)) == ("drawn, and met by no ask: bandwidth on ada.camera, latency on ada.camera")


def test_an_outage_that_refused_nobody_is_named():
    assert reason(passing_run(conditions_set("ada.hub", conditions.OUTAGE, 100.0))) == (
        "drawn, and met by no ask: refused on ada.hub"
    )


def test_the_same_kind_of_fault_on_another_link_does_not_count_as_met():
    history = passing_run(conditions_set("ada.camera", SLOW, 100.0))

    assert reason(history) == "drawn, and met by no ask: latency on ada.camera"
    assert outcome([*history[:-3], met(20, "ada.camera"), *history[-3:]]) is Outcome.PASSED


def test_a_witness_of_no_bytes_is_no_witness():
    history = [msgspec.structs.replace(e, amount=0) if isinstance(e, Met) else e for e in passing_run()]

    conclusion = conclude(history)

    assert conclusion.outcome is Outcome.INCONCLUSIVE
    assert conclusion.exercise.strong_asks == 0
    assert conclusion.exercise.unmet == (Fault("relay.cache", "latency"),)


def test_a_run_that_drew_no_fault_is_too_weak_to_pass():
    history = without(passing_run(), Met, ConditionsSet)

    assert "0 asks met a fault" in reason(history)


@pytest.mark.parametrize(("minimum", "expected"), [(0, Outcome.PASSED), (1, Outcome.INCONCLUSIVE)])
def test_a_plain_test_that_asks_for_no_strength_may_pass_without_faults(minimum, expected):
    history = without(passing_run(), Met, ConditionsSet)

    assert outcome(history, Rules(minimum_strong_asks=minimum)) is expected


def test_a_plain_test_that_asks_for_no_strength_must_still_meet_the_faults_that_it_set():
    rules = Rules(minimum_strong_asks=0)

    assert outcome(without(passing_run(), Met), rules) is Outcome.INCONCLUSIVE
    assert outcome(without(passing_run(), Displayed), rules) is Outcome.INCONCLUSIVE
    assert outcome(without(passing_run(), ControlSeen), rules) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("what", ["crossed scenes", "cut links"])
def test_a_control_that_did_not_run_is_missed(what):
    history = passing_run()
    last = max(i for i, e in enumerate(history) if getattr(e, "what", None) == what)

    assert reason([*history[:last], *history[last + 1 :]]) == f"control {what} ran 1 of 2 times"


@pytest.mark.parametrize("what", ["crossed scenes", "cut links"])
def test_a_control_that_was_not_seen_is_told_with_what_was_missed(what):
    assert reason([*passing_run(), control(what, seen=False)]) == (
        f"control {what} was not seen: ada's hub with grace's scene"
    )


def test_a_screen_that_could_not_be_seen_for_a_while_is_no_pass():
    lost = [Unseen(hub="ada", at=3, until=3.5, why="the browser is gone"), Unseen(hub="lin", at=4, until=5, why="x")]
    assert reason([*passing_run(), *lost]) == (
        "2 times, 1.5 s in all, nobody knows what a hub's screen showed; the first time on ada in case 0: "
        "the browser is gone"
    )


def test_one_control_before_is_enough_where_one_is_asked_for():
    assert conclude(passing_run()[:-2], controls=1).outcome is Outcome.PASSED
    assert conclude(passing_run()[2:-2], controls=1).outcome is Outcome.INCONCLUSIVE


def test_frames_that_nobody_can_explain_are_counted_and_the_first_is_named():
    text = reason(passing_run(shown(6.5, 7), shown(6.2, 6.4), shown(7, 8, damaged=True)))

    assert text.startswith("2 displayed frames could not be read")
    assert "ada-6_2-6_4" in text
    assert "in case 2" in text


def crossed_control(number: int = 50) -> list[Event]:
    """Return a control case in which Ada's hub shows Grace's scene, over a slow link, and something unreadable."""
    return [
        case(number, "control"),
        signed_in("ada", 0, 1),
        conditions_set("lin.camera", conditions.OUTAGE, 1.0),
        asked(2, ask=500),
        asked(2, ask=501, hub="grace"),
        met(500),
        shown(3, 4, seen("grace", case=number)),
        shown(4, 5),
        case_ended(number),
    ]


def test_what_a_control_displays_is_neither_a_leak_nor_unexplained():
    conclusion = conclude([*passing_run(), *crossed_control()])

    assert conclusion.outcome is Outcome.PASSED
    assert conclusion.counts == {"own": 6, "blank": 6}


def test_a_control_adds_no_strength():
    alone, with_control = conclude(passing_run()).exercise, conclude([*crossed_control(), *passing_run()]).exercise

    assert with_control == alone


def test_a_control_whose_screens_show_their_own_home_adds_no_strength_either():
    own = [e if not isinstance(e, CaseStarted) else case(e.case, "control") for e in planned_case(60, 600)]
    history = [*both_controls(), *own, *both_controls()]

    conclusion = conclude(history)

    assert (conclusion.exercise.strong_asks, conclusion.exercise.displayed) == (0, 0)
    assert conclusion.outcome is Outcome.INCONCLUSIVE
    everything = exercised(history, judge(history))
    assert (everything.strong_asks, everything.displayed) == (0, 0)


# How hard a run tried.


def test_the_exercise_of_a_run_is_counted_in_cases_asks_and_met_faults():
    exercise = conclude(passing_run()).exercise

    latency = Fault("relay.cache", "latency")
    assert (exercise.cases, exercise.asks, exercise.strong_asks, exercise.displayed) == (2, 6, 6, 6)
    assert exercise.drawn == (latency,)
    assert exercise.met == ((latency, 6),)
    assert exercise.unmet == ()


@pytest.mark.parametrize(("cases", "bound"), [(1, 1.0), (2, 0.5), (10, 0.1)])
def test_the_bound_is_three_over_the_asks_that_met_a_fault(cases, bound):
    exercise = conclude(passing_run(cases=cases)).exercise

    assert exercise.bound_95 is not None
    assert math.isclose(exercise.bound_95, bound)


def test_without_such_asks_there_is_no_bound():
    assert conclude([]).exercise.bound_95 is None


@pytest.mark.parametrize(
    ("what", "frames", "strong"),
    [
        ("own", [shown(6, 7, ADA)], 1),
        ("own, age unknown", [shown(6, 7, seen(captured=None))], 1),
        ("own, from an earlier case", [shown(6, 7, seen(case=0))], 1),
        ("own after a blank screen", [shown(5, 6, blank=True), shown(6, 7, ADA)], 1),
        ("many own frames of one stream", [shown(6 + n, 7 + n, ADA) for n in range(9)], 1),
        ("blank alone", [shown(6, 7, blank=True)], 0),
        ("nothing", [], 0),
        ("own and one that nobody can read", [shown(6, 7, ADA), shown(7, 8, damaged=True)], 0),
        ("own and then a stranger", [shown(6, 7, ADA), shown(7, 8, GRACE)], 0),
        ("a stranger and then own", [shown(6, 7, GRACE), shown(7, 8, ADA)], 0),
        ("her porch, which she did not ask for", [shown(6, 7, ADAS_PORCH)], 0),
        ("own, before the ask", [shown(1, 1.5, ADA)], 0),
        ("own, on another hub", [shown(6, 7, GRACE, hub="grace")], 0),
    ],
)
def test_an_ask_adds_strength_when_it_met_a_fault_and_all_that_it_showed_was_its_owners_own(what, frames, strong):
    history = [case(), signed_in("ada", 0, 1), asked(2, ask=1), met(1), *frames, case_ended()]

    assert exercised(history, judge(history)).strong_asks == strong, what


def test_an_ask_that_met_nothing_adds_no_strength():
    history = [case(), signed_in("ada", 0, 1), asked(2, ask=1), met(2), shown(6, 7, ADA), case_ended()]

    assert exercised(history, judge(history)).strong_asks == 0


def test_what_parts_of_a_run_tried_adds_up_and_a_fault_that_one_of_them_met_is_met():
    first = conclude(passing_run(cases=3)).exercise
    second = conclude([*passing_run(), conditions_set("ada.hub", conditions.OUTAGE, 5.0)]).exercise
    third = conclude([case(9), conditions_set("relay.cache", SLOW, 1.0), case_ended(9)]).exercise
    whole = together([first, second, third])

    assert (whole.cases, whole.asks, whole.strong_asks, whole.displayed) == (6, 15, 15, 15)
    assert third.unmet == (Fault("relay.cache", "latency"),)
    assert whole.unmet == second.unmet
    assert dict(whole.met) == {Fault("relay.cache", "latency"): 15}
    assert sum(s.reached for s in whole.states) == sum(s.reached for x in (first, second, third) for s in x.states) > 0
    assert together([]).bound_95 is None


def test_doubts_are_the_reasons_that_more_cases_would_not_take_away():
    unread, unseen = shown(7.0, 8.0), control("cut links", seen=False)
    few = conclude([*both_controls(), unseen, *planned_case(1, 10, unread)], Rules(minimum_strong_asks=9), controls=1)

    assert [d.split()[0] for d in few.doubts] == ["1", "control"]
    assert [r for r in few.reasons if r not in few.doubts] == list(weaknesses(few.exercise, 9))
    assert [c.seen for c in few.controls] == [True, True, False]


def test_what_happens_between_two_cases_belongs_to_neither():
    history = [*planned_case(1, 10), asked(2, ask=99), met(99), conditions_set("ada.hub", conditions.OUTAGE, 5.0)]

    assert [number for number, _ in by_case(history[-4:])] == [0, 0, 0, 0]
    assert {number for number, _ in by_case(history[:-3])} == {1}
    assert exercised(history, judge(history)) == exercised(history[:-3], judge(history))


def test_an_ask_that_met_two_faults_counts_once_as_an_ask_and_twice_as_met():
    history = [case(), signed_in("ada", 0, 1), asked(2), met(1), met(1, "ada.hub", "refused"), shown(6, 7, ADA)]

    exercise = exercised(history, judge(history))

    assert exercise.strong_asks == 1
    assert exercise.met == ((Fault("ada.hub", "refused"), 1), (Fault("relay.cache", "latency"), 1))


# Faults of nodes.

KINDS = ("paused", "detached", "new address", "clock")
NODE_FAULTS = [(node, kind) for node in ("relay", "ada.hub", "ada.camera") for kind in KINDS]


@pytest.mark.parametrize(("node", "kind"), NODE_FAULTS)
@pytest.mark.parametrize(
    ("frame", "verdict"),
    [(seen("grace"), Verdict.FOREIGN), (ADA, Verdict.OWN), (ADAS_PORCH, Verdict.MISDIRECTED)],
)
def test_whatever_a_node_suffers_the_verdict_of_a_frame_is_the_same(node, kind, frame, verdict):
    judged = judged_in_case(node_fault(node, kind, 4.0, 4.5), shown(6, 7, frame))

    assert judged.verdict is verdict
    assert judged.nodes == ((node, kind),)


def test_an_unreadable_frame_under_a_fault_of_a_node_is_unexplained_unless_its_way_was_broken():
    assert judged_in_case(node_fault("relay", "paused", 4.0), shown(6, 7)).unexplained
    assert not judged_in_case(node_fault("relay", "paused", 4.0), shown(6, 7, damaged=True)).unexplained


def test_a_restart_permits_nothing():
    restarted = Restarted(node="relay", began=4.0, ended=5.0, why="drawn")

    assert judged_in_case(restarted, shown(4.5, 7, seen("grace"))).verdict is Verdict.FOREIGN


def test_a_frame_names_the_faults_of_nodes_that_were_in_force_when_it_appeared():
    over = [node_fault("relay", "paused", 4.0), node_fault("relay", "paused", 5.0, on=False)]
    to_come = node_fault("cache", "detached", 6.5)

    judged = judged_in_case(*over, node_fault("ada.camera", "clock", 4.5), to_come, shown(6, 7, ADA))

    assert judged.nodes == (("ada.camera", "clock"),)


def test_the_headline_of_a_leak_names_the_faults_of_nodes():
    from chaos.run import sentence

    paused, slow = node_fault("relay", "paused", 4.0), conditions_set("relay.cache", SLOW, 4.0)

    leak = judged_in_case(paused, slow, shown(6, 7, seen("grace")))

    assert sentence(leak).endswith("while relay.cache was 1000 ms latency down, relay stood still.")


def test_an_ask_that_a_hub_never_heard_changes_nothing_of_what_it_may_show():
    lost = msgspec.structs.replace(asked(5, ask=2, camera="porch"), outcome="lost")
    history = [case(), signed_in("ada", 0, 1), asked(2, ask=1), lost, shown(6, 7, ADA), case_ended()]

    judged = only(judge(history))

    assert (judged.verdict, judged.ask.ask) == (Verdict.OWN, 1)
    assert exercised(history, [judged]).asks == 1


@pytest.mark.parametrize("kind", [*KINDS, "restarted"])
def test_a_fault_of_a_node_that_no_ask_met_makes_a_run_inconclusive(kind):
    if kind == "restarted":
        drawn = Restarted(node="ada.camera", began=4.0, ended=5.0, why="drawn")
    else:
        drawn = node_fault("ada.camera", kind, 4.0)
    proof = met(20, "ada.camera", kind)

    unmet, both = conclude(passing_run(drawn)), conclude(passing_run(drawn, proof))

    assert unmet.outcome is Outcome.INCONCLUSIVE
    assert unmet.reasons == (f"drawn, and met by no ask: {kind} on ada.camera",)
    assert both.outcome is Outcome.PASSED


@pytest.mark.parametrize("why", ["hung", "carried over"])
def test_a_restart_of_the_harness_own_was_not_drawn(why):
    assert conclude(passing_run(Restarted(node="relay", began=4.0, ended=5.0, why=why))).outcome is Outcome.PASSED


# Properties, over histories of any shape.

CAMERAS = (ROOM, "porch")


@st.composite
def moments(draw: st.DrawFn) -> tuple[float, float]:
    """Draw a beginning and an end; thousandths keep any two beginnings of one history apart in practice."""
    began = draw(st.integers(0, 200_000)) / 1000
    return began, began + draw(st.sampled_from([0.0, 0.5, 3.0, 20.0]))


def sightings(number: int) -> st.SearchStrategy[Sighting]:
    return st.builds(
        seen,
        st.sampled_from([*OWNERS, "unknown owner 9"]),
        st.sampled_from(CAMERAS),
        case=st.sampled_from([number, number - 1]),
        tiles=st.integers(1, 12),
        captured=st.none() | st.floats(0, 200),
    )


@st.composite
def readings(draw: st.DrawFn, number: int) -> tuple[bool, list[Sighting]]:
    if draw(st.booleans()):
        return False, draw(st.lists(sightings(number), max_size=2))
    return draw(st.booleans()), []


@st.composite
def events_of(draw: st.DrawFn, number: int) -> Event:
    hub = draw(st.sampled_from(OWNERS))
    at, until = draw(moments())
    match draw(st.sampled_from(["sign in", "ask", "close", "show", "show", "show", "turn", "meet"])):
        case "sign in":
            return signed_in(draw(st.sampled_from([*OWNERS, None])), at, until, hub)
        case "ask":
            camera = draw(st.sampled_from(CAMERAS))
            return asked(at, until, ask=100 * number + draw(st.integers(0, 5)), hub=hub, camera=camera)
        case "close":
            return closed(at, until, hub)
        case "show":
            blank, names = draw(readings(number))
            return shown(at, until, *names, hub=hub, blank=blank, damaged=draw(st.booleans()))
        case "turn":
            return conditions_set(
                draw(st.sampled_from(["ada.hub", "relay.cache"])),
                draw(st.sampled_from(list(conditions.NAMED.values()))),
                at,
                until,
            )
        case _:
            return met(100 * number + draw(st.integers(0, 5)), kind=draw(st.sampled_from(["latency", "refused"])))


@st.composite
def cases(draw: st.DrawFn, number: int, kind: str | None = None) -> list[Event]:
    kind = kind or draw(st.sampled_from(["plan", "plan", "control"]))
    body = draw(st.lists(events_of(number), max_size=12))
    starts = [getattr(e, "began", None) or getattr(e, "at", None) for e in body if not isinstance(e, Met)]
    assume(len(set(starts)) == len(starts))
    ends = [e.ended for e in body if hasattr(e, "ended")] + [e.taken for e in body if isinstance(e, Asked)]
    assume(len(set(ends)) == len(ends))
    return [case(number, kind), *body, case_ended(number)]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Draw a run: one that passes, or nothing, and up to three cases of any shape."""
    drawn = [draw(cases(n)) for n in range(101, 101 + draw(st.integers(0, 3)))]
    return draw(st.sampled_from([passing_run(), both_controls(), []])) + [e for c in drawn for e in c]


RANK = {Outcome.LEAK: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASSED: 2}


@settings(deadline=None)
@given(histories(), st.data())
def test_a_foreign_frame_added_anywhere_never_improves_what_a_run_comes_to(history, data):
    place = data.draw(st.integers(0, len(history)))
    hub = data.draw(st.sampled_from(OWNERS))
    at, until = data.draw(moments())
    stranger = shown(at, until, seen("unknown owner 9"), hub=hub)

    before, after = conclude(history), conclude([*history[:place], stranger, *history[place:]])

    assert RANK[after.outcome] <= RANK[before.outcome]
    starts = [e for e in history[:place] if isinstance(e, CaseStarted)]
    if not starts or starts[-1].kind == "plan":
        assert after.outcome is Outcome.LEAK


@settings(deadline=None)
@given(histories(), st.data())
def test_adding_any_frame_never_takes_a_leak_back(history, data):
    place = data.draw(st.integers(0, len(history)))
    blank, names = data.draw(readings(1))
    at, until = data.draw(moments())

    more = [*history[:place], shown(at, until, *names, blank=blank), *history[place:]]

    assert len(conclude(more).leaks) >= len(conclude(history).leaks)


@settings(deadline=None)
@given(histories())
def test_a_run_without_witnesses_never_passes(history):
    assert conclude(without(history, Met)).outcome is not Outcome.PASSED


@settings(deadline=None)
@given(histories())
def test_a_run_without_controls_never_passes(history):
    assert conclude(without(history, ControlSeen)).outcome is not Outcome.PASSED


@settings(deadline=None)
@given(histories())
def test_a_run_without_its_frames_never_passes(history):
    assert conclude(without(history, Displayed)).outcome is Outcome.INCONCLUSIVE


@settings(deadline=None)
@given(cases(7, "plan"), st.randoms(use_true_random=False))
def test_the_order_of_events_within_a_case_does_not_matter(history, chance):
    inside = history[1:-1]
    chance.shuffle(inside)
    shuffled = [history[0], *inside, history[-1]]

    assert judge(shuffled) == judge(history)
    assert conclude(shuffled) == conclude(history)


@settings(deadline=None)
@given(histories())
def test_every_displayed_frame_gets_exactly_one_verdict(history):
    judged = judge(history)

    told = sorted(id(j.frame) for j in judged)
    assert told == sorted(id(e) for e in history if isinstance(e, Displayed))


@settings(deadline=None)
@given(histories())
def test_frames_are_judged_in_the_case_that_displayed_them(history):
    number, where = 0, {}
    for event in history:
        if isinstance(event, CaseStarted):
            number = event.case
        where[id(event)] = number

    assert all(j.case == where[id(j.frame)] for j in judge(history))


@settings(max_examples=50, deadline=None)
@given(cases(7, "plan"), st.sampled_from(OWNERS))
def test_a_longer_window_is_never_judged_better(history, hub):
    """One instant is enough: whatever was wrong of a part of the window is wrong of the whole."""

    def longer(event: Event) -> Event:
        return msgspec.structs.replace(event, until=event.until + 30) if isinstance(event, Displayed) else event

    short, long = judge(history), judge([longer(e) for e in history])

    for before, after in zip(short, long, strict=True):
        if before.verdict in (Verdict.FOREIGN, Verdict.MISDIRECTED):
            assert after.verdict <= before.verdict


def test_a_run_of_the_makers_has_no_event_that_is_not_read():
    assert {type(e) for e in passing_run()} >= {CaseStarted, CaseEnded, Met, Displayed, Asked}
    assert only(judge([case(), shown(1, 2, blank=True)])).ask is None
    assert makers.plan().homes == OWNERS


def test_a_picture_of_a_control_that_outlived_its_reset_is_no_leak_and_no_pass():
    """The harness itself had crossed it: whose camera it came from, nobody can say."""
    run = [*passing_run()]
    at = next(i for i, e in enumerate(run) if isinstance(e, CaseStarted) and e.kind == "plan")
    crossed = shown(5, 6, seen("grace", case=90))
    run = [CaseStarted(at=0, case=90, kind="control"), *run[: at + 1], crossed, *run[at + 1 :]]
    conclusion = conclude(run)
    assert conclusion.outcome is Outcome.INCONCLUSIVE
    assert "could not be read" in " ".join(conclusion.reasons)


def test_a_run_that_shows_only_pictures_of_earlier_cases_was_not_reset():
    """Each is its owner's own, so nothing else would say so."""
    old = [
        msgspec.structs.replace(
            e,
            reading=msgspec.structs.replace(
                e.reading, sightings=tuple(msgspec.structs.replace(s, case=s.case + 90) for s in e.reading.sightings)
            ),
        )
        if isinstance(e, Displayed)
        else e
        for e in passing_run()
    ]
    conclusion = conclude(old)
    assert conclusion.outcome is Outcome.INCONCLUSIVE
    assert "the home was not reset between cases" in " ".join(conclusion.doubts)


def test_one_picture_of_its_own_case_shows_that_a_home_was_reset():
    conclusion = conclude(passing_run(shown(9.0, 9.5, seen("ada", case=7))))
    assert conclusion.outcome is Outcome.PASSED, conclusion.reasons


def test_the_looks_at_the_ends_of_plans_do_not_make_a_scenario_that_tries_nothing_pass():
    """Everybody is shown something under mild conditions there, whatever the scenario's own rules do."""
    run = [
        msgspec.structs.replace(e, plan=msgspec.structs.replace(e.plan, looks=1))
        if isinstance(e, CaseStarted) and e.plan is not None
        else e
        for e in passing_run()
    ]
    conclusion = conclude(run)
    assert conclusion.exercise.strong_asks == conclusion.exercise.looks == 6
    assert conclusion.outcome is Outcome.INCONCLUSIVE
    assert "nothing was displayed" in " ".join(conclusion.reasons)

"""Shrinking: smaller, as often, within the budget, and never a plan that was not seen to fail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import conditions
from chaos.plan import (
    Ask,
    AskTogether,
    ChangeAccount,
    Clear,
    GiveUp,
    Pause,
    Plan,
    Restart,
    Resume,
    SetClock,
    SetConditions,
    Step,
)
from chaos.shrink import AT_ALL, LAST_STEPS, Shrinking, shrink
from tests.bench.bench_shrinking import flat, helped, hidden, search, thresholds
from tests.makers import OWNERS, SLOW, plan
from tests.test_plan import plans

BUDGET = 2000


class Oracle:
    """Fails a plan when `leaks` says so, with `probability` a try; remembers every plan that was tried or failed."""

    def __init__(self, leaks: Callable[[Plan], bool], probability: float = 1.0, seed: int = 0) -> None:
        self._leaks = leaks
        self._probability = probability
        self._chance = np.random.default_rng(seed)
        self.tried: list[Plan] = []
        self.failed: list[Plan] = []

    def __call__(self, candidate: Plan) -> bool:
        self.tried.append(candidate)
        failed = self._leaks(candidate) and self._chance.random() < self._probability
        if failed:
            self.failed.append(candidate)
        return failed


def has(*wanted: Step) -> Callable[[Plan], bool]:
    """Return whether a plan has all of these steps, in this order, among others."""

    def leaks(candidate: Plan) -> bool:
        rest = iter(candidate.steps)
        return all(any(step == w for step in rest) for w in wanted)

    return leaks


LONG: tuple[Step, ...] = (
    Ask("lin"),
    Restart("relay"),
    Ask("ada"),
    Clear("ada.hub"),
    ChangeAccount("lin", "ada"),
    SetConditions("relay.cache", SLOW),
    Ask("ada", feed="stream"),
    Restart("cache"),
    Clear("lin.hub"),
    Restart("lin.hub"),
    Ask("grace"),
    Clear("relay.cache"),
)
CAUSE = (Ask("ada"), SetConditions("relay.cache", SLOW), Ask("grace"))


SURE = 3 + 5
"""Executions that it takes to see that a plan leaks each time, and that what it came to does."""


@pytest.mark.parametrize(
    "cause",
    [
        CAUSE,
        (Ask("lin"),),
        (Clear("relay.cache"),),
        (Ask("lin"), Clear("relay.cache")),
        (Restart("relay"), Restart("cache"), Restart("lin.hub")),
        LONG[::2],
        LONG,
    ],
)
def test_exactly_the_steps_that_make_a_plan_fail_are_left(cause):
    shrunk = shrink(Plan(OWNERS, LONG), Oracle(has(*cause)), budget=BUDGET)

    assert shrunk.plan.steps == tuple(cause)
    assert shrunk.plan.homes == OWNERS
    assert shrunk.finished


def test_a_leak_that_happens_each_time_costs_few_executions():
    noise = tuple(Restart(f"node-{n}") for n in range(37))
    start = plan(CAUSE[0], *noise[:12], CAUSE[1], *noise[12:], CAUSE[2])

    shrunk = shrink(start, Oracle(has(*CAUSE)), budget=BUDGET)

    assert shrunk.plan.steps == CAUSE
    assert shrunk.executions <= SURE + 30  # forty steps, of which three matter: five or six halvings each


def test_a_plan_of_one_step_that_happens_each_time_is_seen_and_proven_and_no_more():
    oracle = Oracle(lambda p: True)

    assert shrink(plan(Ask("ada")), oracle, budget=BUDGET).executions == SURE


@pytest.mark.parametrize("budget", [0, 1, 2, 3, 7, 20, 100])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.4, 1.0])
def test_no_more_executions_are_made_than_the_budget_allows(budget, probability):
    oracle = Oracle(has(*CAUSE), probability)
    shrunk = shrink(Plan(OWNERS, LONG), oracle, budget=budget)

    assert len(oracle.tried) == shrunk.executions <= budget


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("budget", [10, 25, 60, 200])
def test_what_is_kept_was_seen_to_fail(probability, budget):
    start = Plan(OWNERS, LONG)
    for seed in range(10):
        oracle = Oracle(has(*CAUSE), probability, seed)

        shrunk = shrink(start, oracle, budget=budget)

        assert shrunk.plan in [start, *oracle.failed]
        assert has(*CAUSE)(shrunk.plan)


def test_with_time_up_nothing_more_is_executed_and_the_best_until_then_is_kept():
    oracle = Oracle(has(*CAUSE))
    search = Shrinking(Plan(OWNERS, LONG), oracle, budget=BUDGET, enough=lambda: len(oracle.tried) == 12)

    shrunk = search.run()

    assert len(oracle.tried) == 12
    assert not shrunk.finished
    assert 3 <= len(shrunk.plan.steps) < len(LONG)
    assert has(*CAUSE)(shrunk.plan)


@pytest.mark.parametrize("stopped_after", [0, 1, 5, 9, 14, 20])
def test_stopped_in_the_middle_it_has_the_best_until_then(stopped_after):
    oracle = Oracle(has(*CAUSE))

    def fails(candidate: Plan) -> bool:
        if len(oracle.tried) == stopped_after:
            raise KeyboardInterrupt
        return oracle(candidate)

    search = Shrinking(Plan(OWNERS, LONG), fails, budget=BUDGET)
    with pytest.raises(KeyboardInterrupt):
        search.run()

    assert has(*CAUSE)(search.best)
    assert search.best == Plan(OWNERS, LONG) or search.seen(search.best)[0] >= 1
    assert len(search.best.steps) < len(LONG) or stopped_after < 9


def test_a_plan_that_fails_no_more_stays_as_it_was_drawn_and_costs_a_quarter_of_the_budget():
    shrunk = shrink(Plan(OWNERS, LONG), Oracle(lambda _: False), budget=200)

    assert shrunk.plan == Plan(OWNERS, LONG)
    assert shrunk.executions == 50
    assert not shrunk.finished


def test_a_plan_is_never_shrunk_to_nothing():
    shrunk = shrink(Plan(OWNERS, LONG), Oracle(lambda _: True), budget=BUDGET)

    assert len(shrunk.plan.steps) == 1
    assert shrunk.finished


def test_what_is_not_worth_it_is_not_tried():
    oracle = Oracle(lambda _: True)

    shrunk = shrink(Plan(OWNERS, LONG), oracle, budget=BUDGET, worth=lambda p: p.asks > 0)

    assert shrunk.plan.asks == len(shrunk.plan.steps) == 1
    assert all(p.asks for p in oracle.tried)


def test_a_guess_that_leaks_each_time_is_where_the_search_begins():
    oracle = Oracle(has(*CAUSE))
    wrong, right = plan(CAUSE[0]), plan(*CAUSE, Clear("relay.cache"))

    shrunk = shrink(Plan(OWNERS, LONG), oracle, budget=BUDGET, guesses=[wrong, right])

    assert oracle.tried[:4] == [wrong, right, right, right]
    assert Plan(OWNERS, LONG) not in oracle.tried
    assert shrunk.plan.steps == CAUSE


def test_a_plan_that_leaks_now_and_then_is_looked_at_only_as_far_as_it_leaked():
    first = LONG.index(CAUSE[-1])
    oracle = Oracle(has(*CAUSE), probability=0.5, seed=3)
    as_far = Plan(OWNERS, LONG[: first + 1])

    shrunk = shrink(Plan(OWNERS, LONG), oracle, budget=BUDGET, guesses=[as_far], as_far=as_far)

    assert as_far.steps != LONG
    assert has(*CAUSE)(as_far)
    assert Plan(OWNERS, LONG) not in oracle.tried
    assert all(len(p.steps) <= len(as_far.steps) for p in oracle.tried)
    assert has(*CAUSE)(shrunk.plan)
    assert len(shrunk.plan.steps) <= len(CAUSE) + 1


@pytest.mark.parametrize(("probability", "begins"), [(0.7, True), (0.25, False)])
def test_a_small_guess_that_leaks_in_every_second_execution_is_where_the_search_begins(probability, begins):
    oracle, anew = Oracle(has(*CAUSE), probability=probability, seed=2), Oracle(lambda _: False)
    whole, large = Plan(OWNERS, LONG * 2), Plan(OWNERS, LONG * 2).with_steps((LONG * 2)[1:])
    small = plan(*CAUSE, Clear("relay.cache"))
    assert len(small.steps) <= LAST_STEPS[-1] < len(large.steps)

    shrunk = Shrinking(whole, oracle, budget=BUDGET, guesses=[small, large], anew=anew).run()

    assert (whole not in oracle.tried) is begins
    assert shrunk.plan.steps == CAUSE
    assert (anew.tried == []) is begins


def test_what_was_seen_to_leak_each_time_is_not_measured_again():
    oracle = Oracle(has(*CAUSE))
    begun = Plan(OWNERS, LONG)

    shrunk = Shrinking(begun, oracle, budget=BUDGET, seen=(3, 3)).run()

    assert begun not in oracle.tried
    assert shrunk.plan.steps == CAUSE


@pytest.mark.parametrize("budget", [2, 3, 4])
def test_a_budget_that_ends_while_guesses_are_tried_anew_leaves_a_search_that_is_not(budget):
    usual, anew = Oracle(lambda _: False), Oracle(has(*CAUSE))
    guess = plan(*CAUSE)

    search = Shrinking(Plan(OWNERS, LONG), usual, budget=budget, guesses=[guess], anew=anew)
    search.run()

    assert anew.tried == [guess] * min(budget - 1, 3)
    assert search.is_anew is (budget == 4)
    assert search.best == (guess if budget == 4 else Plan(OWNERS, LONG))


def test_what_leaks_no_more_when_it_is_to_be_proven_is_executed_anew():
    """As session-slots: a small plan leaked six times in a row and then not, by what the nodes kept of other cases."""
    usual, anew = Oracle(has(*CAUSE)), Oracle(has(*CAUSE))

    def walks(candidate: Plan) -> bool:
        return usual(candidate) and usual.tried.count(candidate) <= 4

    search = Shrinking(Plan(OWNERS, LONG), walks, budget=BUDGET, anew=anew)
    found = search.run()

    assert (search.is_anew, found.finished, found.plan.steps) == (True, True, CAUSE)
    assert usual.tried.count(Plan(OWNERS, LONG)) <= 4, "nothing more was spent on the plan that was drawn"
    assert anew.tried[:3] == [found.plan] * 3


def test_a_plan_that_does_not_leak_as_far_as_that_is_looked_at_whole():
    oracle = Oracle(has(*CAUSE), probability=0.9, seed=1)
    wrong = plan(CAUSE[0])

    shrunk = shrink(Plan(OWNERS, LONG), oracle, budget=BUDGET, guesses=[wrong], as_far=wrong)

    assert oracle.tried[:AT_ALL] == [wrong] * AT_ALL
    assert oracle.tried[AT_ALL] == Plan(OWNERS, LONG)
    assert shrunk.plan.steps == CAUSE


def test_values_become_calmer_wherever_in_the_plan_they_are():
    start = plan(Ask("ada"), GiveUp("grace", 100), SetConditions("relay.cache", conditions.EDGE), Ask("lin"))

    def leaks(candidate: Plan) -> bool:
        order = [type(s) for s in candidate.steps]
        return order in ([Ask, GiveUp, SetConditions, Ask], [Ask, Ask, SetConditions, Ask])

    shrunk = shrink(start, Oracle(leaks), budget=BUDGET)

    first, given_up, turned, last = shrunk.plan.steps
    assert (first, given_up, last) == (Ask("ada"), Ask("grace"), Ask("lin"))
    assert isinstance(turned, SetConditions)
    assert len(turned.conditions.toxics) == 1


def test_of_eight_homes_the_six_that_are_not_needed_ask_nothing():
    eight = ("ada", "grace", "lin", "joan", "mary", "rosa", "tove", "vera")
    everybody = AskTogether(tuple(Ask(o) for o in eight))

    def leaks(candidate: Plan) -> bool:
        return {"ada", "tove"} <= {s.home for s in candidate.elements if isinstance(s, Ask)}

    shrunk = shrink(Plan(eight, (everybody,) * 3), Oracle(leaks), budget=BUDGET)

    assert shrunk.plan == Plan(eight, (AskTogether((Ask("ada"), Ask("tove"))),))  # and all of them stay at home


@pytest.mark.parametrize(
    ("step", "leaks", "expected"),
    [
        # an ask
        (Ask("ada", feed="stream"), lambda s: isinstance(s, Ask), Ask("ada")),
        (Ask("ada", feed="stream"), lambda s: s == Ask("ada", feed="stream"), Ask("ada", feed="stream")),
        # an ask that is given up
        (GiveUp("ada", 200), lambda s: isinstance(s, Ask | GiveUp), Ask("ada")),
        (GiveUp("ada", 200, feed="stream"), lambda s: isinstance(s, Ask | GiveUp), Ask("ada")),
        (GiveUp("ada", 200), lambda s: isinstance(s, GiveUp), GiveUp("ada", 200)),
        (GiveUp("ada", 200, feed="stream"), lambda s: s.feed == "stream", Ask("ada", feed="stream")),
        (GiveUp("ada", 200, camera="porch"), lambda s: s.camera == "porch", Ask("ada", "porch")),
        # several askers
        (
            AskTogether((Ask("ada"), Ask("grace"), Ask("lin"))),
            lambda s: isinstance(s, AskTogether) and {"ada", "lin"} <= {a.home for a in s.asks},
            AskTogether((Ask("ada"), Ask("lin"))),
        ),
        (
            AskTogether((Ask("ada"), Ask("grace"), Ask("lin"))),
            lambda s: isinstance(s, AskTogether) and "lin" in {a.home for a in s.asks},
            AskTogether((Ask("lin"),)),
        ),
        (
            AskTogether((Ask("ada"), Ask("grace"), Ask("lin"))),
            lambda s: "lin" in ([a.home for a in s.asks] if isinstance(s, AskTogether) else [s.home]),
            Ask("lin"),
        ),
        # conditions
        (
            SetConditions("ada.hub", conditions.EDGE),
            lambda s: any(t.kind == "bandwidth" and t.way == "up" and t.rate <= 93 for t in s.conditions.toxics),
            SetConditions("ada.hub", conditions.of(conditions.toxic("bandwidth", way=conditions.Way.UP, rate=93))),
        ),
        (
            SetConditions("ada.hub", conditions.of(conditions.toxic("latency", latency=2500))),
            lambda s: any(t.kind == "latency" and t.latency >= 600 for t in s.conditions.toxics),
            SetConditions("ada.hub", conditions.of(conditions.toxic("latency", latency=600))),
        ),
        (
            SetConditions("ada.hub", conditions.of(conditions.toxic("latency", latency=700))),
            lambda s: any(t.kind == "latency" and t.latency >= 600 for t in s.conditions.toxics),
            SetConditions("ada.hub", conditions.of(conditions.toxic("latency", latency=600))),
        ),
        (
            SetConditions("ada.hub", conditions.OUTAGE),
            lambda s: isinstance(s, SetConditions),
            SetConditions("ada.hub", conditions.OUTAGE),
        ),
    ],
)
def test_values_walk_towards_calm_as_far_as_the_failure_lets_them(step, leaks, expected):
    shrunk = shrink(plan(step), Oracle(lambda p: any(leaks(s) for s in p.steps)), budget=BUDGET)

    assert shrunk.plan.steps == (expected,)
    assert shrunk.finished


@settings(max_examples=50, deadline=None)
@given(plans.filter(lambda p: p.steps), st.integers(0, 100))
def test_shrinking_ends_and_shrinking_again_changes_nothing(start, chosen):
    kind = type(start.steps[chosen % len(start.steps)])
    leaks = lambda p: any(isinstance(s, kind) for s in p.steps)  # noqa: E731

    once = shrink(start, Oracle(leaks), budget=BUDGET)
    again = shrink(once.plan, Oracle(leaks), budget=BUDGET)

    assert once.finished
    assert leaks(once.plan)
    assert len(once.plan.steps) == 1
    assert again.plan == once.plan
    assert again.finished


# Small forms of the study: the whole one is `tox -e bench -- shrinking`.


@pytest.mark.parametrize(
    ("shape", "rate", "noise", "least"),
    [(flat, 1.0, 0.0, 20), (flat, 0.3, 0.0, 18), (flat, 0.1, 0.0, 18), (flat, 1.0, 0.01, 20), (flat, 0.3, 0.01, 18),
     (helped, 1.0, 0.0, 18), (thresholds, 1.0, 0.0, 18), (hidden, 1.0, 0.0, 18)],
)  # fmt: skip
def test_of_twenty_plans_most_are_shrunk_to_the_smallest_at_its_rate_and_none_to_chance(shape, rate, noise, least):
    found = [search(shape, rate, noise=noise, seed=seed) for seed in range(20)]

    assert not any(f.bogus for f in found)
    assert sum(f.good for f in found) >= least


def test_a_leak_that_was_chance_is_not_followed():
    """A first leak of 1 in 100 sends nobody off: what comes after a wrong turn is given back when it is not proven."""
    start = Plan(OWNERS, LONG)
    needed = has(*CAUSE)
    once = iter([True])

    def fails(candidate: Plan) -> bool:
        return needed(candidate) or (len(candidate.steps) == 6 and next(once, False))

    shrunk = shrink(start, fails, budget=BUDGET)

    assert needed(shrunk.plan)
    assert len(shrunk.plan.steps) <= 4


def test_a_wrong_clock_shrinks_to_the_least_wrong_that_still_leaks():
    drawn = plan(SetClock("ada.camera", -31_536_000, "Asia/Tokyo"), Ask("ada"), Pause("relay"), Resume("relay"))

    def leaks(candidate: Plan) -> bool:
        return any(isinstance(s, SetClock) and s.offset_s for s in candidate.steps) and candidate.asks > 0

    small = shrink(drawn, leaks, budget=BUDGET)

    assert small.plan.steps == (SetClock("ada.camera", 1), Ask("ada"))

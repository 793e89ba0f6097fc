"""Make a failing plan smaller without losing its failure: delta debugging on steps, then owners, links and values.

Shrinking happens on the plan and outside Hypothesis, since a leak on a real network fires with some probability. First
the rate of the drawn plan is measured. Each candidate is then decided by Wald's sequential probability ratio test
('it leaks at that rate' against 'at a quarter of it', both errors at most 5 %), so that a clear candidate costs few
executions and an unclear one more. A plan that leaked each time is *sure*: a candidate is taken at its first leak and
dropped at its first clean run, and what that came to is proven at the end. (Hypothesis's own shrinker kept 11 of 40
such failures, 'any of ten tries' walked to plans that hardly ever leak.)

Against drift the measured rate is an *anchor*: a smaller plan that leaks less often does not lower it. What is found at
the end must hold it in executions of its own; if it does not, and does not leak each time on restarted nodes either,
the last plan on the way that does is searched for by halves and shrinking goes on from there. Anchor and backtracking
are the ideas of Shrink Ray (`nondeterminism.py`); the numbers here were chosen by the study in
``tests/bench/bench_shrinking.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from chaos.plan import Plan, Step

LOOSE = 0.25
"""A plan with fewer asks or faults is taken unless it leaks at less than about half of the rate: p0 is a quarter."""
STRICT = 0.5
"""A value is moved, and a result believed, only at nearly the whole rate: p0 is a half. Values walk to thresholds."""
ERROR = 0.05
"""Of the test, both ways."""
SURE = 0.97
"""The rate that a plan which leaked each time is taken to have: one clean run then rejects."""
SURE_AFTER = 3
"""Leaks in a row after which a plan is sure."""
HITS = 7
"""Leaks until the rate of a plan that is not sure counts as measured: within a third of it, mostly."""
WELL = 30
"""Leaks until the anchor is known well enough to prove a result by it, within a fifth; when nothing is left to try."""
LEAST = 0.02
"""A smaller rate is not assumed: each decision would take two hundred executions."""
AT_ALL = 4
"""Executions in which the plan as far as it leaked must leak once; three of four that leak at 0.3 do."""
LAST_STEPS = (4, 8, 16)
"""How many steps at the end of a plan are tried alone."""
_LIMIT = math.log((1 - ERROR) / ERROR)
_RESERVE = 6
"""Executions that are left to prove what a sure plan came to: five leaks do, two clean runs refute it."""


class Shrunk(msgspec.Struct, frozen=True):
    """The smallest plan that was seen to fail, and what it took.

    `finished` tells whether every candidate of it was decided and itself proven; `rate` is the anchor.
    """

    plan: Plan
    executions: int
    finished: bool
    rate: float


class _Spent(Exception):  # noqa: N818 - not an error of anybody's
    """The budget is."""


class Shrinking:
    """One search for a smaller plan that fails as often. `best` is the smallest so far, at any moment.

    `fails` executes a plan once. At most `budget` executions are made, and none once there is `enough`. A plan that is
    not `worth` it (it asks for nothing, say) is no candidate. Of the `guesses`, small plans that somebody has reasons
    to believe in, the first that leaks each time is where the search begins; if none does, the first of a few steps
    that leaks in at least every second execution. Else, if one of the last two leaks each time when executed `anew` (on
    nodes that know nothing of what was executed before), everything is from then on. Else it begins with the plan
    `as_far` as it leaked, if that leaks at all: what came later is no cause, and each execution is shorter. How often
    the plan was `seen` to leak, of how many executions in the same way, need not be found out again.
    """

    def __init__(
        self,
        plan: Plan,
        fails: Callable[[Plan], bool],
        *,
        budget: int,
        enough: Callable[[], bool] = lambda: False,
        worth: Callable[[Plan], bool] = lambda _: True,
        guesses: Sequence[Plan] = (),
        as_far: Plan | None = None,
        anew: Callable[[Plan], bool] | None = None,
        seen: tuple[int, int] = (0, 0),
    ) -> None:
        self.best = plan
        self.executions = 0
        self.fails = fails
        """Executes a plan once, as the search does, and returns whether it leaked."""
        self._anew = anew
        self._budget, self._enough, self._worth = budget, enough, worth
        self._guesses = [g for g in guesses if len(g.elements) < len(plan.elements)]
        self._as_far = as_far if as_far is not None and len(as_far.elements) < len(plan.elements) else None
        self._seen: dict[Plan, tuple[int, int]] = {plan: seen}
        self._fresh: dict[Plan, tuple[int, int]] = {}
        self._way = [plan]
        self._anchored = 0  # which plan of the way the anchor was measured on
        self._rate = SURE
        self._sure = False
        self._unproven = self._proving = False
        self._well: set[Plan] = set()
        self._refused: set[Plan] = set()

    def run(self) -> Shrunk:
        """Search until nothing smaller is left to try or the budget is spent, and return what it came to."""
        finished = False
        try:
            self._begin()
            self._last_ones()
            self._halve()
            while self._pass() or not self._proven():
                pass
            finished = True
        except _Spent:
            if self._unproven:
                self._prove_at_last()
        return Shrunk(self.best, self.executions, finished, self._rate)

    def seen(self, plan: Plan) -> tuple[int, int]:
        """Return how often a plan leaked, of how many executions here."""
        return self._seen.get(plan, (0, 0))

    @property
    def is_anew(self) -> bool:
        """Whether plans are executed anew."""
        return self.fails == self._anew

    # Where it begins.

    def _begin(self) -> None:
        if (
            self._begin_with_one_of(self._guesses)
            or self._begin_with_what_often_leaks()
            or self._begin_anew(self._guesses[-2:])
        ):
            return
        if self._as_far is not None and self._leaks_at_all(self._as_far):
            self._begin_with(self._as_far)
        hopeless = max(self._budget // 4, SURE_AFTER)
        hits, runs = self.seen(self.best)
        while hits < HITS and not hits == runs == SURE_AFTER:
            if not hits and runs >= hopeless:
                raise _Spent  # what decides one candidate would be more than all that is left
            self._execute(self.best)
            hits, runs = self.seen(self.best)
        self._sure = hits == runs
        if not self._sure:
            self._rate = _measured(hits, runs)

    def _begin_with(self, plan: Plan) -> None:
        self._take(plan)
        self._anchored = len(self._way) - 1

    def _begin_with_one_of(self, guesses: Sequence[Plan]) -> bool:
        for guess in guesses:
            if self._leaks_each_time(guess):
                self._sure = True
                self._begin_with(guess)
                return True
        return False

    def _begin_with_what_often_leaks(self) -> bool:
        """Begin with the smallest guess that leaks in at least every second execution, if one does.

        Of shared-fetch the last four steps leaked in two of three, each in 0.7 s; looked for in the whole plan, whose
        executions take 5 s, 37 of 53 elements were left after 300 s (measured).
        """
        for guess in (g for g in self._guesses if len(g.steps) <= LAST_STEPS[-1]):
            hits, runs = self.seen(guess)
            while 0 < hits < HITS and runs - hits <= hits:
                self._execute(guess)
                hits, runs = self.seen(guess)
            if hits >= HITS:
                self._rate = _measured(hits, runs)
                self._begin_with(guess)
                return True
        return False

    def _begin_anew(self, guesses: Sequence[Plan]) -> bool:
        """Begin with a guess that leaks each time on nodes that know nothing of what was executed before, if one does.

        What nodes keep over cases makes a plan leak or not by what came before it, and no test of a rate holds for a
        rate that walks: conditional-stills was shrunk to a program that then leaked in 0 of 20, and session-slots to
        one that leaked in six of six and then in none of eight (measured). Few are tried: a restart of all nodes takes
        as long as a small plan.
        """
        if self._anew is None or self.is_anew:
            return False
        usual, seen = self.fails, self._seen
        self.fails, self._seen = self._anew, {}
        begun = False
        try:
            begun = self._begin_with_one_of(guesses)
        finally:  # whatever ended it, a search that did not begin anew is not
            if not begun:
                self.fails, self._seen = usual, seen
        if begun:  # what was found out of plans is not true of them anew
            self._rate = SURE
            self._fresh, self._refused, self._well = {}, set(), set()
        return begun

    # What is tried.

    def _last_ones(self) -> None:
        """Try the last few steps alone: a motif is 4 to 8, and in what is drawn most causes stand together.

        Halving alone finds one step after the other, each in executions of nearly the whole plan, of 5 s: a plan
        of 54 elements with redis-4.5.3, which leaked four of five times, had 45 left after 300 s (measured).
        """
        for few in LAST_STEPS:
            if few >= len(self.best.steps):
                return
            plan = self.best.with_steps(self.best.steps[-few:])
            if self._sure and self._leaks_each_time(plan):
                self._take(plan)
                return
            if not self._sure and self._try(plan):
                return

    def _halve(self) -> None:
        """Find the steps that matter from the last to the first, each by halving what stands before it.

        Nothing that comes later is a cause, so the shortest beginning that leaks ends with a step that matters; then
        the shortest that does together with that one, and so on. (QuickXplain; m steps of n in about m·log2(n/m).)
        """
        rest = self.best.steps
        fixed: tuple[Step, ...] = ()
        while rest:
            if fixed and self._try(self.best.with_steps(fixed)):
                return
            low, high = 0, len(rest)
            while high - low > 1:
                middle = (low + high) // 2
                if self._try(self.best.with_steps((*rest[:middle], *fixed))):
                    high = middle
                else:
                    low = middle
            rest, fixed = rest[: high - 1], (rest[high - 1], *fixed)

    def _pass(self) -> bool:
        """Try each step gone, each owner, link and node gone, and each step simpler; return whether anything was."""
        before = self.best
        for i in reversed(range(len(self.best.steps))):
            self._try(self._with_step(i))
        for name in self.best.names:
            self._try(self.best.without(name))
        for i in reversed(range(len(self.best.steps))):
            while any(self._descend(i, ladder) for ladder in _ladders(self.best.steps[i])):
                pass
        return self.best != before

    def _descend(self, i: int, ladder: Sequence[Step]) -> bool:
        """Put the furthest of a ladder's rungs in the place of step `i` with which the plan holds, found by halves."""
        rungs = [self._with_step(i, rung) for rung in ladder]
        low, high = 0, len(rungs)
        while low < high and high > 1:
            middle = (low + high) // 2
            if self._may(rungs[middle]) and self._holds(rungs[middle], LOOSE, self._seen):
                high = middle
            else:
                low = middle + 1
        return any(self._try(rung) for rung in rungs[low:])

    def _with_step(self, i: int, *instead: Step) -> Plan:
        steps = self.best.steps
        return self.best.with_steps((*steps[:i], *instead, *steps[i + 1 :]))

    # How it is decided.

    def _leaks_each_time(self, plan: Plan) -> bool:
        hits, runs = self.seen(plan)
        return hits == runs and self._worth(plan) and all(self._execute(plan) for _ in range(SURE_AFTER))

    def _leaks_at_all(self, plan: Plan) -> bool:
        while not (seen := self.seen(plan))[0] and seen[1] < AT_ALL and self._worth(plan):
            self._execute(plan)
        return bool(seen[0])

    def _try(self, plan: Plan) -> bool:
        if not self._may(plan):
            return False
        if not self._holds(plan, LOOSE, self._seen):
            return False
        if len(plan.elements) == len(self.best.elements) and not self._holds(plan, STRICT, self._seen):
            return False
        self._take(plan)
        return True

    def _may(self, plan: Plan) -> bool:
        return bool(plan.steps) and plan != self.best and plan not in self._refused and self._worth(plan)

    def _take(self, plan: Plan) -> None:
        self.best = plan
        self._way.append(plan)
        self._unproven |= self._sure
        if not self._sure:
            hits, runs = self.seen(plan)
            lower = _lower_bound(hits - 1, runs - 1)  # the last one was chosen to be a leak
            if lower > self._rate:  # what was left out had hidden the leak
                self._rate, self._anchored = min(lower, SURE), len(self._way) - 1

    def _holds(self, plan: Plan, p0: float, evidence: dict[Plan, tuple[int, int]]) -> bool:
        """Execute `plan` until it is clear whether it leaks at the anchor's rate, or at `p0` of it."""
        while True:
            hits, runs = evidence.get(plan, (0, 0))
            weight = _weight(hits, runs, self._rate, self._rate * p0)
            if abs(weight) >= _LIMIT:
                return weight > 0
            if self._sure and p0 == LOOSE and hits:
                return True  # for now
            leaked = self._execute(plan)
            if evidence is not self._seen:
                evidence[plan] = (hits + leaked, runs + 1)

    def _proven(self) -> bool:
        """Return whether the best holds the anchor's rate in executions of its own.

        If it does not, but leaks each time anew, everything is executed so from then on. Else go back to the last plan
        on the way that does; or, when not even the one does that the anchor was measured on, lower the anchor. In any
        case there is more to try.
        """
        was_sure, self._sure, self._proving = self._sure, False, True
        try:
            holds = self._holds(self.best, STRICT, self._fresh)
            if not holds and self._begin_anew([self.best]):
                return False
            if not was_sure:
                self._measure_well()  # of a plan that takes seconds, minutes: only then
                holds = self._holds(self.best, STRICT, self._fresh)
            if holds:
                self._unproven = False
                hits, runs = self._fresh[self.best]
                if not was_sure or hits == runs:
                    return True
                self._rate = _measured(hits, runs)  # not so sure: one clean run was too little to drop a candidate
                self._anchored = len(self._way) - 1
                return False
            low, high = self._anchored, len(self._way) - 1
            if not self._holds(self._way[low], STRICT, self._fresh):
                hits, runs = self.seen(self._way[low])
                self._rate = max(LEAST, min(self._rate * 0.9, hits / runs))
                return False
            while high - low > 1:
                middle = (low + high) // 2
                if self._holds(self._way[middle], STRICT, self._fresh):
                    low = middle
                else:
                    high = middle
            self._refused.add(self._way[high])
            self._way = self._way[: low + 1]
            self.best = self._way[low]
            self._unproven = False
            return False
        finally:
            self._proving = False

    def _measure_well(self) -> None:
        """Execute the plan that the anchor was measured on some more, once."""
        anchor = self._way[self._anchored]
        if anchor in self._well:
            return
        self._well.add(anchor)
        while (seen := self.seen(anchor))[0] < WELL and LEAST * seen[1] < WELL:
            self._execute(anchor)
        self._rate = _measured(*seen)

    def _prove_at_last(self) -> None:
        """Spend what was left for it on whether a sure plan's best is one; if not, it is what was last known."""
        try:
            self._proven()
        except _Spent:
            hits, runs = self._fresh.get(self.best, (0, 0))
            if hits < runs:
                self.best = self._way[self._anchored]

    def _execute(self, plan: Plan) -> bool:
        left = self._budget - self.executions
        if left <= (_RESERVE if self._sure and not self._proving else 0) or self._enough():
            raise _Spent
        self.executions += 1
        leaked = self.fails(plan)
        hits, runs = self.seen(plan)
        self._seen[plan] = (hits + leaked, runs + 1)
        return leaked


def _ladders(step: Step) -> list[list[Step]]:
    """Return what is simpler than a step, furthest first, with the moves of one and the same number together."""
    ladders: dict[object, list[Step]] = {}
    for simpler in step.simpler():
        moved = dict(_differences(msgspec.to_builtins(step), msgspec.to_builtins(simpler)))
        one = [path for path, is_number in moved.items() if is_number or path[-1] != "name"]  # a name only tells
        ladders.setdefault(one[0] if len(one) == 1 and moved[one[0]] else simpler, []).append(simpler)
    return list(ladders.values())


def _differences(
    one: object, other: object, path: tuple[object, ...] = ("",)
) -> Iterator[tuple[tuple[object, ...], bool]]:
    """Yield where two trees differ, and whether both have a number there."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs: Iterable[tuple[object, object, object]] = (
            (k, one.get(k), other.get(k)) for k in one.keys() | other.keys()
        )
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = ((i, a, b) for i, (a, b) in enumerate(zip(one, other, strict=True)))
    else:
        if one != other:
            yield path, isinstance(one, int) and isinstance(other, int)
        return
    for key, a, b in pairs:
        yield from _differences(a, b, (*path, key))


def _weight(hits: int, runs: int, p1: float, p0: float) -> float:
    """Return the logarithm of how much likelier these leaks are at rate `p1` than at `p0`."""
    return hits * math.log(p1 / p0) + (runs - hits) * math.log((1 - p1) / (1 - p0))


def _measured(hits: int, runs: int) -> float:
    """Return the rate, without bias where executing ended with a leak; within what is assumed at all."""
    return max(LEAST, min(SURE, (hits - 1) / (runs - 1)))


def _lower_bound(hits: int, runs: int, z: float = 1.96) -> float:
    """Return the lower end of the Wilson score interval."""
    if hits <= 0:
        return 0.0
    rate, square = hits / runs, z * z / runs
    spread = z * math.sqrt((rate * (1 - rate) + square / 4) / runs)
    return (rate + square / 2 - spread) / (1 + square)


def shrink(
    plan: Plan,
    fails: Callable[[Plan], bool],
    *,
    budget: int,
    worth: Callable[[Plan], bool] = lambda _: True,
    guesses: Sequence[Plan] = (),
    as_far: Plan | None = None,
) -> Shrunk:
    """Return what `Shrinking` comes to."""
    return Shrinking(plan, fails, budget=budget, worth=worth, guesses=guesses, as_far=as_far).run()

"""Make a failing plan smaller without losing its failure: delta debugging on steps, then values towards calm.

Shrinking happens on the plan and outside Hypothesis, since a leak on a real network fires with some probability: a
candidate is tried several times and kept when enough tries fail it, within a budget of executions; the best so far is
always kept. (Hypothesis's own shrinker kept 11 of 40 such failures; delta debugging on steps 99 of 100.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from chaos.plan import Plan


class Shrunk(msgspec.Struct, frozen=True):
    """The smallest plan that was seen to fail, and what it took."""

    plan: Plan
    executions: int
    finished: bool


def shrink(
    plan: Plan,
    fails: Callable[[Plan], bool],
    *,
    budget: int,
    tries: int = 2,
    needed: int = 1,
    worth: Callable[[Plan], bool] = lambda _: True,
) -> Shrunk:
    """Return a smaller plan that `fails` was seen to fail.

    `fails` executes a plan once; a plan that is not `worth` it (it asks for nothing, say) is no candidate. At most
    `budget` executions are made; a candidate is taken when `needed` of up to `tries` of them fail. `finished` tells
    whether every candidate of the last plan was tried.
    """
    used = 0
    best = plan
    seen = {plan.digest}
    while True:
        for candidate in _smaller(best):
            if candidate.digest in seen or not worth(candidate):
                continue
            seen.add(candidate.digest)
            failed = clean = 0
            while failed < needed and clean <= tries - needed:
                if used >= budget:
                    return Shrunk(best, used, finished=False)
                used += 1
                if fails(candidate):
                    failed += 1
                else:
                    clean += 1
            if failed == needed:
                best = candidate
                break
        else:
            return Shrunk(best, used, finished=True)


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Yield simpler plans, boldest first: chunks of steps gone, single steps gone, calmer values, fewer askers."""
    steps = plan.steps
    size = len(steps) // 2  # at most half: something is always left
    while size >= 1:
        for start in range(0, len(steps), size):
            yield plan.with_steps(steps[:start] + steps[start + size :])
        size //= 2
    for i, step in enumerate(steps):
        for simpler in step.simpler():
            yield plan.with_steps((*steps[:i], simpler, *steps[i + 1 :]))

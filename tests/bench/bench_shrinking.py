"""Shrinking under nondeterminism, on models in virtual time: how small, how true to the rate, at how many executions.

A model says with which probability a plan leaks. A result is *good* when it has at most one ask or fault more than the
smallest plan known that leaks at the whole rate, and leaks at four fifths of that rate or more; it is *bogus* when it
does not leak but by chance. Plans are drawn from seeds 0 to 99 (``OWNFRAME_BENCH_SEEDS`` for more). Small forms of the
same models are tests (``tests/test_shrink.py``).
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import msgspec
import numpy as np

from chaos import conditions
from chaos.conditions import Latency
from chaos.plan import Ask, AskTogether, Clear, GiveUp, Pause, Plan, Restart, Resume, SetConditions, Step
from chaos.shrink import Shrinking

SEEDS = int(os.environ.get("OWNFRAME_BENCH_SEEDS", "100"))
OWNERS = ("ada", "grace", "lin")
LINKS = [f"{o}.{end}" for o in OWNERS for end in ("camera", "hub")]
SLOW = 600
"""Milliseconds on the way to the cache from which the model leaks."""


class Story(msgspec.Struct, frozen=True):
    """What a plan of the model comes to: whether its cause is there, and what makes it likelier or less likely."""

    leaks: bool
    latency: int
    helpers: int
    hidden: int


def story(plan: Plan) -> Story:
    """Return what matters of a plan: somebody asks, the way to the cache turns slow, somebody else asks."""
    cached: set[str] = set()
    now = 0
    lit, slow_hub, restarts = set(), False, 0
    found: list[int] = []
    for step in plan.steps:
        match step:
            case SetConditions(link="relay.cache"):
                now = max((t.latency for t in step.conditions.toxics if isinstance(t, Latency)), default=0)
            case Clear(link="relay.cache"):
                now = 0
            case SetConditions(link="lin.hub"):
                slow_hub = True
            case Restart():
                restarts += 1
            case Ask() | GiveUp() | AskTogether():
                asks = step.asks if isinstance(step, AskTogether) else (step,)
                if now >= SLOW and any(cached - {a.home} for a in asks):
                    found.append(now)
                cached |= {a.home for a in asks if isinstance(a, Ask)}
                lit |= {a.home for a in asks}
    return Story(bool(found), max(found, default=0), slow_hub + ("lin" in lit), restarts)


def flat(seen: Story) -> float:
    """Leak at the whole rate wherever the cause is."""
    return 1.0


def helped(seen: Story) -> float:
    """Leak half as often for each of two circumstances that are missing: drift."""
    return 0.5 ** (2 - seen.helpers)


def thresholds(seen: Story) -> float:
    """Leak less often the nearer the latency is to the system's time-out: drift of values."""
    return {600: 0.3, 1000: 0.6}.get(seen.latency, 1.0)


def hidden(seen: Story) -> float:
    """Leak half as often for each node that is restarted: a smaller plan leaks more often."""
    return 0.5 ** min(seen.hidden, 3)


SMALLEST = {flat: 3, helped: 4, thresholds: 3, hidden: 3}
"""Asks and faults of the smallest plan that leaks at the whole rate."""


class Model:
    """Leaks a plan with `rate` times what `shape` says of it, and any plan with `noise`."""

    def __init__(self, shape: Callable[[Story], float], rate: float, noise: float, seed: int) -> None:
        self._shape, self._rate, self._noise = shape, rate, noise
        self._chance = np.random.default_rng([seed, 1])

    def rate(self, plan: Plan) -> float:
        """Return the probability with which a plan leaks, noise apart."""
        seen = story(plan)
        return self._rate * self._shape(seen) if seen.leaks else 0.0

    def __call__(self, plan: Plan) -> bool:
        """Execute the plan once."""
        return bool(self._chance.random() < max(self.rate(plan), self._noise))


def drawn(seed: int, size: int) -> Plan:
    """Return a plan of `size` steps in which the cause, and what helps it, is hidden among others."""
    chance = np.random.default_rng([seed, 0])

    def noise() -> Step:
        home, link = str(chance.choice(OWNERS)), str(chance.choice(LINKS))
        poor = (conditions.EDGE, conditions.BLACK_HOLE, conditions.OUTAGE, conditions.SLOW_3G)
        kinds: list[Step] = [
            Ask(home),
            AskTogether(tuple(Ask(o) for o in OWNERS)),
            GiveUp(home, 60),
            SetConditions(link, poor[int(chance.integers(len(poor)))]),
            SetConditions("lin.hub", conditions.EDGE),
            Clear(link),
            Restart("relay"),
            Pause("cache"),
            Resume("cache"),
        ]
        return kinds[int(chance.integers(len(kinds)))]

    first = str(chance.choice(["ada", "grace"]))
    turn = SetConditions("relay.cache", conditions.of(Latency(latency=2500)))
    cause: list[Step] = [SetConditions("lin.hub", conditions.EDGE), Ask(first), turn, Ask("lin")]
    steps = [noise() for _ in range(size - len(cause))]
    for at, step in zip(sorted(chance.integers(0, len(steps) + 1, len(cause)))[::-1], reversed(cause), strict=True):
        steps.insert(int(at), step)
    return Plan(OWNERS, tuple(steps))


class Result(msgspec.Struct, frozen=True):
    """What one search came to."""

    small: bool
    true: bool
    bogus: bool
    executions: int

    @property
    def good(self) -> bool:
        """Whether it is both small and true to the rate."""
        return self.small and self.true


def search(
    shape: Callable[[Story], float], rate: float, *, seed: int, size: int = 12, noise: float = 0.0, budget: int = 5000
) -> Result:
    """Shrink one drawn plan."""
    model = Model(shape, rate, noise, seed)
    found = Shrinking(drawn(seed, size), model, budget=budget, worth=lambda p: p.asks > 0).run()
    return Result(
        small=len(found.plan.elements) <= SMALLEST[shape] + 1,
        true=model.rate(found.plan) >= 0.8 * rate,
        bogus=model.rate(found.plan) == 0,
        executions=found.executions,
    )


def run() -> dict[str, float | int | str]:
    """Shrink a hundred drawn plans of each model."""
    measured: dict[str, float | int | str] = {"seeds": f"0 to {SEEDS - 1}"}
    rows: list[tuple[str, Callable[[Story], float], float, dict[str, float]]] = [
        *((f"flat, p = {p}", flat, p, {}) for p in (1.0, 0.9, 0.6, 0.3, 0.1)),
        *((f"flat, p = {p}, 30 steps", flat, p, {"size": 30}) for p in (1.0, 0.3)),
        *((f"flat, p = {p}, 1 % spurious", flat, p, {"noise": 0.01}) for p in (1.0, 0.3)),
        *((f"drift of circumstances, p = {p}", helped, p, {}) for p in (1.0, 0.3)),
        *((f"drift of values, p = {p}", thresholds, p, {}) for p in (1.0, 0.3)),
        *((f"hidden by others, p = {p}", hidden, p, {}) for p in (1.0, 0.3)),
        *((f"flat, p = {p}, within 200 executions", flat, p, {"budget": 200}) for p in (1.0, 0.6, 0.3)),
    ]
    for name, shape, rate, more in rows:
        found = [search(shape, rate, seed=seed, **more) for seed in range(SEEDS)]  # type: ignore[arg-type]
        spent = [f.executions for f in found]
        share = {what: 100 * sum(getattr(f, what) for f in found) / SEEDS for what in ("good", "small", "true")}
        measured[name] = (
            f"good {share['good']:.0f} % (small {share['small']:.0f}, true {share['true']:.0f}), "
            f"bogus {sum(f.bogus for f in found)}, executions {statistics.median(spent):.0f} in the median, "
            f"{statistics.quantiles(spent, n=10)[-1]:.0f} at the 90th percentile"
        )
    return measured

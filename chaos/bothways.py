"""One program by both ways to a camera: the integration, and the vendor's own app, which does not pass it.

Both have the same screens, cameras and accounts, and links of the same names, so that the same conditions lie on both.
A program that leaks by the one and not by the other says where the fault is. (In December 2019 it did not happen in the
vendor's own app.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from chaos.plan import Ask, AskTogether, Meanwhile, Plan, Say, Step
from chaos.verdict import Rules, Verdict, is_leak, judge

if TYPE_CHECKING:
    from chaos.run import Run

APP = "app"
"""What `Settings.path` calls the vendor's own app."""
TIMES = 3
"""Executions by the app. A leak that happens each time is told apart by one, one in two times by five."""
DOUBT = 0.05
"""How probable it may be that the app, if it leaked as often as the integration, did not in any execution."""


class BothWays(msgspec.Struct, frozen=True):
    """How often a program leaked: by the integration, and by the app, where `shown` frames were their owner's own."""

    hits: int
    tries: int
    app_hits: int
    app_tries: int
    shown: int

    @property
    def chance(self) -> float:
        """How probable the app's clean executions are if it leaks as often as the integration did.

        The integration's rate is taken as if one more execution had been clean, so that 1 of 1 proves little.
        """
        return (1 - self.hits / (self.tries + 1)) ** self.app_tries

    def sentence(self) -> str:
        """Say where the fault is, or why nobody can say."""
        seen = f"the integration {self.hits} of {self.tries} times"
        if not self.hits:
            return "Nobody can say where the fault is: the program did not leak by the integration either."
        if self.app_hits:
            return (
                f"The fault is not in the integration alone: the program leaked by {seen}, and by the vendor's own "
                f"app, which does not pass it, {self.app_hits} of {self.app_tries} times; look at what both share: "
                "cameras, account service, screens."
            )
        if not self.shown:
            return (
                "Nobody can say where the fault is: under these conditions the vendor's own app displayed no camera at "
                f"all in {self.app_tries} executions."
            )
        if self.chance > DOUBT:
            return (
                f"Probably the fault is in the integration: the program leaked by {seen}, and by the vendor's own app "
                f"in none of {self.app_tries}, which would happen by chance in {self.chance:.0%} of cases; execute it "
                "more often to be sure."
            )
        return (
            f"The fault is in the integration: the program leaked by {seen}, and by the vendor's own app, under the "
            f"same conditions, in none of {self.app_tries}, while it displayed {self.shown} pictures to their owners."
        )


def by_app(plan: Plan, parts: frozenset[str]) -> Plan:
    """Return the program as owners do it in the app: what only the integration has (`parts`) is left out.

    Who speaks to the assistant taps instead.
    """
    for name in sorted(parts):
        plan = plan.without(name)
    return plan.with_steps(tuple(_tapped(step) for step in plan.steps))


def compare(
    run: Run,
    plan: Plan,
    hits: int,
    tries: int,
    times: int = TIMES,
    rules: Rules | None = None,
    rooms: tuple[str, ...] = (),
) -> BothWays:
    """Execute `plan` by the vendor's own app and return both counts; `hits` of `tries` were by the integration.

    A home system with the app is started for it, once a run. Raises `Misuse` where there is no such way.
    """
    rules = rules or Rules()
    names = {n.name for n in run.contract(plan.homes, rooms=rooms).topology.nodes}
    home = run.home(plan.homes, path=APP, rooms=rooms)
    other = by_app(plan, frozenset(names - {n.name for n in home.topology.nodes}))
    leaked = shown = 0
    for _ in range(times):
        frames = judge(home.execute(other), rules)
        leaked += any(is_leak(frame, rules) for frame in frames)
        shown += sum(frame.verdict in (Verdict.OWN, Verdict.AGE_UNKNOWN, Verdict.STALE) for frame in frames)
    return BothWays(hits, tries, leaked, times, shown)


def _tapped(step: Step) -> Step:
    match step:
        case Say():
            return Ask(step.home, step.camera, step.feed)
        case AskTogether():
            return AskTogether(tuple(Ask(a.home, a.camera, a.feed) for a in step.asks))
        case Meanwhile():
            return msgspec.structs.replace(
                step, ask=_tapped(step.ask), steps=tuple(_tapped(inner) for inner in step.steps)
            )
        case _:
            return step


__all__ = ["APP", "TIMES", "BothWays", "by_app", "compare"]

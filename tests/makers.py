"""Tiny constructors of events: only what a test is about is written in the test.

Times are seconds from the beginning of a case; the hub is Ada's, the camera is the living room, the case is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaos import conditions
from chaos.conditions import Conditions, Fault
from chaos.history import (
    Asked,
    CaseEnded,
    CaseStarted,
    Closed,
    ConditionsSet,
    ControlSeen,
    Displayed,
    Event,
    Met,
    NodeFaultSet,
    Reading,
    Sighting,
    SignedIn,
)
from chaos.plan import Ask, Plan, Step
from chaos.verdict import Judged, judge

OWNERS = ("ada", "grace", "lin")
ROOM = "living-room"
SLOW = conditions.of(conditions.toxic("latency", latency=1000))


def plan(*steps: Step) -> Plan:
    return Plan(OWNERS, steps or (Ask("ada"),))


def case(number: int = 1, kind: str = "plan", at: float = 0.0) -> CaseStarted:
    return CaseStarted(at=at, case=number, kind=kind, plan=plan() if kind == "plan" else None)


def case_ended(number: int = 1, at: float = 1000.0) -> CaseEnded:
    return CaseEnded(at=at, case=number)


def signed_in(owner: str | None, began: float, ended: float, hub: str = "ada") -> SignedIn:
    return SignedIn(hub=hub, owner=owner, began=began, ended=ended)


def asked(began: float, taken: float | None = None, *, ask: int = 1, hub: str = "ada", camera: str = ROOM) -> Asked:
    taken = began if taken is None else taken
    return Asked(
        ask=ask,
        hub=hub,
        camera=camera,
        feed="still",
        began=began,
        taken=taken,
        settled=taken,
        outcome="picture",
    )


def closed(began: float, ended: float | None = None, hub: str = "ada") -> Closed:
    return Closed(hub=hub, began=began, ended=began if ended is None else ended)


def seen(
    owner: str = "ada",
    camera: str = ROOM,
    *,
    case: int = 1,
    tiles: int = 12,
    captured: float | None = 5.0,
) -> Sighting:
    return Sighting(owner, camera, case, tiles, None if captured is None else 7, captured)


def shown(
    at: float, until: float, *sightings: Sighting, hub: str = "ada", damaged: bool = False, blank: bool = False
) -> Displayed:
    return Displayed(
        hub=hub,
        at=at,
        until=until,
        digest=f"{hub}-{at}-{until}".replace(".", "_"),
        reading=Reading("blank" if blank else "picture", sightings),
        damaged=damaged,
    )


def conditions_set(link: str, under: Conditions, began: float, ended: float | None = None) -> ConditionsSet:
    return ConditionsSet(link=link, conditions=under, began=began, ended=began if ended is None else ended)


def node_fault(node: str, kind: str, began: float, ended: float | None = None, *, on: bool = True) -> NodeFaultSet:
    return NodeFaultSet(node=node, kind=kind, on=on, began=began, ended=began if ended is None else ended)


def met(ask: int, link: str = "relay.cache", kind: str = "latency", amount: int = 100) -> Met:
    return Met(at=6.0, ask=ask, fault=Fault(link, kind), amount=amount)


def control(what: str = "crossed scenes", *, seen: bool = True) -> ControlSeen:
    return ControlSeen(at=0.0, what=what, seen=seen, detail="" if seen else "ada's hub with grace's scene")


def both_controls() -> list[Event]:
    return [control("crossed scenes"), control("cut links")]


def planned_case(number: int = 1, first_ask: int = 1, *more: Event) -> list[Event]:
    """Return a case in which every owner asks over a slow cache link, the ask meets it, and sees their own home."""
    events: list[Event] = [case(number), conditions_set("relay.cache", SLOW, 2.0, 2.5)]
    for n, owner in enumerate(OWNERS, first_ask):
        events += [
            signed_in(owner, 0.0, 1.0, hub=owner),
            asked(3.0, 3.1, ask=n, hub=owner),
            met(n),
            shown(6.0, 9.0, seen(owner, case=number), hub=owner),
            closed(10.0, hub=owner),
            shown(11.0, 12.0, hub=owner, blank=True),
        ]
    return [*events, *more, case_ended(number)]


def passing_run(*more: Event, cases: int = 2) -> list[Event]:
    """Return the history of a run that passes; `more` happens in its last case."""
    events = both_controls()
    for number in range(1, cases + 1):
        events += planned_case(number, 10 * number, *(more if number == cases else ()))
    return [*events, *both_controls()]


def only(judged: Sequence[Judged]) -> Judged:
    """Return the one frame of a history that shows one."""
    (frame,) = judged
    return frame


def judged_in_case(*events: Event) -> Judged:
    """Judge one displayed frame on Ada's hub, who signed in from 0 to 1 and asked for her living room from 2 to 3."""
    return only(judge([case(), signed_in("ada", 0.0, 1.0), asked(2.0, 3.0), *events]))

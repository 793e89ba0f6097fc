"""The judge: a history in, a verdict for each displayed frame and one outcome for the run out. No socket, no clock.

Rules, in the order in which they matter:

1. At every moment a hub has a permitted set of owners and of cameras. Between the beginning and the confirmed end of a
   change both the old and the new are in it; outside such windows exactly one is, or none.
2. A frame is judged at every instant of the window in which it was on screen. One instant is enough.
3. Each owner that a frame names is judged; the worst wins for the frame, and the worst frame wins for the run.
4. Unknown is never a pass: what cannot be read, was not exercised or was not seen makes a run inconclusive.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Literal

import msgspec

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
    MomentCame,
    NodeFaultSet,
    Restarted,
    Restored,
    Shared,
    Sighting,
    SignedIn,
    Sold,
    Suspended,
    Unlinked,
    Unseen,
    Unshared,
)
from chaos.plan import Ask, AskTogether, GiveUp, Meanwhile


class Verdict(IntEnum):
    """What the judge says of one displayed frame; the smaller the worse."""

    FOREIGN = 0
    REVOKED = 1
    MISDIRECTED = 2
    UNREADABLE = 3
    STALE = 4
    AGE_UNKNOWN = 5
    OWN = 6
    BLANK = 7

    @property
    def word(self) -> str:
        """The word that documents and reports use."""
        return "own, age unknown" if self is Verdict.AGE_UNKNOWN else self.name.lower()


class Outcome(IntEnum):
    """What a run comes to; the value is the exit code."""

    PASSED = 0
    LEAK = 1
    INCONCLUSIVE = 2
    UNUSABLE = 3


MINIMUM_STRONG_ASKS = 3
"""Fewer asks than this that met a fault and displayed own content, and a clean search says nothing: one an owner."""


NO_MORE = "shared no more"
"""Said of a camera that a guest might see once."""


class Rules(msgspec.Struct, frozen=True):
    """What a scenario demands beyond the property that is always on.

    A search with fewer than `minimum_strong_asks` is inconclusive; a plain test may ask for none.
    `stale_after` is the age in seconds above which an own frame is stale at the moment it appears; None judges no age.
    """

    stale_after: float | None = None
    minimum_strong_asks: int = MINIMUM_STRONG_ASKS
    forbid_stale: bool = False
    forbid_misdirected: bool = True
    newcomers: Literal["password", "notice", "second factor"] = "password"
    """What lets a hub in another home than the owner's into the account: the right password alone; one of which the
    account service told the owner; or a second factor. Whoever has less is nobody: the owner's camera there is foreign.
    """


class Judged(msgspec.Struct, frozen=True):
    """One displayed frame with its verdict, and what is needed to say so in a sentence.

    `owners` are the accounts that were permitted in its window, `guilty` is the sighting that decided the verdict,
    `carried_over` the earlier case that the guilty sighting comes from.
    """

    frame: Displayed
    case: int
    verdict: Verdict
    owners: tuple[str, ...]
    ask: Asked | None = None
    guilty: Sighting | None = None
    carried_over: int | None = None
    under: tuple[tuple[str, Conditions], ...] = ()
    nodes: tuple[tuple[str, str], ...] = ()
    """Which nodes were under which fault of their own, such as ``("relay", "paused")``. It excuses nothing."""
    withdrawn: str = ""
    """Why no camera might have been shown: the integration was ``suspended``, or the account ``unlinked``; or why not
    this one: it was ``sold``, or is ``shared no more``."""

    @property
    def unexplained(self) -> bool:
        """Whether nobody can say whose picture this was, and the harness itself is not the reason."""
        return self.verdict is Verdict.UNREADABLE and not self.frame.damaged


class _Timeline:
    """Which values were permitted when, from changes that take time."""

    def __init__(self, first: str | None) -> None:
        self._changes: list[tuple[float, float, str | None]] = [(float("-inf"), float("-inf"), first)]

    def change(self, began: float, ended: float, value: str | None) -> None:
        self._changes.append((began, ended, value))

    def during(self, at: float, until: float) -> list[frozenset[str | None]]:
        """Return the permitted sets of all instants from `at` to `until`, without repeats.

        A change permits old and new from its beginning to its end, both included; overlapping changes permit all of
        their values until each has ended.
        """
        edges = {at, until}
        for began, ended, _ in self._changes:
            edges.update(edge for edge in (began, ended) if at <= edge <= until)
        marks = sorted(edges)
        instants = marks + [(a + b) / 2 for a, b in itertools.pairwise(marks)]
        return list(dict.fromkeys(self._at(i) for i in sorted(instants)))

    def _at(self, instant: float) -> frozenset[str | None]:
        """Return the last value whose change had ended before `instant`, and all whose change is under way."""
        settled = max((c for c in self._changes if c[1] < instant), key=lambda c: (c[1], c[0]))
        open_now = [c for c in self._changes if c[0] <= instant <= c[1]]
        return frozenset([settled[2], *(c[2] for c in open_now)])


class _Hub:
    def __init__(self) -> None:
        self.owner = _Timeline(None)
        self.camera = _Timeline(None)
        self.sign_ins: list[SignedIn] = []
        self.asks: list[Asked] = []

    def last_owner(self, at: float) -> str | None:
        """Return the account that was signed in last before `at`, still there or not."""
        before = [s for s in self.sign_ins if s.owner is not None and s.began <= at]
        return max(before, key=lambda s: s.began).owner if before else None


class _Setting(msgspec.Struct, frozen=True):
    """What a frame is judged by beside its hub: the case, the rules, which cases were controls, when all were dark."""

    case: int
    rules: Rules
    controls: frozenset[int]
    suspended: tuple[tuple[float, float], ...] = ()
    unlinked: tuple[Unlinked, ...] = ()
    sold: tuple[Sold, ...] = ()
    shares: tuple[Share, ...] = ()


class Share(msgspec.Struct, frozen=True):
    """A guest may see an owner's camera from `since` until `until` (seconds), when it is asked for as `name`."""

    owner: str
    guest: str
    camera: str
    name: str
    since: float
    until: float


def judge(
    history: Iterable[Event], rules: Rules | None = None, *, controls: frozenset[int] = frozenset()
) -> tuple[Judged, ...]:
    """Return every displayed frame of `history` with its verdict, in order of appearance.

    Events may come in any order within a case; cases are told apart by `CaseStarted`. `controls` are the numbers of
    control cases beside those that `history` tells of.
    """
    rules = rules or Rules()
    judged: list[Judged] = []
    case: list[Event] = []
    now = _Setting(0, rules, controls)
    for event in history:
        if isinstance(event, CaseStarted):
            judged += _judge_case(now, case)
            known = now.controls | {event.case} if event.kind == "control" else now.controls
            case, now = [], _Setting(event.case, rules, known)
        else:
            case.append(event)
    return tuple(judged + _judge_case(now, case))


def _judge_case(setting: _Setting, events: Sequence[Event]) -> list[Judged]:
    hubs: dict[str, _Hub] = {}
    frames: list[Displayed] = []
    conditions: list[ConditionsSet] = []
    nodes: list[NodeFaultSet] = []
    for event in events:
        match event:
            case SignedIn():
                hub = hubs.setdefault(event.hub, _Hub())
                let_in = _let_in(event, setting.rules)
                hub.owner.change(event.began, event.ended, let_in)
                hub.camera.change(event.began, event.ended, None)  # what the last account asked for is over
                hub.sign_ins.append(msgspec.structs.replace(event, owner=let_in))
            case Asked(outcome="lost"):
                pass  # the hub never heard of it
            case Asked():
                hub = hubs.setdefault(event.hub, _Hub())
                hub.camera.change(event.began, event.taken, event.camera)
                hub.asks.append(event)
            case Closed():
                hubs.setdefault(event.hub, _Hub()).camera.change(event.began, event.ended, None)
            case Displayed():
                frames.append(event)
            case ConditionsSet():
                conditions.append(event)
            case NodeFaultSet():
                nodes.append(event)
            case _:
                pass
    frames.sort(key=lambda f: (f.at, f.hub))
    setting = msgspec.structs.replace(
        setting,
        suspended=suspensions(events),
        unlinked=tuple(e for e in events if isinstance(e, Unlinked)),
        sold=tuple(e for e in events if isinstance(e, Sold)),
        shares=shares(events),
    )
    judged = [_judge_frame(setting, f, hubs.setdefault(f.hub, _Hub()), conditions) for f in frames]
    return [msgspec.structs.replace(j, nodes=node_faults_at(nodes, j.frame.at)) for j in judged]


def _judge_frame(setting: _Setting, frame: Displayed, hub: _Hub, conditions: Sequence[ConditionsSet]) -> Judged:
    case = setting.case
    owners = hub.owner.during(frame.at, frame.until)
    cameras = hub.camera.during(frame.at, frame.until)
    verdict, guilty = Verdict.BLANK if frame.reading.content == "blank" else Verdict.UNREADABLE, None
    sightings = [(_judge_sighting(s, setting, frame, hub, owners, cameras), s) for s in frame.reading.sightings]
    if sightings:  # of several that are equally bad, the one that most tiles name
        verdict, guilty = min(sightings, key=lambda judged: (judged[0], -judged[1].tiles))
    withdrawn, since = _withdrawn(guilty, setting, frame, hub, owners) if guilty is not None else ("", frame.at)
    return Judged(
        frame=frame,
        case=case,
        verdict=verdict,
        owners=tuple(sorted({o for permitted in owners for o in permitted if o is not None})),
        ask=max((a for a in hub.asks if a.began <= frame.at), key=lambda a: a.began, default=None),
        guilty=guilty,
        carried_over=guilty.case if guilty is not None and guilty.run is None and guilty.case != case else None,
        under=conditions_at(conditions, max(frame.at, since)),  # it may have stood there since before they turned
        withdrawn=withdrawn,
    )


def _let_in(event: SignedIn, rules: Rules) -> str | None:
    """Return whose account a hub is in by this sign-in: nobody's where it should not have been let in."""
    if event.proof in ("old password", "password alone"):
        return None  # the owner's account demands more
    if event.hub == event.owner or rules.newcomers == "password":
        return event.owner
    known = event.proof == "second factor" or (rules.newcomers == "notice" and event.noticed is True)
    return event.owner if known else None


def _withdrawn(
    seen: Sighting, setting: _Setting, frame: Displayed, hub: _Hub, owners: list[frozenset[str | None]]
) -> tuple[str, float]:
    """Return why no hub, or this one, might show that camera any more, and since when; or an empty word."""
    guests = [s for s in setting.shares if _is_of(s, seen, owners)]
    account = guests[0].guest if guests else seen.owner
    for since, until in setting.suspended:
        if frame.at < until and frame.until >= since:
            return "suspended", since
    for change in setting.unlinked:
        again = min((s.began for s in hub.sign_ins if s.began >= change.began), default=float("inf"))
        since = change.ended + change.within
        if change.owner == account and since < again and frame.at < again and frame.until >= since:
            return "unlinked", since
    for sale in setting.sold:
        again = min((s.registered for s in setting.sold if s.to == sale.owner and s.began > sale.began), default=_EVER)
        since = sale.ended + sale.within
        what = (sale.owner, sale.camera) == (seen.owner, seen.camera)
        if what and not guests and since < again and frame.at < again and frame.until >= since:
            return "sold", since
    if guests and all(frame.until >= share.until or frame.at < share.since for share in guests):
        return NO_MORE, max(s.until for s in guests)
    return "", frame.at


def _is_of(share: Share, seen: Sighting, owners: list[frozenset[str | None]]) -> bool:
    """Whether a picture of what was ever shared is on a screen that is the guest's all the time."""
    shown = (share.owner, share.camera) == (seen.owner, seen.camera)
    return shown and all(share.guest in permitted for permitted in owners)


def _judge_sighting(  # noqa: PLR0911 - one return a rule, worst first
    seen: Sighting,
    setting: _Setting,
    frame: Displayed,
    hub: _Hub,
    owners: list[frozenset[str | None]],
    cameras: list[frozenset[str | None]],
) -> Verdict:
    if seen.run is not None:
        return Verdict.FOREIGN  # it outlived a run, and nobody of this one asked for it; its case is not ours either
    if seen.case in setting.controls and setting.case not in setting.controls:
        return Verdict.UNREADABLE  # the harness crossed that picture itself: whose camera it came from, nobody can say
    as_guest = _as_guest(seen, setting, frame, owners)
    if not as_guest and not all(seen.owner in permitted for permitted in owners):
        signed_out = all(permitted <= {None, seen.owner} for permitted in owners)
        return Verdict.REVOKED if signed_out and seen.owner == hub.last_owner(frame.at) else Verdict.FOREIGN
    if _withdrawn(seen, setting, frame, hub, owners)[0]:
        return Verdict.REVOKED
    asked = as_guest or frozenset({seen.camera})
    if not all(asked & permitted for permitted in cameras):
        return Verdict.MISDIRECTED
    if seen.case != setting.case:
        return Verdict.STALE
    if seen.captured is None:
        return Verdict.AGE_UNKNOWN
    rules = setting.rules
    if rules.stale_after is not None and frame.at - seen.captured > rules.stale_after:
        return Verdict.STALE
    return Verdict.OWN


def _as_guest(
    seen: Sighting, setting: _Setting, frame: Displayed, owners: list[frozenset[str | None]]
) -> frozenset[str | None]:
    """Return the names under which the account at the hub has the camera of somebody who shared it all this time."""
    return frozenset(
        s.name for s in setting.shares if _is_of(s, seen, owners) and s.since <= frame.at and frame.until < s.until
    )


def shares(events: Iterable[Event]) -> tuple[Share, ...]:
    """Return what was shared, from the beginning of that until its end must be in effect.

    What its owner sells is shared no more. Sharing again what is shared changes nothing.
    """
    ends = [e for e in events if isinstance(e, Unshared | Sold)]
    return tuple(
        Share(
            e.owner,
            e.guest,
            e.camera,
            e.name,
            e.began,
            min(
                (
                    end.ended + end.within
                    for end in ends
                    if end.began >= e.began and end.owner == e.owner and (isinstance(end, Sold) or end.guest == e.guest)
                ),
                default=_EVER,
            ),
        )
        for e in events
        if isinstance(e, Shared)
    )


_EVER = float("inf")


def suspensions(events: Iterable[Event]) -> tuple[tuple[float, float], ...]:
    """Return the times, in seconds from and until, in which a suspension must be in effect on every hub.

    From its confirmation and its bound on, until cameras begin to be restored. Suspending again what is suspended
    changes nothing, and neither does restoring everything but the cameras.
    """
    changes = sorted((e for e in events if isinstance(e, Suspended | Restored)), key=lambda e: e.began)
    times: list[tuple[float, float]] = []
    since: float | None = None
    for change in changes:
        if isinstance(change, Suspended):
            effective = change.ended + change.within
            since = effective if since is None else min(since, effective)
        elif change.cameras and since is not None:
            times += [(since, change.began)] if since < change.began else []  # else it never had to be in effect
            since = None
    return tuple(times) if since is None else (*times, (since, float("inf")))


def conditions_at(conditions: Sequence[ConditionsSet], at: float) -> tuple[tuple[str, Conditions], ...]:
    """Return the links that were not clear at `at`, with their conditions, by name."""
    now: dict[str, Conditions] = {}
    for change in sorted(conditions, key=lambda c: c.began):
        if change.began <= at:
            now[change.link] = change.conditions
    return tuple((link, c) for link, c in sorted(now.items()) if not c.calm)


def node_faults_at(changes: Sequence[NodeFaultSet], at: float) -> tuple[tuple[str, str], ...]:
    """Return the faults of nodes that were in force at `at`, by node."""
    now: dict[tuple[str, str], bool] = {}
    for change in sorted(changes, key=lambda c: c.began):
        if change.began <= at:
            now[change.node, change.kind] = change.on
    return tuple(sorted(fault for fault, on in now.items() if on))


class State(msgspec.Struct, frozen=True, order=True):
    """A dangerous state, which leaks need: how often the plans aimed at it, and how often it was reached."""

    name: str
    aimed: int
    reached: int


class Exercise(msgspec.Struct, frozen=True):
    """How hard a run tried: drawn and met (link or node, kind of fault) pairs, asks, and what the asks displayed.

    `met` says how many asks met each. `strong_asks` are asks whose exchange met a fault and whose frames were all own,
    of whatever age: the n of the rule of three. An ask with an unreadable frame is not among them, since nobody knows
    that it was not foreign.
    """

    cases: int
    asks: int
    strong_asks: int
    displayed: int
    drawn: tuple[Fault, ...]
    met: tuple[tuple[Fault, int], ...]
    states: tuple[State, ...] = ()
    looks: int = 0
    looks_displayed: int = 0
    """Of the strong asks, and of the displayed frames, those of the looks at a plan's end: no rule asked for them."""

    @property
    def unmet(self) -> tuple[Fault, ...]:
        """Kinds of fault that the run drew and that no ask's exchange met."""
        met = {f for f, _ in self.met}
        return tuple(f for f in self.drawn if f not in met)

    @property
    def bound_95(self) -> float | None:
        """Upper bound of the rate of leaks an ask at 95 % confidence, when none was seen (rule of three: 3/n)."""
        return 3 / self.strong_asks if self.strong_asks else None


def together(exercises: Iterable[Exercise]) -> Exercise:
    """Return the sum of what several parts of one run tried; asks are numbered within each, so none counts twice."""
    parts = tuple(exercises)
    met: Counter[Fault] = Counter()
    aimed: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for part in parts:
        met.update(dict(part.met))
        aimed.update({s.name: s.aimed for s in part.states})
        reached.update({s.name: s.reached for s in part.states})
    return Exercise(
        cases=sum(p.cases for p in parts),
        asks=sum(p.asks for p in parts),
        strong_asks=sum(p.strong_asks for p in parts),
        displayed=sum(p.displayed for p in parts),
        drawn=tuple(sorted({f for p in parts for f in p.drawn})),
        met=tuple(sorted(met.items())),
        states=tuple(State(name, n, reached[name]) for name, n in sorted(aimed.items())),
        looks=sum(p.looks for p in parts),
        looks_displayed=sum(p.looks_displayed for p in parts),
    )


def exercised(history: Sequence[Event], judged: Sequence[Judged]) -> Exercise:
    """Count how hard the planned cases of `history` tried; controls add nothing."""
    planned = planned_cases(history)
    drawn: set[Fault] = set()
    met: dict[Fault, set[int]] = {}
    asks = 0
    for case, event in by_case(history):
        if case not in planned:
            continue
        match event:
            case Asked(outcome="lost"):
                pass
            case Asked():
                asks += 1
            case ConditionsSet():
                drawn.update(event.conditions.faults(event.link))
            case NodeFaultSet(on=True):
                drawn.add(Fault(event.node, event.kind))
            case Restarted() if event.drawn is not None:
                drawn.add(Fault(event.node, event.drawn))
            case Met() if event.amount > 0:
                met.setdefault(event.fault, set()).add(event.ask)
            case _:
                pass
    shown: dict[int, Verdict] = {}
    for frame in judged:
        if frame.ask is not None and frame.verdict is not Verdict.BLANK:
            shown[frame.ask.ask] = min(shown.get(frame.ask.ask, Verdict.BLANK), frame.verdict)
    own = {a for a, worst in shown.items() if worst in (Verdict.OWN, Verdict.AGE_UNKNOWN, Verdict.STALE)}
    met_asks = set(itertools.chain.from_iterable(met.values()))
    looks = _looks(history)
    return Exercise(
        cases=len(planned),
        asks=asks,
        strong_asks=len(met_asks & own),
        displayed=sum(j.case in planned and j.verdict is not Verdict.BLANK for j in judged),
        drawn=tuple(sorted(drawn)),
        met=tuple(sorted((fault, len(of)) for fault, of in met.items())),
        states=(*_states(history, planned, shown, met_asks), *_switched(history, planned, judged)),
        looks=len(met_asks & own & looks),
        looks_displayed=sum(
            j.case in planned and j.verdict is not Verdict.BLANK and j.ask is not None and j.ask.ask in looks
            for j in judged
        ),
    )


def _looks(history: Sequence[Event]) -> set[int]:
    """Return the numbers of the asks at the ends of plans for which no rule asked."""
    last: dict[int, int] = {}
    asks: dict[int, list[int]] = {}
    for case, event in by_case(history):
        if isinstance(event, CaseStarted) and event.plan is not None:
            last[case] = event.plan.looks * len(event.plan.homes)
        elif isinstance(event, Asked):
            asks.setdefault(case, []).append(event.ask)
    return {ask for case, count in last.items() if count for ask in sorted(asks.get(case, ()))[-count:]}


def _states(
    history: Sequence[Event], planned: set[int], shown: Mapping[int, Verdict], met_asks: set[int]
) -> tuple[State, ...]:
    """Count the states that published leaks need, and how often each was aimed at.

    *two asks at once*: an owner asked while another's ask was under way. *left in flight*: somebody closed the feed
    before it showed anything. *after another's picture*: an ask met a fault when another owner's had got its picture
    before. *moment*: the instant of an ask that a step waited for came.
    """
    aimed: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    asks: dict[int, list[Asked]] = {}
    for case, event in by_case(history):
        if case in planned and isinstance(event, Asked) and event.outcome != "lost":
            asks.setdefault(case, []).append(event)
        elif case in planned and isinstance(event, CaseStarted) and event.plan is not None:
            inside = [s for s in event.plan.steps if isinstance(s, AskTogether | Meanwhile)]
            aimed["two asks at once"] += sum(sum(isinstance(e, Ask | GiveUp) for e in s.elements()) > 1 for s in inside)
        elif case in planned and isinstance(event, MomentCame):
            aimed["moment of an ask"] += 1
            reached["moment of an ask"] += event.came
    for together in asks.values():
        together.sort(key=lambda a: a.began)
        for i, ask in enumerate(together):
            before = [a for a in together[:i] if a.hub != ask.hub]
            reached["two asks at once"] += any(a.settled > ask.began for a in before)
            if ask.outcome == "given_up":
                aimed["left in flight"] += 1
                reached["left in flight"] += ask.ask not in shown
            if before and ask.ask in met_asks:
                aimed["after another's picture"] += 1
                reached["after another's picture"] += any(a.ask in shown and a.settled <= ask.settled for a in before)
    return tuple(State(name, n, reached[name]) for name, n in sorted(aimed.items()) if n)


def _switched(history: Sequence[Event], planned: set[int], judged: Sequence[Judged]) -> Iterator[State]:
    """Count how often what ends was seen before, or what begins after: suspensions, sales, what is shared no more."""
    pictures: dict[int, list[Displayed]] = {}
    for frame in judged:
        if frame.frame.reading.sightings:
            pictures.setdefault(frame.case, []).append(frame.frame)
    over = [
        any(f.at <= event.ended and f.until > event.began for f in pictures.get(case, ()))
        for case, event in by_case(history)
        if case in planned and isinstance(event, Suspended)
    ]
    back = [
        any(f.until > event.began for f in pictures.get(case, ()))
        for case, event in by_case(history)
        if case in planned and isinstance(event, Restored) and event.cameras
    ]
    sold = [
        any(f.hub == event.to and f.until > event.registered for f in pictures.get(case, ()))
        for case, event in by_case(history)
        if case in planned and isinstance(event, Sold)
    ]
    unshared = [
        any(f.hub == event.guest and f.at < event.began and _shows(f, event.owner) for f in pictures.get(case, ()))
        for case, event in by_case(history)
        if case in planned and isinstance(event, Unshared)
    ]
    for name, came in (
        ("suspended while a hub shows a camera", over),
        ("shown again once restored", back),
        ("shown to the buyer after a sale", sold),
        ("shown to a guest before it was shared no more", unshared),
    ):
        if came:
            yield State(name, len(came), sum(came))


def _shows(frame: Displayed, owner: str) -> bool:
    return any(s.owner == owner for s in frame.reading.sightings)


def planned_cases(history: Iterable[Event]) -> set[int]:
    """Return the numbers of the cases that executed a plan."""
    return {e.case for e in history if isinstance(e, CaseStarted) and e.kind == "plan"}


def by_case(history: Iterable[Event]) -> Iterable[tuple[int, Event]]:
    """Yield each event with the number of its case; events between cases belong to case 0."""
    case = 0
    for event in history:
        if isinstance(event, CaseStarted):
            case = event.case
        yield case, event
        if isinstance(event, CaseEnded):
            case = 0


class Conclusion(msgspec.Struct, frozen=True):
    """The run's outcome, the frames that made it a leak, and every reason that it is not a pass.

    `doubts` are those reasons that more cases would not take away: what could not be read, and controls.
    """

    outcome: Outcome
    leaks: tuple[Judged, ...]
    reasons: tuple[str, ...]
    counts: dict[str, int]
    exercise: Exercise
    doubts: tuple[str, ...] = ()
    controls: tuple[ControlSeen, ...] = ()


def is_leak(frame: Judged, rules: Rules) -> bool:
    """Whether this frame alone makes the run a leak."""
    return (
        frame.verdict in (Verdict.FOREIGN, Verdict.REVOKED)
        or (frame.verdict is Verdict.MISDIRECTED and rules.forbid_misdirected)
        or (frame.verdict is Verdict.STALE and rules.forbid_stale)
    )


def conclude(history: Sequence[Event], rules: Rules | None = None, *, controls: int = 2) -> Conclusion:
    """Judge `history` and say what the run comes to.

    `controls` is the number of controls of each kind that must have been seen (before and after, for each home).
    """
    rules = rules or Rules()
    judged = judge(history, rules)
    control_cases = {e.case for e in history if isinstance(e, CaseStarted) and e.kind == "control"}
    frames = [j for j in judged if j.case not in control_cases]  # one that belongs to no case counts: it was seen
    exercise = exercised(history, frames)
    leaks = tuple(j for j in frames if is_leak(j, rules))
    unread = (*_unread(frames), *_unseen(history), *_never_reset(frames))
    uncontrolled = tuple(_missing_controls(history, controls))
    reasons = (*unread, *weaknesses(exercise, rules.minimum_strong_asks), *uncontrolled)
    outcome = Outcome.LEAK if leaks else Outcome.INCONCLUSIVE if reasons else Outcome.PASSED
    counts = Counter(j.verdict.word for j in frames)
    seen = tuple(e for e in history if isinstance(e, ControlSeen))
    return Conclusion(outcome, leaks, reasons, dict(sorted(counts.items())), exercise, (*unread, *uncontrolled), seen)


def _unread(frames: Sequence[Judged]) -> Iterable[str]:
    unexplained = [j for j in frames if j.unexplained]
    if unexplained:
        first = unexplained[0]
        yield (
            f"{len(unexplained)} displayed frames could not be read and the harness had not damaged them; "
            f"the first is {first.frame.digest[:12]} on {first.frame.hub} in case {first.case}"
        )


def _never_reset(frames: Sequence[Judged]) -> Iterable[str]:
    """Yield a reason when no picture at all is of the case in which it was shown: a reset that resets nothing."""
    named = [(j.case, s.case) for j in frames for s in j.frame.reading.sightings if s.run is None]
    if named and all(shown_in != of for shown_in, of in named):
        shown_in, of = named[0]
        yield (
            f"none of {len(named)} readings is of the case in which it was shown; the first, in case {shown_in}, is of "
            f"case {of}: the home was not reset between cases, or shows only what it kept"
        )


def weaknesses(exercise: Exercise, minimum_strong_asks: int) -> Iterable[str]:
    """Yield each reason for which a search that found nothing says nothing, as a sentence.

    The looks at the ends of plans do not count here: they would let a scenario pass that itself tries nothing.
    """
    strong = exercise.strong_asks - exercise.looks
    if exercise.displayed == exercise.looks_displayed:
        yield "nothing was displayed in any case; a scenario must ask for a camera that its home system can show"
    elif strong < minimum_strong_asks:
        yield (
            f"{strong} asks met a fault and displayed own content; at least {minimum_strong_asks} "
            "are needed for a clean run to say anything; give it more cases or conditions that disturb"
        )
    for state in exercise.states:
        if exercise.displayed and not state.reached:
            yield f"'{state.name}' was aimed at {state.aimed} times and never reached; give it more cases"
    if exercise.unmet:
        listed = ", ".join(f"{f.kind} on {f.link}" for f in exercise.unmet)
        yield f"drawn, and met by no ask: {listed}"


def _unseen(history: Iterable[Event]) -> Iterable[str]:
    unseen = [(case, e) for case, e in by_case(history) if isinstance(e, Unseen)]
    if unseen:
        case, first = unseen[0]
        total = sum(e.until - e.at for _, e in unseen)
        yield (
            f"{len(unseen)} times, {total:.1f} s in all, nobody knows what a hub's screen showed; the first time on "
            f"{first.hub} in case {case}: {first.why}"
        )


def _missing_controls(history: Iterable[Event], wanted: int) -> Iterable[str]:
    seen = [e for e in history if isinstance(e, ControlSeen)]
    for failed in (e for e in seen if not e.seen):
        yield f"control {failed.what} was not seen: {failed.detail}"
    for what in ("crossed scenes", "cut links"):
        count = sum(e.what == what for e in seen)
        if count < wanted:
            yield f"control {what} ran {count} of {wanted} times"

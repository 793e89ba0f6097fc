"""Motifs: short sequences of steps, each of which some published leak needs, mixed into what a scenario draws.

Leaks need several things at once (a picture of another owner's that was just asked for, conditions that turned, an ask
that crosses them), which steps drawn one by one rarely line up: with one motif a conjunctive leak took 8 cases instead
of 116 (shared study). A motif is a function that draws and returns steps; it knows roles and ways, never names, so that
it fits any home system. Each says what taught it. Values come from short ladders, calm first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import msgspec
from hypothesis import strategies as st

from chaos import conditions
from chaos.conditions import BLACK_HOLE, Bandwidth, Conditions, Latency, LimitData, Way, of
from chaos.plan import (
    DEFAULT_CAMERA,
    Ask,
    AskTogether,
    ChangeAccount,
    Clear,
    Evict,
    Feed,
    GiveUp,
    InnerStep,
    LetAge,
    Meanwhile,
    Moment,
    Reconnect,
    Restart,
    Restore,
    RollBack,
    RollOut,
    Say,
    SetConditions,
    Step,
    Suspend,
)

if TYPE_CHECKING:
    from chaos.topology import Link, Topology

_T = TypeVar("_T")
_ON_THE_WAY = (None, 0.25, 0.5, 0.75)
"""Parts of an answer's delay after which it is surely on its way; None waits. Drawn apart from each other, two of three
pairs of delay and patience missed it, and redis-4.5.3 took 19 cases in the median of ten seeds (measured)."""
_LATE = (150, 250, 350, 600)
"""Milliseconds: an answer that comes, late enough for others to be served before, and one a little later than the
patience of 0.3 and of 0.5 s that nodes have with each other (docs/reference-home.md): it comes while the next one asks
on the same connection."""
_CUTS = (50_000, 50_000, 50_000, 10_000, 2_000, 200, 60)
"""Bytes after which a camera's reply is cut: in the last third of a still of 75 KB (the rest of a buffer shows only
there, where half a picture counts as one), early in it, and inside its headers, which are longer."""
_CUTS_BETWEEN = (14, 5)
"""Bytes after which a pipeline of Redis commands is cut between two replies: ``+OK`` ends at 5, ``+QUEUED`` at 14."""


class Draw(Protocol):
    """Draws a value from a strategy, as ``st.data().draw`` does."""

    def __call__(self, strategy: st.SearchStrategy[_T], /) -> _T:
        """Return a value."""


class Place(msgspec.Struct, frozen=True):
    """The home system that steps are drawn for: who there is, what joins them, and what is troubled by now.

    `updated` are the nodes that the run's update changes, `changed` these and those that it adds, `troubled` the links
    that the steps so far leave under conditions.
    """

    homes: tuple[str, ...]
    topology: Topology
    updated: tuple[str, ...] = ()
    troubled: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    accounts: bool = True
    """Whether a hub can be signed in to another account."""
    suspends: bool = True
    """Whether the integration can be suspended."""
    speaks: bool = True
    """Whether hubs have an assistant that summons cameras by voice."""

    def way(self, home: str) -> tuple[Link, ...]:
        """Return the links that an ask of this home for its own first camera can cross, the hub's first."""
        return self.topology.between(home, home, room="")

    def suspected(self, links: Iterable[str]) -> list[str]:
        """Return the links, and once more those that end at a node of `changed`, where that tells them apart."""
        every = list(links)
        ends = {k.name: {k.client, k.server} for k in self.topology.links}
        near = [name for name in every if ends[name] & set(self.changed)]
        return every + near if len(near) < len(every) else every

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the links that everybody's asks can cross; of all links where there is none."""
        ways = [{k.name for k in self.way(home)} for home in self.homes]
        shared = tuple(k.name for k in self.way(self.homes[0]) if all(k.name in way for way in ways))
        return shared or tuple(k.name for k in self.topology.links)

    @property
    def from_cameras(self) -> tuple[str, ...]:
        """Names of the links on which pictures come from everybody's first camera."""
        cameras = {n.name for n in self.topology.with_role("camera") if not n.room}
        return tuple(k.name for k in self.topology.links if cameras & {k.client, k.server})

    @property
    def serving(self) -> tuple[str, ...]:
        """Names of the nodes that serve everybody; of all where there is none."""
        lasting = [n for n in self.topology.nodes if n.lasts]
        return tuple(n.name for n in lasting if n.owner is None) or tuple(n.name for n in lasting)


Steps: TypeAlias = Sequence[Step]
Motif: TypeAlias = Callable[[Draw, Place], Steps]


def conditions_turn(draw: Draw, place: Place) -> Steps:
    """One owner asks, conditions turn on a link that another's ask crosses, the other asks, the first asks again.

    The other may give up; the conditions may have passed before the first asks again. The camera's own link is drawn
    most, since it is where a picture comes from. The last ask is for what the other's left behind. (December 26, and
    nginx's `proxy_cache_use_stale`: a last good still under a key that lost the owner.)
    """
    first, second = _two(draw, place)
    link = _link_of(draw, place, second)
    impatient = draw(st.sampled_from([None, None, 20, 150]))
    asks: Step = Ask(second) if impatient is None else GiveUp(second, impatient)
    passing = [Clear(link)] if draw(st.booleans()) else []
    return [*_fresh(draw, place), Ask(first), SetConditions(link, draw(conditions.poor())), asks, *passing, Ask(first)]


def answer_comes_late(draw: Draw, place: Place) -> Steps:
    """Answers on a shared link are late, whoever waits for one goes, and others ask.

    She taps away while hers is on its way, or who asked for her in the home system loses patience just before it comes.
    (CVE-2023-28858: a reply that nobody waits for stays on a pooled connection.)
    """
    first, *others = draw(st.permutations(place.homes))
    link = draw(st.sampled_from(place.suspected([*place.shared, place.way(first)[-1].name])))
    late = draw(st.sampled_from(_LATE))
    slow = of(Latency(way=Way.DOWN, latency=late))
    part = draw(st.sampled_from(_ON_THE_WAY))
    goes = Ask(first) if part is None else GiveUp(first, round(late * part))
    return [*_calm(place), SetConditions(link, slow), goes, *(Ask(o) for o in others)]


def answer_is_cut(draw: Draw, place: Place) -> Steps:
    """A reply is cut inside its headers, inside the picture or between two replies, and everybody asks again.

    Another owner may ask while it is on its way, and is served before it is cut, after which it is asked for once more.
    (Cloudbleed and its kind: a buffer that was filled before, and a read that was short; a second try that reads whose
    request came last.)
    """
    first, second = _two(draw, place)
    link = draw(st.sampled_from([place.way(second)[-1].name, _link_of(draw, place, second)]))
    after = draw(st.sampled_from(_CUTS if link in place.from_cameras else (*_CUTS, *_CUTS_BETWEEN)))
    way = _server_way(place, link)
    cut = LimitData(way=way, bytes=after)
    under, asks = of(cut), Ask(second)
    crossed: Step = asks
    if draw(st.booleans()):
        under = of(Latency(way=way, latency=_LATE[1]), cut)
        crossed = Meanwhile(asks, (Ask(first),), Moment("sent", link))
    mended = [Clear(link)] if draw(st.booleans()) else []
    return [*_calm(place), Ask(first), SetConditions(link, under), crossed, *mended, Ask(first), Ask(second)]


def one_is_held(draw: Draw, place: Place) -> Steps:
    """One owner's request is held on a link while another's passes, and is let go then or when its time is up.

    (A request context or a buffer that two requests share: who comes second overwrites it.)
    """
    first, second = _two(draw, place)
    link = _link_of(draw, place, first)
    hold = draw(st.sampled_from([of(Latency(way=Way.DOWN, latency=300)), of(Latency(way=Way.UP, latency=300))]))
    moment = draw(st.sampled_from([Moment(), Moment("sent", place.way(first)[0].name), Moment("sent", link)]))
    others: list[InnerStep] = [Ask(second), Ask(second, feed="stream"), GiveUp(second, 60)]
    other = draw(st.sampled_from(others))
    inner: tuple[InnerStep, ...] = (Clear(link), other) if draw(st.booleans()) else (other,)
    return [*_calm(place), SetConditions(link, hold), Meanwhile(Ask(first), inner, moment), Ask(first)]


def burst_after_giving_up(draw: Draw, place: Place) -> Steps:
    """A link stalls, its client gives up, the stalled bytes come all at once, and the next owner asks.

    (A stalled radio that comes back: what was asked for long ago is answered now.)
    """
    first, second = _two(draw, place)
    link = _link_of(draw, place, first)
    stall = draw(st.sampled_from([of(Bandwidth(way=Way.DOWN, rate=0)), of(Latency(way=Way.DOWN, latency=2500))]))
    asks: list[Step] = [Ask(first), GiveUp(first, 150)]
    return [
        *_calm(place),
        SetConditions(link, stall),
        draw(st.sampled_from(asks)),
        Clear(link),
        Ask(second),
        Ask(first),
    ]


def everybody_at_once(draw: Draw, place: Place) -> Steps:
    """Everybody asks at once over a link that all share, or while one camera is slow; then once more.

    (Squid CVE-2016-10003, collapsed forwarding: requests that are in flight at once get one answer. And second tries,
    which all make at once when what they share is a little slower than their patience.)
    """
    slow = draw(st.sampled_from(place.from_cameras))
    link = draw(st.sampled_from(place.suspected([*place.shared, *place.shared, slow])))
    under = of(Latency(way=draw(st.sampled_from([Way.DOWN, Way.UP])), latency=draw(st.sampled_from(_LATE[1:]))))
    together = AskTogether(tuple(Ask(h) for h in draw(st.permutations(place.homes))))
    return [*_fresh(draw, place), SetConditions(link, under), together, together]


def everybody_reconnects(draw: Draw, place: Place) -> Steps:
    """Every connection drops, and everybody asks at the same moment.

    (Wyze, February 2024: devices and owners were mixed up when all came back at once.)
    """
    links = draw(st.sampled_from([place.from_cameras, *((name,) for name in place.shared)]))
    together = AskTogether(tuple(Ask(h) for h in place.homes))
    return [together, Reconnect(links), together]


def tapped_twice(draw: Draw, place: Place) -> Steps:
    """The owner taps again while the first ask is under way, and another owner asks.

    (An overlapping request on one connection: responses shifted by one.)
    """
    first, second = _two(draw, place)
    link = _link_of(draw, place, first)
    slow = of(Latency(way=Way.DOWN, latency=draw(st.sampled_from([75, 300]))))
    moment = draw(st.sampled_from([Moment(), Moment("sent", link)]))
    return [*_calm(place), SetConditions(link, slow), Meanwhile(Ask(first), (Ask(first),), moment), Ask(second)]


def picture_ages(draw: Draw, place: Place) -> Steps:
    """One owner's picture grows old, then conditions turn and another asks.

    (What is kept for a while: too fresh to be asked for again, or just old enough to be served stale.)
    """
    first, second = _two(draw, place)
    link = _link_of(draw, place, second)
    ages = LetAge(first, draw(st.sampled_from(LetAge.AGES)))
    dead = draw(st.sampled_from([BLACK_HOLE, conditions.OUTAGE, of(Latency(way=Way.DOWN, latency=1000))]))
    return [*_calm(place), Ask(first), ages, SetConditions(link, dead), Ask(second), Ask(first)]


def account_changes(draw: Draw, place: Place) -> Steps:
    """A hub changes hands under poor conditions: after a picture, or while one is on its way.

    (homebridge-camera #279 and displays that keep their last frame.)
    """
    if not place.accounts:
        return conditions_turn(draw, place)
    first, second = _two(draw, place)
    link = draw(st.sampled_from([place.way(second)[-1].name, _link_of(draw, place, second)]))
    under = SetConditions(link, draw(_poor_or_dead()))
    change = ChangeAccount(first, second)
    turn: list[Step]
    if draw(st.booleans()):
        turn = [Ask(first), under, change, Ask(first)]
    else:
        turn = [under, Meanwhile(Ask(first), (change,)), Ask(first)]
    return [*_calm(place), *turn, ChangeAccount(first, first), Ask(first)]


def node_comes_back(draw: Draw, place: Place) -> Steps:
    """A node that everybody uses is restarted, under conditions or not, and everybody asks at once.

    (Eufy, May 2021: after a restart sessions belonged to other owners.)
    """
    node = draw(st.sampled_from(place.serving))
    together = AskTogether(tuple(Ask(h) for h in draw(st.permutations(place.homes))))
    under = [SetConditions(draw(st.sampled_from(place.shared)), draw(conditions.poor()))] if draw(st.booleans()) else []
    return [together, Restart(node), *under, together]


def cache_is_evicted(draw: Draw, place: Place) -> Steps:
    """What the cache kept is gone just when it is needed: one asks, it is evicted, conditions turn, all ask."""
    first, second = _two(draw, place)
    evicting = [n.name for n in place.topology.nodes if n.evict]
    if not evicting:
        return conditions_turn(draw, place)
    link = _link_of(draw, place, second)
    evict = Evict(evicting[0])
    return [*_calm(place), Ask(first), evict, SetConditions(link, draw(conditions.poor())), Ask(second), Ask(first)]


def update_rolls_out(draw: Draw, place: Place) -> Steps:
    """The old version fills an empty cache, the update is rolled out while conditions are poor, and others ask.

    Or the old version comes back, to what the update kept. (Wyze, February 2024, and Eufy, May 2021: what an update
    makes of that which the version before it left. What the update kept itself would hide it: with a cache that was not
    emptied, `still-index` took 37 cases in the median.)
    """
    nodes = place.updated or place.serving
    node = draw(st.sampled_from(nodes))
    first, second = _two(draw, place)
    under = SetConditions(_link_of(draw, place, second), draw(_poor_or_dead()))
    together = AskTogether(tuple(Ask(h) for h in place.homes))
    emptied = [Evict(n.name) for n in place.topology.nodes if n.evict][:1]
    asks: list[Step] = [Ask(first), together]
    before = draw(st.sampled_from(asks))
    if draw(st.booleans()):
        return [*_calm(place), RollBack(node), *emptied, before, under, RollOut(node), Ask(second), Ask(first)]
    return [*_calm(place), *emptied, before, under, RollBack(node), Ask(second), RollOut(node), Ask(first)]


def summoned_by_voice(draw: Draw, place: Place) -> Steps:
    """Owners say the same at nearly the same time while answers are late, so that the assistant asks twice.

    (A request that is repeated is answered once: which one it is a repetition of is where owners can be mixed up.)
    """
    if not place.speaks:
        return everybody_at_once(draw, place)
    first, second = _two(draw, place)
    hubs = [place.way(home)[0].name for home in (first, second)]
    link = draw(st.sampled_from([*place.shared, *place.shared, *hubs]))
    late = of(Latency(way=Way.DOWN, latency=draw(st.sampled_from([75, 150, 250]))))
    rooms = place.topology.rooms
    camera = draw(st.sampled_from([DEFAULT_CAMERA, *rooms])) if rooms else DEFAULT_CAMERA
    said = AskTogether(tuple(Say(home, camera) for home in draw(st.permutations(place.homes))))
    known: list[Step] = [said] if draw(st.booleans()) else []
    again: list[Step] = [said, Meanwhile(Say(first, camera), (Say(second, camera),))]
    return [*_calm(place), *known, SetConditions(link, late), draw(st.sampled_from(again)), Say(first, camera)]


def integration_is_suspended(draw: Draw, place: Place) -> Steps:
    """Everybody watches, conditions turn, the vendor suspends the integration, and everybody asks again.

    The way to whoever decides on access is drawn most. The link may be well again before they ask; all but the cameras
    may be restored first. (January 2020: Google suspended the integration, and restored all of it but the cameras.)
    """
    if not place.suspends:
        return conditions_turn(draw, place)
    first, second = _two(draw, place)
    decides = {n.name for n in place.topology.with_role("accounts")}
    asked = [k.name for k in place.way(first) if decides & {k.client, k.server}]
    link = draw(st.sampled_from([*asked, *(k.name for k in place.way(first))]))
    feeds: list[Feed] = ["still", "stream"]
    watching = AskTogether(tuple(Ask(home, feed=draw(st.sampled_from(feeds))) for home in (first, second)))
    mended: list[Step] = [Clear(link)] if draw(st.booleans()) else []
    together = AskTogether(tuple(Ask(home) for home in place.homes))
    without: list[Step] = [Restore(cameras=False), Ask(first)] if draw(st.booleans()) else []
    under = SetConditions(link, draw(_poor_or_dead()))
    return [*_calm(place), watching, under, Suspend(), *mended, together, *without, Restore(), Ask(first)]


NETWORK: tuple[Motif, ...] = (
    conditions_turn,
    conditions_turn,  # twice: most leaks that were published need nothing else
    answer_comes_late,
    answer_comes_late,  # and most of the others are replies that nobody waits for
    answer_is_cut,
    one_is_held,
    burst_after_giving_up,
    everybody_at_once,
    everybody_reconnects,
    tapped_twice,
    picture_ages,
)
"""What owners and networks do by themselves."""

ALL: tuple[Motif, ...] = (
    *NETWORK,
    account_changes,
    node_comes_back,
    cache_is_evicted,
    update_rolls_out,
    update_rolls_out,  # what is tried is an update, and it meets what the version before it left only once
)
"""These, and what is done to accounts and nodes."""

VOICE: tuple[Motif, ...] = (summoned_by_voice,)
"""What is said to the hub's assistant."""

VENDOR: tuple[Motif, ...] = (integration_is_suspended,)
"""What the vendor does. In no other tuple, since each waits some seconds until a suspension must be in effect."""


def _two(draw: Draw, place: Place) -> tuple[str, str]:
    first, second = draw(st.permutations(place.homes))[:2]
    return first, second


def _link_of(draw: Draw, place: Place, home: str) -> str:
    """Draw a link of a home's way, its camera's own as often as all others, and more often what was changed."""
    way = [k.name for k in place.way(home)]
    return draw(st.sampled_from(place.suspected([way[-1]] * max(1, len(way) - 1) + way[:-1])))


def _poor_or_dead() -> st.SearchStrategy[Conditions]:
    """Draw conditions under which no picture comes, half of the time, and what `conditions.poor` has otherwise."""
    return st.sampled_from([conditions.OUTAGE, BLACK_HOLE]) | conditions.poor()


def _server_way(place: Place, name: str) -> Way:
    link = next(k for k in place.topology.links if k.name == name)
    return Way.DOWN if link.device_dials else Way.UP


def _calm(place: Place) -> list[Step]:
    """Clear everything: what piled up before would end most asks before they met what the motif is about."""
    return [Clear(link) for link in place.troubled]


def _fresh(draw: Draw, place: Place) -> list[Step]:
    return _calm(place) if draw(st.booleans()) else []


__all__ = ["ALL", "NETWORK", "VENDOR", "VOICE", "Draw", "Motif", "Place"]

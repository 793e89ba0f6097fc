"""The state of a link as frozen values: toxics, packet faults, named conditions, the ladders values are drawn from.

One fault is one class whose fields carry Toxiproxy's own attribute names, so that the class is what is drawn, what is
sent, what a plan file holds and what the documentation prints. Adding a toxic is adding a class here, and a
packet fault one in `chaos.packetfaults`.

Ways are told from the *device*, the node at the poor end that a link is named for (``ada.camera``, ``ada.hub``,
``relay.cache``): ``up`` leaves the device, ``down`` goes to it. Which of Toxiproxy's two streams that is depends on who
dials, and only `chaos.links` needs to know.

No randomness below Hypothesis: toxicity is always 1 and jitter always 0 (`-seed` does nothing in the server, and
toxicity is drawn anew whenever a connection's toxic chain restarts; measured on 2.12.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import msgspec

from chaos import disturbance
from chaos.disturbance import Disturbance, way_named
from chaos.errors import Misuse, nearest
from chaos.packetfaults import (
    NTH,
    PACKET_FAULTS,
    AnyPacketFault,
    Damage,
    Duplicate,
    HalfOpen,
    Hold,
    Loss,
    PacketFault,
    PortReuse,
    Rebind,
    Reorder,
    Reset,
    bursts,
    scattered,
)

if TYPE_CHECKING:
    from hypothesis import strategies as st


Way = disturbance.Way


class Toxic(Disturbance, frozen=True, kw_only=True):
    """One thing that Toxiproxy does to one direction of a link.

    Raises `Misuse` when a value is out of the range that the server survives: some values kill the whole process, and
    each bound below says so where it does.
    """

    way: Way = Way.DOWN

    ENDS_CONNECTIONS: ClassVar[bool] = False
    """Whether it ends whole connections by time, so that bytes that arrive in either way meet it."""

    def attributes(self) -> dict[str, int]:
        """What is sent to, and must be read back from, the server."""
        return {f: getattr(self, f) for f in self.__struct_fields__ if f != "way"}


class Latency(Toxic, frozen=True, tag="latency"):
    """Delay all data by `latency` milliseconds, in order. Removing it releases what it holds in one burst."""

    latency: int
    jitter: int = 0
    LADDERS: ClassVar = {"latency": (30, 75, 150, 300, 600, 1000, 2500)}

    def __post_init__(self) -> None:
        self._between("latency", 0, 60_000, "milliseconds; longer than any case lives")
        self._between("jitter", 0, 0, "randomness is Hypothesis's alone: draw a latency instead")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.latency} ms latency {self.way}"


class Bandwidth(Toxic, frozen=True, tag="bandwidth"):
    """Let `rate` KB/s through on each connection (1 KB is 1,000 bytes); 0 stalls."""

    rate: int
    LADDERS: ClassVar = {"rate": (1125, 500, 250, 200, 93, 62, 25, 2, 0)}

    def __post_init__(self) -> None:
        self._between("rate", 0, 1_000_000, "KB/s; a negative rate kills the Toxiproxy server")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.rate} KB/s {self.way}" if self.rate else f"stalled {self.way}"


class Timeout(Toxic, frozen=True, tag="timeout"):
    """Pass nothing, and close after `timeout` milliseconds without data; 0 is a black hole until it is removed."""

    timeout: int = 0
    LADDERS: ClassVar = {"timeout": (100, 300, 1000, 0)}
    ENDS_CONNECTIONS: ClassVar = True

    def __post_init__(self) -> None:
        self._between("timeout", 0, 60_000, "milliseconds; 0 is a black hole")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"cut off after {self.timeout} ms {self.way}" if self.timeout else f"black hole {self.way}"


class ResetPeer(Toxic, frozen=True, tag="reset_peer"):
    """Reset new connections after `timeout` milliseconds. Connections that existed before get a FIN instead."""

    timeout: int = 0
    LADDERS: ClassVar = {"timeout": (200, 100, 50, 0)}
    ENDS_CONNECTIONS: ClassVar = True

    def __post_init__(self) -> None:
        self._between("timeout", 0, 2_000, "milliseconds; its sleep cannot be interrupted and blocks the server's API")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"reset after {self.timeout} ms {self.way}"


class LimitData(Toxic, frozen=True, tag="limit_data"):
    """Close each connection right after `bytes` bytes: cuts a still in the middle of its JPEG."""

    bytes: int
    LADDERS: ClassVar = {"bytes": (100_000, 50_000, 25_000, 10_000, 2_000, 200)}

    def __post_init__(self) -> None:
        self._between("bytes", 1, 1_000_000_000, "bytes")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"cut after {self.bytes} bytes {self.way}"


class Slicer(Toxic, frozen=True, tag="slicer"):
    """Pass data in slices of `average_size` ± `size_variation` bytes, with `delay` microseconds between them."""

    average_size: int
    size_variation: int = 0
    delay: int = 0
    LADDERS: ClassVar = {"average_size": (4096, 1460, 536, 128), "delay": (0, 1_000, 5_000)}

    def __post_init__(self) -> None:
        self._between("average_size", 1, 1_000_000, "bytes; without it the Toxiproxy server dies")
        self._between("size_variation", 0, 0, "randomness is Hypothesis's alone; above the size it kills the server")
        self._between("delay", 0, 1_000_000, "microseconds")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"slices of {self.average_size} bytes every {self.delay} µs {self.way}"


class SlowClose(Toxic, frozen=True, tag="slow_close"):
    """Delay the end of a connection, and nothing else, by `delay` milliseconds."""

    delay: int
    LADDERS: ClassVar = {"delay": (100, 300, 1000)}

    def __post_init__(self) -> None:
        self._between("delay", 0, 60_000, "milliseconds")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"close delayed by {self.delay} ms {self.way}"


AnyToxic: TypeAlias = Latency | Bandwidth | Timeout | ResetPeer | LimitData | Slicer | SlowClose
TOXICS: dict[str, type[Toxic]] = {
    str(c.__struct_config__.tag): c for c in (Latency, Bandwidth, Timeout, ResetPeer, LimitData, Slicer, SlowClose)
}


class Fault(msgspec.Struct, frozen=True, order=True):
    """A kind of fault on a link, the unit in which a run counts what was exercised.

    For what a node itself is under (`chaos.plan.NodeFault`), `link` is the node.
    """

    link: str
    kind: str


REFUSED = "refused"
"""The kind of fault of a link that is down: its proxy is disabled."""


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state of a link: toxics and packet faults, at most one of a kind and way, or nothing gets through at all.

    ``refused`` is a disabled proxy: existing connections drop and new ones are refused. (A dead upstream is not that:
    Toxiproxy accepts before it dials.) Packet faults need a stack that has them (docs/packets.md).
    """

    name: str
    toxics: tuple[AnyToxic, ...] = ()
    refused: bool = False
    packets: tuple[AnyPacketFault, ...] = ()

    def __post_init__(self) -> None:
        for toxic in self.toxics:
            way_named(toxic.way)
        seen = [(f.kind, str(getattr(f, "way", ""))) for f in (*self.toxics, *self.packets) if f.kind != "own"]
        if len(seen) != len(set(seen)):
            raise Misuse(f"conditions {self.name!r} name a fault twice for one way: {sorted(seen)}; expected each once")
        if self.refused and (self.toxics or self.packets):
            raise Misuse(
                f"conditions {self.name!r} are refused and have toxics; a refused link carries nothing: choose one"
            )

    @property
    def calm(self) -> bool:
        """Whether these conditions leave a link alone."""
        return not self.toxics and not self.refused and not self.packets

    def faults(self, link: str) -> tuple[Fault, ...]:
        """Return the kinds of fault that these conditions put on `link`."""
        if self.refused:
            return (Fault(link, REFUSED),)
        return tuple(Fault(link, kind) for kind in dict.fromkeys(f.kind for f in (*self.toxics, *self.packets)))

    def ways_of(self, kind: str) -> tuple[Way, ...]:
        """Return the ways in which bytes meet a toxic of `kind`: its own, or both when it ends connections.

        A fault is met when bytes arrive at it in any of them: a request that a black hole swallowed has no answer, and
        a connection that was reset gave none either.
        """
        if TOXICS[kind].ENDS_CONNECTIONS:
            return (Way.DOWN, Way.UP)
        return tuple(t.way for t in self.toxics if t.kind == kind)

    def describe(self) -> str:
        """Return the name and the numbers, for a headline."""
        what = "connections refused" if self.refused else ", ".join(f.describe() for f in (*self.toxics, *self.packets))
        return f"{self.name} ({what})" if what and what != self.name else self.name

    def code(self) -> str:
        """Return the Python expression for these conditions, to paste into a scenario."""
        if NAMED.get(self.name) == self:
            return f"conditions.{self.name}"
        toxics = [
            f"conditions.toxic({t.kind!r}, way={str(t.way)!r}"
            + "".join(f", {k}={v}" for k, v in t.attributes().items() if k != "jitter")
            + ")"
            for t in self.toxics
        ]
        packets = [
            f"conditions.packet_fault({f.kind!r}" + "".join(f", {k}={v!r}" for k, v in f.arguments().items()) + ")"
            for f in self.packets
        ]
        if not self.refused and of(*self.toxics, *self.packets) == self:
            return f"conditions.of({', '.join((*toxics, *packets))})"
        inside = "".join(f"{toxic}, " for toxic in toxics).rstrip()
        more = f", packets=({''.join(f'{fault}, ' for fault in packets).rstrip()})" if packets else ""
        return f"conditions.Conditions({self.name!r}, ({inside}), refused={self.refused}{more})"

    def calmer(self) -> Iterator[Conditions]:
        """Yield simpler conditions: clear first, then one toxic less, then one value calmer."""
        if self.calm:
            return
        yield CLEAR
        faults = (*self.toxics, *self.packets)
        if len(faults) > 1:
            for i in range(len(faults)):
                yield of(*faults[:i], *faults[i + 1 :])
        for i, fault in enumerate(faults):
            for calmer in fault.calmer():
                yield of(*faults[:i], calmer, *faults[i + 1 :])

    def without_packets(self) -> Conditions:
        """Return what is left of these conditions where packets cannot be reached, under a name that says so."""
        return (
            msgspec.structs.replace(self, name=f"{self.name} without packet faults", packets=())
            if self.packets
            else self
        )

    def soonest(self) -> Conditions:
        """Return these conditions with each packet fault at the first packets that it can touch."""
        return of(*self.toxics, *(f.soonest() for f in self.packets)) if self.packets else self


def of(*faults: AnyToxic | AnyPacketFault) -> Conditions:
    """Return conditions made of toxics and packet faults, named by what they do."""
    toxics = tuple(f for f in faults if isinstance(f, Toxic))
    packets = tuple(f for f in faults if isinstance(f, PacketFault))
    return Conditions(", ".join(f.describe() for f in (*toxics, *packets)) or "CLEAR", toxics, packets=packets)


def _profile(
    name: str,
    down_kbit: int | None,
    up_kbit: int | None,
    delay_down_ms: int,
    delay_up_ms: int,
    packets: tuple[AnyPacketFault, ...] = (),
) -> Conditions:
    """Build conditions from a published profile: kbit/s and milliseconds as seen by the device.

    KB/s is kbit/s ÷ 8 rounded down, at least 1.
    """
    toxics: list[AnyToxic] = []
    for way, kbit, delay in ((Way.DOWN, down_kbit, delay_down_ms), (Way.UP, up_kbit, delay_up_ms)):
        if delay:
            toxics.append(Latency(way=way, latency=delay))
        if kbit is not None:
            toxics.append(Bandwidth(way=way, rate=max(1, kbit // 8)))
    return Conditions(name, tuple(toxics), packets=packets)


def _both_ways(
    kind: type[Loss | Duplicate | Reorder | Damage], percent: float, **more: bool
) -> tuple[AnyPacketFault, ...]:
    """Return that share of packets each way, at places that are always the same and differ between ways and kinds."""
    places = (scattered(percent, seed=2 * list(PACKET_FAULTS.values()).index(kind) + i) for i in range(2))
    return tuple(kind(way=way, at=at, of=of, **more) for way, (at, of) in zip(Way, places, strict=True))


def _bursts_both_ways(percent: float, mean: float) -> tuple[AnyPacketFault, ...]:
    places = (bursts(percent, mean, seed=i, of=200) for i in (0, 10_000))
    return tuple(Loss(way=way, at=at, of=of) for way, (at, of) in zip(Way, places, strict=True))


def _unstable(lost: float, broken: float, twice: float, overtaken: float) -> tuple[AnyPacketFault, ...]:
    return (
        *_both_ways(Loss, lost),
        *_both_ways(Damage, broken, mended=False),
        *_both_ways(Duplicate, twice),
        *_both_ways(Reorder, overtaken),
    )


CLEAR = Conditions("CLEAR")
OUTAGE = Conditions("OUTAGE", refused=True)
BLACK_HOLE = Conditions("BLACK_HOLE", (Timeout(way=Way.UP), Timeout(way=Way.DOWN)))
# Facebook's Augmented Traffic Control, utils/profiles
TWO_G_RURAL = _profile("TWO_G_RURAL", 20, 18, 650, 650, _both_ways(Loss, 2))
EDGE = _profile("EDGE", 240, 200, 400, 440)
EDGE_LOSSY = _profile("EDGE_LOSSY", 240, 200, 400, 440, _both_ways(Loss, 1))
# comcast's README; one rate, one delay and one loss, taken for both ways
GPRS = _profile("GPRS", 50, 50, 500, 500, _both_ways(Loss, 2))
DSL_POOR = _profile("DSL_POOR", 2000, 2000, 70, 70, _both_ways(Loss, 2))
WIFI_GOOD = _profile("WIFI_GOOD", 30_000, 30_000, 40, 40, _both_ways(Loss, 0.2))
LEO_SATELLITE = _profile("LEO_SATELLITE", None, None, 20, 20, _both_ways(Loss, 2.5))
# Chrome DevTools, NetworkManager.ts; half the round trip each way
SLOW_3G = _profile("SLOW_3G", 500, 500, 200, 200)
SLOW_4G = _profile("SLOW_4G", 1600, 750, 75, 75)
FAST_4G = _profile("FAST_4G", 9000, 1500, 30, 30)
# Lighthouse
REGULAR_3G = _profile("REGULAR_3G", 700, 700, 150, 150)
# Loadero
SATELLITE = _profile("SATELLITE", 1000, 256, 300, 300)
# Perfecto
WIFI_UNSTABLE = _profile("WIFI_UNSTABLE", None, None, 0, 0, _unstable(3, 3, 2, 10))
WIFI_VERY_UNSTABLE = _profile("WIFI_VERY_UNSTABLE", None, None, 0, 0, _unstable(5, 5, 5, 20))
# Jepsen, Blockade: what they do to each node's sending; their jitter is left out
LOSSY = _profile("LOSSY", None, None, 50, 50, _bursts_both_ways(20, mean=4))  # a correlation of 75 %
FLAKY = _profile("FLAKY", None, None, 75, 75, _both_ways(Loss, 30))

NAMED: dict[str, Conditions] = {
    c.name: c
    for c in (
        CLEAR, WIFI_GOOD, FAST_4G, LEO_SATELLITE, SLOW_4G, DSL_POOR, REGULAR_3G, WIFI_UNSTABLE, SLOW_3G, SATELLITE,
        WIFI_VERY_UNSTABLE, LOSSY, FLAKY, GPRS, EDGE, EDGE_LOSSY, TWO_G_RURAL, BLACK_HOLE, OUTAGE,
    )
}  # fmt: skip
"""Every named condition, from calm to dead."""


def named(name: str) -> Conditions:
    """Return the named condition, or raise `Misuse` with the nearest right name."""
    try:
        return NAMED[name]
    except KeyError:
        raise Misuse(f"there are no conditions {name!r}{nearest(name, list(NAMED))}") from None


def toxic(kind: str, *, way: Way = Way.DOWN, **attributes: int) -> AnyToxic:
    """Return the toxic that Toxiproxy calls `kind`; `Misuse` names the nearest right kind or attribute.

    The server answers 200 to a misspelt attribute and ignores it, so it is refused here.
    """
    if kind not in TOXICS:
        raise Misuse(f"there is no toxic {kind!r}{nearest(kind, list(TOXICS))}")
    known = [f for f in TOXICS[kind].__struct_fields__ if f != "way"]
    for attribute in attributes:
        if attribute not in known:
            raise Misuse(f"{kind} has no attribute {attribute!r}{nearest(attribute, known)}")
    try:
        return TOXICS[kind](way=way_named(way), **attributes)  # type: ignore[return-value]
    except TypeError as missing:
        raise Misuse(f"{kind}: {missing}; its attributes are {', '.join(known)}") from None


def packet_fault(kind: str, **arguments: object) -> AnyPacketFault:
    """Return the packet fault of that kind; `Misuse` names the nearest right kind or attribute."""
    if kind not in PACKET_FAULTS:
        raise Misuse(f"there is no packet fault {kind!r}{nearest(kind, list(PACKET_FAULTS))}")
    known = list(PACKET_FAULTS[kind].__struct_fields__)
    for name in arguments:
        if name not in known:
            raise Misuse(f"{kind} has no attribute {name!r}{nearest(name, known)}")
    try:
        return msgspec.convert({"kind": kind, **arguments}, AnyPacketFault)  # type: ignore[no-any-return]
    except msgspec.ValidationError as wrong:
        raise Misuse(f"{kind}: {wrong}; its attributes are {', '.join(known)}") from None


_DRAWN = (SLOW_4G, REGULAR_3G, SLOW_3G, SATELLITE, GPRS, EDGE, TWO_G_RURAL)
_DRAWN_WITH_PACKETS = (*_DRAWN, EDGE_LOSSY, WIFI_UNSTABLE, WIFI_VERY_UNSTABLE, LOSSY, FLAKY)


def poor(*, packets: bool | None = None) -> st.SearchStrategy[Conditions]:
    """Draw conditions that hurt: published profiles, single rungs of each ladder, cuts, black holes, outages.

    With `packets` packet faults are among them, and profiles are as published; without, profiles are drawn without
    theirs. None is as the run's own stack can, and False where no scenario runs.

    Values come from ladders that are coarse and mostly far from the system's time-outs: at the very threshold a case is
    a coin toss that no shrinker can hold on to (shared study: 116 cases to a conjunctive leak from ladders, 55,213
    from uniform values).
    """
    from hypothesis import strategies as st  # noqa: PLC0415 - judging a stored run needs no Hypothesis

    def rung(kind: type[Toxic], attribute: str, way: Way) -> st.SearchStrategy[Conditions]:
        values = st.sampled_from(kind.LADDERS[attribute])
        return values.map(lambda v: of(kind(way=way, **{attribute: v})))  # type: ignore[arg-type]

    if packets is None:
        return st.runner(default=None).flatmap(lambda scenario: poor(packets=getattr(scenario, "packets_can", False)))
    ways = (Way.UP, Way.DOWN)
    return st.one_of(
        st.sampled_from(_DRAWN_WITH_PACKETS if packets else [c.without_packets() for c in _DRAWN]),
        st.sampled_from([BLACK_HOLE, OUTAGE]),
        *(rung(Latency, "latency", way) for way in ways),
        *(rung(Bandwidth, "rate", way) for way in ways),
        *(rung(Timeout, "timeout", way) for way in ways),
        *(rung(LimitData, "bytes", way) for way in ways),
        rung(ResetPeer, "timeout", Way.DOWN),
        rung(Slicer, "average_size", Way.UP),
        *([packet_faults().map(of)] * 2 if packets else []),
    )


def packet_faults(*, datagrams: bool = False) -> st.SearchStrategy[AnyPacketFault]:
    """Draw one packet fault: a share of packets or a single one, lost, twice, late, damaged; a connection broken.

    With `datagrams` it is one that a link over UDP can have. Only a stack that has packet faults can do what is drawn.
    """
    from hypothesis import strategies as st  # noqa: PLC0415 - judging a stored run needs no Hypothesis

    ways = st.sampled_from([Way.UP, Way.DOWN])
    seeds = st.integers(0, 9_999)
    shares = st.sampled_from([1, 2, 5, 10, 20, 30])
    single = st.tuples(st.sampled_from(NTH).map(lambda n: (n,)), st.just(0), st.booleans())
    share = st.builds(lambda percent, seed: (*scattered(percent, seed), False), shares, seeds)
    run = st.builds(
        lambda percent, seed: (*bursts(percent, 4, seed, of=200), False), st.sampled_from([5, 10, 20]), seeds
    )

    def placed(
        kind: type[Loss | Duplicate | Reorder | Hold | Damage],
        places: st.SearchStrategy[tuple[tuple[int, ...], int, bool]],
        **more: st.SearchStrategy[int],
    ) -> st.SearchStrategy[AnyPacketFault]:
        values = st.fixed_dictionaries(more)
        return st.builds(lambda w, p, m: kind(way=w, at=p[0], of=p[1], each=p[2], **m), ways, places, values)

    def rungs(kind: type[Disturbance], attribute: str) -> st.SearchStrategy[int]:
        return st.sampled_from(kind.LADDERS[attribute])

    connections: tuple[st.SearchStrategy[AnyPacketFault], ...] = (
        st.builds(Reset, way=ways, nth=rungs(Reset, "nth")),
        st.builds(HalfOpen, way=ways, nth=rungs(HalfOpen, "nth")),
        st.builds(PortReuse),
    )
    return st.one_of(
        placed(Loss, single),
        placed(Loss, share),
        placed(Loss, run),
        placed(Duplicate, st.one_of(single, share)),
        placed(Reorder, st.one_of(single, share), by=rungs(Reorder, "by")),
        placed(Hold, st.one_of(single, share), ms=rungs(Hold, "ms")),
        placed(Damage, st.one_of(single, share), byte=st.sampled_from([0, 100, 700]), xor=rungs(Damage, "xor")),
        st.builds(Rebind, nth=rungs(Rebind, "nth"), address=st.booleans()),
        *(() if datagrams else connections),
    )

"""What can happen to single packets of a link, as frozen values: what Toxiproxy, which speaks streams, cannot express.

One fault is one class, as for toxics. Which packets it touches are *places*: the first packet that crosses the link
that way after the fault was set is packet 1. `at` lists them; with `of` they come again in every so many, so that 3 of
100 lost is ``Loss(at=(3, 47, 90), of=100)``; with `each` every connection counts for itself. Chance is expanded when a
value is drawn, by `scattered` and `bursts`, and never below: a plan holds the very places, and so does its replay.

Where on a link it happens, which has two halves with Toxiproxy between them: loss and its like between the device and
Toxiproxy; what ends connections in the half of the node that it is done to; what changes addresses in the server's, who
sees them. Packets of the link alone count, not those of other links on the same network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar, Self, TypeAlias

import msgspec

from chaos.disturbance import Disturbance, Way, calmer_rungs, way_named
from chaos.errors import Misuse

PLACES = 10_000
"""The last place that there is, and the longest round."""
NTH = (60, 20, 5, 2, 1)
"""Single places that are drawn: in the middle of a picture, at its beginning, in the first exchange."""


class PacketFault(Disturbance, frozen=True):
    """One thing that is done to packets of a link."""

    NEW_CONNECTIONS: ClassVar[bool] = False
    """Whether only new connections meet it, so that those that are there are dropped when it is set."""
    STREAMS_ALONE: ClassVar[bool] = False
    """Whether it touches no datagrams."""
    DATAGRAMS_ALONE: ClassVar[bool] = False
    """Whether it is of links over UDP alone."""

    def soonest(self) -> Self:
        """Return this fault with its first place at the first packet that it can touch, to show that it can at all."""
        return self

    def arguments(self) -> dict[str, object]:
        """Return the fields that are not as they are by themselves, as a program names them."""
        defaults = {f.name: f.default for f in msgspec.structs.fields(self)}
        values = {f: getattr(self, f) for f in self.__struct_fields__}
        return {f: str(v) if isinstance(v, Way) else v for f, v in values.items() if v != defaults[f]}


class _OneWay(PacketFault, frozen=True, kw_only=True):
    way: Way = Way.DOWN

    def __post_init__(self) -> None:
        way_named(self.way)


class _Placed(_OneWay, frozen=True, kw_only=True):
    at: tuple[int, ...]
    of: int = 0
    each: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._between("of", 0, PLACES, "packets of a round; 0: no round, each place once")
        last = self.of or PLACES
        if not self.at or list(self.at) != sorted(set(self.at)) or not 1 <= self.at[0] <= self.at[-1] <= last:
            raise Misuse(f"{self.kind}.at is {self.at!r}; expected rising whole numbers from 1 to {last}")

    def calmer(self) -> Iterator[Self]:
        """Yield one place without a round, then half of the places, then a later single place, then calmer values."""
        if self.of or len(self.at) > 1:
            yield msgspec.structs.replace(self, at=self.at[:1], of=0)
        if len(self.at) > 2:
            yield msgspec.structs.replace(self, at=self.at[: len(self.at) // 2])
        if len(self.at) == 1 and not self.of:
            for rung in calmer_rungs(NTH, self.at[0]):
                yield msgspec.structs.replace(self, at=(rung,))
        yield from super().calmer()

    def soonest(self) -> Self:
        """Return this fault with all places moved so that the first packet is one."""
        return msgspec.structs.replace(self, at=tuple(p - self.at[0] + 1 for p in self.at))

    def share(self) -> str:
        """Return how many packets it touches, in words: ``packet 5``, ``2 % of packets``, ``20 % in runs up to 7``."""
        each = " of each connection" if self.each else ""
        if not self.of:
            few = ", ".join(map(str, self.at[:3])) + (f" and {len(self.at) - 3} more" if len(self.at) > 3 else "")
            return f"packet{'s' if len(self.at) > 1 else ''} {few}{each}"
        longest = max(run for run in _runs(self.at))
        runs = f" in runs of up to {longest}" if longest > 1 else ""
        return f"{100 * len(self.at) / self.of:g} % of packets{runs}{each}"


class Loss(_Placed, frozen=True, kw_only=True, tag="loss"):
    """These packets never arrive."""

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.share()} lost {self.way}"


class Duplicate(_Placed, frozen=True, kw_only=True, tag="duplicate"):
    """These packets arrive twice."""

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.share()} twice {self.way}"


class Reorder(_Placed, frozen=True, kw_only=True, tag="reorder"):
    """These packets arrive after the next `by`, or 100 ms late when so many don't come."""

    by: int = 1
    LADDERS: ClassVar = {"by": (1, 3, 10)}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._between("by", 1, 100, "packets that overtake it")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.share()} overtaken by {self.by} {self.way}"


class Hold(_Placed, frozen=True, kw_only=True, tag="hold"):
    """These packets alone come `ms` milliseconds late; others overtake them."""

    ms: int
    LADDERS: ClassVar = {"ms": (30, 75, 150, 300, 600, 1000)}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._between("ms", 1, 60_000, "milliseconds; longer than any case lives")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.share()} {self.ms} ms late {self.way}"


class Damage(_Placed, frozen=True, kw_only=True, tag="damage"):
    """In these packets one byte of what they carry is another; packets that carry nothing are not counted.

    It is byte `byte`, counted from 0 and from the beginning again where the packet is shorter, and `xor` says how it
    changes. With the checksum made right (`mended`) it reaches the application, as from a broken middlebox or memory;
    without, as from a cable or as netem's ``corrupt`` makes it, the receiver's kernel drops the packet.
    """

    byte: int = 0
    xor: int = 0xFF
    mended: bool = True
    LADDERS: ClassVar = {"xor": (0x01, 0x80, 0xFF)}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._between("byte", 0, 65_535, "a place in what the packet carries")
        self._between("xor", 1, 255, "what the byte is changed by")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.share()} {'damaged' if self.mended else 'broken'} {self.way}"


class Stale(_Placed, frozen=True, kw_only=True, tag="stale"):
    """In the place of these answers of a name server comes what the same question was answered before.

    Counted are answers that say something else than that alone. What it was before is the last answer of the case until
    the fault was set, or the first one since.
    """

    DATAGRAMS_ALONE: ClassVar = True

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.share()} of names answered as before {self.way}"


class Reset(_OneWay, frozen=True, kw_only=True, tag="reset"):
    """The `nth` packet of each connection that carries something is a RST in its place, with its sequence number.

    It reaches the node that the packet was for; the other end is told by its next packet, as in life. Connections that
    are there already count from now.
    """

    nth: int = 1
    LADDERS: ClassVar = {"nth": NTH}
    STREAMS_ALONE: ClassVar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._between("nth", 1, PLACES, "packets with something in them")

    def soonest(self) -> Self:
        """Return this fault at the first packet."""
        return msgspec.structs.replace(self, nth=1)

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"a reset in place of packet {self.nth} {self.way}"


class HalfOpen(_OneWay, frozen=True, kw_only=True, tag="half_open"):
    """As `Reset`, but the other end is never told: for it the connection stands, and nothing comes of it any more."""

    nth: int = 1
    LADDERS: ClassVar = {"nth": NTH}
    STREAMS_ALONE: ClassVar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._between("nth", 1, PLACES, "packets with something in them")

    def soonest(self) -> Self:
        """Return this fault at the first packet."""
        return msgspec.structs.replace(self, nth=1)

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"half open from packet {self.nth} {self.way}"


class Rebind(PacketFault, frozen=True, kw_only=True, tag="rebind"):
    """From the `nth` packet with something in it on, a connection's client has another port, and address if `address`.

    So does a router that forgot what it had translated. The server sees a connection that it does not know; over TCP
    its kernel says so with a RST, and what it had open stays half open.
    """

    nth: int = 1
    address: bool = False
    LADDERS: ClassVar = {"nth": NTH}

    def __post_init__(self) -> None:
        self._between("nth", 1, PLACES, "packets with something in them")

    def soonest(self) -> Self:
        """Return this fault at the first packet."""
        return msgspec.structs.replace(self, nth=1)

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"another {'address' if self.address else 'port'} from packet {self.nth}"


class PortReuse(PacketFault, frozen=True, kw_only=True, tag="port_reuse"):
    """A new connection comes from the address and port of one that the link had before; those that there are drop.

    So does a router that gives a port to the next one. Who goes by address and port takes the next owner, who signs in
    on that hub, for the one before.
    """

    NEW_CONNECTIONS: ClassVar = True
    STREAMS_ALONE: ClassVar = True

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return "new connections from the port of an old one"


class Own(_OneWay, frozen=True, kw_only=True, tag="own"):
    """A function of yours decides on each packet: `function` is ``package.module:name`` (docs/packets.md)."""

    function: str

    def __post_init__(self) -> None:
        super().__post_init__()
        module, colon, name = self.function.partition(":")
        if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise Misuse(f"own.function is {self.function!r}; expected 'package.module:function'")

    def describe(self) -> str:
        """Return one phrase for a headline."""
        return f"{self.function} {self.way}"


AnyPacketFault: TypeAlias = (
    Loss | Duplicate | Reorder | Hold | Damage | Reset | HalfOpen | Rebind | PortReuse | Own | Stale
)
PACKET_FAULTS: dict[str, type[PacketFault]] = {
    str(c.__struct_config__.tag): c
    for c in (Loss, Duplicate, Reorder, Hold, Damage, Reset, HalfOpen, Rebind, PortReuse, Own, Stale)
}


def scattered(percent: float, seed: int, of: int = 0) -> tuple[tuple[int, ...], int]:
    """Return (at, of) for exactly `percent` of all packets, each place as likely as another.

    The round is the shortest of 100, 1,000 and 10,000 in which `percent` is whole, unless `of` is given. Rounds begin
    where the third packet is one, so that a short exchange meets it: the share is exact, the beginning is ours.
    """
    of, count = _round(percent, of)
    ranked = sorted(range(of), key=lambda place: _chance(seed, place))
    return _from_third(sorted(ranked[:count]), of), of


def bursts(percent: float, mean: float, seed: int, of: int = 0) -> tuple[tuple[int, ...], int]:
    """Return (at, of) for exactly `percent` of all packets in runs of `mean` packets on average.

    That is the model of Gilbert and Elliott with nothing lost in its good state and everything in its bad one; the
    first seed from `seed` on is taken whose round has that share. Its beginning is as that of `scattered`.
    """
    of, count = _round(percent, of)
    if not 1 <= mean <= count:
        raise Misuse(f"runs of {mean:g} packets on average are not to be had of {count} in {of}; expected 1 to {count}")
    leave = 1 / mean
    enter = leave * percent / (100 - percent)
    for tried in range(seed, seed + 10_000):
        bad, places = False, []
        for place in range(of):
            bad = _chance(tried, place) < (1 - leave if bad else enter)
            if bad:
                places.append(place)
        if len(places) == count:
            return _from_third(places, of), of
    raise Misuse(
        f"no round of {of} packets was found with {percent:g} % in runs of {mean:g}; give a longer one as `of`"
    )


def _round(percent: float, of: int) -> tuple[int, int]:
    for candidate in (of,) if of else (100, 1_000, 10_000):
        count = percent * candidate / 100
        if 0 < percent < 100 and candidate <= PLACES and abs(count - round(count)) < 1e-9 and count >= 1:
            return candidate, round(count)
    raise Misuse(
        f"{percent:g} % cannot be had in a round of {of or PLACES} packets; expected a share with whole packets"
    )


def _from_third(places: list[int], of: int) -> tuple[int, ...]:
    """Turn a round so that its longest gap lies before its first place, which is the third packet."""
    gaps = {place: (place - places[i - 1]) % of or of for i, place in enumerate(places)}
    first = max(places, key=lambda place: gaps[place])
    return tuple(sorted((place - first + 2) % of + 1 for place in places))


def _chance(seed: int, place: int) -> float:
    """Return a number from 0 to 1 that is the same for ever: no generator's next version may change what is drawn."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{place}".encode(), digest_size=7).digest(), "big") / 2**56


def _runs(at: tuple[int, ...]) -> Iterator[int]:
    length = 1
    for before, place in zip(at, (*at[1:], 0), strict=True):
        if place == before + 1:
            length += 1
        else:
            yield length
            length = 1

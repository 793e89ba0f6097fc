"""What becomes of each packet of the links that are under packet faults: from bytes and a time alone, without a socket.

Seen from the network namespace that Toxiproxy is in, each link is two halves, the client's and the server's, and each
half has an address of the namespace's own. A packet is first given back the address that it really belongs to, then
goes through the faults of its link in their order, and last gets the address that the far end is to see.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from chaos.disturbance import Way
from chaos.packetfaults import (
    AnyPacketFault,
    Damage,
    Duplicate,
    HalfOpen,
    Hold,
    Loss,
    Own,
    PacketFault,
    PortReuse,
    Rebind,
    Reorder,
    Reset,
    Stale,
)
from chaos.segments import ACK, RST, SYN, TCP, UDP, Segment, damaged, readdressed, reset, segment, told

Half: TypeAlias = Literal["client", "server"]
End: TypeAlias = tuple[bytes, int]
Lane: TypeAlias = tuple[str, Way, Half]
OVERTAKEN_WITHIN = 0.1
"""Seconds after which a packet that is to be overtaken goes on, when nothing came that could overtake it."""
_TRANSLATED = 30_000
"""Taken from a port to have another one: kernels give their own connections ports from 32,768 on."""


class Halves(msgspec.Struct, frozen=True):
    """Where a link crosses the namespace: for each half an address of its own and a port.

    The port is Toxiproxy's own in the client's half, and in the server's the one that it dials. `spare` is an address
    of the server's network that nobody has. `datagrams` says that it is a link over UDP.
    """

    device_dials: bool
    client: str
    listens: int
    server: str
    dials: int
    spare: str
    datagrams: bool = False


class Crossings:
    """Which link a packet crosses, and in which half: by the end that is the namespace's own, and the far one.

    With `spares` also by the address in a server's network that nobody has, which some faults send from.
    """

    def __init__(self, links: Mapping[str, Halves], *, spares: bool = False) -> None:
        self._clients: dict[tuple[bool, bytes, int], str] = {}
        self._servers: dict[tuple[bool, bytes, int], str] = {}
        for name, here in links.items():
            self._clients[here.datagrams, socket.inet_aton(here.client), here.listens] = name
            for ours in (here.server, here.spare)[: 1 + spares]:
                self._servers[here.datagrams, socket.inet_aton(ours), here.dials] = name

    def at(self, ours: End, theirs: End, *, datagrams: bool) -> tuple[str, Half] | None:
        """Return the link and its half, of those over UDP or of the others; None for a packet of neither."""
        if (link := self._clients.get((datagrams, *ours))) is not None:
            return link, "client"
        link = self._servers.get((datagrams, ours[0], theirs[1]))
        return None if link is None else (link, "server")


class Touch(msgspec.Struct, frozen=True):
    """A packet that a fault touched: when (seconds, monotonic), on which connection, and which packet it was."""

    link: str
    kind: str
    way: Way
    at: float
    connection: str
    place: int


class Fate(msgspec.Struct):
    """What becomes of one packet: until when it is held, how many of its `lane` overtake it first."""

    packet: bytes
    dropped: bool = False
    copies: list[bytes] = []
    until: float | None = None
    behind: int | None = None
    announced: tuple[bytes, End] | None = None
    """An address of nobody's that the packet comes from, and who must learn that it is here."""
    lane: Lane | None = None
    """The link, the way and the half that it is in."""


Function: TypeAlias = Callable[[bytes, int], Sequence[bytes]]
"""What `Own` runs: a packet and its number to what goes on instead of it: nothing, itself, another one, several."""


class Answers(Protocol):
    """What is known of name servers' packets; `chaos.packets` knows it."""

    def question(self, packet: bytes) -> object:
        """Return what an answer is the answer to; None for what is none."""

    def instead(self, packet: bytes, before: bytes) -> bytes:
        """Return an answer with what another one said."""


class Crossing(NamedTuple):
    """A packet on its link."""

    link: str
    half: Half
    way: Way
    from_client: bool
    connection: tuple[End, End]
    """This namespace's end, then the other one."""
    segment: Segment
    now: float


class Fates:
    """The faults of all links; one thread."""

    def __init__(
        self,
        links: Mapping[str, Halves],
        before: Callable[[str], Sequence[End]] = lambda _: (),
        answers: Answers | None = None,
    ) -> None:
        self._links = links
        self._crossings = Crossings(links)
        self._spares = {socket.inet_aton(h.spare): name for name, h in links.items()}
        self._faults: dict[str, list[_Handler]] = {}
        self._translations = _Translations()
        self._before = before
        self._answers = answers
        self._said: dict[str, dict[object, bytes]] = {}
        self.touches: list[Touch] = []

    def set(self, link: str, faults: Sequence[AnyPacketFault], functions: Mapping[str, Function] | None = None) -> None:
        """Put a link under these faults, in place of those that it was under; places are counted anew."""
        self._translations.forget(link)
        self._faults.pop(link, None)
        if faults:
            self._faults[link] = [self._handler(link, fault, functions or {}) for fault in faults]

    def under(self, link: str) -> bool:
        """Whether a link is under any fault."""
        return link in self._faults

    def watched(self) -> frozenset[str]:
        """Return the namespace's addresses whose packets must be seen for the faults that are set."""
        every = [(self._links[link], handler) for link, handlers in self._faults.items() for handler in handlers]
        own = (halves.client if half == "client" else halves.server for halves, h in every for half in h.halves)
        return frozenset(own).union(*(handler.also for _, handler in every))

    def see(self, raw: bytes, *, arriving: bool, now: float) -> Fate:
        """Return what becomes of a packet that came to this namespace, or is about to leave it."""
        found = segment(raw)
        if found is None:
            return Fate(raw)
        if arriving and (real := self._translations.real(found)) is not None:
            found = segment(readdressed(found, destination=real)) or found
        ours, theirs = (found.destination, found.source) if arriving else (found.source, found.destination)
        where = self._where(ours, theirs, datagram=found.protocol == UDP)
        fate = Fate(found.raw)
        if where is None:
            return fate
        link, half = where
        from_client = arriving is (half == "client")
        if arriving and not from_client and self._links[link].datagrams:
            self._remember(link, found)
        if link not in self._faults:
            return fate
        way = Way.UP if from_client is self._links[link].device_dials else Way.DOWN
        fate.lane = link, way, half
        crossing = Crossing(link, half, way, from_client, (ours, theirs), found, now)
        for handler in self._faults[link]:
            place = handler.see(crossing, fate) if half in handler.halves and not fate.dropped else None
            if place is not None:
                kind = handler.fault.kind
                self.touches.append(Touch(link, kind, way, now, _told(crossing), place))
        if not arriving and not fate.dropped and (seen := self._translations.seen(found)) is not None:
            changed = segment(fate.packet)
            assert changed is not None, "a fault leaves a packet that is one"
            fate.packet = readdressed(changed, source=seen)
        return fate

    def forget(self) -> None:
        """Forget what was touched, and what name servers said: a case is over."""
        self.touches.clear()
        self._said.clear()

    def _remember(self, link: str, found: Segment) -> None:
        """Keep what a name server said: the last of it, and under a fault that needs it the first."""
        question = self._question(found)
        if question is not None:
            kept = self._said.setdefault(link, {})
            if question not in kept or not any(isinstance(h, _Aged) for h in self._faults.get(link, ())):
                kept[question] = found.raw

    def _question(self, found: Segment) -> object:
        head = found.data[:8]
        # an answer to one question, with at least one record: what is no DNS hardly ever looks so
        if self._answers is None or len(head) < 8 or not head[2] & 0x80 or head[4:6] != b"\0\1" or head[6:8] == b"\0\0":
            return None
        return self._answers.question(found.raw)

    def _handler(self, link: str, fault: AnyPacketFault, functions: Mapping[str, Function]) -> _Handler:
        halves = self._links[link]
        match fault:
            case Reset() | HalfOpen():
                return _Broken(fault, halves)
            case Rebind():
                return _Rebound(fault, halves, self._translations)
            case PortReuse():
                return _Reused(fault, self._translations, self._before)
            case Stale():
                return _Aged(fault, halves, self._stale)
            case Own():
                return _Owned(fault, halves, functions[fault.function])
            case _:
                return _Placed(fault, halves)

    def _stale(self, link: str, packet: bytes) -> bytes | None:
        """Return an answer with what was said before; None for what is none, or when nothing other was."""
        found = segment(packet)
        question = self._question(found) if found is not None else None
        before = self._said.get(link, {}).get(question)
        said = segment(before) if before is not None else None
        if self._answers is None or found is None or before is None or said is None:
            return None
        if said.data[2:] == found.data[2:]:  # but for its number
            return None
        return self._answers.instead(packet, before)

    def _where(self, ours: End, theirs: End, *, datagram: bool) -> tuple[str, Half] | None:
        over_udp = self._crossings.at(ours, theirs, datagrams=True) if datagram else None
        return over_udp or self._crossings.at(ours, theirs, datagrams=False)


class Held:
    """Packets that are held: which of them may go on, and when the next one may."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Fate]] = []

    def add(self, number: int, fate: Fate) -> None:
        """Hold the packet of that number."""
        self._held.append((number, fate))

    def passed(self, lane: Lane) -> list[tuple[int, Fate]]:
        """Return what has been overtaken enough now that a packet of that lane has passed."""
        for _, fate in self._held:
            if fate.lane == lane and fate.behind is not None:
                fate.behind -= 1
        return self._let(lambda fate: fate.behind is not None and fate.behind <= 0)

    def due(self, now: float) -> list[tuple[int, Fate]]:
        """Return what may go on at that time."""
        return self._let(lambda fate: fate.until is not None and fate.until <= now)

    def of(self, link: str) -> list[tuple[int, Fate]]:
        """Return what is held of a link."""
        return self._let(lambda fate: fate.lane is not None and fate.lane[0] == link)

    def all(self) -> list[tuple[int, Fate]]:
        """Return everything; nothing is held any more."""
        return self._let(lambda _: True)

    def next(self) -> float | None:
        """Return when the next one may go on."""
        return min((f.until for _, f in self._held if f.until is not None), default=None)

    def _let(self, may: Callable[[Fate], bool]) -> list[tuple[int, Fate]]:
        gone = [held for held in self._held if may(held[1])]
        self._held = [held for held in self._held if held not in gone]
        return gone


def _told(crossing: Crossing) -> str:
    """Return a packet's connection as its client sees it."""
    ours, theirs = crossing.connection
    client, server = (theirs, ours) if crossing.half == "client" else (ours, theirs)
    return f"{told(client)} to {told(server)}"


class _Translations:
    """Which ends of ours the far end sees under another address or port."""

    def __init__(self) -> None:
        self._seen: dict[tuple[End, End], End] = {}
        self._real: dict[tuple[End, End], End] = {}
        self._of: dict[str, set[tuple[End, End]]] = {}

    def add(self, link: str, ours: End, theirs: End, seen: End) -> bool:
        """From here on `theirs` sees `seen` instead of `ours`; False when it sees somebody else there already."""
        if (seen, theirs) in self._real:
            return False
        self._seen[ours, theirs] = seen
        self._real[seen, theirs] = ours
        self._of.setdefault(link, set()).add((ours, theirs))
        return True

    def seen(self, leaving: Segment) -> End | None:
        return self._seen.get((leaving.source, leaving.destination))

    def real(self, arriving: Segment) -> End | None:
        return self._real.get((arriving.destination, arriving.source))

    def forget(self, link: str) -> None:
        """Let every end be seen as it is."""
        for ours, theirs in self._of.pop(link, ()):
            seen = self._seen.pop((ours, theirs))
            self._real.pop((seen, theirs))


class _Handler:
    """A fault in force on one link."""

    halves: frozenset[Half]
    also: frozenset[str] = frozenset()
    """Addresses that must be watched beside those of the link's own halves."""

    def __init__(self, fault: PacketFault) -> None:
        self.fault = fault

    def see(self, crossing: Crossing, fate: Fate) -> int | None:
        """Change a packet's fate; returns which packet it was when the fault touched it."""
        raise NotImplementedError


class _Counter:
    """Counts packets, for each connection where a fault says so."""

    def __init__(self, *, each: bool) -> None:
        self._each = each
        self._counts: dict[object, int] = {}

    def next(self, crossing: Crossing) -> int:
        key = crossing.connection if self._each else None
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key]


class _Placed(_Handler):
    """Loss and its like: in the device's half, at places."""

    def __init__(self, fault: Loss | Duplicate | Reorder | Hold | Damage, halves: Halves) -> None:
        super().__init__(fault)
        self.halves = frozenset(["client" if halves.device_dials else "server"])
        self._placed = fault
        self._at = frozenset(fault.at)
        self._counter = _Counter(each=fault.each)

    def see(self, crossing: Crossing, fate: Fate) -> int | None:
        fault = self._placed
        if crossing.way != fault.way or (isinstance(fault, Damage) and not crossing.segment.size):
            return None
        place = self._counter.next(crossing)
        if (place if not fault.of else (place - 1) % fault.of + 1) not in self._at:
            return None
        match fault:
            case Loss():
                fate.dropped = True
            case Duplicate():
                fate.copies.append(fate.packet)
            case Reorder():
                fate.until, fate.behind = crossing.now + OVERTAKEN_WITHIN, fault.by
            case Hold():
                fate.until = crossing.now + fault.ms / 1000
            case Damage():
                changed = segment(fate.packet)
                assert changed is not None, "it was one before"
                fate.packet = damaged(changed, fault.byte, fault.xor, mend=fault.mended)
        return place


class _Aged(_Handler):
    """A name server's answers as they were before, in the device's half."""

    def __init__(self, fault: Stale, halves: Halves, before: Callable[[str, bytes], bytes | None]) -> None:
        super().__init__(fault)
        self.halves = frozenset(["client" if halves.device_dials else "server"])
        self._stale = fault
        self._at = frozenset(fault.at)
        self._counter = _Counter(each=fault.each)
        self._before = before

    def see(self, crossing: Crossing, fate: Fate) -> int | None:
        fault = self._stale
        if crossing.way != fault.way or crossing.from_client:
            return None
        instead = self._before(crossing.link, fate.packet)
        if instead is None:
            return None
        place = self._counter.next(crossing)
        if (place if not fault.of else (place - 1) % fault.of + 1) not in self._at:
            return None
        fate.packet = instead
        return place


class _Broken(_Handler):
    """Reset and half open: a RST in the receiver's half, at the very place of the stream that comes next."""

    def __init__(self, fault: Reset | HalfOpen, halves: Halves) -> None:
        super().__init__(fault)
        to_client = (fault.way is Way.DOWN) is halves.device_dials
        self.halves = frozenset(["client" if to_client else "server"])
        self._way = fault.way
        self._nth = fault.nth
        self._silent = isinstance(fault, HalfOpen)
        self._counts: dict[object, int] = {}
        self._streams: dict[object, _Arrived] = {}
        self._dead: set[object] = set()

    def see(self, crossing: Crossing, fate: Fate) -> int | None:
        key, found = crossing.connection, crossing.segment
        if found.protocol != TCP:
            return None
        if found.flags & SYN and not found.flags & ACK:
            self._forget(key)  # a new connection with the ports of an old one
        if key in self._dead:
            fate.dropped = True
            return self._nth
        if crossing.way != self._way or found.flags & (SYN | RST):
            return None
        stream = self._streams.setdefault(key, _Arrived(found.sequence))
        is_next = found.sequence == stream.next
        if found.size and is_next:
            self._counts[key] = self._counts.get(key, 0) + 1
            if self._counts[key] == self._nth:
                fate.packet = reset(found)
                if self._silent:
                    self._dead.add(key)
                return self._nth
        stream.add(found.sequence, found.size)
        return None

    def _forget(self, key: object) -> None:
        self._dead.discard(key)
        for known in (self._counts, self._streams):
            known.pop(key, None)


class _Arrived:
    """How far a stream has come at its receiver, whatever order its packets came in."""

    def __init__(self, first: int) -> None:
        self.next = first
        self._early: dict[int, int] = {}

    def add(self, sequence: int, size: int) -> None:
        if (sequence - self.next) % 2**32 < 2**31:
            self._early[sequence] = max(size, self._early.get(sequence, 0))
        while self.next in self._early:
            self.next = (self.next + self._early.pop(self.next)) % 2**32


class _Rebound(_Handler):
    """NAT rebinding: the server sees a connection come from elsewhere from some packet on."""

    halves = frozenset(["server"])

    def __init__(self, fault: Rebind, halves: Halves, translations: _Translations) -> None:
        super().__init__(fault)
        self._fault = fault
        self._spare = socket.inet_aton(halves.spare)
        self.also = frozenset([halves.spare] if fault.address else [])
        self._counter = _Counter(each=True)
        self._translations = translations
        self._moved: set[object] = set()

    def see(self, crossing: Crossing, fate: Fate) -> int | None:
        if not crossing.from_client:
            return None
        key, found = crossing.connection, crossing.segment
        if found.flags & SYN:
            self._moved.discard(key)
        if key not in self._moved:
            if not found.size or self._counter.next(crossing) < self._fault.nth:
                return None
            (address, port), theirs = key
            seen = (
                (self._spare if self._fault.address else address),
                port - _TRANSLATED if port > _TRANSLATED else port + 1,
            )
            if not self._translations.add(crossing.link, (address, port), theirs, seen):
                return None
            self._moved.add(key)
        if self._fault.address:
            fate.announced = self._spare, key[1]
        return self._fault.nth


class _Reused(_Handler):
    """Port reuse: a new connection comes from where an old one came from."""

    halves = frozenset(["server"])

    def __init__(self, fault: PortReuse, translations: _Translations, before: Callable[[str], Sequence[End]]) -> None:
        super().__init__(fault)
        self._translations = translations
        self._before = before
        self._begun: set[object] = set()
        self._moved: dict[object, int] = {}

    def see(self, crossing: Crossing, _: Fate) -> int | None:
        found = crossing.segment
        ours, theirs = key = crossing.connection
        if not crossing.from_client:
            return None
        if found.protocol == TCP and found.flags & SYN and key not in self._begun:
            self._begun.add(key)
            old = (end for end in self._before(crossing.link) if (end, theirs) not in self._begun)
            if any(self._translations.add(crossing.link, ours, theirs, end) for end in old):
                self._moved[key] = len(self._begun)
        return self._moved.get(key)


class _Owned(_Handler):
    """A function of the user's, in the device's half."""

    def __init__(self, fault: Own, halves: Halves, function: Function) -> None:
        super().__init__(fault)
        self.halves = frozenset(["client" if halves.device_dials else "server"])
        self._way = fault.way
        self._function = function
        self._count = 0

    def see(self, crossing: Crossing, fate: Fate) -> int | None:
        if crossing.way != self._way:
            return None
        self._count += 1
        instead = self._function(fate.packet, self._count)
        if list(instead) == [fate.packet]:
            return None
        if instead:
            fate.packet = instead[0]
            fate.copies += instead[1:]
        else:
            fate.dropped = True
        return self._count


def counted(touches: Sequence[Touch]) -> Iterator[tuple[str, str, Way, str, list[Touch]]]:
    """Yield (link, kind, way, connection, its touches), in the order in which each was touched first."""
    groups: dict[tuple[str, str, Way, str], list[Touch]] = {}
    for touch in touches:
        groups.setdefault((touch.link, touch.kind, touch.way, touch.connection), []).append(touch)
    for (link, kind, way, connection), found in groups.items():
        yield link, kind, way, connection, found

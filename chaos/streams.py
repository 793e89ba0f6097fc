"""TCP streams put together from captured packets, each byte with the packet that brought it. No socket, no clock.

Every link crosses the place where packets are captured twice, in two *halves* with Toxiproxy between them: what its
client said and was told, and what its server was asked and said. Ways are the client's here: *up* is what it sends.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from chaos.fates import Crossings, End, Half, Halves
from chaos.segments import ACK, FIN, RST, SYN, TCP, UDP, Segment, segment, told

_HALF_OF_ALL = 1 << 31
_ALL = 1 << 32


class Taken(NamedTuple):
    """A captured packet: its number in its capture, from 1; when (seconds, monotonic); and where it was."""

    number: int
    at: float
    link: str
    half: Half
    up: bool
    raw: bytes


class Places:
    """Says of which link's which half a packet is."""

    def __init__(self, links: Mapping[str, Halves]) -> None:
        self._crossings = Crossings(links, spares=True)

    def place(self, raw: bytes) -> tuple[str, Half, bool] | None:
        """Return (link, half, whether it goes up), or None for a packet of no link."""
        if len(raw) < 20 or raw[0] >> 4 != 4:
            return None
        at = (raw[0] & 15) * 4
        source, destination = raw[12:16], raw[16:20]
        port, to = int.from_bytes(raw[at : at + 2], "big"), int.from_bytes(raw[at + 2 : at + 4], "big")
        sender, receiver = (source, port), (destination, to)
        for arriving, ours, theirs in ((True, receiver, sender), (False, sender, receiver)):
            where = self._crossings.at(ours, theirs, datagrams=raw[9] == UDP)
            if where is not None:
                return (*where, arriving is (where[1] == "client"))
        return None


class Stream(msgspec.Struct):
    """What one end sent over one connection, in order, as far as it was captured.

    `begun` says whether its first byte is the connection's first; `holes` are the places at which bytes are missing,
    `ends` is how it ended: ``fin``, ``reset`` or not at all.
    """

    data: bytearray = msgspec.field(default_factory=bytearray)
    begun: bool = False
    holes: list[int] = []
    ends: str = ""
    _starts: list[int] = []
    _packets: list[tuple[int, float]] = []

    def packet(self, place: int) -> tuple[int, float]:
        """Return the number of the packet that brought the byte at `place`, and when it came (seconds, monotonic)."""
        return self._packets[max(0, bisect.bisect_right(self._starts, place) - 1)]

    def add(self, data: bytes, number: int, at: float) -> None:
        """Append what a packet brought."""
        self._starts.append(len(self.data))
        self._packets.append((number, at))
        self.data += data


class Connection(msgspec.Struct):
    """One connection of one half of a link; `client` is the end that dialled, as ``address:port``."""

    link: str
    half: Half
    client: str
    began: float
    up: Stream
    down: Stream


def connections(packets: Iterable[Taken]) -> list[Connection]:
    """Return every TCP connection of these packets, in the order in which they began."""
    open_now: dict[tuple[str, Half, End], _Open] = {}
    found: list[_Open] = []
    for packet in packets:
        seen = segment(packet.raw)
        if seen is None or seen.protocol != TCP:
            continue
        client = seen.source if packet.up else seen.destination
        key = packet.link, packet.half, client
        known = open_now.get(key)
        if known is None or (packet.up and known.is_over_by(seen)):  # a port that is used again
            begun = Connection(packet.link, packet.half, told(client), packet.at, Stream(), Stream())
            known = open_now[key] = _Open(begun)
            found.append(known)
        known.see(seen, packet)
    return [each.closed() for each in found]


class _Open:
    """A connection while its packets come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ways = (_Way(connection.up), _Way(connection.down))

    def is_over_by(self, seen: Segment) -> bool:
        """Whether a packet of the client begins another connection."""
        first = self._ways[0].first
        return bool(seen.flags & SYN) and not seen.flags & ACK and first is not None and first != seen.sequence

    def see(self, seen: Segment, packet: Taken) -> None:
        self._ways[not packet.up].see(seen, packet)

    def closed(self) -> Connection:
        for way in self._ways:
            way.close()
        return self._connection


class _Way:
    """One way of a connection: what came early waits for what is missing, what came twice is taken once."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._early: dict[int, tuple[bytes, Taken]] = {}
        self._next: int | None = None
        self.first: int | None = None

    def see(self, seen: Segment, packet: Taken) -> None:
        if seen.flags & SYN:
            self.first, self._next = seen.sequence, (seen.sequence + 1) % _ALL
            self._stream.begun = True
        if seen.size:
            if self._next is None:
                self._next = seen.sequence
            self._take(seen.sequence, seen.data, packet)
            self._take_early()
        if seen.flags & (FIN | RST) and not self._stream.ends:
            self._stream.ends = "reset" if seen.flags & RST else "fin"

    def close(self) -> None:
        """Take what waits for bytes that never came, with a hole before it."""
        while self._early:
            assert self._next is not None, "what is early is early for something"
            self._next = min(self._early, key=lambda s: (s - self._next) % _ALL)  # type: ignore[operator]
            self._stream.holes.append(len(self._stream.data))
            self._take_early()

    def _take(self, sequence: int, data: bytes, packet: Taken) -> None:
        assert self._next is not None, "set by the first packet that carries anything"
        ahead = (sequence - self._next) % _ALL
        if 0 < ahead < _HALF_OF_ALL:
            self._early.setdefault(sequence, (data, packet))
            return
        fresh = data[(-ahead) % _ALL if ahead else 0 :]
        if fresh:
            self._stream.add(fresh, packet.number, packet.at)
            self._next = (self._next + len(fresh)) % _ALL

    def _take_early(self) -> None:
        while True:
            ready = [s for s in self._early if not 0 < (s - self._next) % _ALL < _HALF_OF_ALL]  # type: ignore[operator]
            if not ready:
                return
            for sequence in ready:
                self._take(sequence, *self._early.pop(sequence))

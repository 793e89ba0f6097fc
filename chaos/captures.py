"""Captures of every hop of a home, a case at a time and in memory: what crosses Toxiproxy's network namespace.

An AF_PACKET socket, read by a thread: it lost nothing at 30,000 packets a second where a sniffer that takes each packet
apart lost 88 % (measured). Nothing is taken apart while a case runs, and nothing is written unless there was a finding.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from chaos.errors import Surroundings
from chaos.fates import Halves
from chaos.pcapng import Interface, Packet, written
from chaos.streams import Places, Taken

LIMIT = 64 << 20
"""Bytes of packets that are kept of a case, the newest; three homes that stream for a minute are 60 MB."""
BUFFER = 32 << 20
"""Bytes that the kernel holds for us meanwhile; it needs CAP_NET_ADMIN to be so many, and takes fewer else."""
_LARGEST = 1 << 17
_AT_ONCE = 256
_LOOK = 0.5
_IP = 0x0800
EVERYTHING = 0x0003
"""ETH_P_ALL: a socket of one protocol alone is shown what comes in and not what goes out."""
_FILTER, _TIMES, _PACKET_LEVEL, _STATISTICS, _NO_OUTGOING = 26, 35, 263, 6, 23
"""SO_ATTACH_FILTER, SO_TIMESTAMPNS, SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING (linux/if_packet.h)."""
_FORCED = 33  # SO_RCVBUFFORCE
_MOST_PORTS = 120  # a jump goes 255 instructions far
_NONE, _ALL = (0x06, 0, 0, 0), (0x06, 0, 0, 0x40000)  # ret
NO_NETWORK = "captures need a network namespace of the run's own, or the right to read loopback's packets (root)"


class Capture(msgspec.Struct, frozen=True):
    """The packets of one case, oldest first.

    `forgotten` of them, the oldest, are gone since there was no more room, and `lost` never came, since the kernel had
    none. `wall` is the time of day (seconds since 1970) at the monotonic clock's zero.
    """

    packets: tuple[Taken, ...]
    links: Mapping[str, tuple[str, str]]
    names: Mapping[str, str]
    wall: float
    forgotten: int = 0
    lost: int = 0

    @property
    def whole(self) -> bool:
        """Whether it has every packet of its case."""
        return not self.forgotten and not self.lost

    @property
    def size(self) -> int:
        """How many bytes its packets have."""
        return sum(len(p.raw) for p in self.packets)

    def file(self, about: str) -> bytes:
        """Return it as a pcapng file, an interface for each half of a link."""
        halves = [(link, half) for link in self.links for half in ("client", "server")]
        numbers = {at: i for i, at in enumerate(halves)}
        interfaces = [_interface(link, half, self.links[link]) for link, half in halves]
        packets = (
            Packet(numbers[p.link, p.half], round((p.at + self.wall) * 1e9), p.up == (p.half == "server"), p.raw)
            for p in self.packets
        )
        return written(interfaces, self.names, packets, about)


def _interface(link: str, half: str, ends: tuple[str, str]) -> Interface:
    words = f"{ends[0]} to Toxiproxy" if half == "client" else f"Toxiproxy to {ends[1]}"
    return Interface(f"{link} {half}", f"{link}: {words}")


class Captures:
    """Takes packets of a home's links as long as it runs. `begin` with each case; threads may share it.

    `source` is an AF_PACKET socket of the network namespace that Toxiproxy is in: of the protocol `EVERYTHING`, or,
    for loopback, of none. `ends` are each link's client and server, `names` what addresses are called.
    """

    def __init__(
        self,
        source: socket.socket,
        links: Mapping[str, Halves],
        ends: Mapping[str, tuple[str, str]],
        names: Mapping[str, str],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._source = source
        source.setblocking(False)
        self._places = Places(links)
        self._ends = dict(ends)
        self._names = dict(names)
        self._limit = limit
        self._kept: deque[tuple[int, bytes]] = deque()
        self._size = self._forgotten = self._lost = 0
        self._lock = threading.Lock()
        self._buffer = bytearray(_LARGEST)
        self._wake, self._woken = socket.socketpair()
        self._ports = sorted({p for here in links.values() for p in (here.listens, here.dials)})
        self._wall = time.time() - time.monotonic()
        self._thread = threading.Thread(target=self._run, name="ownframe-captures", daemon=True)

    def start(self, *, loopback: bool = False) -> None:
        """Take packets from now on; on loopback, where the kernel shows each twice, once."""
        code = ctypes.create_string_buffer(program(self._ports))
        attached = struct.pack("HL", (len(code) - 1) // 8, ctypes.addressof(code))  # a struct sock_fprog
        self._source.setsockopt(socket.SOL_SOCKET, _FILTER, attached)
        self._source.setsockopt(socket.SOL_SOCKET, _TIMES, 1)
        if loopback:
            self._source.setsockopt(_PACKET_LEVEL, _NO_OUTGOING, 1)
            self._source.bind(("lo", _IP))
        self._thread.start()

    def stop(self) -> None:
        """Take no more. Harmless when it was never started."""
        self._wake.close()
        if self._thread.is_alive():
            self._thread.join()
        self._source.close()
        self._woken.close()

    def begin(self) -> None:
        """Forget what came until now: a case begins."""
        with self._lock:
            self._drain()
            self._kept.clear()
            self._size = self._forgotten = 0
            self._lost_now()
            self._lost = 0
            self._wall = time.time() - time.monotonic()  # somebody may have set the clock

    def taken(self) -> Capture:
        """Return what came since `begin`."""
        with self._lock:
            while self._drain():
                pass
            kept, forgotten = tuple(self._kept), self._forgotten
            self._lost += self._lost_now()
        placed = [(came, raw, self._places.place(raw)) for came, raw in kept]
        mine = [(came, raw, where) for came, raw, where in placed if where is not None]
        packets = tuple(
            Taken(number, came / 1e9 - self._wall, *where, raw) for number, (came, raw, where) in enumerate(mine, 1)
        )
        return Capture(packets, self._ends, self._names, self._wall, forgotten, self._lost)

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the socket was closed: nobody wants more
            while True:
                ready, _, _ = select.select([self._source, self._woken], [], [], _LOOK)
                if self._woken in ready:
                    return
                with self._lock:
                    self._drain()

    def _drain(self) -> bool:
        """Read what waits; returns whether more may wait."""
        for _ in range(_AT_ONCE):
            try:
                size, told, _, _ = self._source.recvmsg_into([self._buffer], 64)
            except BlockingIOError:
                return False
            came = time.time_ns()
            for level, kind, data in told:
                if (level, kind) == (socket.SOL_SOCKET, _TIMES):
                    seconds, rest = struct.unpack("qq", data[:16])
                    came = seconds * 1_000_000_000 + rest
            self._kept.append((came, bytes(memoryview(self._buffer)[:size])))
            self._size += size
            while self._size > self._limit:
                self._size -= len(self._kept.popleft()[1])
                self._forgotten += 1
        return True

    def _lost_now(self) -> int:
        """Return how many packets the kernel had no room for since the last time."""
        lost: int = struct.unpack("II", self._source.getsockopt(_PACKET_LEVEL, _STATISTICS, 8))[1]
        return lost


def loopback(links: Mapping[str, Halves], ends: Mapping[str, tuple[str, str]], *, limit: int = LIMIT) -> Captures:
    """Return captures, started, of links that cross this machine's own loopback; `Surroundings` says why not."""
    try:
        source = opened()
    except OSError as refused:
        raise Surroundings(f"{NO_NETWORK}: {refused.strerror}") from None
    made = Captures(source, links, ends, {}, limit=limit)
    made.start(loopback=True)
    return made


def opened() -> socket.socket:
    """Return an AF_PACKET socket that takes nothing until it is bound; `OSError` without the right to it."""
    source = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    with contextlib.suppress(OSError):
        source.setsockopt(socket.SOL_SOCKET, _FORCED, BUFFER)
    return source


def program(ports: Sequence[int]) -> bytes:
    """Return a classic BPF program that lets through IPv4 packets from or to one of these ports; of too many, all.

    A later fragment has no ports, and TCP sends none.
    """
    count = len(ports)
    if count > _MOST_PORTS:
        return struct.pack("HBBI", *_ALL)
    instructions = [(0xB1, 0, 0, 0)]  # ldxb 4*([0]&0xf): the header's length
    for at, left in ((0, count + 1), (2, 0)):  # and how many instructions the second round has
        instructions.append((0x48, 0, 0, at))  # ldh [x + at]
        instructions += [(0x15, count - i + left, 0, port) for i, port in enumerate(ports)]  # jeq: to the last one
    return b"".join(struct.pack("HBBI", *each) for each in (*instructions, _NONE, _ALL))

"""What the kernel knows of TCP connections: free ports, and how many bytes arrived on each link, as proof of a fault.

Bytes come from netlink's INET_DIAG (linux/inet_diag.h), which needs no root: a sample of all connections every
20 ms, and the kernel's own message about each connection that ends (Linux 4.3), so that no connection is too short
to be counted. Python's sockets speak it: decoding a sample of 64 connections takes 0.3 ms, and 4.5 ms with pyroute2
(measured), which at this rate is a fifth of a core.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeAlias

import msgspec

from chaos.errors import Misuse, Surroundings, nearest
from chaos.pairing import Pairing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.disturbance import Way

PERIOD = 0.02
"""Seconds between samples: the resolution in time of everything a `Meter` says."""
_HORIZON = 300.0
"""Seconds for which a meter remembers; longer than any case."""
_DROP = 0.25
"""Seconds within which a connection must end to have been dropped by what was done at that instant."""
_LATE = 0.005
"""Seconds within which the kernel's message about a connection's end is here: 0.01 ms, at most 0.2 in 5,000, and 3.9
with six busy processes on two cores (measured). An ask that a fault ended sooner than this leaves no witness."""

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, linux/tcp.h and net/tcp_states.h
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _DUMP = 4, 20, 0x301
_SOL_NETLINK, _ADD_MEMBERSHIP, _TCP_DESTROY = 270, 1, 1
_ERROR, _DONE = 2, 3
_INFO, _BYTECODE = 2, 1
_ESTABLISHED, _CLOSE_WAIT = 1, 8
_ENDING = sum(1 << state for state in (4, 5, 6, 8, 9, 11))  # among them TIME_WAIT
_WITH_INFO = sum(1 << state for state in (1, 4, 5, 8, 9, 11))  # all but opening, listening and TIME_WAIT
_RECEIVED_AT, _SENT_AT = 128, 200  # tcpi_bytes_received, tcpi_bytes_sent (Linux 4.19) in struct tcp_info
_FIN_SEEN = (7, 8, 9, 11)  # closed, CLOSE_WAIT, LAST_ACK, CLOSING: a FIN counts as one byte received

_S_GE, _S_LE, _D_GE, _D_LE, _JUMP = 2, 3, 4, 5, 1
_NEEDED = 4 + _SENT_AT + 16

IN_USE = os.strerror(errno.EADDRINUSE).lower()
"""What nodes (with a capital) and Toxiproxy say of a port that is taken; whoever took it may be gone when we look."""
_FEW = 1_000
_calls = itertools.count()
_given: set[int] = set()


class Hop(Protocol):
    """What a meter needs to know of a link; `chaos.links.Hop` is one."""

    @property
    def listen(self) -> str:
        """``host:port`` that the link's client dials."""

    @property
    def upstream(self) -> str:
        """``host:port`` that Toxiproxy dials."""

    def stream(self, way: Way) -> str:
        """``upstream`` or ``downstream``: which of Toxiproxy's streams carries that way."""


Netlink: TypeAlias = Callable[[], tuple[socket.socket, socket.socket]]
_End: TypeAlias = tuple[int, int]
"""An address, without its last bits where they do not matter, and a port."""


class _Row(NamedTuple):
    cookie: int  # unique for each socket that there ever was
    state: int
    local: _End
    remote: _End
    received: int
    sent: int


class _Connection(msgspec.Struct, eq=False):
    """One of Toxiproxy's sockets: towards a link's client, or towards an upstream. Times in seconds, monotonic."""

    link: str | None  # None while several links share the upstream and it is not known whose this is
    group: _End  # the upstream's
    towards_client: bool
    since: float  # it was not there yet
    looked: float  # the last sample with it
    seen: float
    received: int
    sent: int = 0
    grown: list[tuple[float, float, int]] = []
    """From, until, bytes: so many arrived between these instants."""
    handed_on: list[tuple[float, float, int]] = []
    """The same of what was sent."""
    ended: tuple[float, float] | None = None
    """Between which instants it ceased to be established."""
    left_by_peer: bool = False
    paired: bool = False


class Meter:
    """Counts the bytes that arrive at Toxiproxy on each link, and its connections; a context manager.

    Bytes count when they arrive at Toxiproxy, so that what a black hole swallowed counts too. All numbers are lower
    bounds: bytes count for a time only when they surely arrived within it, and on links that share an upstream (all
    hubs dial one relay) bytes from the server count only once it is known which connection belongs to which link:
    when only one can be meant, or when both ends of just one pair have moved the same numbers of bytes. Until then what
    Toxiproxy handed on to the link's client counts, for a connection that began within the time: a fault that ends
    connections leaves most of them too short to be paired. Connections that anyone else opened to an upstream would be
    taken for Toxiproxy's.

    A link is known by the addresses and ports of its two ends. `moves` is the number of last bits of an address that
    may change while it stays the same end: a node that comes back at another address of its small network.

    A netlink socket tells of the network namespace that it was made in, whoever reads it: `netlink` returns sockets
    made in Toxiproxy's, where that is not ours.
    """

    def __init__(self, hops: Mapping[str, Hop], netlink: Netlink | None = None, *, moves: int = 0) -> None:
        self._hops = dict(hops)
        self._netlink = netlink or netlink_sockets
        self._moves = moves
        self._listens = {_end(h.listen, moves): link for link, h in self._hops.items()}
        self._ends = {link: _end(h.upstream, moves) for link, h in self._hops.items()}
        self._upstreams: dict[_End, list[str]] = {}
        for link, end in self._ends.items():
            self._upstreams.setdefault(end, []).append(link)
        self._shared = {end: Pairing() for end, links in self._upstreams.items() if len(links) > 1}
        self._connections: dict[int, _Connection] = {}
        self._gone: deque[tuple[float, int]] = deque()
        self._pairs_since: dict[tuple[int, int], float] = {}
        self._last: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: Surroundings | None = None
        self._kernel: _Kernel | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to count; raises `Surroundings` where the kernel does not tell."""
        self._kernel = _Kernel([port for _, port in (*self._listens, *self._upstreams)], self._netlink)
        self._sample()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="ownframe-meter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop counting; what was counted can still be asked for. Harmless when it was not started."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            if self._kernel is not None:
                self._kernel.close()
                self._kernel = None

    def mark(self) -> float:
        """Take a sample at once and return an instant (seconds, monotonic) from which and to which is counted exactly.

        Between two samples it is not known when bytes arrived, so what moves within `PERIOD` of a bound counts on
        neither side of it, unless the bound was marked: ``began = meter.mark()`` before something is done, and
        ``ended = meter.mark()`` after it. Takes 0.3 ms.
        """
        if self._failed is not None:
            raise self._failed
        return self._sample()

    def moved(self, link: str, way: Way, began: float, ended: float) -> int:
        """Return how many bytes at least arrived at Toxiproxy on that way of `link` between two instants."""
        from_client = self._hop(link).stream(way) == "upstream"
        self._catch_up(ended)
        with self._lock:
            there = [c for c in self._connections.values() if c.link == link]
            arrived = [g for c in there if c.towards_client is from_client for g in c.grown]
            if not from_client and len(self._upstreams[self._ends[link]]) > 1:
                unpaired = (c for c in there if c.towards_client and not c.paired and c.since >= began)
                arrived += [g for c in unpaired for g in c.handed_on]
            return sum(grown for low, high, grown in arrived if began <= low and high <= ended)

    def connections(self, link: str, began: float, ended: float) -> int:
        """Return how many connections of the link's client were there at any time between two instants."""
        self._hop(link)
        self._catch_up(ended)
        with self._lock:
            return sum(
                c.seen <= ended and (c.since >= began or c.ended is None or c.ended[0] >= began)
                for c in self._connections.values()
                if c.link == link and c.towards_client
            )

    def ended(self, link: str, began: float, ended: float) -> int:
        """Return how many connections of the link's client surely ended between two instants, whoever ended them.

        One that is reset as soon as it is accepted carries no byte, and is seen here alone.
        """
        self._hop(link)
        self._catch_up(ended)
        with self._lock:
            return sum(
                c.ended is not None and began <= c.ended[0] and c.ended[1] <= ended
                for c in self._connections.values()
                if c.link == link and c.towards_client
            )

    def dropped(self, link: str, at: float) -> int:
        """Return how many connections of the link's client were there `at` that instant and ended right then.

        One that its client closed is not counted where it was seen so; at the very same instant it may be.
        """
        self._hop(link)
        self._catch_up(at + _DROP)
        with self._lock:
            return sum(
                c.seen <= at and c.ended is not None and at <= c.ended[1] and c.ended[0] <= at + _DROP
                for c in self._connections.values()
                if c.link == link and c.towards_client and not c.left_by_peer
            )

    def _hop(self, link: str) -> Hop:
        if link not in self._hops:
            raise Misuse(f"there is no link {link!r}{nearest(link, list(self._hops))}")
        return self._hops[link]

    def _catch_up(self, until: float) -> None:
        """Take a sample unless the last one covers `until`, as far as time has come."""
        if self._failed is not None:
            raise self._failed
        if self._last is None or self._last < min(until, time.monotonic()):
            self._sample()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            try:
                self._sample()
            except Surroundings as failed:
                self._failed = failed
                return

    def _sample(self) -> float:
        """Take a sample; returns when it was done, which stands for the 0.3 ms that it took."""
        with self._lock:
            if self._kernel is None:
                return time.monotonic()
            rows = [(row, False) for row in self._kernel.connections()]
            rows += [(row, True) for row in self._kernel.ended()]
            now = time.monotonic()
            for row, gone in rows:
                self._note(row, now, gone=gone)
            self._last = now
            self._pair(now)
            while self._gone and self._gone[0][0] < now - _HORIZON:
                _, cookie = self._gone.popleft()
                connection = self._connections.pop(cookie, None)
                if connection is not None and connection.group in self._shared:
                    self._shared[connection.group].remove(cookie)
            return now

    def _note(self, row: _Row, now: float, *, gone: bool) -> None:
        received = max(0, row.received - (row.state in _FIN_SEEN))
        connection = self._connections.get(row.cookie)
        if connection is None:
            connection = self._new(row, now, gone=gone)
            if connection is None:
                return
            if self._last is None:
                connection.received = received  # when these came is not known
            self._connections[row.cookie] = connection
            if connection.group in self._shared:
                self._shared[connection.group].add(row.cookie, connection)
        before = connection.received, connection.sent
        since, connection.looked = connection.looked, now
        if received > connection.received:
            connection.grown.append((since, now, received - connection.received))
            connection.received = received
        if row.sent > connection.sent:
            connection.handed_on.append((since, now, row.sent - connection.sent))
            connection.sent = row.sent
        if before != (connection.received, connection.sent) and connection.group in self._shared:
            self._shared[connection.group].moved(row.cookie)
        connection.left_by_peer |= row.state == _CLOSE_WAIT
        if connection.ended is None and (gone or row.state != _ESTABLISHED):
            connection.ended = (since, now)
        if gone:
            self._gone.append((now, row.cookie))

    def _new(self, row: _Row, now: float, *, gone: bool) -> _Connection | None:
        since = self._last if self._last is not None else -math.inf
        if gone:  # it may have ended before the last sample already
            since = min(since, now - _LATE)
        local, remote = (self._still(e) for e in (row.local, row.remote))
        if local in self._listens:
            link = self._listens[local]
            return _Connection(link, self._ends[link], True, since, since, now, 0)
        if remote in self._upstreams:
            links = self._upstreams[remote]
            return _Connection(links[0] if len(links) == 1 else None, remote, False, since, since, now, 0)
        return None

    def _still(self, end: _End) -> _End:
        return end[0] >> self._moves, end[1]

    def _pair(self, now: float) -> None:
        """Find out to which link a connection to a shared upstream belongs; samples must agree for a while."""
        found = [pair for shared in self._shared.values() for pair in shared.sure()]
        self._pairs_since = {pair: self._pairs_since.get(pair, now) for pair in found}
        for (client, server), since in self._pairs_since.items():
            if now - since >= 2 * PERIOD:
                ends = self._connections[client], self._connections[server]
                ends[1].link = ends[0].link
                ends[0].paired = ends[1].paired = True
                for cookie in (client, server):
                    self._shared[ends[0].group].remove(cookie)


class _Kernel:
    """Two netlink sockets: one to ask for samples, one that is told of each connection's end."""

    def __init__(self, ports: list[int], netlink: Netlink) -> None:
        low, high = min(ports), max(ports)
        # the kernel leaves out connections with neither end in the range of our ports; offsets are in bytes
        code = [(_S_GE, 8, 20), (0, 0, low), (_S_LE, 8, 12), (0, 0, high), (_JUMP, 4, 20)]
        code += [(_D_GE, 8, 20), (0, 0, low), (_D_LE, 8, 12), (0, 0, high)]
        program = b"".join(struct.pack("=BBH", *op) for op in code)
        asked = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, _WITH_INFO)
        asked += bytes(48) + struct.pack("=HH", 4 + len(program), _BYTECODE) + program
        self._request = struct.pack("=IHHII", 16 + len(asked), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0) + asked
        try:
            self._asking, self._told = netlink()
            self._asking.settimeout(5.0)
            self._told.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self._told.bind((0, 0))
            self._told.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _TCP_DESTROY)
            self._told.setblocking(False)
        except (OSError, AttributeError) as why:
            raise _untold(why) from why

    def connections(self) -> list[_Row]:
        """Return the connections that there are now."""
        rows: list[_Row] = []
        try:
            self._asking.send(self._request)
            while True:
                done = _decode(self._asking.recv(1 << 18), rows)
                if done:
                    return rows
        except OSError as why:
            raise _untold(why) from why

    def ended(self) -> list[_Row]:
        """Return the connections that ended since the last call, with their final numbers."""
        rows: list[_Row] = []
        while True:
            try:
                _decode(self._told.recv(1 << 18), rows)
            except BlockingIOError:
                return rows
            except OSError as why:
                if why.errno != errno.ENOBUFS:  # some messages were lost: only lower bounds get lower
                    raise _untold(why) from why

    def close(self) -> None:
        self._asking.close()
        self._told.close()


def _decode(data: bytes, rows: list[_Row]) -> bool:
    """Append what a netlink datagram tells to `rows`; returns whether it was the last of an answer."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == _DONE:
            return True
        if kind == _ERROR:
            raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "netlink refused the request")
        state = data[at + 17]
        local_port, remote_port, local, remote = struct.unpack_from(">HHI12xI", data, at + 20)
        (cookie,) = struct.unpack_from("=Q", data, at + 60)
        attribute, end = at + 88, at + length
        while attribute + 4 <= end:
            size, what = struct.unpack_from("=HH", data, attribute)
            if what == _INFO and size >= _NEEDED and remote_port:  # a listener ends too
                (received,) = struct.unpack_from("=Q", data, attribute + 4 + _RECEIVED_AT)
                sent, again = struct.unpack_from("=QQ", data, attribute + 4 + _SENT_AT)
                rows.append(_Row(cookie, state, (local, local_port), (remote, remote_port), received, sent - again))
            attribute += max(4, (size + 3) & ~3)
        at += max(16, (length + 3) & ~3)
    return False


def ends(netlink: Netlink) -> list[tuple[str, int, str, int]]:
    """Return the connections in a network namespace that are ending or just have.

    Each is its local address and port, and the remote ones. Raises `Surroundings` when the kernel does not tell.
    """
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ENDING) + bytes(48)
    request = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0) + request
    asking, told = netlink()
    found: list[tuple[str, int, str, int]] = []
    try:
        with asking, told:
            asking.settimeout(5.0)
            asking.send(request)
            while True:
                data = asking.recv(1 << 18)
                for at, kind in _told_of(data):
                    if kind == _DONE:
                        return found
                    local, remote = struct.unpack_from(">HH", data, at + 4)
                    here, there = (socket.inet_ntoa(data[at + n : at + n + 4]) for n in (8, 24))
                    found.append((here, local, there, remote))
    except OSError as why:
        raise _untold(why) from why


def _told_of(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each message of a netlink datagram has its body, and of which kind it is."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == _ERROR:
            raise OSError(-struct.unpack_from("=i", data, at + 16)[0], "netlink refused the request")
        yield at + 16, kind
        at += max(16, (length + 3) & ~3)


def _untold(why: object) -> Surroundings:
    return Surroundings(
        f"the kernel does not tell how many bytes connections moved ({why}), and without that no fault is proven to "
        "have met anything; run on Linux 4.19 or newer, where netlink (NETLINK_SOCK_DIAG) is allowed"
    )


def netlink_sockets() -> tuple[socket.socket, socket.socket]:
    """Return two sockets that ask and are told of the TCP connections in this process's network namespace."""
    asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    return asking, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)


def check() -> None:
    """Raise `Surroundings` unless the kernel counts bytes: sends some over loopback and looks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        kernel = _Kernel([port], netlink_sockets)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2.0) as client, server.accept()[0] as accepted:
                client.sendall(bytes(1000))
                accepted.recv(1000, socket.MSG_WAITALL)
                counted = [row.received for row in kernel.connections() if row.local[1] == port]
        finally:
            kernel.close()
    if counted != [1000]:
        raise _untold(f"it counted {counted} of 1000")


def accepts(address: str) -> bool:
    """Whether somebody listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Return `count` free loopback ports below those that the kernel gives to connections.

    So nothing takes a port while its proxy is deleted and made anew. Processes begin at different places, and every
    port is tried, so that two runs side by side do not meet. Raises `Surroundings` when there are not enough.
    """
    low, high = 20_000, min(_ephemeral(), 32_768)
    if high - low < _FEW:
        low, high = 1_024, max(_ephemeral(), 1_024)
    first = os.getpid() * 97 + next(_calls) * 31
    found: list[int] = []
    for i in range(high - low):
        if len(found) == count:
            break
        port = low + (first + i) % (high - low)
        if port not in _given and _is_free(port):
            found.append(port)
    if len(found) < count:
        raise Surroundings(
            f"{count} free ports are needed on 127.0.0.1 and only {len(found)} of {low} to {high - 1} are free; end "
            "what listens there (ss -ltn shows it) and start the run again"
        )
    _given.update(found)
    return found


def taken(ports: Iterable[int]) -> list[int]:
    """Return those of these loopback ports on which somebody listens."""
    return [port for port in ports if not _is_free(port)]


def _ephemeral() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768  # Linux's default; other systems begin higher


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _end(address: str, moves: int) -> _End:
    host, _, port = address.rpartition(":")
    return int(IPv4Address(host)) >> moves, int(port)

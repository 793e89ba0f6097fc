"""Packets of a run: faults on single ones, done by netfilter's queue where Toxiproxy's network is.

The only module that imports scapy: a fault of one's own is a function on a scapy packet. What becomes of each packet
is decided in `chaos.fates`; here are the sockets, the thread and the time.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import importlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos import netfilter
from chaos.conditions import Fault
from chaos.datagrams import Router
from chaos.errors import Misuse, OwnframeError, Surroundings
from chaos.fates import Fate, Fates, Function, Halves, Held, Touch
from chaos.packetfaults import AnyPacketFault, Own

if TYPE_CHECKING:
    from scapy.packet import Packet  # noqa: TID251 - here alone

_RULES, _QUEUE = 0, 1
_ARRIVED, _LEAVING = -1, -2
"""In the place of a packet's number in the queue: a datagram that is ours now, before it goes on or after."""
_AT_ONCE = 64
"""Packets whose verdicts go out together; also how long another thread waits at most for a change."""
_LOOK = 0.5
"""Seconds after which the thread looks up when nothing happens; a packet, or the end, wakes it at once."""
_PATIENCE = 4.0
_MOST = 60_000
"""Bytes of one message of verdicts."""
_ANNOUNCED_FOR = 1.0
_IFCONF, _HARDWARE, _IFREQ = 0x8912, 0x8927, 40  # linux/sockios.h; the size of a struct ifreq on 64 bits
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
_NETFILTER = 12
_NAME_SERVER = 53
_KEPT = 100_000
"""Touches that are remembered of a case, oldest forgotten first."""


class Handles(NamedTuple):
    """Sockets of the network namespace that the packets are in, and who may give netfilter orders there.

    `rules` and `queue` are read here and written by `tell`, whose first argument says for which of them (0, 1) the
    message is; `raw` sends whole IPv4 packets, marked as the harness's own; `frames` sends and sees what is on the
    namespace's interfaces.
    """

    rules: socket.socket
    queue: socket.socket
    raw: socket.socket
    frames: socket.socket
    tell: Callable[[int, bytes], None]


class PacketLayer:
    """Packet faults on the links of one home; `start` before use, `stop` at the end. Threads may share it.

    `datagrams` are the addresses of the client and the server of each link over UDP: theirs are sent on from here.
    """

    def __init__(
        self,
        handles: Handles,
        links: Mapping[str, Halves],
        ends: Callable[[], Sequence[tuple[str, int, str, int]]],
        datagrams: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._handles = handles
        self._links = links
        self._ends = ends
        self._fates = Fates(links, self._before, _Answers() if datagrams else None)
        self._held = Held()
        self._router = Router(links, datagrams or {})
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread: threading.Thread | None = None
        self._failed: OwnframeError | None = None
        self._watched: frozenset[str] = frozenset()
        self.way: netfilter.Way = "queue"
        """By which of the kernel's modules packets come here."""
        self._sequence = 0
        self._announced: dict[tuple[bytes, bytes], float] = {}

    # Life.

    def start(self) -> None:
        """Make the rules' table, bind the queue; raises `Surroundings` that says what the kernel lacks."""
        self._handles.rules.settimeout(_PATIENCE)
        self._ask(netfilter.prepare(self._next()), "the kernel has no nf_tables")
        self._handles.queue.settimeout(_PATIENCE)
        self._handles.tell(_QUEUE, netfilter.bind())
        try:
            netfilter.acknowledged(self._handles.queue.recv(1 << 16), 0)
        except OSError as refused:
            raise _cannot("the kernel has no nfnetlink_queue", refused) from None
        if any(h.datagrams and h.dials == _NAME_SERVER for h in self._links.values()):
            _scapy_dns()  # else the first answer would wait for it
        self.way = self._first_way()
        self._handles.queue.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="ownframe-packets", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the sockets. The rules end with the namespace. Harmless when it was not started."""
        self._stop.set()
        self._wake.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for each in (*self._handles[:4], self._woken):
            each.close()

    def check(self) -> None:
        """Raise what went wrong with packets since the start, such as more of them than could be read."""
        if self._failed is not None:
            raise self._failed

    # Faults.

    def refuse(self, faults: Sequence[AnyPacketFault]) -> None:
        """Raise `Misuse` for a fault that cannot be had: a function that is not there."""
        for fault in faults:
            if isinstance(fault, Own):
                _loaded(fault.function)

    def set(self, link: str, faults: Sequence[AnyPacketFault]) -> None:
        """Put a link under these faults, in place of those that it was under.

        When this returns they are in force, and what was held of the link is let go. Raises as `refuse` does.
        """
        self.refuse(faults)
        functions = {f.function: _function(f.function) for f in faults if isinstance(f, Own)}
        with self._changing:
            with self._lock:
                if not faults and not self._fates.under(link):
                    return
                self._fates.set(link, faults, functions)
                wanted = self._fates.watched()
            self._watch(wanted)
            with self._lock:
                self._let(self._held.of(link))
        self.check()

    def redial(self, link: str, server: str) -> None:
        """Let a UDP link end at another address."""
        with self._lock:
            self._router.redial(link, server)

    def clear(self) -> None:
        """End every fault, let go what is held, forget what was touched."""
        with self._changing:
            with self._lock:
                for link in self._links:
                    self._fates.set(link, ())
            self._watch(frozenset())
            with self._lock:
                self._let(self._held.all())
                self._fates.forget()
        self.check()

    def touched(self, fault: Fault, began: float, ended: float) -> int:
        """Return how many packets that fault touched between two instants."""
        with self._lock:
            return sum(
                (t.link, t.kind) == (fault.link, fault.kind) and began <= t.at <= ended for t in self._fates.touches
            )

    def touches(self) -> tuple[Touch, ...]:
        """Return what was touched since the faults were cleared last."""
        with self._lock:
            return tuple(self._fates.touches)

    # How.

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _ask(self, message: bytes, lack: str) -> None:
        """Send a request about rules and wait until the kernel has done it."""
        self._handles.tell(_RULES, message)
        try:
            while not netfilter.acknowledged(self._handles.rules.recv(1 << 16), self._sequence):
                pass
        except OSError as refused:
            raise _cannot(lack, refused) from None

    def _first_way(self) -> netfilter.Way:
        lacks = []
        for way in netfilter.WAYS:
            self.way = way
            try:
                self._watch(frozenset(["192.0.2.1"]))
            except Surroundings as lack:
                lacks.append(str(lack))
            else:
                self._watch(frozenset())
                return way
        raise Surroundings(lacks[-1])

    def _watch(self, addresses: frozenset[str]) -> None:
        if addresses != self._watched:
            message = netfilter.watch(sorted(addresses), self.way, self._next(), sorted(self._router.addresses))
            self._ask(message, "the kernel has neither nft_queue nor NFQUEUE of iptables with nft_compat")
            self._watched = addresses

    def _before(self, link: str) -> list[tuple[bytes, int]]:
        """Return our ends of the connections to a link's server that just ended."""
        here = self._links[link]
        ours = socket.inet_aton(here.server)
        return sorted((ours, port) for at, port, _, to in self._ends() if (at, to) == (here.server, here.dials))

    def _run(self) -> None:
        queue = self._handles.queue
        try:
            while not self._stop.is_set():
                with self._lock:
                    due = self._held.next()
                wait = _LOOK if due is None else min(_LOOK, max(0.0, due - time.monotonic()))
                ready, _, _ = select.select([queue, self._woken], [], [], wait)
                with self._lock:
                    self._let(self._held.due(time.monotonic()))
                    if queue in ready:
                        self._decide(self._read())
        except OwnframeError as failed:
            self._failed = failed
        except OSError as broken:
            if not self._stop.is_set():
                self._failed = Surroundings(f"packets could not be read ({broken}); start the run again")

    def _read(self) -> Iterator[netfilter.Waiting]:
        for _ in range(_AT_ONCE):
            try:
                yield from netfilter.waiting(self._handles.queue.recv(1 << 17))
            except BlockingIOError:
                return
            except OSError as refused:
                if refused.errno == errno.ENOBUFS:
                    raise Surroundings(
                        "packets came faster than they could be decided on, and some were lost by nobody's wish; put "
                        "fewer links under packet faults at once, or run fewer homes beside each other"
                    ) from None
                if refused.errno != errno.ENOENT:  # its interface went, and with it the packet that a verdict was for
                    raise

    def _decide(self, packets: Iterator[netfilter.Waiting]) -> None:
        verdicts = bytearray()
        for number, arriving, packet in packets:
            if arriving and self._router.carries(packet):
                verdicts += netfilter.drop(number)  # it goes on as another one
                self._carry(packet, _ARRIVED)
                continue
            fate = self._fates.see(packet, arriving=arriving, now=time.monotonic())
            if fate.dropped:
                verdicts += netfilter.drop(number)
            elif fate.until is not None:
                self._held.add(number, fate)
            else:
                if fate.announced is not None:
                    self._announce(fate.announced[0], fate.announced[1][0])
                verdicts += netfilter.let(number, fate.packet if fate.packet != packet else None)
                if fate.lane is not None and (passed := self._held.passed(fate.lane)):
                    self._tell(verdicts)
                    self._let(passed)
            if fate.copies:
                self._tell(verdicts)
                self._send(fate.copies)
            if len(verdicts) > _MOST:
                self._tell(verdicts)
        self._tell(verdicts)
        del self._fates.touches[:-_KEPT]

    def _carry(self, packet: bytes, stage: int) -> None:
        """Do to a datagram what is asked for in the half that it is in, and send it on into the other, or away."""
        fate = self._fates.see(packet, arriving=stage == _ARRIVED, now=time.monotonic())
        if fate.dropped:
            pass
        elif fate.until is not None:
            self._held.add(stage, fate)
        else:
            if fate.announced is not None:
                self._announce(fate.announced[0], fate.announced[1][0])
            self._onward(fate.packet, stage)
            if fate.lane is not None:
                self._let(self._held.passed(fate.lane))
        for copy in fate.copies:
            self._onward(copy, stage)

    def _onward(self, packet: bytes, stage: int) -> None:
        if stage == _LEAVING:
            self._send([packet])
        elif (there := self._router.onward(packet)) is not None:
            self._carry(there, _LEAVING)

    def _let(self, held: Sequence[tuple[int, Fate]]) -> None:
        waiting = [(number, fate) for number, fate in held if number not in (_ARRIVED, _LEAVING)]
        self._tell(bytearray(b"".join(netfilter.let(number, fate.packet) for number, fate in waiting)))
        for number, fate in held:
            if number in (_ARRIVED, _LEAVING):
                self._onward(fate.packet, number)

    def _tell(self, verdicts: bytearray) -> None:
        if verdicts:
            self._handles.tell(_QUEUE, bytes(verdicts))
            verdicts.clear()

    def _announce(self, spare: bytes, whom: bytes) -> None:
        """Let a node learn, by asking it in that name, that an address that nobody has is here."""
        now = time.monotonic()
        if now < self._announced.get((spare, whom), 0.0) + _ANNOUNCED_FOR:
            return
        self._announced[spare, whom] = now
        here = next(h.server for h in self._links.values() if socket.inet_aton(h.spare) == spare)
        ours = interfaces(self._handles.raw)[here]
        asks = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, ours.hardware, spare, bytes(6), whom)
        self._handles.frames.sendto(b"\xff" * 6 + ours.hardware + b"\x08\x06" + asks, (ours.name, 0x0806))

    def _send(self, packets: Sequence[bytes]) -> None:
        for packet in packets:
            with contextlib.suppress(OSError):  # no way to there any more: a copy is lost as any packet is then
                self._handles.raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def probe() -> str:
    """Return by what packet faults work on this machine, tried in a network namespace made for it.

    Raises `Surroundings` that says what is missing. The calling process is in that namespace from then on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK) and libc.unshare(_NEW_NETWORK | _NEW_USER):
        raise Surroundings(f"not tried: this user may not make a network namespace ({os.strerror(ctypes.get_errno())})")
    try:
        rules, queue = (socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) for _ in range(2))
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except OSError as refused:
        raise _cannot("no netlink or raw sockets", refused) from None

    def tell(which: int, message: bytes) -> None:
        (rules, queue)[which].send(message)

    layer = PacketLayer(Handles(rules, queue, raw, frames, tell), {}, list)
    try:
        layer.start()
        return {"queue": "nft_queue", "target": "NFQUEUE by nft_compat"}[layer.way]
    finally:
        layer.stop()


class Interface(NamedTuple):
    """An interface of a network namespace, and its address on the wire."""

    name: str
    hardware: bytes


def interfaces(of: socket.socket) -> dict[str, Interface]:
    """Return the interfaces of the network namespace that a socket was made in, by their IPv4 addresses."""
    buffer = array.array("B", bytes(1 << 16))
    asked = struct.pack("iL", len(buffer), buffer.buffer_info()[0])
    (length,) = struct.unpack_from("i", fcntl.ioctl(of.fileno(), _IFCONF, asked))
    found = {}
    for at in range(0, length, _IFREQ):
        name = bytes(buffer[at : at + 16]).split(b"\0", 1)[0]
        hardware = fcntl.ioctl(of.fileno(), _HARDWARE, name.ljust(_IFREQ, b"\0"))[18:24]
        found[socket.inet_ntoa(bytes(buffer[at + 20 : at + 24]))] = Interface(name.decode(), hardware)
    return found


def _cannot(lack: str, refused: OSError) -> Surroundings:
    return Surroundings(
        f"packets of this run cannot be reached: {lack} ({refused.strerror or refused}); everything but packet faults "
        "works without; ownframe doctor says what this machine has"
    )


class _Answers:
    """Name servers' answers, read and written."""

    def question(self, packet: bytes) -> object:
        """Return the name (in lower case), type and class that are asked for; None for what is no answer."""
        dns = _scapy_dns()
        try:
            said = dns.DNS(packet[_said_at(packet) :])
            asked = said.qd[0]
            if not said.qr or not said.an:
                return None
            return bytes(asked.qname).lower(), int(asked.qtype), int(asked.qclass)
        except Exception:  # noqa: BLE001 - whatever is no DNS; scapy raises of everything
            return None

    def instead(self, packet: bytes, before: bytes) -> bytes:
        """Return the answer `packet` with all that `before` said, and its own number and question."""
        from scapy.layers.inet import IP, UDP  # noqa: PLC0415, TID251

        dns = _scapy_dns()
        at = _said_at(packet)
        new, old = dns.DNS(packet[at:]), dns.DNS(before[_said_at(before) :])
        old.id, old.qd = new.id, new.qd
        ip, udp = IP(packet), UDP(packet[at - 8 : at])
        ip.remove_payload()
        udp.remove_payload()
        for layer, fields in ((ip, ("len", "chksum")), (udp, ("len", "chksum"))):
            for field in fields:
                layer.delfieldval(field)
        return bytes(ip / udp / old)


def _said_at(packet: bytes) -> int:
    return (packet[0] & 15) * 4 + 8


def _scapy_dns() -> Any:
    # it takes half a second, and only name servers' answers need it
    from scapy.layers import dns  # noqa: PLC0415, TID251

    return dns


def _loaded(name: str) -> Callable[[Packet, int], Any]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as missing:
        raise Misuse(f"the packet fault {name} is not to be had ({missing}); expected a function in a module") from None
    if not callable(found):
        raise Misuse(f"the packet fault {name} is {found!r}; expected a function of a packet and its number")
    return found  # type: ignore[no-any-return]


def _function(name: str) -> Function:
    """Return a user's function as one from bytes to bytes; what it changes gets right lengths and checksums."""
    # it takes half a second, and only own faults need it
    from scapy.layers.inet import IP, TCP, UDP  # noqa: PLC0415, TID251

    does = _loaded(name)

    def whole(packet: Packet, raw: bytes) -> bytes:
        if bytes(packet) == raw:
            return raw
        fresh = packet.copy()
        for layer, fields in ((IP, ("len", "chksum")), (TCP, ("chksum",)), (UDP, ("len", "chksum"))):
            if layer in fresh:
                for field in fields:
                    fresh[layer].delfieldval(field)
        return bytes(fresh)

    def function(raw: bytes, number: int) -> list[bytes]:
        try:
            answer = does(IP(raw), number)
            packets = answer if isinstance(answer, list) else [] if answer is None else [answer]
            return [whole(p, raw) for p in packets]
        except Exception as broken:
            raise Misuse(
                f"the packet fault {name} failed on packet {number} ({type(broken).__name__}: {broken}); expected the "
                "packet, another one, a list of them, or None to lose it"
            ) from broken

    return function

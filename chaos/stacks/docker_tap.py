"""*The tap*: a container in Toxiproxy's network namespace that may what nothing else of a run may: reach packets.

Netfilter takes orders only from a process that has CAP_NET_ADMIN where the packets are, and raw sockets are made only
by one that has CAP_NET_RAW. So this container makes the sockets, hands them to the harness, and passes on what the
harness writes; all that is decided is decided outside, by a plain member of the group docker. It has these two
capabilities over a namespace that the run made and that no node is in, and beside that no more than a node has.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from chaos import captures, netfilter
from chaos.errors import Surroundings
from chaos.packets import Handles
from chaos.stacks.docker_containers import Container
from chaos.stacks.docker_wire import Door

CAPABILITIES = ("NET_ADMIN", "NET_RAW")
_PATIENCE = 5.0
_NETFILTER, _RAW = 12, 255
_BUFFER, _MARK = 33, 36  # SO_RCVBUFFORCE, SO_MARK
_SCRIPT = f"""
import socket
way = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
way.connect("/ownframe/tap")
taken = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons({captures.EVERYTHING}))
try:
    taken.setsockopt(socket.SOL_SOCKET, {_BUFFER}, {captures.BUFFER})
except OSError:
    pass
socket.send_fds(way, [b"captures"], [taken.fileno()])
netfilter = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {_NETFILTER}) for _ in range(2)]
for each in netfilter:
    each.setsockopt(socket.SOL_SOCKET, {_BUFFER}, 16 << 20)
    each.bind((0, 0))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, {_RAW})
raw.setsockopt(socket.SOL_SOCKET, {_MARK}, {netfilter.MARK})
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
socket.send_fds(way, [b"tap"], [s.fileno() for s in (*netfilter, raw, frames)])
while message := way.recv(1 << 20):
    netfilter[message[0]].send(message[1:])
"""
"""Ends with the harness, whose end of the socket is then closed. The first byte of a message says which socket it is
for: rules, or the queue."""


class Tap:
    """The harness's end of the tap."""

    command = ("python3", "-c", _SCRIPT)

    def __init__(self, door: Door) -> None:
        self._door = door
        self._way: socket.socket | None = None
        self._lock = threading.Lock()

    def captured(self, container: Container) -> socket.socket:
        """Wait for the container, which was started, and return its first socket, which takes packets."""
        self._way = way = self._door.accept(container)
        way.settimeout(_PATIENCE)
        return self._handed(container, 1)[0]

    def accept(self, container: Container) -> Handles:
        """Return the sockets that packet faults need, which the container hands out next."""
        rules, queue, raw, frames = self._handed(container, 4)
        return Handles(rules, queue, raw, frames, self._tell(container))

    def _handed(self, container: Container, count: int) -> list[socket.socket]:
        assert self._way is not None, "the tap has reported"
        files: list[int] = []
        with contextlib.suppress(OSError):
            _, files, _, _ = socket.recv_fds(self._way, 16, count)
        if len(files) != count:
            raise Surroundings(
                "packets of this run cannot be reached: the engine gave the container that does it no CAP_NET_ADMIN "
                f"and CAP_NET_RAW, or the kernel has no netfilter. Its last lines:\n{container.tail()}"
            )
        return [socket.socket(fileno=f) for f in files]

    def close(self) -> None:
        """Let go of the socket; the container ends."""
        self._door.close()
        if self._way is not None:
            self._way.close()

    def _tell(self, container: Container) -> Callable[[int, bytes], None]:
        def tell(which: int, message: bytes) -> None:
            assert self._way is not None, "the tap has reported"
            try:
                with self._lock:
                    self._way.sendall(bytes([which]) + message)
            except OSError as broken:
                raise Surroundings(
                    f"the container that reaches packets does not answer ({broken}); start the run again. Its last "
                    f"lines:\n{container.tail()}"
                ) from None

        return tell

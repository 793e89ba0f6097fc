"""A network namespace of a test's own, where packets can be reached without a container: it takes root and 10 ms."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from chaos import sockets
from chaos.fates import Halves
from chaos.packets import Handles, PacketLayer

_T = TypeVar("_T")
_NEW_NETWORK = 0x40000000
_SET_FLAGS, _SET_MTU = 0x8914, 0x8922
LINK = "ada.hub"
DIALLED, DIALLING, SERVER, SPARE = "127.0.1.1", "127.0.2.1", "127.0.3.1", "127.0.2.6"
"""Where the link's client dials, where the other half dials from and to, and whom it may seem to be."""


class Namespace:
    """Runs what makes sockets in a thread that has a network of its own; loopback with packets as Ethernet has them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, initializer=_enter)

    def run(self, do: Callable[[], _T]) -> _T:
        return self._pool.submit(do).result(timeout=10)

    def server(self, address: str) -> socket.socket:
        made = self.run(lambda: socket.create_server((address, 0)))
        made.settimeout(10)
        return made

    def dial(self, to: tuple[str, int], source: str = "127.0.0.1") -> socket.socket:
        made = self.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.settimeout(10)
        made.bind((source, 0))
        made.connect(to)
        return made

    def counters(self) -> dict[str, int]:
        """What the kernel counts of TCP and IP there."""
        return self.run(_counters)

    def netlink(self) -> tuple[socket.socket, socket.socket]:
        return self.run(sockets.netlink_sockets)

    def handles(self) -> Handles:
        def make() -> Handles:
            rules, queue = (socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) for _ in range(2))
            queue.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            raw.setsockopt(socket.SOL_SOCKET, 36, 0x6F66)
            frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            return Handles(rules, queue, raw, frames, lambda which, message: (rules, queue)[which].send(message))

        return self.run(make)

    def close(self) -> None:
        self._pool.shutdown()


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "no network of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, _SET_MTU, struct.pack("16si20x", b"lo", 1500))
        fcntl.ioctl(s, _SET_FLAGS, struct.pack("16sH22x", b"lo", 1))


def _counters() -> dict[str, int]:
    found: dict[str, int] = {}
    for name in ("snmp", "netstat"):
        lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
        for head, values in zip(lines[::2], lines[1::2], strict=True):
            kind = head.split(":")[0]
            found |= {f"{kind}.{k}": int(v) for k, v in zip(head.split()[1:], values.split()[1:], strict=True)}
    return found


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    if os.geteuid():
        pytest.skip("NOT RUN without root: only root makes a network namespace here; the docker tests need none")
    made = Namespace()
    try:
        yield made
    finally:
        made.close()


def layer(of: Namespace, listens: int, dials: int, *, device_dials: bool) -> PacketLayer:
    """Return a running packet layer for one link, whose halves end at these ports."""
    halves = Halves(device_dials, DIALLED, listens, DIALLING, dials, SPARE)
    made = PacketLayer(of.handles(), {LINK: halves}, lambda: sockets.ends(of.netlink))
    made.start()
    return made


def router(of: Namespace, port: int, *, device_dials: bool = True, client: str = "127.0.0.1") -> PacketLayer:
    """Return a running packet layer for one link over UDP to that port of `SERVER`."""
    halves = Halves(device_dials, DIALLED, port, DIALLING, port, SPARE, datagrams=True)
    made = PacketLayer(of.handles(), {LINK: halves}, lambda: sockets.ends(of.netlink), {LINK: (client, SERVER)})
    made.start()
    return made

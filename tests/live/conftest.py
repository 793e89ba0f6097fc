"""A real Toxiproxy, links through it, and both ends of a connection held by the test itself."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos import server, sockets
from chaos.children import Scratch
from chaos.links import Hop, Links, Toxiproxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 20.0
"""Seconds after which a test gives up waiting; nothing here needs one."""


@pytest.fixture(scope="session")
def toxiproxy_binary() -> Path:
    """The real server, built first where there is none; no server is a failure, never a skip."""
    return server.toxiproxy_server(print)


@pytest.fixture
def scratch(own_state_folder: None) -> Iterator[Scratch]:
    made = Scratch()
    yield made
    made.remove()


@pytest.fixture
def toxiproxy(toxiproxy_binary: Path, scratch: Scratch, tmp_path: Path) -> Iterator[Toxiproxy]:
    with Toxiproxy(toxiproxy_binary, scratch, tmp_path / "toxiproxy.log") as running:
        yield running


class Ends(NamedTuple):
    """Both ends of one connection through a link: the device's, and that of the node at its other end."""

    device: socket.socket
    far: socket.socket

    def way(self, way: str) -> tuple[socket.socket, socket.socket]:
        """Return (sender, receiver) of a way."""
        return (self.device, self.far) if way == "up" else (self.far, self.device)


class Wire:
    """One link whose upstream is the test: `connect` returns both ends of a new connection."""

    def __init__(self, toxiproxy: Toxiproxy, *, device_dials: bool) -> None:
        self.name = "ada.hub" if device_dials else "ada.camera"
        self.upstream = socket.create_server(("127.0.0.1", 0))
        self.upstream.settimeout(PATIENCE)
        self.device_dials = device_dials
        (self.port,) = sockets.free_ports(1)
        self.hop = Hop(f"127.0.0.1:{self.port}", f"127.0.0.1:{self.upstream.getsockname()[1]}", device_dials)
        self.links = Links(toxiproxy, {self.name: self.hop})
        self.links.fresh()
        self._open: list[socket.socket] = []

    def dial(self) -> socket.socket:
        dialled = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self._open.append(dialled)
        return dialled

    def connect(self) -> Ends:
        dialled = self.dial()
        accepted, _ = self.upstream.accept()
        accepted.settimeout(PATIENCE)
        self._open.append(accepted)
        return Ends(dialled, accepted) if self.device_dials else Ends(accepted, dialled)

    def close(self) -> None:
        for each in (*self._open, self.upstream):
            each.close()


@pytest.fixture(params=[True, False], ids=["device dials", "device is dialled"])
def wire(request: pytest.FixtureRequest, toxiproxy: Toxiproxy) -> Iterator[Wire]:
    made = Wire(toxiproxy, device_dials=request.param)
    yield made
    made.close()


@pytest.fixture
def hub_wire(toxiproxy: Toxiproxy) -> Iterator[Wire]:
    made = Wire(toxiproxy, device_dials=True)
    yield made
    made.close()


def receive(receiver: socket.socket, count: int) -> bytes:
    """Return `count` bytes, or fewer if the stream ends before."""
    got = b""
    while len(got) < count:
        more = receiver.recv(count - len(got))
        if not more:
            break
        got += more
    return got


def ends_with(receiver: socket.socket) -> str:
    """Read until the stream ends; return how: ``end`` for a FIN, ``reset`` for a RST."""
    try:
        while receiver.recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


def arrives_within(receiver: socket.socket, seconds: float) -> bytes | None:
    """Return what arrives within that time, b'' for the stream's end, None for nothing."""
    receiver.settimeout(seconds)
    try:
        return receiver.recv(65536)
    except TimeoutError:
        return None
    finally:
        receiver.settimeout(PATIENCE)


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.005)


@contextlib.contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    began = time.monotonic()
    yield lambda: time.monotonic() - began

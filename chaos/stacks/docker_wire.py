"""Toxiproxy's container, and *the wire*, the container that does nothing but hold Toxiproxy's network namespace."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from chaos import sockets
from chaos.errors import Surroundings
from chaos.links import Server
from chaos.stacks.docker_containers import READY_WITHIN, Container

API_PORT = 8474
_SOCKET = "netlink"
_SCRIPT = """
import socket
way = socket.socket(socket.AF_UNIX)
way.connect("/ownframe/netlink")
while way.recv(1):
    kernel = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) for _ in range(2)]
    socket.send_fds(way, [b"netlink"], [s.fileno() for s in kernel])
    for s in kernel:
        s.close()
"""
"""Ends with the harness, whose end of the socket is then closed. 4 is NETLINK_SOCK_DIAG."""


class Door:
    """A Unix socket in a folder that a container sees as ``/ownframe``, to which the container connects once."""

    def __init__(self, folder: Path, name: str, kind: int = socket.SOCK_STREAM) -> None:
        folder.mkdir(mode=0o755, exist_ok=True)
        self.mounts = {"/ownframe": str(folder)}
        self._waiting = socket.socket(socket.AF_UNIX, kind)
        # a socket's path may have 107 characters, and a state folder may be deep
        here = os.open(folder, os.O_PATH)
        try:
            self._waiting.bind(f"/proc/self/fd/{here}/{name}")
        finally:
            os.close(here)
        (folder / name).chmod(0o666)  # the folders above let in this user alone; the container has another
        self._waiting.listen(1)

    def accept(self, container: Container) -> socket.socket:
        """Wait for the container, which was started, to connect."""
        deadline = time.monotonic() + READY_WITHIN
        self._waiting.settimeout(0.5)
        while True:
            try:
                way, _ = self._waiting.accept()
            except TimeoutError:
                how = container.ended()
                if how is not None or time.monotonic() > deadline:
                    raise Surroundings(
                        f"waited for the container {container.name} to report ({how or 'running'}); the engine must "
                        f"see this machine's files. Its last lines:\n{container.tail()}"
                    ) from None
            else:
                way.settimeout(READY_WITHIN)
                return way

    def close(self) -> None:
        """Let nobody in any more."""
        self._waiting.close()


class Wire:
    """What the harness has to do with the wire: a Unix socket over which it is given netlink sockets.

    They tell of the namespace that they were made in, whoever reads them: so the harness itself samples the kernel's
    byte counters of Toxiproxy's connections, as a plain member of the group docker, without root and without a copy of
    the sampler in a container.
    """

    command = ("python3", "-c", _SCRIPT)
    sysctls: Mapping[str, str] = {"net.ipv4.tcp_syn_retries": "1", "net.ipv4.ip_unprivileged_port_start": "0"}
    """Toxiproxy dials in its accept loop, and a proxy ends only between two dials: one to a node that is off its
    network takes 3 s like this, and 127 s without, where a change of that link was given up after `links.LIMIT`. It has
    no rights, and listens under the ports that somebody's own services have, such as 80."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._door = Door(folder, _SOCKET)
        self.mounts = self._door.mounts
        self._way: socket.socket | None = None
        self._lock = threading.Lock()

    def accept(self, container: Container) -> None:
        """Wait for the container, which was started, to connect."""
        self._way = self._door.accept(container)

    def netlink(self) -> tuple[socket.socket, socket.socket]:
        """Return two netlink sockets of Toxiproxy's network namespace, as `chaos.sockets.Meter` wants them."""
        assert self._way is not None, "the wire has reported"
        with self._lock:
            self._way.sendall(b"?")
            _, files, _, _ = socket.recv_fds(self._way, 16, 2)
        asking, told = (socket.socket(fileno=f) for f in files)
        return asking, told

    def close(self) -> None:
        """Let go of the socket; the container ends."""
        self._door.close()
        if self._way is not None:
            self._way.close()


class ContainerToxiproxy(Server):
    """Toxiproxy in the wire's network, its API on the one address that nodes have no way to."""

    def __init__(self, host: str, make: Callable[[], Container]) -> None:
        super().__init__("Toxiproxy")
        self._host = host
        self._make = make
        self.container: Container

    def start(self) -> None:
        """Start the container and wait until its API answers."""
        if not hasattr(self, "container"):
            self.container = self._make()
        self.container.start()
        deadline = time.monotonic() + READY_WITHIN
        while not sockets.accepts(f"{self._host}:{API_PORT}"):
            self.check()
            if time.monotonic() > deadline:
                raise Surroundings(
                    f"waited {READY_WITHIN:.0f} s for Toxiproxy to listen on {self._host}:{API_PORT}; the host must be "
                    f"able to reach its containers. Its last lines:\n{self.tail()}"
                )
            time.sleep(0.02)  # between two looks at a condition
        self.reach(self._host, API_PORT)

    def stop(self) -> None:
        """Kill the container; it can be started again."""
        if hasattr(self, "container"):
            self.container.kill()

    def ended(self) -> str | None:
        """Return how the container ended, or None while it runs."""
        return self.container.ended()

    def tail(self) -> str:
        """Return its last lines."""
        return self.container.tail(8)

"""Nodes as local processes on loopback: for a laptop without Docker, and what the demo runs on.

Real Toxiproxy, a real Valkey server, real codecs; what it has not got is an address of its own for each node.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from chaos import captures, children, server, sockets
from chaos.captures import Captures
from chaos.errors import CannotRunHere, Misuse, Surroundings
from chaos.fates import Halves
from chaos.links import Hop, Links, Toxiproxy
from chaos.plan import NodeFault
from chaos.remote import Remote
from chaos.scene import SceneServer
from chaos.stacks import packages
from chaos.topology import Node, Topology, fill

READY_WITHIN = 20.0
"""Seconds; three homes were ready in 1.5 s on two quiet cores (measured)."""
STARTS = 3
"""Times that a home is started on other ports, when another process takes one between choosing and listening."""


class ProcessStack:
    """Starts each node with this Python, its sources in a folder of the run."""

    name = "process"
    faults: frozenset[NodeFault] = frozenset(
        {"restarted", "rolled out", "rolled back", "emptied", "paused", "clock", "picture"}
    )
    links: Links
    parts: Mapping[str, str] = {"python": platform.python_version()}

    def __init__(self, scratch: children.Scratch, say: server.Progress = lambda _: None) -> None:
        self._scratch = scratch
        self._say = say
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[tuple[str, str], str] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._toxiproxy: Toxiproxy | None = None
        self.captures: Captures | str = captures.NO_NETWORK
        self._paused: set[str] = set()

    def start(self, topology: Topology, home: Path, scene: SceneServer, logs: Path) -> None:
        """Start Toxiproxy, every proxy, and all nodes at once; return when each node is ready.

        Ports are chosen before anything listens on them. When another process was faster at one, everything is started
        again on others, at most `STARTS` times; what failed for another reason is raised as it is.
        """
        if topology.datagrams:
            raise CannotRunHere(
                f"{', '.join(sorted(topology.datagrams))} cannot be had on --stack process: links over UDP go through "
                "a network namespace of the run's own, which --stack docker has"
            )
        self._topology, self._logs = topology, logs
        self._homes = {n.name: home for n in topology.nodes}
        wanted = [(n.name, p) for n in topology.nodes for p in n.ports]
        for again in reversed(range(STARTS)):
            chosen = sockets.free_ports(len(wanted) + len(topology.links))
            try:
                self._start_on(chosen, wanted, scene)
            except Surroundings as failed:
                self.stop()
                taken = sockets.taken(chosen)  # ours have ended: who listens there now is somebody else
                if not again or not (taken or sockets.IN_USE in str(failed).lower()):
                    raise
                which = f"port {taken[0]}" if taken else "a port for a moment"
                self._say(f"another process took {which} first; starting again on other ports")
            else:
                return

    def _start_on(self, chosen: Sequence[int], wanted: Sequence[tuple[str, str]], scene: SceneServer) -> None:
        topology, logs, ports = self._topology, self._logs, iter(chosen)
        self._addresses = {key: f"127.0.0.1:{next(ports)}" for key in wanted}
        hops = {
            k.name: Hop(f"127.0.0.1:{next(ports)}", self.address(k.server, k.port), k.device_dials)
            for k in topology.links
        }
        self._toxiproxy = Toxiproxy(server.toxiproxy_server(self._say), self._scratch, logs / "toxiproxy.log")
        self._toxiproxy.start()
        self.links = Links(self._toxiproxy, hops)
        self.links.fresh()
        try:
            halves = {name: _halves(hop) for name, hop in hops.items()}
            self.captures = captures.loopback(halves, {k.name: (k.client, k.server) for k in topology.links})
        except Surroundings as lack:
            self.captures = str(lack)
        values = {f"link:{name}": hop.listen for name, hop in hops.items()} | {"scene": scene.url}
        for node in topology.nodes:
            mine = values | {f"listen:{p}": self.address(node.name, p) for p in node.ports}
            environment = {k: fill(v, mine) for k, v in node.environment.items()}
            self._commands[node.name] = ([self._program(node), *node.command[1:]], environment)
            self._spawn(node.name)
        for node in topology.nodes:
            self._wait(node, Remote.ready)

    def meter(self) -> sockets.Meter:
        """Return a meter of this machine's own sockets."""
        return sockets.Meter(self.links.hops)

    def stop(self) -> None:
        """End every node, then Toxiproxy."""
        for node in self._paused:  # one that stands still does not take a SIGTERM
            self._children[node].send_signal(signal.SIGCONT)
        self._paused.clear()
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        for child in self._children.values():
            children.end(child)
        self._children.clear()
        if self._toxiproxy is not None:
            self._toxiproxy.stop()
        if isinstance(self.captures, Captures):
            self.captures.stop()

    def check(self) -> None:
        """Raise `Surroundings` when a node or Toxiproxy died by itself."""
        assert self._toxiproxy is not None, "a stack is checked after it was started"
        self._toxiproxy.check()
        for name, child in self._children.items():
            code = child.poll()
            if code is not None:
                raise Surroundings(f"{name} ended by itself with code {code}; its last lines:\n{self.tail(name)}")

    def address(self, node: str, port: str) -> str:
        """Return the loopback address of a node's port."""
        return self._addresses[node, port]

    def dialled(self, link: str) -> str:
        """Return the address of the link's proxy."""
        return self.links.hops[link].listen

    def images(self) -> dict[str, str]:
        """Return nothing: processes run from sources."""
        return {}

    def restart(self, node: str) -> None:
        """Kill the process and start the same command on the same ports."""
        child = self._children[node]
        child.kill()
        child.wait()
        self._spawn(node)
        self._wait(self._topology.node(node), Remote.answers)  # its links may be under conditions: up is enough

    def roll(self, node: str, home: Path) -> None:
        """Start the node from other sources, on the same ports."""
        self._homes[node] = home
        command, environment = self._commands[node]
        self._commands[node] = ([self._program(self._topology.node(node)), *command[1:]], environment)
        self.restart(node)

    def pause(self, node: str) -> None:
        """Stop the process, and return when the kernel says that every thread of it stands still."""
        self._paused.add(node)
        self._children[node].send_signal(signal.SIGSTOP)
        self._wait_stopped(node, stopped=True)

    def resume(self, node: str) -> None:
        """Let the process go on."""
        self._children[node].send_signal(signal.SIGCONT)
        self._wait_stopped(node, stopped=False)
        self._paused.discard(node)

    def detach(self, node: str) -> None:
        """Raise `Misuse`: these nodes share one loopback."""
        raise Misuse(f"{node} cannot be detached: the nodes of --stack process share one network; use --stack docker")

    def attach(self, node: str, *, new_address: bool) -> str:
        """Leave the node where it is; raises `Misuse` for another address, which it cannot have."""
        if new_address:
            raise Misuse(f"{node} has no address of its own on --stack process; use --stack docker")
        return ""

    def mend(self) -> None:
        """Let every process go on, and ask it."""
        for node in sorted(self._paused):
            self.resume(node)
            self._wait(self._topology.node(node), Remote.answers)

    def _wait_stopped(self, node: str, *, stopped: bool) -> None:
        child, deadline = self._children[node], time.monotonic() + READY_WITHIN
        while child.poll() is None and (psutil.Process(child.pid).status() == psutil.STATUS_STOPPED) is not stopped:
            if time.monotonic() > deadline:
                raise Surroundings(f"{node} did not {'stop' if stopped else 'go on'} within {READY_WITHIN:.0f} s")
            time.sleep(0.001)  # between two looks at a condition

    def run_beside(self, node: str, command: tuple[str, ...]) -> None:
        """Run a command in the home's folder, with the node's environment."""
        environment = os.environ | self._commands[node][1]
        if command[0] == "python":
            command = (self._commands[node][0][0], *command[1:])
        try:
            subprocess.run(
                command, cwd=self._homes[node], env=environment, capture_output=True, check=True, timeout=READY_WITHIN
            )
        except (OSError, subprocess.SubprocessError) as failed:
            raise Surroundings(f"{' '.join(command)} beside {node} failed: {failed}") from failed

    def log_mark(self, node: str) -> int:
        """Return the size of the node's log."""
        return self._log(node).stat().st_size

    def log_since(self, node: str, mark: int) -> str:
        """Return the log from that size on."""
        with self._log(node).open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def tail(self, node: str, lines: int = 12) -> str:
        """Return the node's last lines."""
        return "\n".join(self._log(node).read_text(errors="replace").splitlines()[-lines:]) or "(it logged nothing)"

    def _log(self, node: str) -> Path:
        return self._logs / f"{node}.log"

    def _program(self, node: Node) -> str:
        """Return the program of a node's command; ``python`` is the interpreter that has the node's packages."""
        if node.command[0] != "python":
            return node.command[0]
        return packages.interpreter(self._homes[node.name], node.source, self._say)

    def _spawn(self, node: str) -> None:
        command, environment = self._commands[node]
        self._children[node] = self._scratch.spawn(
            command,
            log=self._log(node),
            cwd=self._homes[node],
            environment=environment | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def _not_listening(self, node: Node) -> str | None:
        """Say that neither this node nor what it started listens on its first port; a stranger would answer too."""
        port = int(self.address(node.name, node.ports[0]).rpartition(":")[2])
        try:
            process = psutil.Process(self._children[node.name].pid)
            found = [c for p in (process, *process.children(recursive=True)) for c in p.net_connections("tcp")]
        except psutil.Error:
            found = []  # it has just ended, which is seen next
        listens = any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in found)
        return None if listens else "it does not listen"

    def _wait(self, node: Node, asked: Callable[[Remote], str | None]) -> None:
        """Wait until the node lacks nothing, by what its operator port says, or until it listens if it has none."""
        deadline = time.monotonic() + READY_WITHIN
        remote = Remote(node.name, self.address(node.name, "operator")) if "operator" in node.ports else None
        try:
            while True:
                code = self._children[node.name].poll()
                if code is not None:
                    raise Surroundings(
                        f"{node.name} ended with code {code} before it was ready; its last lines:\n"
                        f"{self.tail(node.name)}"
                    )
                lack = self._not_listening(node) if remote is None else asked(remote)
                if lack is None:
                    return
                if time.monotonic() > deadline:
                    raise Surroundings(
                        f"waited {READY_WITHIN:.0f} s for {node.name} to be ready; last seen: {lack}; "
                        f"its last lines:\n{self.tail(node.name)}"
                    )
                time.sleep(0.02)  # between two looks at a condition
        finally:
            if remote is not None:
                remote.close()


def _halves(hop: Hop) -> Halves:
    """Return where a link crosses loopback: no two of its ends have one port."""
    (client, listens), (server, dials) = (address.rsplit(":", 1) for address in (hop.listen, hop.upstream))
    return Halves(hop.device_dials, client, int(listens), server, int(dials), server)

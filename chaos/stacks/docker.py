"""Nodes as containers of their own: own addresses, own networks, and no way to each other but through Toxiproxy.

A hop has two networks, one with its client and one with its server, and Toxiproxy is on both. It runs in the network
namespace of a container that does nothing but hold it, *the wire*: a Toxiproxy that hangs is replaced while every
network stays as it is. The wire also hands out netlink sockets of that namespace, so that the kernel's byte counters
of Toxiproxy's connections are read by the harness itself, without root.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chaos import captures, children, sockets
from chaos.captures import Captures
from chaos.compose.lens import filled
from chaos.errors import Surroundings
from chaos.fates import Halves
from chaos.links import Hop, Links
from chaos.packets import PacketLayer
from chaos.plan import DEFAULT_CAMERA, NodeFault
from chaos.remote import Remote
from chaos.scene import SceneServer
from chaos.stacks import docker_engine
from chaos.stacks.docker_containers import READY_WITHIN, Container, Endpoint, Spec, slug
from chaos.stacks.docker_described import Files
from chaos.stacks.docker_engine import each
from chaos.stacks.docker_faults import ContainerFaults
from chaos.stacks.docker_images import Images
from chaos.stacks.docker_networks import ADDRESS_BITS, Network, Networks
from chaos.stacks.docker_tap import CAPABILITIES, Tap
from chaos.stacks.docker_wire import API_PORT, ContainerToxiproxy, Door, Wire
from chaos.topology import Node, Topology, fill

if TYPE_CHECKING:
    from docker import DockerClient

_FIRST_PORT = 7001
_CONTROL = "control"


class DockerStack:
    """Starts each node as a container of its image, built from the home's sources where it is not there."""

    name = "docker"
    faults: frozenset[NodeFault] = frozenset(
        {
            "restarted", "rolled out", "rolled back", "emptied", "paused", "detached", "new address", "clock",
            "picture",
        }
    )  # fmt: skip
    links: Links

    def __init__(self, scratch: children.Scratch, say: Callable[[str], None] = lambda _: None) -> None:
        self._scratch = scratch
        self._say = say
        self._run = docker_engine.new_run()
        self._client: DockerClient | None = None
        self._containers: dict[str, Container] = {}
        self._fronts: dict[str, str] = {}
        self._ports: dict[tuple[str, str], int] = {}
        self._dialled: dict[str, str] = {}
        self._wire: Wire | None = None
        self.parts: Mapping[str, str] = {}
        self._tap: Tap | None = None
        self._packets: PacketLayer | None = None
        self.captures: Captures | str = captures.NO_NETWORK

    # Life.

    def start(self, topology: Topology, home: Path, scene: SceneServer, logs: Path) -> None:
        """Build what is missing, make networks, start Toxiproxy and all nodes; return when each node is ready."""
        self._topology, self._logs = topology, logs
        self._images: dict[tuple[Path, str], str] = {}
        self._client = client = docker_engine.connect()
        for line in docker_engine.clear_leftovers(client):
            self._say(line)
        images = Images(client, home, self._say)
        toxiproxy = images.toxiproxy()
        described = [n.container for n in topology.nodes if n.container is not None]
        node_images = images.nodes([n.dockerfile or n.source for n in topology.nodes if n.container is None])
        node_images |= images.described(described)
        self.parts = {f"the image of {source}": tag for source, tag in node_images.items()}  # tags are digests

        self._plan = plan = _Plan(topology)
        self._ports, self._dialled = plan.ports, plan.dialled
        self._labels = labels = docker_engine.labels(self._run)
        maker = Networks(client, f"ownframe-{self._run}", labels)
        fronts = {_CONTROL, *plan.fronts.values()}
        made = each(lambda wanted: maker.make(wanted, front=wanted in fronts), plan.networks)
        self._networks = networks = dict(zip(plan.networks, made, strict=True))
        self._fronts = {node: networks[name].node for node, name in plan.fronts.items()}
        self._lenses = lenses = {n: self._lens(scene, n, networks[name].host) for n, name in plan.lenses.items()}
        self._files = Files(client, self._run, labels, self._scratch.folder / f"files-{self._run}")

        self._wire = wire = Wire(self._scratch.folder / f"wire-{self._run}")
        endpoints = tuple(
            Endpoint(n.name, n.proxy, plan.names(name)) for name, n in networks.items() if plan.has_proxy(name)
        )
        self._specs = specs = {
            "wire": self._spec(
                "wire", images.base, wire.command, endpoints=endpoints, mounts=wire.mounts, sysctls=wire.sysctls
            )
        }
        for node in topology.nodes:
            if node.container is not None:
                image = node_images[node.container.service]
                specs[node.name] = self._described(node, image, plan, networks, lenses.get(node.name))
            else:
                image = node_images[node.dockerfile or node.source]
                specs[node.name] = self._node(node, image, plan, networks, lenses.get(node.name))
        for name, container in zip(specs, each(lambda s: self._made(s, labels), specs.items()), strict=True):
            self._containers[name] = container
        control = networks[_CONTROL]
        server = ContainerToxiproxy(control.proxy, lambda: self._made_toxiproxy(toxiproxy, control, labels))
        hops = plan.hops(networks)

        # the wire first: it has most networks, which take the engine the longest
        waves = _waves(topology)
        each(lambda name: self._containers[name].start(), ["wire", *waves[0]])
        wire.accept(self._containers["wire"])
        self._server = server
        with ThreadPoolExecutor(1, thread_name_prefix="ownframe-docker") as pool:
            packets = pool.submit(self._packets_of, images.base, networks)
            server.start()
        self._containers["toxiproxy"] = server.container
        self.links = _linked(server, hops, packets.result(), topology.datagrams)
        self.links.fresh()
        self._faults = ContainerFaults(plan, networks, self._containers, self.links)
        for wave in waves[1:]:
            each(lambda name: self._containers[name].start(), wave)
            for name in wave:
                self._wait(topology.node(name), Remote.ready)
        for name in waves[0]:
            self._wait(topology.node(name), Remote.ready)

    def stop(self) -> None:
        """Remove every container and network of this run."""
        for container in self._containers.values():
            container.forget()
        if self._packets is not None:
            self._packets.stop()
            self._packets = None
        if isinstance(self.captures, Captures):
            self.captures.stop()
            self.captures = captures.NO_NETWORK
        if self._tap is not None:
            self._tap.close()
            self._tap = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._client is not None:
            docker_engine.remove_run(self._client, self._run)
            self._client.close()
            self._client = None

    def check(self) -> None:
        """Raise `Surroundings` when a node or Toxiproxy died by itself."""
        self._server.check()
        if self._packets is not None:
            self._packets.check()
        for name, container in self._containers.items():
            how = container.ended()
            if how is not None:
                raise Surroundings(f"{name} ended by itself with {how}; its last lines:\n{container.tail()}")

    def images(self) -> dict[str, str]:
        """Return the digest of each node's image, Toxiproxy's among them, as the engine knows it."""
        return {name: container.image() for name, container in self._containers.items()}

    def restart(self, node: str) -> None:
        """Kill the container and start it again: same image, same addresses, nothing kept in memory."""
        container = self._containers[node]
        container.kill()
        container.start()
        self._wait(self._topology.node(node), Remote.answers)  # its links may be under conditions: up is enough

    def roll(self, node: str, home: Path) -> None:
        """Put a container of an image from other sources in the place of the node's."""
        assert self._client is not None, "a node is replaced while its stack runs"
        rolled = self._topology.node(node)
        source = rolled.dockerfile or rolled.source
        if rolled.container is not None:
            self._images[home, source] = self._specs[node].image  # its file has one version of it
        elif (home, source) not in self._images:
            self._images[home, source] = Images(self._client, home, self._say).nodes([source])[source]
        old = self._containers[node]
        there = old.addresses()
        old.remove()
        self._specs[node] = msgspec.structs.replace(self._specs[node], image=self._images[home, source])
        self._containers[node] = new = self._made((node, self._specs[node]), self._labels)
        self._faults.stay(node, there)
        new.start()
        self._wait(self._topology.node(node), Remote.answers)

    def run_beside(self, node: str, command: tuple[str, ...]) -> None:
        """Run a command in the node's container."""
        self._containers[node].run(command)

    # Faults of nodes.

    def pause(self, node: str) -> None:
        """Freeze the container."""
        self._faults.pause(node)

    def resume(self, node: str) -> None:
        """Let the container go on."""
        self._faults.resume(node)

    def detach(self, node: str) -> None:
        """Take the container off every network but its front."""
        self._faults.detach(node)

    def attach(self, node: str, *, new_address: bool) -> str:
        """Put the container back on its networks; Toxiproxy dials it where it is then."""
        return self._faults.attach(node, new_address=new_address)

    def mend(self) -> None:
        """Let every container run, on its networks, at its first addresses; the engine and the node are asked."""
        self._faults.mend(lambda node: self._wait(self._topology.node(node), Remote.answers))

    def meter(self) -> sockets.Meter:
        """Return a meter of Toxiproxy's sockets."""
        assert self._wire is not None, "a meter is made while its stack runs"
        return sockets.Meter(self.links.hops, self._wire.netlink, moves=ADDRESS_BITS)

    def _packets_of(self, base: str, networks: dict[str, Network]) -> PacketLayer | str:
        """Start what reaches packets in the wire's network, or say why it cannot be had: the rest works without."""
        wire = self._wire
        assert wire is not None, "its network is there"
        self._tap = tap = Tap(Door(wire.folder, "tap", socket.SOCK_SEQPACKET))
        shares = self._containers["wire"].id
        spec = self._spec("tap", base, tap.command, shares=shares, mounts=wire.mounts, capabilities=CAPABILITIES)
        try:
            container = self._made(("tap", spec), self._labels)
            container.start()
            self._captured(tap.captured(container), networks)
            layer = PacketLayer(
                tap.accept(container),
                self._plan.halves(networks),
                lambda: sockets.ends(wire.netlink),
                self._plan.datagrams(networks),
            )
            self._packets = layer
            layer.start()
        except Surroundings as lack:
            self._say(str(lack))
            if isinstance(self.captures, str):
                self.captures = str(lack).splitlines()[0]
            return str(lack).splitlines()[0]
        self._containers["tap"] = container
        return layer

    def _captured(self, source: socket.socket, networks: dict[str, Network]) -> None:
        """Take the packets of every link from now on."""
        ends = {k.name: (k.client, k.server) for k in self._topology.links}
        self.captures = made = Captures(source, self._plan.halves(networks), ends, self._plan.called(networks))
        made.start()

    # Who is where.

    def address(self, node: str, port: str) -> str:
        """Return the node's own address on the one network that the harness reaches it on."""
        return f"{self._fronts[node]}:{self._ports[node, port]}"

    def dialled(self, link: str) -> str:
        """Return the name and port under which the link's client knows its server: they are Toxiproxy's."""
        return self._dialled[link]

    # Logs.

    def log_mark(self, node: str) -> int:
        """Return the size of the node's log."""
        return self._containers[node].log.stat().st_size

    def log_since(self, node: str, mark: int) -> str:
        """Return the log from that size on; while a link refuses, what the node says of it is waited for."""
        container = self._containers[node]
        if any(self.links.conditions(k.name).refused for k in self._topology.links if k.client == node):
            container.wait_said("refused", mark)
        return container.said_since(mark)

    def tail(self, node: str, lines: int = 12) -> str:
        """Return the node's last lines."""
        return self._containers[node].tail(lines)

    # How.

    def _made(self, named: tuple[str, Spec], labels: dict[str, str]) -> Container:
        assert self._client is not None
        name, spec = named
        return Container(self._client, spec, labels, self._logs / f"{name}.log")

    def _spec(self, name: str, image: str, command: tuple[str, ...], **more: object) -> Spec:
        return Spec(f"ownframe-{self._run}--{slug(name)}", image, command, **more)  # type: ignore[arg-type]

    def _made_toxiproxy(self, image: str, control: Network, labels: dict[str, str]) -> Container:
        command = ("-host", control.proxy, "-port", str(API_PORT))
        environment = {"LOG_LEVEL": "info"}
        shares = self._containers["wire"].id
        spec = self._spec("toxiproxy", image, command, environment=environment, shares=shares)
        return self._made(("toxiproxy", spec), labels)

    def _node(self, node: Node, image: str, plan: _Plan, networks: dict[str, Network], lens: str | None) -> Spec:
        values = {f"link:{name}": address for name, address in plan.dialled.items()}
        values |= {f"listen:{p}": f"0.0.0.0:{plan.ports[node.name, p]}" for p in node.ports}
        if lens is not None:
            values["scene"] = lens
        mine = [networks[name] for name in plan.of(node.name)]
        return self._spec(
            node.name,
            image,
            node.command,
            environment={k: fill(v, values) for k, v in node.environment.items()},
            endpoints=tuple(Endpoint(n.name, n.node) for n in mine),
            memory_mb=node.memory_mb,
            tmp_mb=node.tmp_mb,
            processes=node.processes,
        )

    def _lens(self, scene: SceneServer, name: str, host: str) -> str:
        """Return where a camera gets its scene on its lens network: the server's address, or all of it."""
        node = self._topology.node(name)
        if node.container is None or node.container.lens is None:
            return scene.listen(host)
        assert node.owner is not None, "a camera is somebody's"
        lens = node.container.lens
        pipe = self._scratch.folder / f"lens-{slug(name)}{Path(lens.instead).suffix}" if lens.serves == "file" else None
        return scene.offer((node.owner, DEFAULT_CAMERA), lens.serves, host, pipe)

    def _described(self, node: Node, image: str, plan: _Plan, networks: dict[str, Network], lens: str | None) -> Spec:
        described = node.container
        assert described is not None, "a node that a file describes"
        if lens is not None:
            described = filled(described, lens)
        return self._spec(
            node.name,
            image,
            (),
            endpoints=tuple(Endpoint(networks[n].name, networks[n].node) for n in plan.of(node.name)),
            described=described,
            files=tuple(self._files.mounts(described)),
        )

    def _wait(self, node: Node, look: Callable[[Remote], str | None]) -> None:
        began = time.monotonic()
        container = self._containers[node.name]
        remote = Remote(node.name, self.address(node.name, "operator")) if "operator" in node.ports else None
        with contextlib.closing(remote) if remote else contextlib.nullcontext():
            while True:
                how = container.ended()
                if how == "code 0" and not node.lasts:
                    container.forget()
                    return
                if how is not None:
                    raise Surroundings(
                        f"{node.name} ended with {how} before it was ready; its last lines:\n{container.tail()}"
                    )
                lack = look(remote) if remote is not None else self._lack(node, container, whole=look is Remote.ready)
                if lack is None:
                    return
                if time.monotonic() > began + READY_WITHIN:
                    raise Surroundings(
                        f"waited {READY_WITHIN:.0f} s for {node.name} to be ready; last seen: {lack}; its last lines:\n"
                        f"{container.tail()}"
                    )
                time.sleep(0.02)  # between two looks at a condition

    def _lack(self, node: Node, container: Container, *, whole: bool) -> str | None:
        """Return what a node without an operator port lacks to be ready, or at least up, as far as it can be seen.

        Its own test of itself counts for the whole alone: its links may be under conditions.
        """
        if not node.lasts:
            return "it has not ended yet"
        health = container.health() if whole and node.container is not None else None
        if health not in (None, "healthy"):
            return f"it says of itself that it is {health}"
        silent = [p for p in node.ports if not sockets.accepts(self.address(node.name, p))]
        return f"nobody listens on {', '.join(silent)}" if silent else None


def _linked(
    server: ContainerToxiproxy, hops: dict[str, Hop], packets: PacketLayer | str, datagrams: frozenset[str]
) -> Links:
    if datagrams and isinstance(packets, str):
        raise Surroundings(f"{', '.join(sorted(datagrams))} cannot be had over UDP: {packets}")
    return Links(server, hops, packets, datagrams)


def _waves(topology: Topology) -> list[list[str]]:
    """Return who is started together: first who needs nobody, then those whose file says whom they wait for."""
    waves = [[n.name for n in topology.nodes if n.container is None]]
    left = {n.name: set(n.container.after) for n in topology.nodes if n.container is not None}
    while left:
        wave = [name for name, needs in left.items() if not needs & left.keys()]
        assert wave, "Compose refuses a circle of those who wait for each other"
        waves.append(wave)
        for name in wave:
            del left[name]
    return waves


class _Plan:
    """Which networks there will be, who is on them, and who listens where: names and ports, no addresses yet."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        ports = itertools.count(_FIRST_PORT)
        self.ports = {(n.name, p): n.numbers.get(p) or next(ports) for n in topology.nodes for p in n.ports}
        self.listens = {
            k.name: self.ports[k.server, k.port] if k.names or k.protocol == "udp" else next(ports)
            for k in topology.links
        }
        # who dials a server by names and ports of its own finds all of them at one address
        self._client_sides = {
            k.name: f"{slug(k.client)}--{slug(k.server)}--client" if k.names else f"{slug(k.name)}--client"
            for k in topology.links
        }
        self._server_sides = {k.name: _server_side(k.name) for k in topology.links}
        for link in topology.links:  # what goes over UDP is between the same addresses as what was said of it over TCP
            if link.protocol == "udp":
                for sides in (self._client_sides, self._server_sides):
                    sides[link.name] = sides[topology.beside(link).name]
        self.lenses = {n.name: f"{slug(n.name)}--lens" for n in topology.nodes if _films(n)}
        self.fronts = {n.name: self.lenses.get(n.name, f"{slug(n.name)}--front") for n in topology.nodes}
        self.networks = [_CONTROL, *self.fronts.values()]
        self.networks += [s for k in topology.links for s in (self._client_side(k.name), self._server_side(k.name))]
        self.networks = list(dict.fromkeys(self.networks))
        self.dialled: dict[str, str] = {}
        known: set[tuple[str, str]] = set()
        for link in topology.over_tcp().links:
            # a client that dials one server over two links knows the second by the link's name
            host = slug(link.server) if (link.client, link.server) not in known else slug(link.name)
            known.add((link.client, link.server))
            self.dialled[link.name] = f"{link.names[0] if link.names else host}:{self.listens[link.name]}"
        for link in topology.links:
            if link.protocol == "udp":
                beside = self.dialled.get(topology.beside(link).name, slug(link.name))
                host = link.names[0] if link.names else beside.partition(":")[0]
                self.dialled[link.name] = f"{host}:{self.listens[link.name]}"
        self._names = {k.name: k.names for k in topology.links}

    def _client_side(self, link: str) -> str:
        return self._client_sides[link]

    def _server_side(self, link: str) -> str:
        return self._server_sides[link]

    def of(self, node: str) -> list[str]:
        """Return the networks of a node; the first is its front."""
        return [self.fronts[node], *self.hop_networks(node)]

    def hop_networks(self, node: str) -> list[str]:
        """Return the networks that a node's links cross."""
        sides = [(k.client, self._client_side(k.name)) for k in self._topology.links]
        sides += [(k.server, self._server_side(k.name)) for k in self._topology.links]
        return list(dict.fromkeys(network for end, network in sides if end == node))

    def served(self, node: str) -> dict[str, tuple[str, int]]:
        """Return, for each link that ends at a node, its network there and the port that is dialled."""
        links = [k for k in self._topology.links if k.server == node]
        return {k.name: (self._server_side(k.name), self.ports[k.server, k.port]) for k in links}

    def has_proxy(self, network: str) -> bool:
        """Whether Toxiproxy is on a network: on every one but the fronts."""
        return network not in self.fronts.values()

    def names(self, network: str) -> tuple[str, ...]:
        """Return what Toxiproxy is called on a network: there its client knows the server by that name."""
        links = [link for link in self.dialled if self._client_side(link) == network]
        names = (name for link in links for name in self._names[link] or (self.dialled[link].split(":")[0],))
        return tuple(dict.fromkeys(names))

    def hops(self, networks: dict[str, Network]) -> dict[str, Hop]:
        """Return where Toxiproxy listens and dials, by link: addresses, since an unknown name stalls it for 10 s."""
        return {
            k.name: Hop(
                f"{networks[self._client_side(k.name)].proxy}:{self.listens[k.name]}",
                f"{networks[self._server_side(k.name)].node}:{self.ports[k.server, k.port]}",
                k.device_dials,
            )
            for k in self._topology.over_tcp().links
        }

    def halves(self, networks: dict[str, Network]) -> dict[str, Halves]:
        """Return where each link crosses Toxiproxy's network namespace."""
        return {
            k.name: Halves(
                device_dials=k.device_dials,
                client=networks[self._client_side(k.name)].proxy,
                listens=self.listens[k.name],
                server=networks[self._server_side(k.name)].proxy,
                dials=self.ports[k.server, k.port],
                spare=networks[self._server_side(k.name)].nobody,
                datagrams=k.protocol == "udp",
            )
            for k in self._topology.links
        }

    def datagrams(self, networks: dict[str, Network]) -> dict[str, tuple[str, str]]:
        """Return the addresses of the client and the server of each link over UDP."""
        return {
            k.name: (networks[self._client_side(k.name)].node, networks[self._server_side(k.name)].node)
            for k in self._topology.links
            if k.protocol == "udp"
        }

    def called(self, networks: dict[str, Network]) -> dict[str, str]:
        """Return what each address on the links' networks is called."""
        named: dict[str, str] = {}
        for k in self._topology.links:
            for network, node in ((self._client_side(k.name), k.client), (self._server_side(k.name), k.server)):
                there = networks[network]
                named |= {there.node: node, there.proxy: "toxiproxy", there.nobody: "nobody"}
        return named


def _films(node: Node) -> bool:
    if node.container is not None:
        return node.container.lens is not None
    return any("${scene}" in value for value in node.environment.values())


def _server_side(link: str) -> str:
    return f"{slug(link)}--server"

"""A compose file understood: nodes, links, owners, and how each hub and camera is handled; and what it lacks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from chaos.compose import lens
from chaos.compose.labels import LABELS, PREFIX, Labels, Request, labels
from chaos.compose.rendered import Rendered
from chaos.compose.services import Service, Told, services
from chaos.errors import Misuse, nearest
from chaos.topology import MINIMUM_OWNERS, Described, Link, Node, Topology

_DEVICES = ("camera", "hub")


class Hop(msgspec.Struct, frozen=True):
    """A link, and how it is known that its client dials it."""

    link: Link
    known_from: str


class System(msgspec.Struct, frozen=True):
    """What was understood. `refused` and `missing` keep it from being put under test; `notes` only tell.

    `labels` are those of each node, `services` its name in the file.
    """

    name: str
    by: str
    digest: str
    topology: Topology
    labels: dict[str, Labels]
    services: dict[str, str]
    hops: tuple[Hop, ...]
    refused: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    def check(self) -> None:
        """Raise `Misuse` with everything that is refused or missing."""
        wrong = [*self.refused, *self.missing]
        if wrong:
            listed = "".join(f"\n  - {one}" for one in wrong)
            raise Misuse(
                f"{self.name} cannot be put under test:{listed}\n`ownframe attach {self.name} --check` says all"
            )


def understand(rendered: Rendered) -> System:
    """Return what a rendered compose file is as a home system. Raises `Misuse` only for what is no compose file."""
    told = Told()
    missing: list[str] = []
    found = services(rendered.content, rendered.folder, told)
    said = _labels(found, told)
    if not said and not told.refused:
        missing.append(_unlabelled(found))
    names = {s: _name(s, said.get(s)) for s in found}
    hops = _hops(found, said, names, told, missing)
    nodes = tuple(_node(found[s], said.get(s, Labels()), names, hops, missing) for s in found)
    owners = tuple(sorted({n.owner for n in nodes if n.owner is not None}))
    topology = Topology(owners, _jobs(nodes, found, names), tuple(h.link for h in hops))
    if said:
        missing += _lacks(topology, said, names)
        told.notes += _alone(topology)
    return System(
        name=rendered.name,
        by=rendered.by,
        digest=f"sha256:{hashlib.sha256(msgspec.json.encode(rendered.content, order='sorted')).hexdigest()}",
        topology=topology,
        labels={names[s]: one for s, one in said.items()},
        services={names[s]: s for s in found},
        hops=hops,
        refused=tuple(told.refused),
        missing=tuple(missing),
        notes=(*rendered.warnings, *told.notes),
    )


def _labels(found: Mapping[str, Service], told: Told) -> dict[str, Labels]:
    said = {}
    for name, service in found.items():
        try:
            one = labels(name, service.labels)
        except Misuse as wrong:
            told.refused.append(str(wrong))
            continue
        if one is not None:
            said[name] = one
    return said


def _unlabelled(found: Mapping[str, Service]) -> str:
    return (
        f"none of its services ({', '.join(sorted(found))}) has a label of ownframe's, so that nobody knows which are "
        f"cameras and hubs, and whose; expected at least {PREFIX}role and {PREFIX}owner on each of these. All labels: "
        f"{', '.join(PREFIX + name for name in LABELS)}"
    )


def _name(service: str, said: Labels | None) -> str:
    return f"{said.owner}.{said.role}" if said is not None and said.role in _DEVICES and said.owner else service


# Hops.


def _hops(
    found: Mapping[str, Service], said: Mapping[str, Labels], names: Mapping[str, str], told: Told, missing: list[str]
) -> tuple[Hop, ...]:
    wanted: dict[tuple[str, str, int], str] = {}
    for client, service in found.items():
        declared = said[client].dials if client in said else None
        if declared is None:
            wanted |= _guessed(service, found, missing)
            continue
        for server, port in declared:
            if server not in found:
                told.refused.append(f"{client} dials {server!r}, which is no service{nearest(server, list(found))}")
            elif server != client:
                wanted[client, server, port] = f"{PREFIX}dials"
    for client, server in dict.fromkeys((c, s) for c, s, _ in wanted):
        if not found[client].networks & found[server].networks:
            told.refused.append(f"{client} dials {server}, and they share no network in the file; expected one")
    for server, service in found.items():
        if service.udp:
            listed = ", ".join(map(str, service.udp))
            told.notes.append(f"{server}: UDP ({listed}) crosses no Toxiproxy; nobody reaches it under test")
    links = _named(list(wanted), found, names)
    return tuple(Hop(link, how) for link, how in zip(links, wanted.values(), strict=True))


def _guessed(service: Service, found: Mapping[str, Service], missing: list[str]) -> dict[tuple[str, str, int], str]:
    """Return the hops that `depends_on` and `links` stand for: to every port that the file knows of the other."""
    wanted: dict[tuple[str, str, int], str] = {}
    known_from = {**dict.fromkeys(service.depends, "depends_on"), **dict.fromkeys(service.linked, "links")}
    for server, how in known_from.items():
        if service.depends.get(server) == "service_completed_successfully" or server not in found:
            continue  # a job has ended by then
        ports = found[server].ports
        if not ports and not found[server].udp:
            missing.append(
                f"{service.name} depends on {server}, and no port of {server} is known; expected `expose` there, or "
                f"{PREFIX}dials: {server}:PORT on {service.name} (empty if it dials nobody)"
            )
        wanted |= {(service.name, server, port): how for port in ports}
    return wanted


def _named(wanted: list[tuple[str, str, int]], found: Mapping[str, Service], names: Mapping[str, str]) -> list[Link]:
    """Name each hop for its device where there is one: alone if it is the device's only one."""
    ends = [(names[c], names[s]) for c, s, _ in wanted]
    devices = [next((e for e in (s, c) if e.endswith((".camera", ".hub")) and "." in e), "") for c, s in ends]
    several = {d for d in devices if d and devices.count(d) > 1}
    links = []
    for (client, server, port), (c, s), device in zip(wanted, ends, devices, strict=True):
        twice = sum(e == (c, s) for e in ends) > 1
        other = s if device == c else c
        name = f"{c}.{s}" if not device else device if device not in several else f"{device}.{other}"
        known = (*found[server].container.names, *(a for o, a in found[client].linked.items() if o == server))
        links.append(
            Link(
                name=f"{name}.{port}" if twice else name,
                client=c,
                server=s,
                port=str(port),
                device=device if name != device or twice else "",
                names=tuple(dict.fromkeys(known)),
            )
        )
    return links


# Nodes.


def _node(service: Service, said: Labels, names: Mapping[str, str], hops: Iterable[Hop], missing: list[str]) -> Node:
    name = names[service.name]
    numbers = {h.link.port: int(h.link.port) for h in hops if h.link.server == name}
    handles = [said.picture, said.close, said.sign_in, said.ask if isinstance(said.ask, Request) else None]
    numbers |= {str(r.port): r.port for r in handles if r is not None}
    if said.screen is not None and said.screen.port:
        key = "operator" if said.screen.kind == "operator" else str(said.screen.port)
        numbers[key] = said.screen.port
    container = service.container
    if said.lens:
        try:
            container = msgspec.structs.replace(container, lens=lens.find(service.name, said, container))
        except Misuse as wrong:
            missing.append(str(wrong))
    after = tuple(names[s] for s in service.depends if s in names)
    return Node(
        name=name,
        role=said.role,
        command=(),
        ports=tuple(numbers),
        environment={},
        source="",
        owner=said.owner,
        forget=() if said.forget == ("restart",) else said.forget,
        numbers=numbers,
        container=msgspec.structs.replace(container, after=after),
    )


def _jobs(nodes: tuple[Node, ...], found: Mapping[str, Service], names: Mapping[str, str]) -> tuple[Node, ...]:
    jobs = {
        names[other]
        for service in found.values()
        for other, condition in service.depends.items()
        if condition == "service_completed_successfully" and other in names
    }

    def job(container: Described | None) -> Described:
        assert container is not None, "every node of a compose file is a container"
        return msgspec.structs.replace(container, job=True)

    return tuple(msgspec.structs.replace(n, container=job(n.container)) if n.name in jobs else n for n in nodes)


# What is lacking.


def _lacks(topology: Topology, said: Mapping[str, Labels], names: Mapping[str, str]) -> Iterable[str]:
    for service, one in said.items():
        label = f"{service} is a {one.role}"
        if one.role in _DEVICES and one.owner is None:
            yield f"{label}, and nobody's; expected {PREFIX}owner, a name of your choice such as ada"
        elif one.role == "camera" and not one.lens:
            yield f"{label}, and where it gets its picture is not said; expected {PREFIX}lens: {LABELS['lens']}"
        elif one.role == "hub" and one.screen is None:
            yield f"{label}, and where its screen is seen is not said; expected {PREFIX}display: {LABELS['display']}"
    by_place = defaultdict(list)
    for service in said:
        by_place[names[service]].append(service)
    for node, them in by_place.items():
        if len(them) > 1:
            yield f"{' and '.join(sorted(them))} are both {node}; ownframe watches one camera and one hub of each owner"
    homes = [o for o in topology.owners if topology.with_role("hub", o) or topology.with_role("camera", o)]
    for owner in homes:
        for role, other in (("camera", "hub"), ("hub", "camera")):
            if not topology.with_role(role, owner):  # type: ignore[arg-type]
                yield f"{owner} has a {other} and no {role}; expected one with {PREFIX}role: {role} and this owner"
    if len(homes) < MINIMUM_OWNERS:
        yield (
            f"it has {len(homes)} owner{'' if len(homes) == 1 else 's'} ({', '.join(homes) or 'nobody'}); expected at "
            f"least {MINIMUM_OWNERS}, since with two a mix-up that happens twice looks right"
        )
    for owner in homes:
        yield from _no_way(topology, owner)


def _no_way(topology: Topology, owner: str) -> Iterable[str]:
    hubs, cameras = topology.with_role("hub", owner), topology.with_role("camera", owner)
    if len(hubs) != 1 or len(cameras) != 1:
        return
    reached = {hubs[0].name}
    links = topology.between(owner, owner)
    for _ in links:
        reached |= {e for k in links if reached & {k.client, k.server} for e in (k.client, k.server)}
    if cameras[0].name not in reached:
        listed = ", ".join(sorted(reached - {hubs[0].name})) or "nobody"
        yield (
            f"no way of links leads from {hubs[0].name} to {cameras[0].name} (it leads to {listed}); expected "
            f"{PREFIX}dials, `depends_on` or `links` on those who dial"
        )


def _alone(topology: Topology) -> Iterable[str]:
    linked = {end for k in topology.links for end in (k.client, k.server)}
    for node in topology.nodes:
        if node.name not in linked:
            yield f"{node.name}: nobody is declared to dial it, and it dials nobody; it runs, and is reached by no one"

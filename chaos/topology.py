"""Which nodes a home system has and which links join them, as data.

A topology is read from the home's own ``home.toml``, once per set of owners: tables whose name contains ``{owner}``
stand for one node or link per owner. Addresses are written as placeholders that the stack fills in:

* ``${listen:public}`` - the host and port on which this node's port ``public`` listens
* ``${link:relay.cache}`` - the host and port under which a link's client dials it, always a Toxiproxy
* ``${scene}`` - the base address of the scene server, over a network that no fault touches
* ``${owner}`` - the owner that the node belongs to
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from chaos.errors import Misuse, nearest

Role: TypeAlias = Literal["camera", "hub", "relay", "accounts", "cache", "other"]
MINIMUM_OWNERS = 3
"""With two owners a mix-up that happens twice looks right (design, section 7)."""

_T = TypeVar("_T")
_PLACEHOLDER = re.compile(r"\$\{(\w+)(?::([^}]+))?\}")


class Mount(msgspec.Struct, frozen=True):
    """Something in a container's files.

    ``bind`` is a path of this machine, ``volume`` one of the engine's (without a `source`: nameless), ``tmpfs`` memory,
    ``file`` a file with this `content`.
    """

    kind: Literal["bind", "volume", "tmpfs", "file"]
    target: str
    source: str = ""
    read_only: bool = False
    options: str = ""
    content: str = ""


class Build(msgspec.Struct, frozen=True):
    """How an image is built: `folder` is the context, `dockerfile` a path in it unless it stands `inline`."""

    folder: str
    dockerfile: str
    inline: str = ""
    arguments: dict[str, str] = {}
    target: str = ""


class Health(msgspec.Struct, frozen=True):
    """A container's own test of itself; times in nanoseconds, 0 for the engine's default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0


class Lens(msgspec.Struct, frozen=True):
    """Where a camera that was described elsewhere gets the scene's address in place of `instead`.

    `variable` is an environment variable that is set to it; else `instead` is a text in its environment, its command or
    in `files` (what they have, by where the container sees them), or, for a ``file``, the path that it films from.
    """

    serves: Literal["mjpeg", "still", "rtsp", "file"]
    variable: str = ""
    instead: str = ""
    files: dict[str, str] = {}


class Described(msgspec.Struct, frozen=True):
    """A container as somebody's compose file has it, run as it is: own image, user, ports and files.

    `names` are what others know it by, `options` what is passed to the engine as it stands. `restarts` says whether it
    is started again when it ends by itself, `job` that it ends by itself before others begin.
    """

    service: str
    names: tuple[str, ...]
    image: str = ""
    build: Build | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    stop_signal: str = ""
    tty: bool = False
    stdin_open: bool = False
    restarts: bool = False
    health: Health | None = None
    options: dict[str, Any] = {}
    lens: Lens | None = None
    after: tuple[str, ...] = ()
    """Nodes that must be ready (or, a job, have ended well) before it is started."""
    job: bool = False


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One process or container of the home system.

    `ports` are names; ``operator`` is the one outside every faulted link. `command` runs in the home's folder.
    `forget` is a command that makes it forget all that it keeps, run beside it when a case begins; a node that speaks
    the operator contract is told to instead. `evict` lets a cache go of what it can, as when its memory is short.
    `screen` says how a hub's screen is seen (``docs/displays.md``). `dockerfile` is what a container's image is built
    from where that is not its folder's own, and the other three are what it may have at most: MB of memory, MB of
    ``/tmp``, processes and threads.

    A `container` is run as it is described; its ports are those of `numbers`, its command and environment its own.
    """

    name: str
    role: Role
    command: tuple[str, ...]
    ports: tuple[str, ...]
    environment: dict[str, str]
    source: str
    owner: str | None = None
    forget: tuple[str, ...] = ()
    evict: tuple[str, ...] = ()
    screen: str = "journal"
    dockerfile: str | None = None
    memory_mb: int = 256
    tmp_mb: int = 32
    processes: int = 128
    numbers: dict[str, int] = {}
    container: Described | None = None
    room: str = ""
    """The room that a camera beside an owner's first one is in, and is called by."""

    @property
    def lasts(self) -> bool:
        """Whether it runs as long as the home does."""
        return self.container is None or not self.container.job


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One hop: `client` dials the port `port` of `server`. It is named for the node at its poor end, the device.

    `device` is that node where the name is longer, since the device has several hops. `names` are what the client knows
    the server by, where that is not for the stack to choose. Over ``udp`` datagrams go between any port of the client
    and that one of the server, under the addresses of the TCP link with the same two ends if there is one.
    """

    name: str
    client: str
    server: str
    port: str
    device: str = ""
    names: tuple[str, ...] = ()
    protocol: Literal["tcp", "udp"] = "tcp"

    @property
    def device_dials(self) -> bool:
        """Whether the device is the dialling end: its ``up`` is then Toxiproxy's upstream, else its downstream."""
        return (self.device or self.name) == self.client


class Topology(msgspec.Struct, frozen=True):
    """All nodes and links of one home system."""

    owners: tuple[str, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        return next(n for n in self.nodes if n.name == name)

    @property
    def datagrams(self) -> frozenset[str]:
        """Names of the links over UDP; they have packet faults and no toxics."""
        return frozenset(k.name for k in self.links if k.protocol == "udp")

    def over_tcp(self) -> Topology:
        """Return this topology with the links alone that Toxiproxy carries."""
        return Topology(self.owners, self.nodes, tuple(k for k in self.links if k.protocol == "tcp"))

    def beside(self, link: Link) -> Link:
        """Return the TCP link between the same two ends, or the link itself where there is none."""
        same = (k for k in self.links if k.protocol == "tcp" and (k.client, k.server) == (link.client, link.server))
        return next(same, link)

    @property
    def rooms(self) -> tuple[str, ...]:
        """The names of the cameras that every owner has beside the first."""
        return tuple(dict.fromkeys(n.room for n in self.nodes if n.room))

    def between(self, home: str, owner: str | None, room: str | None = None) -> tuple[Link, ...]:
        """Return the links that an ask on `home`'s hub can cross when it shows a camera of `owner`, hub first.

        With a `room` only that camera's, and with an empty one only those of the owner's first.
        """
        hubs = {n.name for n in self.with_role("hub", home)}
        cameras = {n.name for n in self.with_role("camera", owner)} if owner is not None else set()
        there = {n.name for n in self.nodes if n.owner is None or (n.role not in ("hub", "camera") and n.owner == home)}
        there |= hubs | {n.name for n in self.nodes if owner is not None and n.owner == owner and n.role != "hub"}
        if room is not None:
            there -= {n.name for n in self.with_role("camera", owner) if n.room != room}
        crossed = [k for k in self.links if {k.client, k.server} <= there]
        return tuple(
            sorted(crossed, key=lambda k: (not hubs & {k.client, k.server}, bool(cameras & {k.client, k.server})))
        )

    def links_of(self, role: Role, owner: str) -> tuple[Link, ...]:
        """Return the links that end at the owner's camera or hub, whoever dials."""
        nodes = {n.name for n in self.with_role(role, owner)}
        return tuple(k for k in self.links if nodes & {k.client, k.server})

    def in_front(self, node: Node, of: str, port: str) -> Topology:
        """Return this topology with `node` in front of the port `port` of the node `of`.

        Whoever dialled that port dials the first port of `node`, over a link of the same name; `node` dials on over
        the link ``{node}.{of}``. Raises `Misuse` when there is no such port, or a node of that name already.
        """
        known = {n.name: n for n in self.nodes}
        if of not in known:
            raise Misuse(f"the node {node.name} stands in front of {of!r}, which is no node{nearest(of, list(known))}")
        if port not in known[of].ports:
            raise Misuse(f"{of} has no port {port!r}{nearest(port, known[of].ports)}")
        if node.name in known:
            raise Misuse(f"there is a node {node.name!r} already; give the one in front of {of} another name")
        if not node.ports:
            raise Misuse(f"the node {node.name} has no port; expected one that takes what {of} was asked")
        links = tuple(
            msgspec.structs.replace(k, server=node.name, port=node.ports[0]) if (k.server, k.port) == (of, port) else k
            for k in self.links
        )
        onward = Link(name=f"{node.name}.{of}", client=node.name, server=of, port=port)
        return Topology(self.owners, (*self.nodes, node), (*links, onward))

    def with_role(self, role: Role, owner: str | None = None) -> tuple[Node, ...]:
        """Return the nodes of that role, of one owner where given."""
        return tuple(n for n in self.nodes if n.role == role and owner in (None, n.owner))

    def start_order(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of nodes in waves: a node comes after every node that it dials."""
        waiting = {n.name: {k.server for k in self.links if k.client == n.name} for n in self.nodes}
        waves: list[tuple[str, ...]] = []
        while waiting:
            wave = tuple(sorted(n for n, needs in waiting.items() if not needs & waiting.keys()))
            if not wave:
                raise Misuse(f"the links of the home go in a circle among {', '.join(sorted(waiting))}")
            waves.append(wave)
            for name in wave:
                del waiting[name]
        return tuple(waves)


def check_owners(owners: tuple[str, ...]) -> None:
    """Raise `Misuse` unless there are at least three distinct owners with names that can be part of an address."""
    if len(set(owners)) < MINIMUM_OWNERS or len(set(owners)) != len(owners):
        raise Misuse(
            f"the home system has the owners {', '.join(owners) or 'none'}; at least {MINIMUM_OWNERS} different ones "
            "are needed, since with two a mix-up that happens twice looks right"
        )
    for owner in owners:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", owner):
            raise Misuse(f"{owner!r} is no owner's name; expected lower-case letters, digits and '-', a letter first")


def check_rooms(rooms: tuple[str, ...]) -> None:
    """Raise `Misuse` unless these are names for cameras beside the first one, each once."""
    for room in rooms:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", room) or room in (*_PLACES, FIRST_ROOM) or rooms.count(room) > 1:
            raise Misuse(
                f"the rooms are {', '.join(rooms)}; expected names such as 'nursery' (lower-case letters, digits and "
                f"'-', a letter first), each once, and neither {FIRST_ROOM}, which everybody has, nor "
                f"{' nor '.join(_PLACES)}"
            )


FIRST_ROOM = "living-room"
"""Where the first camera of every owner is, as the lens's address says in ``home.toml``."""
_PLACES = ("camera", "hub")


def _furnish(tables: dict[str, Any], joins: dict[str, Any], rooms: tuple[str, ...]) -> None:
    """Give every owner a camera more in each of these rooms, which is as the first one is."""
    for room in rooms:
        first = tables["{owner}.camera"]
        environment = {k: v.replace(FIRST_ROOM, room) for k, v in first["environment"].items()}
        environment["DEVICE_SECRET"] += f"-{room}"
        tables[f"{{owner}}.{room}"] = {**first, "environment": environment, "room": room}
        for name, link in list(joins.items()):
            if link["server"] == "{owner}.camera":
                ends = {k: f"{{owner}}.{room}" for k in ("server", "device") if link.get(k) == "{owner}.camera"}
                joins[name.replace("{owner}.camera", f"{{owner}}.{room}")] = link | ends


def from_toml(
    described: dict[str, Any],
    owners: tuple[str, ...],
    choices: Mapping[str, str] | None = None,
    rooms: tuple[str, ...] = (),
) -> Topology:
    """Return the topology that a parsed ``home.toml`` describes for these owners.

    `choices` takes other nodes in the place of those that the file has first: ``{"display": "chromium"}`` those of the
    tables ``[display.chromium.node.…]``; see `choices_of`. A choice may also bring links of its own, nodes in the place
    of those that it is `without`, and more `environment` for others. `rooms` are those in which every owner has a
    camera more. Raises `Misuse` for an unknown table, field or choice, two nodes or links of one name, a link whose end
    is no node, or a port that its server does not have.
    """
    check_owners(owners)
    check_rooms(rooms)
    if described.get("schema", 1) != 1:
        raise Misuse(f"home.toml has schema {described['schema']!r}; this version reads schema 1")
    for table in described.keys() - {"schema", "node", "link", *CHOICES}:
        raise Misuse(f"home.toml has a table {table!r}{nearest(table, ['node', 'link', *CHOICES])}")
    tables, joins = dict(described.get("node", {})), dict(described.get("link", {}))
    for what, chosen in (choices or {}).items():
        _choose(described, what, chosen, tables, joins)
    _furnish(tables, joins, rooms)
    nodes = [
        _convert(Node, {"name": n, "owner": o, **_spell(table, o)}, f"node {n}")
        for name, table in tables.items()
        for n, o in _per_owner(name, owners)
    ]
    links = [
        _convert(Link, {"name": n, **_spell(table, o)}, f"link {n}")
        for name, table in joins.items()
        for n, o in _per_owner(name, owners)
    ]
    for what, names in (("nodes", [n.name for n in nodes]), ("links", [k.name for k in links])):
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise Misuse(f"home.toml gives two {what} the name {twice[0]!r} for these owners; expected each once")
    known = {n.name: n for n in nodes}
    for link in links:
        for end in (link.client, link.server):
            if end not in known:
                raise Misuse(f"link {link.name} ends at {end!r}, which is no node; nodes: {', '.join(sorted(known))}")
        if link.port not in known[link.server].ports:
            raise Misuse(f"link {link.name} dials port {link.port!r}, which {link.server} does not have")
    return Topology(owners, tuple(nodes), tuple(links))


def _choose(described: Mapping[str, Any], what: str, chosen: str, nodes: dict[str, Any], links: dict[str, Any]) -> None:
    """Put what is chosen in the place of nodes and links, which are changed."""
    offered = choices_of(described, what)
    if chosen not in offered:
        raise Misuse(f"this home system has no {what} {chosen!r}{nearest(chosen, list(offered))}")
    other = described.get(what, {}).get(chosen, {})
    without = other.get("without", [])
    for name in without:
        if nodes.pop(name, None) is None and links.pop(name, None) is None:
            raise Misuse(f"home.toml: {what} {chosen} is without {name!r}{nearest(name, [*nodes, *links])}")
    for name, table in other.get("node", {}).items():
        if name not in nodes and not without:
            raise Misuse(f"home.toml: {what} {chosen} replaces the node {name!r}{nearest(name, list(nodes))}")
        nodes[name] = table
    for name, more in other.get("environment", {}).items():
        if name not in nodes:
            raise Misuse(f"home.toml: {what} {chosen} has an environment for {name!r}{nearest(name, list(nodes))}")
        nodes[name] = nodes[name] | {"environment": nodes[name].get("environment", {}) | more}
    links |= other.get("link", {})


CHOICES = {"display": "headless", "camera": "reference", "path": "integration"}
"""What may be chosen for a home system, each with the name of what its ``[node.…]`` tables are."""


def choices_of(described: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """Return what a parsed ``home.toml`` offers of `what` (a key of `CHOICES`), what it begins with first."""
    return (CHOICES[what], *described.get(what, {}))


def fill(text: str, values: dict[str, str]) -> str:
    """Replace every placeholder; keys are as written between the braces, such as ``link:relay.cache``."""

    def value(match: re.Match[str]) -> str:
        key = match[1] if match[2] is None else f"{match[1]}:{match[2]}"
        if key not in values:
            raise Misuse(f"home.toml uses ${{{key}}}, which nothing fills in; known: {', '.join(sorted(values))}")
        return values[key]

    return _PLACEHOLDER.sub(value, text)


def _per_owner(name: str, owners: tuple[str, ...]) -> list[tuple[str, str | None]]:
    return [(name.replace("{owner}", o), o) for o in owners] if "{owner}" in name else [(name, None)]


def _spell(value: Any, owner: str | None) -> Any:
    if isinstance(value, str):
        return value.replace("{owner}", owner) if owner else value
    if isinstance(value, dict):
        return {k: _spell(v, owner) for k, v in value.items()}
    if isinstance(value, list):
        return [_spell(v, owner) for v in value]
    return value


def _convert(kind: type[_T], values: dict[str, Any], what: str) -> _T:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as wrong:
        raise Misuse(f"home.toml, {what}: {wrong}") from None

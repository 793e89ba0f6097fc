"""The reference home's own contract: every node has an operator port, described in ``docs/reference-home.md``."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chaos import frames, updates
from chaos.contracts import CAMERAS, Integration, unlike
from chaos.contracts.desk import ReferenceDesk
from chaos.displays.screens import opened
from chaos.errors import Surroundings
from chaos.plan import DEFAULT_CAMERA, NodeFault
from chaos.remote import AskState, HubRemote, Refused, Remote
from chaos.topology import CHOICES, Topology, fill, from_toml
from chaos.waiting import wait_for

if TYPE_CHECKING:
    from chaos.displays import Display
    from chaos.reading import Reader
    from chaos.stacks import Stack
    from chaos.updates import Update


class ReferenceHub:
    """A hub that speaks the operator contract, with the password of each owner's account."""

    always_on = False

    def __init__(self, remote: HubRemote, home: str, desk: ReferenceDesk) -> None:
        self._remote, self._home, self._desk = remote, home, desk

    def sign_in(self, owner: str) -> bool:
        """Change the account."""
        try:
            self._remote.sign_in(owner, self._desk.secret(self._home, owner))
        except Refused:
            return False
        return True

    def ask(self, camera: str, feed: str) -> int:
        """Summon a camera."""
        return self._remote.ask(camera, feed)

    def say(self, said: str, feed: str) -> int:
        """Summon a camera by voice."""
        return self._remote.say(said, feed)

    def wait_settled(self, ask: int, seconds: float) -> AskState:
        """Let the hub say when the ask has left ``open``."""
        return self._remote.wait_settled(ask, seconds)

    def close_feed(self) -> None:
        """Close the feed."""
        self._remote.close_feed()


class Reference:
    """The home system that comes with the project, with an update laid over it or as it is.

    `choices` are other nodes than those that it begins with, such as ``{"display": "chromium"}``, and `rooms` those in
    which every owner has a camera beside the living room's.
    """

    changes_accounts = True
    suspends = True

    def __init__(
        self,
        owners: tuple[str, ...],
        update: Update | None = None,
        choices: Mapping[str, str] | None = None,
        rooms: tuple[str, ...] = (),
    ) -> None:
        self._source = updates.home_folder()
        self.owners = owners
        self.topology = topology_of(owners, update, choices, rooms)
        self.cameras = (*CAMERAS, *rooms)
        others = (choices or {}).get("camera", CHOICES["camera"]) != CHOICES["camera"]
        # whoever films with somebody else's programs has a camera whose clock is the machine's, and settings of its own
        self.lacks: frozenset[NodeFault] = frozenset({"clock", "picture"}) if others else frozenset()
        folders = updates.touched(update)
        changed = [n for n in self.topology.nodes if n.source in folders or "common" in folders]
        self.changed = tuple(n.name for n in changed)
        self.updated = tuple(n.name for n in changed if (self._source / n.source).is_dir())
        self.hubs: dict[str, ReferenceHub] = {}
        self.displays: dict[str, Display] = {}
        self._update = update
        self._desk = ReferenceDesk(owners, self.cameras, lambda: _said_no(self._provision_devices))
        (self._relay,) = (n.name for n in self.topology.with_role("relay"))
        self.speaks = self._relay == "relay"
        self._integration: Integration = "on"
        self._remotes: dict[str, Remote] = {}
        self._cameras: dict[tuple[str, str], tuple[Remote, str]] = {}

    @property
    def desk(self) -> ReferenceDesk:
        """Its account service and registry take every change."""
        return self._desk

    def sources(self, scratch: Path, *, updated: bool) -> Path:
        """Return the folder of the home's sources with the run's update, or with what was before it."""
        into, update = scratch / ("home" if updated else "before"), self._update
        if into.exists():
            return into
        if updated or update is None:
            return updates.lay(self._source, update, into)
        updates.lay(self._source, updates.find(before) if (before := update.description.before) else None, into)
        for added in update.description.nodes:
            if not (into / added.source).is_dir():  # no version before this one has it: rolled back, it stays as it is
                shutil.copytree(update.folder / added.source, into / added.source)
        return into

    def digests(self, folder: Path) -> Mapping[str, str]:
        """Return a hash of each node's folder."""
        return updates.digests(folder, {n.source for n in self.topology.nodes})

    def connect(self, stack: Stack, reader: Reader) -> None:  # noqa: ARG002 - its hubs say what they show
        """Find the operator port of every node."""
        self._stack = stack
        for node in self.topology.nodes:
            if "operator" not in node.ports:
                continue
            kind = HubRemote if node.role == "hub" else Remote
            remote = self._remotes[node.name] = kind(node.name, stack.address(node.name, "operator"))
            if isinstance(remote, HubRemote):
                assert node.owner is not None, "a hub stands in somebody's home"
                self.hubs[node.owner] = ReferenceHub(remote, node.owner, self._desk)
                listens = {f"listen:{p}": stack.address(node.name, p) for p in node.ports} | {"owner": node.owner}
                self.displays[node.owner] = opened(node.owner, fill(node.screen, listens), remote)
        self._desk.connect(self._remotes["accounts"])
        for camera in self.topology.with_role("camera"):
            assert camera.owner is not None, "a camera is somebody's"
            remote = Remote(camera.name, stack.address(camera.name, "public"))
            self._cameras[camera.owner, camera.room or DEFAULT_CAMERA] = (remote, camera.environment["DEVICE_SECRET"])

    def close(self) -> None:
        """Drop every connection."""
        for display in self.displays.values():
            display.close()
        for remote in (*self._remotes.values(), *(r for r, _ in self._cameras.values())):
            remote.close()

    def provision(self) -> None:
        """Make the accounts anew, empty the cache and write the registry."""
        relay = self._remotes[self._relay]
        self._integration = "on"
        self._desk.begin()
        self._provision_accounts()
        wait_for("the relay to empty its cache", lambda: _said_no(lambda: relay.post("/operator/flush")))
        wait_for("the relay to take its devices", lambda: _said_no(self._provision_devices))

    def restore(self, node: str) -> None:
        """Bring back accounts, or the device registry."""
        role = self.topology.node(node).role
        if node == self._relay and "cache" not in {n.name for n in self.topology.nodes}:
            _said_no(self._provision_devices)  # the app's cloud keeps it itself
        if role == "accounts":
            self._provision_accounts()
        if role == "cache":
            _said_no(self._provision_devices)  # its link may be under conditions: then asks find no device

    def restored_through(self, node: str) -> str | None:
        """Only the relay writes the registry."""
        return self._relay if self.topology.node(node).role == "cache" else None

    def ends_sessions(self, node: str) -> bool:
        """The account service keeps sessions in memory."""
        return self.topology.node(node).role == "accounts"

    def unlike(self, camera_of: str, owner: str, case: int, reader: Reader, camera: str = DEFAULT_CAMERA) -> str | None:
        """Look at a still of the camera, from its own port."""
        remote, secret = self._cameras[camera_of, camera]
        still = frames.luma_of_jpeg(remote.get("/still?width=640", {"X-Device-Secret": secret}))
        return unlike(still, reader, {(owner, case)})

    def _provision_accounts(self) -> None:
        self._remotes["accounts"].post("/operator/provision", {"accounts": self._desk.accounts()})
        self.integrate(self._integration)

    def end_sessions(self, owner: str) -> None:
        """Tell the account service."""
        self._remotes["accounts"].post("/operator/end-sessions", {"owner": owner})

    def integrate(self, state: Integration) -> None:
        """Tell the account service, which is asked about each access."""
        self._integration = state
        self._remotes["accounts"].post("/operator/integration", {"state": state})

    def _provision_devices(self) -> None:
        hung = {(c.owner, c.room or DEFAULT_CAMERA): c for c in self.topology.with_role("camera")}
        devices = [
            {
                "owner": owner,
                "camera": name,
                "url": f"http://{self._stack.dialled(hung[home, camera].name)}",
                "secret": hung[home, camera].environment["DEVICE_SECRET"],
            }
            for owner, name, home, camera in self._desk.devices()
        ]
        self._remotes[self._relay].post("/operator/provision", {"devices": devices})


def topology_of(
    owners: tuple[str, ...],
    update: Update | None,
    choices: Mapping[str, str] | None = None,
    rooms: tuple[str, ...] = (),
) -> Topology:
    """Return the nodes and links of the home system of these owners, with an update laid over it or as it is."""
    described = tomllib.loads((updates.home_folder() / "home.toml").read_text())
    made = from_toml(described, owners, choices, rooms)
    # an update of the integration has nothing to stand in front of where the integration is not passed
    return updates.applied(update, made) if (choices or {}).get("path", "integration") == "integration" else made


def _said_no(do: Callable[[], object]) -> str | None:
    try:
        do()
    except (Refused, Surroundings) as no:
        return str(no)
    return None

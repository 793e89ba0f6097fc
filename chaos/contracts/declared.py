"""The contract of somebody's own home system: what the labels of its compose file declare, and nothing else.

A hub is asked in one of three ways. Its screen is *looked* at, which is what summons the camera; it shows its owner's
camera *always*, and whoever asks only looks; or a *request* summons it. What came of an ask is seen from the pixels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3

from chaos import frames, updates
from chaos.contracts import CAMERAS, Desk, Hub, Integration, Plane, unlike
from chaos.displays import Display
from chaos.displays.headless import Headless
from chaos.displays.screens import Seen, seen
from chaos.displays.web import Web
from chaos.errors import Misuse, Surroundings
from chaos.plan import DEFAULT_CAMERA, NodeFault
from chaos.remote import AskState, HubRemote, Refused
from chaos.waiting import PATIENCE, wait_for

if TYPE_CHECKING:
    from chaos.compose import System
    from chaos.compose.labels import Labels, Request
    from chaos.history import Reading
    from chaos.reading import Reader
    from chaos.stacks import Stack

_TIMES = urllib3.Timeout(connect=2.0, read=5.0)


class _Port:
    """Sends declared requests to a service, past every link."""

    def __init__(self, node: str, stack: Stack) -> None:
        self._node = node
        self._stack = stack
        self._http = urllib3.PoolManager(timeout=_TIMES, retries=False)

    def send(self, request: Request, **words: str) -> bytes:
        """Return the body of the answer. Raises `Refused` for an error, `Surroundings` for silence."""
        url = f"http://{self._stack.address(self._node, str(request.port))}{_spelt(request.path, words)}"
        body = _spelt(request.body, words).encode() or None
        kind = "application/json" if request.body.startswith("{") else "application/x-www-form-urlencoded"
        try:
            answer = self._http.request(request.method, url, body=body, headers={"Content-Type": kind} if body else {})
        except urllib3.exceptions.HTTPError as silence:
            raise Surroundings(f"{self._node} did not answer {request.method} {request.path}: {silence}") from silence
        if answer.status >= 300:
            raise Refused(answer.status, answer.data.decode(errors="replace")[:300])
        return answer.data

    def close(self) -> None:
        self._http.clear()


def _spelt(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


class _Mute:
    def say(self, said: str, feed: str) -> int:  # noqa: ARG002 - there is no handle for it
        """Never called: `Declared.speaks` says so."""
        raise Misuse("hubs that labels declare have no assistant; leave say out")


class _Looked(_Mute):
    """A hub that shows the camera to whoever looks at its address."""

    always_on = False

    def __init__(self, screen: Web, patience: float) -> None:
        self._screen = screen
        self._patience = patience
        self._asks = itertools.count(1)

    def sign_in(self, owner: str) -> bool:  # noqa: ARG002 - it has one account, which is its own
        """Look away; the account is what it always is."""
        self._screen.shut()
        return True

    def ask(self, camera: str, feed: str) -> int:  # noqa: ARG002 - it shows one
        """Look."""
        self._screen.look("still" if feed == "still" else "stream")
        return next(self._asks)

    def wait_settled(self, ask: int, seconds: float) -> AskState:  # noqa: ARG002 - one at a time
        """Wait until a picture stands, or until nobody would wait any longer."""
        state = self._screen.wait_settled(min(seconds, self._patience))
        return "unavailable" if state == "open" and seconds >= self._patience else state

    def close_feed(self) -> None:
        """Look away."""
        self._screen.shut()


class _Watched(_Mute):
    """A hub whose screen is watched all the time; asked by a request, or never since it always shows."""

    def __init__(self, screen: Web | Seen, said: Labels, port: _Port, reader: Reader) -> None:
        self._screen, self._said, self._port, self._reader = screen, said, port, reader
        self._asks = itertools.count(1)
        self._began = 0.0
        self._read: tuple[str, Reading] | None = None
        self.always_on = said.ask == "always"
        if isinstance(screen, Web):
            screen.look("stream")

    def sign_in(self, owner: str) -> bool:
        """Change the account where that is declared."""
        if self._said.sign_in is None:
            return True
        try:
            self._port.send(self._said.sign_in, owner=owner)
        except Refused:
            return False
        return self._is_dark_within(self._said.patience)

    def ask(self, camera: str, feed: str) -> int:
        """Send the request that summons the camera, if there is one."""
        self._began = time.monotonic()
        request = self._said.ask
        if not isinstance(request, str):
            self._port.send(request, owner=self._said.owner or "", camera=camera, feed=feed)
        return next(self._asks)

    def wait_settled(self, ask: int, seconds: float) -> AskState:  # noqa: ARG002 - one at a time
        """Wait until a picture stands that came after the ask, as its badge says where it has one."""
        began, until = self._began, time.monotonic() + min(seconds, self._said.patience)
        while True:
            shown = self._screen.now()
            reading = self.reading()
            if reading.content == "picture" and self._is_new(reading, shown.at, began):
                return "picture"
            if time.monotonic() > until:
                late = seconds >= self._said.patience
                return "open" if not late else "picture" if reading.content == "picture" else "unavailable"
            time.sleep(0.02)  # between two looks at a condition

    def _is_new(self, reading: Reading, at: float, began: float) -> bool:
        times = [s.captured for s in reading.sightings if s.captured is not None]
        return max(times) >= began if times and self.always_on else at >= began

    def close_feed(self) -> None:
        """Send the request that closes the feed, and wait until the screen is dark."""
        if self._said.close is not None:
            self._port.send(self._said.close, owner=self._said.owner or "")
            self._is_dark_within(self._said.patience)

    def reading(self) -> Reading:
        """Return what stands on the screen."""
        digest = self._screen.now().digest
        if self._read is None or self._read[0] != digest:
            raster = self._screen.raster(digest)
            self._read = digest, self._reader.read(frames.luma_of_rgb(raster.rgb, raster.width, raster.height))
        return self._read[1]

    def _is_dark_within(self, seconds: float) -> bool:
        try:
            wait_for("the screen to be dark", lambda: None if self.reading().content == "blank" else "lit", seconds)
        except Surroundings:
            return False
        return True


class _Operated(_Mute):
    """A hub that speaks the operator contract of ``docs/reference-home.md``."""

    always_on = False

    def __init__(self, remote: HubRemote, passwords: Mapping[str, str]) -> None:
        self._remote = remote
        self._passwords = passwords
        self.ask = remote.ask
        self.wait_settled = remote.wait_settled
        self.close_feed = remote.close_feed

    def sign_in(self, owner: str) -> bool:
        """Change the account."""
        try:
            self._remote.sign_in(owner, self._passwords[owner])
        except Refused:
            return False
        return True


class Declared:
    """The home system that a compose file describes. Raises `Misuse` with all that it lacks."""

    lacks: frozenset[NodeFault] = frozenset({"clock", "picture", "emptied"})
    updated: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    suspends = False
    speaks = False
    cameras: tuple[str, ...] = CAMERAS

    def __init__(self, system: System) -> None:
        system.check()
        self.system = system
        self.topology = system.topology
        self.owners = system.topology.owners
        self.hubs: dict[str, Hub] = {}
        self.displays: dict[str, Display] = {}
        self._cameras: dict[str, tuple[_Port, Labels]] = {}
        self._open: list[_Port | HubRemote | Web | Seen] = []
        hubs = [system.labels[n.name] for n in system.topology.with_role("hub")]
        self.changes_accounts = all(h.sign_in is not None or (h.screen and h.screen.kind == "operator") for h in hubs)

    @property
    def desk(self) -> Desk | None:
        """There is no handle for it."""
        return None

    def sources(self, scratch: Path, *, updated: bool) -> Path:  # noqa: ARG002 - the file has one version
        """Return a folder whose Dockerfiles name the usual base image, for what is ours."""
        return updates.home_folder()

    def digests(self, folder: Path) -> Mapping[str, str]:  # noqa: ARG002 - the stack knows its images
        """Return nothing: what is under test are images."""
        return {}

    def connect(self, stack: Stack, reader: Reader) -> None:
        """Look at every hub's screen, and find every camera's own picture."""
        self._stack = stack
        said = self.system.labels
        passwords = {o: said[f"{o}.hub"].password.replace("{owner}", o) for o in self.owners}
        for owner in self.owners:
            self._cameras[owner] = self._port(f"{owner}.camera"), said[f"{owner}.camera"]
            mine, node = said[f"{owner}.hub"], f"{owner}.hub"
            assert mine.screen is not None, "a hub without a screen is refused"
            if mine.screen.kind == "operator":
                remote = HubRemote(node, stack.address(node, "operator"))
                self._open.append(remote)
                self.hubs[owner], self.displays[owner] = _Operated(remote, passwords), Headless(owner, remote)
                continue
            if mine.screen.kind == "watched":
                at = stack.address(node, str(mine.screen.port)) if mine.screen.port else ""
                watched = seen(owner, mine.screen.path.replace("{address}", at))
                self._open.append(watched)
                self.displays[owner], self.hubs[owner] = watched, _Watched(watched, mine, self._port(node), reader)
                continue
            url = f"http://{stack.address(node, str(mine.screen.port))}{mine.screen.path}"
            screen = Web(owner, url, watched=mine.ask != "look")
            self._open.append(screen)
            self.displays[owner] = screen
            if mine.ask == "look":
                self.hubs[owner] = _Looked(screen, mine.patience)
            else:
                self.hubs[owner] = _Watched(screen, mine, self._port(node), reader)

    def _port(self, node: str) -> _Port:
        port = _Port(node, self._stack)
        self._open.append(port)
        return port

    def close(self) -> None:
        """Look away, and drop every connection."""
        for one in self._open:
            one.close()

    def provision(self) -> None:
        """Restart who forgets by being restarted; who has a command for it has been given it."""
        for node in self.topology.nodes:
            said = self.system.labels.get(node.name)
            if said is not None and said.forget == ("restart",):
                self._stack.restart(node.name)

    def restore(self, node: str) -> None:
        """Do nothing: what a service keeps, it keeps in its volumes."""

    def integrate(self, state: Integration) -> None:  # noqa: ARG002 - there is no handle for it
        """Never asked for: `suspends` says so."""
        raise Misuse(f"the integration of {self.system.name} cannot be suspended")

    def end_sessions(self, owner: str) -> None:  # noqa: ARG002 - there is no handle for it
        """Never asked for: `suspends` says so."""
        raise Misuse(f"accounts of {self.system.name} cannot be unlinked")

    def restored_through(self, node: str) -> str | None:  # noqa: ARG002 - the protocol's
        """Nothing has to be brought back."""
        return None

    def ends_sessions(self, node: str) -> bool:  # noqa: ARG002 - the protocol's
        """Nobody knows; hubs sign in again by themselves, or show nothing."""
        return False

    def unlike(
        self,
        camera_of: str,
        owner: str,
        case: int,
        reader: Reader,
        camera: str = DEFAULT_CAMERA,  # noqa: ARG002 - each has one
    ) -> str | None:
        """Ask the camera for its picture, or where it has none look at its owner's hub, whose links are clear now."""
        port, said = self._cameras[camera_of]
        if said.picture is not None:
            return unlike(frames.luma_of_jpeg(port.send(said.picture)), reader, {(owner, case)})
        plane = self._glance(camera_of)
        reading = None if plane is None else reader.read(plane)
        cases = {s.case for s in reading.sightings} if reading is not None else set()
        return None if cases == {case} else f"its hub shows cases {sorted(cases) or 'unknown'}"

    def _glance(self, owner: str) -> Plane | None:
        hub, display = self.hubs[owner], self.displays[owner]
        if not hub.always_on:
            hub.wait_settled(hub.ask("living-room", "still"), PATIENCE)
        shown = display.collect()
        raster = display.raster(shown[-1].digest) if shown else None
        if not hub.always_on:
            hub.close_feed()
        return None if raster is None else frames.luma_of_rgb(raster.rgb, raster.width, raster.height)

"""A running home system: its nodes on a stack, its links, its screens; reset between cases, and the controls.

A case starts only on a home that was reset *and proven reset*: fresh proxies, an emptied cache, a new case number, and
then every camera films its new badge and every screen is blank, which is judged from pixels and not from a node's word.
"""

from __future__ import annotations

import itertools
import threading
import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from chaos import current, frames, sockets, updates
from chaos.case import Case, in_parallel, unknown_link
from chaos.displays import Display, Raster
from chaos.displays.headless import Headless
from chaos.errors import Misuse, Surroundings, nearest
from chaos.evidence import Evidence
from chaos.faults import NodeFaults
from chaos.history import CaseEnded, CaseStarted, Event, Reading, Restarted
from chaos.identity import Key, Register
from chaos.links import Links
from chaos.plan import DEFAULT_CAMERA, Plan, Reconnect
from chaos.reading import Plane, Reader
from chaos.remote import HubRemote, Refused, Remote
from chaos.scene import SceneServer
from chaos.stacks import Stack
from chaos.topology import Link, Topology, from_toml
from chaos.updates import Update

CAMERAS = (DEFAULT_CAMERA,)
RESET_PATIENCE = 10.0
"""Seconds that a reset may take until it is proven; a reset took 0.1 s in the median (measured, process stack)."""


class Eye:
    """Sees each raster of a case once: fetches it from its display, reads it, and hands it to the evidence.

    Readings are kept for the case, pixels are not: a minute of streams on eight hubs is gigabytes of them. The last
    `SHARP` planes are, for a partial picture to be held against the one that it grew into. Threads may share it.
    """

    SHARP = 64

    def __init__(self, reader: Reader, evidence: Evidence) -> None:
        self._reader = reader
        self._evidence = evidence
        self._planes: OrderedDict[str, Plane] = OrderedDict()
        self._lock = threading.Lock()
        self._readings: dict[str, Reading] = {}

    def read(self, display: Display, digest: str, plainly_own: Callable[[Reading], bool]) -> Reading:
        """Return what a raster shows; the evidence keeps it in full size unless it is `plainly_own`."""
        if digest not in self._readings:
            raster = display.raster(digest)
            self._readings[digest] = self._reader.read(self._see(raster), display.box)
            self._evidence.keep(raster, full=not plainly_own(self._readings[digest]))
        elif not plainly_own(self._readings[digest]):
            # the very picture that stood on its owner's hub: what leaks out of a cache has the same pixels
            self._evidence.keep(display.raster(digest))
        return self._readings[digest]

    def plane(self, digest: str) -> Plane | None:
        """Return the luma plane of a raster, while it is at hand."""
        return self._planes.get(digest)

    def forget(self) -> None:
        """Let go of a case that is over."""
        self._planes.clear()
        self._readings.clear()

    def _see(self, raster: Raster) -> Plane:
        plane = frames.luma_of_rgb(raster.rgb, raster.width, raster.height)
        with self._lock:
            self._planes[raster.digest] = plane
            while len(self._planes) > self.SHARP:
                self._planes.popitem(last=False)
        return plane


def topology_of(owners: tuple[str, ...], update: Update | None) -> Topology:
    """Return the nodes and links of the home system of these owners, with an update laid over it or as it is."""
    described = tomllib.loads((updates.home_folder() / "home.toml").read_text())
    described.pop("schema")
    return updates.applied(update, from_toml(described, owners))


def check_plan(plan: Plan, topology: Topology) -> None:
    """Raise `Misuse` for a home, link, node or camera in `plan` that there is not, before anything is started."""
    known = [*topology.owners, *(k.name for k in topology.links), *(n.name for n in topology.nodes)]
    for step in plan.elements:
        for name in step.names:
            if name not in known:
                raise Misuse(f"the plan's step {step.describe()}: there is no {name!r}{nearest(name, known)}")
        camera = getattr(step, "camera", DEFAULT_CAMERA)
        if camera not in CAMERAS:
            raise Misuse(f"the plan's step {step.describe()}: no camera {camera!r}{nearest(camera, CAMERAS)}")


class Home:
    """One home system of `owners` on one stack, with an update laid over it or as it is.

    `keys` are the run's own, with which its scenes are stamped, and then those of earlier runs.
    """

    def __init__(
        self, owners: tuple[str, ...], stack: Stack, update: Update | None, keys: tuple[Key, ...], evidence: Evidence
    ) -> None:
        source = updates.home_folder()
        self.owners = owners
        self.stack = stack
        self.evidence = evidence
        self.topology = topology_of(owners, update)
        self.scene = SceneServer(owners, CAMERAS, keys[0])
        self.reader = Reader(Register(owners, CAMERAS), keys)
        self.eye = Eye(self.reader, evidence)
        self.faults = NodeFaults(self.topology, stack, self._sources)
        self.hubs: dict[str, HubRemote] = {}
        self.displays: dict[str, Headless] = {}
        self.meter: sockets.Meter
        self.digests: dict[str, str] = {}
        """What each node's folder was when this home was started, as a hash, with an update laid over it."""
        self._update = update
        self._source = source
        self._remotes: dict[str, Remote] = {}
        self._asks = itertools.count(1)
        self._cases = itertools.count(1)
        self.last_control: tuple[Event, ...] = ()
        """Events of the last control while no planned case has followed it: it then stands before the next one too."""

    @property
    def links(self) -> Links:
        """The links of this home, each a Toxiproxy proxy."""
        return self.stack.links

    # Life.

    def start(self, scratch: Path) -> None:
        """Lay the update, start the scene server and every node, and return once all are ready."""
        self._scratch = scratch
        folder = self._sources(updated=True)
        self.digests = updates.digests(folder, {n.source for n in self.topology.nodes})
        self.scene.__enter__()
        painted = self.scene.prepare()
        self.stack.start(self.topology, folder, self.scene, self.evidence.logs)
        painted.result()
        for node in self.topology.nodes:
            if "operator" in node.ports:
                address = self.stack.address(node.name, "operator")
                kind = HubRemote if node.role == "hub" else Remote
                self._remotes[node.name] = kind(node.name, address)
        for hub in self.topology.with_role("hub"):
            assert hub.owner is not None, "a hub stands in somebody's home"
            remote = self._remotes[hub.name]
            assert isinstance(remote, HubRemote)
            self.hubs[hub.owner] = remote
            self.displays[hub.owner] = Headless(hub.owner, remote)
        self.meter = self.stack.meter()
        self.meter.start()

    def _sources(self, updated: bool) -> Path:
        """Return the folder of the home's sources with the run's update, or with what was before it."""
        into = self._scratch / ("home" if updated else "before")
        update = self._update
        if not updated and update is not None:
            update = updates.find(update.description.before) if update.description.before else None
        return into if into.exists() else updates.lay(self._source, update, into)

    def stop(self) -> None:
        """End everything that `start` started."""
        if hasattr(self, "meter"):
            self.meter.stop()
        for remote in self._remotes.values():
            remote.close()
        self.stack.stop()
        self.scene.__exit__(None, None, None)

    # A case.

    def case(self, kind: str = "plan", plan: Plan | None = None) -> Case:
        """Reset the home, prove it, and return a case that has begun."""
        if kind == "plan":
            self.last_control = ()
        number = next(self._cases)
        restarted = self.reset(number)
        case = Case(self, number)
        case.events.append(CaseStarted(at=time.monotonic(), case=number, kind=kind, plan=plan))  # type: ignore[arg-type]
        case.events += restarted
        case.begin()
        return case

    def finish(self, case: Case) -> list[Event]:
        """End a case and return its events; every screen is dark afterwards and nothing of it is kept in memory."""
        events = case.end()
        events.append(CaseEnded(at=time.monotonic(), case=case.number))
        self.eye.forget()
        self.evidence.record(events)
        return events

    def execute(self, plan: Plan) -> list[Event]:
        """Execute `plan` once on a freshly reset home and return what happened.

        Raises `Misuse` before anything is done when the plan has a step that this stack cannot do.
        """
        self.check(plan)
        case = self.case(plan=plan)
        case.execute(plan)
        return self.finish(case)

    def check(self, plan: Plan) -> None:
        """Raise `Misuse` for a step that this home or its stack cannot do."""
        self.faults.check(plan.steps)
        known = [k.name for k in self.topology.links]
        for step in plan.elements:
            links = step.links if isinstance(step, Reconnect) else ()
            for link in links:
                if link not in known:
                    raise unknown_link(link, known)

    def restart_nodes(self) -> None:
        """Kill and start every node, so that nothing is left in any memory; a reset must follow."""
        self.faults.mend()
        self.links.fresh()
        for wave in self.topology.start_order():
            for node in wave:
                self.stack.restart(node)
        for display in self.displays.values():
            display.restarted()

    def reset(self, number: int) -> list[Event]:
        """Bring the home to its beginning for case `number`, and prove it.

        Raises `Surroundings` with what is still lit or still old after `RESET_PATIENCE` seconds.
        """
        self.stack.check()
        self.faults.mend()  # also what a case that broke off left: links then end where they did
        self.links.fresh()
        for node in self.topology.nodes:
            if node.forget:
                self.stack.run_beside(node.name, node.forget)
        self.scene.case = number
        self._provision()
        in_parallel(self.hubs.values(), lambda hub: hub.close_feed())
        events = self._restart_lit_hubs()
        self.wait_filming({o: o for o in self.owners})
        return events

    def wait_filming(self, scenes: Mapping[str, str]) -> None:
        """Wait until each owner's camera, asked past every link, films the scene of the owner given, in this case.

        Raises `Surroundings` with what is filmed instead.
        """
        in_parallel(scenes, lambda owner: self._wait_films(f"{owner}.camera", scenes[owner], self.scene.case))

    def _provision(self) -> None:
        relay = self._remotes["relay"]
        accounts = [{"owner": o, "password": self.password(o), "cameras": list(CAMERAS)} for o in self.owners]
        self._remotes["accounts"].post("/operator/provision", {"accounts": accounts})
        wait_for("the relay to empty its cache", lambda: _said_no(lambda: relay.post("/operator/flush")))
        wait_for("the relay to take its devices", lambda: _said_no(self._provision_devices))

    def _provision_devices(self) -> None:
        devices = [
            {
                "owner": c.owner,
                "camera": DEFAULT_CAMERA,
                "url": f"http://{self.stack.dialled(c.name)}",
                "secret": c.environment["DEVICE_SECRET"],
            }
            for c in self.topology.with_role("camera")
        ]
        self._remotes["relay"].post("/operator/provision", {"devices": devices})

    def restore_after_restart(self, node: str) -> None:
        """Bring back what a node of this role keeps on a disk in real life: accounts, and the device registry."""
        role = self.topology.node(node).role
        if role == "accounts":
            accounts = [{"owner": o, "password": self.password(o), "cameras": list(CAMERAS)} for o in self.owners]
            self._remotes["accounts"].post("/operator/provision", {"accounts": accounts})
        if role == "cache":
            _said_no(self._provision_devices)  # its link may be under conditions: then asks find no device

    def _restart_lit_hubs(self) -> list[Event]:
        events: list[Event] = []
        for home, display in self.displays.items():
            if self._lit(display) is None:
                continue
            node = f"{home}.hub"
            began = time.monotonic()
            self.stack.restart(node)
            display.restarted()
            events.append(Restarted(node=node, began=began, ended=time.monotonic(), why="carried over"))
            lit = self._lit(display)
            if lit is not None:
                raise Surroundings(f"{node} shows a picture right after a restart ({lit}); expected a blank screen")
        return events

    def _lit(self, display: Display) -> str | None:
        """Return what a screen shows now, or None when it is blank, judged from its pixels."""
        shown = display.collect()
        if not shown:
            return "no screen at all"
        reading = self.eye.read(display, shown[-1].digest, lambda _: True)
        self.eye.forget()
        return None if reading.content == "blank" else f"{reading}"

    def note(self, event: Event) -> Event:
        """Write an event that belongs to no case into the evidence, and return it."""
        self.evidence.record([event])
        return event

    def _wait_films(self, node: str, owner: str, number: int) -> None:
        camera = self.topology.node(node)
        remote = Remote(node, self.stack.address(node, "public"))
        headers = {"X-Device-Secret": camera.environment["DEVICE_SECRET"]}

        def films() -> str | None:
            try:
                luma = frames.luma_of_jpeg(remote.get("/still?width=640", headers))
            except (Refused, Surroundings) as silence:
                return str(silence)
            reading = self.reader.read(luma) if luma is not None else None
            shown = {(s.owner, s.case) for s in reading.sightings} if reading else set()
            return None if shown == {(owner, number)} else f"it films {sorted(shown) or 'nothing readable'}"

        try:
            wait_for(f"{node} to film {owner}'s scene of case {number}", films)
        finally:
            remote.close()

    # Who and what there is.

    def next_ask(self) -> int:
        """Return a number for an ask that no other ask of this home has."""
        return next(self._asks)

    def password(self, owner: str) -> str:
        """Return the password of an owner's account in the reference home."""
        return f"password-of-{owner}"

    def check_owner(self, name: str) -> None:
        """Raise `Misuse` unless there is such an owner."""
        if name not in self.owners:
            raise Misuse(f"there is no home {name!r}{nearest(name, list(self.owners))}")

    def check_camera(self, name: str) -> None:
        """Raise `Misuse` unless each home has such a camera."""
        if name not in CAMERAS:
            raise Misuse(f"there is no camera {name!r}{nearest(name, list(CAMERAS))}")

    @property
    def updated(self) -> tuple[str, ...]:
        """The nodes that the run's update changes; those with which it can be rolled back and out again."""
        folders = updates.touched(self._update)
        changed = (n for n in self.topology.nodes if n.source in folders or "common" in folders)
        return tuple(n.name for n in changed if (self._source / n.source).is_dir())

    def hub_of(self, node: str) -> str | None:
        """Return the home whose hub this node is, or None for any other node."""
        found = self.topology.node(node)
        return found.owner if found.role == "hub" else None

    def client_of(self, link: str) -> str:
        """Return the node that dials a link."""
        return next(k.client for k in self.topology.links if k.name == link)

    def diallers(self, home: str) -> tuple[str, ...]:
        """Return the nodes whose logs can say that a link on the way of this home's asks refused them."""
        return tuple({self.client_of(link) for link in self.way_of(home, home)})

    def links_of(self, names: Iterable[str]) -> tuple[Link, ...]:
        """Return the links of these names, in their order."""
        known = {k.name: k for k in self.topology.links}
        return tuple(known[name] for name in names)

    def way_of(self, home: str, owner: str | None) -> tuple[str, ...]:
        """Return the links that an ask on `home`'s hub, signed in as `owner`, can cross."""
        return tuple(link.name for link in self.topology.between(home, owner))

    def __enter__(self) -> Self:
        """Return this home; `start` must have been called."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop everything."""
        self.stop()


def _said_no(do: Callable[[], object]) -> str | None:
    try:
        do()
    except (Refused, Surroundings) as no:
        return str(no)
    return None


def wait_for(what: str, missing: Callable[[], str | None], seconds: float = RESET_PATIENCE) -> None:
    """Ask until nothing is missing; raises `Surroundings` with what was missing last after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while (lack := missing()) is not None:
        current.check_stop()
        if time.monotonic() > deadline:
            raise Surroundings(f"waited {seconds:.0f} s for {what}; last seen: {lack}")
        time.sleep(pause)  # between two looks at a condition, never instead of one
        pause = min(pause * 2, 0.1)

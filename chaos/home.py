"""A running home system: its nodes on a stack, its links, its screens; reset between cases, and the controls.

A case starts only on a home that was reset *and proven reset*: fresh proxies, an emptied cache, a new case number, and
then every camera films its new badge and every screen is blank, which is judged from pixels and not from a node's word.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from chaos import frames, sockets
from chaos.captures import Captures
from chaos.case import Case, in_parallel, unknown_link
from chaos.contracts import Contract, Desk, Hub
from chaos.displays import Display, Raster
from chaos.errors import Misuse, Surroundings, nearest
from chaos.evidence import Evidence
from chaos.faults import NodeFaults
from chaos.history import CaseEnded, CaseStarted, Event, Reading, Restarted
from chaos.identity import Key, Register
from chaos.links import Links
from chaos.plan import (
    DEFAULT_CAMERA,
    AccountStep,
    ChangeAccount,
    IntegrationStep,
    Plan,
    Reconnect,
    Say,
    SetConditions,
    shared,
)
from chaos.reading import Plane, Reader
from chaos.remote import Refused
from chaos.scene import SceneServer
from chaos.stacks import Stack
from chaos.topology import Link, Topology
from chaos.waiting import wait_for


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


def check_plan(plan: Plan, topology: Topology) -> None:
    """Raise `Misuse` for a home, link, node or camera in `plan` that there is not, before anything is started."""
    known = [*topology.owners, *(k.name for k in topology.links), *(n.name for n in topology.nodes)]
    for step in plan.elements:
        for name in step.names:
            if name not in known:
                raise Misuse(f"the plan's step {step.describe()}: there is no {name!r}{nearest(name, known)}")
        camera = getattr(step, "camera", DEFAULT_CAMERA)
        if camera not in camera_names(topology):
            raise Misuse(f"the plan's step {step.describe()}: no camera {camera!r}{_near_camera(camera, topology)}")


def _near_camera(name: str, topology: Topology) -> str:
    """Return the nearest name; without one, those that everybody has."""
    near = nearest(name, camera_names(topology))
    return near if "did you mean" in near else nearest(name, (DEFAULT_CAMERA, *topology.rooms))


def camera_names(topology: Topology) -> tuple[str, ...]:
    """Return every name by which an owner can ask for a camera: her own, and those of others that are shared."""
    return (DEFAULT_CAMERA, *topology.rooms, *(shared(owner) for owner in topology.owners))


class Home:
    """One home system on one stack; `contract` is what it is made of and how it is set up and asked.

    `keys` are the run's own, with which its scenes are stamped, and then those of earlier runs.
    """

    def __init__(self, contract: Contract, stack: Stack, keys: tuple[Key, ...], evidence: Evidence) -> None:
        self.contract = contract
        self.owners = contract.owners
        self.stack = stack
        self.evidence = evidence
        self.topology: Topology = contract.topology
        self.scene = SceneServer(self.owners, contract.cameras, keys[0])
        self.reader = Reader(Register(self.owners, contract.cameras), keys)
        self.eye = Eye(self.reader, evidence)
        self.faults = NodeFaults(self.topology, stack, self._sources, contract.lacks)
        self.hubs: Mapping[str, Hub] = contract.hubs
        self.displays: Mapping[str, Display] = contract.displays
        self.meter: sockets.Meter
        self.digests: Mapping[str, str] = {}
        """What each part of the home was when it was started, as a hash, with an update laid over it."""
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
        self.digests = self.contract.digests(folder)
        self.scene.__enter__()
        painted = self.scene.prepare()
        self.stack.start(self.topology, folder, self.scene, self.evidence.logs)
        painted.result()
        self.contract.connect(self.stack, self.reader)
        self.meter = self.stack.meter()
        self.meter.start()

    def _sources(self, updated: bool) -> Path:
        """Return the folder of the home's sources with the run's update, or with what was before it."""
        return self.contract.sources(self._scratch, updated=updated)

    def stop(self) -> None:
        """End everything that `start` started."""
        if hasattr(self, "meter"):
            self.meter.stop()
        self.contract.close()
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
        if any(isinstance(step, ChangeAccount) for step in plan.elements):
            self.check_accounts()
        if any(isinstance(step, Say) for step in plan.elements):
            self.check_voice()
        if any(isinstance(step, IntegrationStep) for step in plan.elements):
            self.check_integration()
        if any(isinstance(step, AccountStep) for step in plan.elements):
            self.desk()
        known = [k.name for k in self.topology.over_tcp().links]  # others have no connections that could drop
        for step in plan.elements:
            if isinstance(step, SetConditions):
                self.links.check(step.link, step.conditions)
            links = step.links if isinstance(step, Reconnect) else ()
            for link in links:
                if link not in known:
                    raise unknown_link(link, known)

    def restart_nodes(self) -> None:
        """Kill and start every node, so that nothing is left in any memory; a reset must follow."""
        self.faults.mend()
        self.links.fresh()
        for wave in self.topology.start_order():
            in_parallel(wave, self.stack.restart)
        for display in self.displays.values():
            display.restarted()

    def reset(self, number: int) -> list[Event]:
        """Bring the home to its beginning for case `number`, and prove it.

        Raises `Surroundings` with what is still lit or still old after `waiting.PATIENCE` seconds.
        """
        self.stack.check()
        self.faults.mend()  # also what a case that broke off left: links then end where they did
        self.links.fresh()
        if isinstance(self.stack.captures, Captures):
            self.stack.captures.begin()  # every connection is new, so that each is seen from its first packet on
        for node in self.topology.nodes:
            if node.forget:
                self.stack.run_beside(node.name, node.forget)
        self.scene.put_back()
        self.scene.case = number
        self.contract.provision()
        dark = [home for home, hub in self.hubs.items() if not hub.always_on]
        in_parallel([self.hubs[home] for home in dark], _close_feed)
        events = self._restart_lit_hubs(dark)
        self.wait_filming({o: o for o in self.owners})
        in_parallel([home for home in self.hubs if home not in dark], lambda home: self._wait_shows(home, number))
        return events

    def wait_filming(self, scenes: Mapping[str, str], cameras: Iterable[str] | None = None) -> None:
        """Wait until each owner's cameras, asked past every link, film the scene of the owner given, in this case.

        All `cameras` unless some are named. Raises `Surroundings` with what is filmed instead.
        """
        lenses = itertools.product(scenes, self.contract.cameras if cameras is None else cameras)
        in_parallel(lenses, lambda lens: self._wait_films(lens[0], scenes[lens[0]], self.scene.case, lens[1]))

    def _restart_lit_hubs(self, dark: Iterable[str]) -> list[Event]:
        events: list[Event] = []
        for home in dark:
            display = self.displays[home]
            if self._lit(display) is None:
                continue
            (node,) = (n.name for n in self.topology.with_role("hub", home))
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
        if not shown or shown[-1].until is not None:
            return "no screen at all"
        reading = self.eye.read(display, shown[-1].digest, lambda _: True)
        self.eye.forget()
        return None if reading.content == "blank" else f"{reading}"

    def note(self, event: Event) -> Event:
        """Write an event that belongs to no case into the evidence, and return it."""
        self.evidence.record([event])
        return event

    def _wait_films(self, camera_of: str, owner: str, number: int, camera: str) -> None:
        def films() -> str | None:
            try:
                return self.contract.unlike(camera_of, owner, number, self.reader, camera)
            except (Refused, Surroundings) as silence:
                return str(silence)

        wait_for(f"{camera_of}'s {camera} to film {owner}'s scene of case {number}", films)

    def _wait_shows(self, home: str, number: int) -> None:
        """Wait until a screen that is never dark shows this case, whoever's: that is for the judge to say."""

        def old() -> str | None:
            shown = self.displays[home].collect()
            reading = self.eye.read(self.displays[home], shown[-1].digest, lambda _: True)
            self.eye.forget()
            cases = {s.case for s in reading.sightings}
            return None if cases == {number} else f"it shows {reading}"

        wait_for(f"{home}.hub to show case {number}", old)

    # Who and what there is.

    def next_ask(self) -> int:
        """Return a number for an ask that no other ask of this home has."""
        return next(self._asks)

    def check_owner(self, name: str) -> None:
        """Raise `Misuse` unless there is such an owner."""
        if name not in self.owners:
            raise Misuse(f"there is no home {name!r}{nearest(name, list(self.owners))}")

    def check_accounts(self) -> None:
        """Raise `Misuse` unless a hub of this home can be signed in to another account."""
        if not self.contract.changes_accounts:
            raise Misuse(
                "the hubs of this home system cannot change their account; leave change_account out, or say with the "
                "label ownframe.sign-in on every hub how it is done"
            )

    def check_integration(self) -> None:
        """Raise `Misuse` unless the integration of this home can be suspended and restored."""
        if not self.contract.suspends:
            raise Misuse(
                "the integration of this home system cannot be suspended: nothing in it offers a handle for that; "
                "leave suspend and restore out"
            )

    def desk(self) -> Desk:
        """Return where owners change what is theirs; raises `Misuse` where this home has no handle for that."""
        if self.contract.desk is None:
            raise Misuse(
                "nothing in this home system offers a handle for what owners do to their accounts; leave sell, share, "
                "unshare, reset_password and protect out"
            )
        return self.contract.desk

    def check_voice(self) -> None:
        """Raise `Misuse` unless hubs of this home have an assistant."""
        if not self.contract.speaks:
            raise Misuse("the hubs of this home system have no assistant that summons cameras by voice; leave say out")

    def check_camera(self, name: str) -> None:
        """Raise `Misuse` unless each home has such a camera."""
        if name not in camera_names(self.topology):
            raise Misuse(f"there is no camera {name!r}{_near_camera(name, self.topology)}")

    @property
    def updated(self) -> tuple[str, ...]:
        """The nodes that the run's update changes; those with which it can be rolled back and out again."""
        return self.contract.updated

    @property
    def changed(self) -> tuple[str, ...]:
        """The nodes that the run's update changes or adds."""
        return self.contract.changed

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

    def way_of(self, home: str, owner: str | None, camera: str | None = None) -> tuple[str, ...]:
        """Return the links that an ask on `home`'s hub, signed in as `owner`, can cross, of one `camera` if given."""
        room = None if camera is None else camera if camera in self.topology.rooms else ""
        return tuple(link.name for link in self.topology.between(home, owner, room))

    def also_seen(self, owner: str | None) -> tuple[str, ...]:
        """Return the links to other people's cameras that this account has now, since she bought it or it is shared."""
        desk = self.contract.desk
        seen = desk.seen(owner) if desk is not None and owner is not None else ()
        return tuple(k.name for of in seen for k in self.topology.links_of("camera", of))

    def __enter__(self) -> Self:
        """Return this home; `start` must have been called."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop everything."""
        self.stop()


def _close_feed(hub: Hub) -> None:
    """Close a hub's feed; one that refuses is told by its screen, which is looked at next."""
    with contextlib.suppress(Refused):
        hub.close_feed()

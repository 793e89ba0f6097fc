"""Faults of whole nodes: refused before anything runs where they cannot be had, done, undone, and proven undone.

A stack does what is done to a node from outside (it stands still, loses its network); a camera's clock is set by the
camera itself, as its owner would, over the operator's contract.
"""

from __future__ import annotations

import contextlib
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, ClassVar, TypeAlias, assert_never

import msgspec

from chaos.errors import Misuse, Surroundings, nearest
from chaos.plan import (
    Attach,
    Detach,
    Evict,
    Meanwhile,
    NodeFault,
    NodeStep,
    Pause,
    Restart,
    Resume,
    RollBack,
    RollOut,
    SetClock,
    SetPicture,
    Step,
    value,
)
from chaos.remote import Refused, Remote

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.stacks import Stack
    from chaos.topology import Topology

_WHO_CAN: Mapping[NodeFault, str] = {
    "detached": "nodes with networks of their own, which --stack docker has",
    "new address": "nodes with addresses of their own, which --stack docker has",
}


class _Clock(msgspec.Struct, frozen=True):
    offset_s: float
    time_zone: str
    kind: ClassVar[NodeFault] = "clock"

    def __str__(self) -> str:
        return f"{self.offset_s:+.10g} s, {self.time_zone}"


class _Picture(msgspec.Struct, frozen=True):
    night: bool
    quality: int | None
    kind: ClassVar[NodeFault] = "picture"

    def __str__(self) -> str:
        what = ["grey"] * self.night + ([] if self.quality is None else [f"quality {self.quality}"])
        return ", ".join(what) or "of its own"


_Setting: TypeAlias = _Clock | _Picture
"""What a camera is told at ``/operator/`` and the setting's kind."""


class NodeFaults:
    """The faults that nodes of one home are under, beyond those of their links.

    `sources` returns the folder of the home's sources with the run's update (True), and without it. `lacks` are kinds
    of fault that no node of this home helps with.
    """

    def __init__(
        self,
        topology: Topology,
        stack: Stack,
        sources: Callable[[bool], Path],
        lacks: frozenset[NodeFault] = frozenset(),
    ) -> None:
        self._topology = topology
        self._stack = stack
        self.kinds = stack.faults - lacks
        """Kinds of fault that can be had."""
        self._sources = sources
        self._rolled_back: set[str] = set()
        self._now: dict[tuple[str, NodeFault], str] = {}
        self._right: dict[tuple[str, str], _Setting] = {}
        self._wanted: dict[tuple[str, str], _Setting] = {}

    @property
    def in_force(self) -> Mapping[tuple[str, NodeFault], str]:
        """Which (node, kind) are in force, each with its detail."""
        return self._now

    def paused(self, node: str) -> bool:
        """Whether the node stands still."""
        return (node, "paused") in self._now

    def check(self, steps: Iterable[Step]) -> None:
        """Raise `Misuse` for a step with a node that there is not, or that this stack cannot do."""
        for step in steps:
            if isinstance(step, Meanwhile):
                self._check_meanwhile(step)
            elif isinstance(step, NodeStep):
                self._check(step)

    def _check_meanwhile(self, step: Meanwhile) -> None:
        self.check(step.steps)
        hubs = {n.name for n in self._topology.with_role("hub")}
        for inner in step.steps:
            if isinstance(inner, NodeStep) and inner.node in hubs:
                raise Misuse(
                    f"meanwhile({value(step.ask)}, …) has {value(inner)}: a hub that somebody waits in front of stays "
                    "as it is; expected another node, or this step after the ask"
                )

    def do(self, step: NodeStep) -> None:
        """Do one step; returns when it is in force. Raises `Misuse` as `check` does."""
        self._check(step)
        node = step.node
        match step:
            case Pause():
                self._now[node, "paused"] = ""
                self._stack.pause(node)
            case Resume():
                if self.paused(node):
                    self._resume(node)
            case Detach():
                self._now[node, "detached"] = ""
                self._stack.detach(node)
            case Attach():
                self._attach(step)
            case SetClock() | SetPicture():
                self._set_up(step)
            case Restart() | RollOut() | RollBack():
                self._replace(step)
            case Evict():
                self._stack.run_beside(node, self._topology.node(node).evict)
            case _:
                assert_never(step)

    def mend(self) -> None:
        """Undo every fault, whatever became of the case that set it, and prove it.

        Raises `Surroundings` with what is not as it was.
        """
        self._stack.mend()
        for node in sorted(self._rolled_back):
            self._start_anew(RollOut(node))
        for (node, _), right in self._right.items():
            self._tell(node, right)
        self._right.clear()
        self._wanted.clear()
        self._now.clear()

    def _check(self, step: NodeStep) -> None:
        known = [n.name for n in self._topology.nodes]
        if step.node not in known:
            raise Misuse(f"there is no node {step.node!r}{nearest(step.node, known)}")
        if step.fault in self._stack.faults - self.kinds:
            raise Misuse(
                f"{step.describe()} cannot be done to this home system: none of its nodes offers a handle for it; "
                "leave the step out"
            )
        if step.fault not in self.kinds:
            raise Misuse(
                f"{step.describe()} cannot be done on --stack {self._stack.name}: it needs "
                f"{_WHO_CAN.get(step.fault, 'another stack')}"
            )
        if isinstance(step, Evict) and not self._topology.node(step.node).evict:
            able = [n.name for n in self._topology.nodes if n.evict]
            raise Misuse(f"{step.node} has nothing to evict; what has: {', '.join(able) or 'no node'}")
        if isinstance(step, SetClock | SetPicture):
            cameras = [n.name for n in self._topology.with_role("camera")]
            if step.node not in cameras:
                raise Misuse(f"{step.node} has no {step.fault} to set; the cameras have: {', '.join(cameras)}")
        if isinstance(step, SetClock):
            zones = _zones()
            if zones and step.time_zone not in zones:
                raise Misuse(f"there is no time zone {step.time_zone!r}{_near_zone(step.time_zone)}")

    def _attach(self, step: Attach) -> None:
        node = step.node
        if step.new_address:
            self._now[node, "new address"] = ""
            self._now[node, "new address"] = self._stack.attach(node, new_address=True)
        elif (node, "detached") in self._now:
            self._stack.attach(node, new_address=False)
        self._now.pop((node, "detached"), None)

    def _replace(self, step: Restart | RollOut | RollBack) -> None:
        if self.paused(step.node):
            self._resume(step.node)  # an engine does not kill what it froze
        self._start_anew(step)
        self._tell_again(step.node)  # a device keeps its settings

    def _start_anew(self, step: Restart | RollOut | RollBack) -> None:
        if isinstance(step, Restart) or (isinstance(step, RollBack) is (step.node in self._rolled_back)):
            self._stack.restart(step.node)
            return
        out = isinstance(step, RollOut)
        home = self._sources(out)
        if not (home / self._topology.node(step.node).source).is_dir():
            self._stack.restart(step.node)  # the update brought this node: there is nothing before it
            return
        self._stack.roll(step.node, home)
        (self._rolled_back.discard if out else self._rolled_back.add)(step.node)

    def _resume(self, node: str) -> None:
        self._stack.resume(node)
        self._now.pop((node, "paused"), None)
        self._tell_again(node)  # nobody could set it while it stood still

    def _tell_again(self, node: str) -> None:
        for (at, _), wanted in self._wanted.items():
            if at == node:
                self._tell(node, wanted)

    def _set_up(self, step: SetClock | SetPicture) -> None:
        node = step.node
        wanted: _Setting = (
            _Clock(step.offset_s, step.time_zone) if isinstance(step, SetClock) else _Picture(step.night, step.quality)
        )
        self._wanted[node, wanted.kind] = wanted
        if step.calm:
            self._now.pop((node, wanted.kind), None)
        else:
            self._now[node, wanted.kind] = str(wanted)
        if not self.paused(node):
            self._tell(node, wanted)

    def _tell(self, node: str, wanted: _Setting) -> None:
        """Set a camera up; how it was before the first time is kept, and what it says afterwards is compared."""
        path = f"/operator/{wanted.kind}"
        with self._remote(node) as remote:
            try:
                before = _read(node, remote.get(path), wanted)
                self._right.setdefault((node, wanted.kind), before)
                remote.post(path, wanted)
                after = _read(node, remote.get(path), wanted)
            except Refused as refused:
                raise Surroundings(
                    f"{node} did not take the {wanted.kind} {wanted} ({refused}); a camera offers GET and POST {path} "
                    "(docs/reference-home.md)"
                ) from None
        if after != wanted:
            raise Surroundings(
                f"{node} was told the {wanted.kind} {wanted} and has {after}; nobody else may set it; start the run "
                "again"
            )

    @contextlib.contextmanager
    def _remote(self, node: str) -> Iterator[Remote]:
        remote = Remote(node, self._stack.address(node, "operator"))
        try:
            yield remote
        finally:
            remote.close()


def _read(node: str, body: bytes, like: _Setting) -> _Setting:
    try:
        return msgspec.json.decode(body, type=type(like))
    except msgspec.DecodeError as wrong:
        raise Surroundings(f"{node} answered what is no {like.kind}: {wrong}: {body[:200]!r}") from wrong


@cache
def _zones() -> frozenset[str]:
    """Return what this machine knows; nothing where it has no database, and then the camera alone can tell."""
    return frozenset(zoneinfo.available_timezones())


def _near_zone(name: str) -> str:
    near = nearest(name, sorted(_zones()))
    return near if "did you mean" in near else "; expected a name such as 'Europe/Berlin'"


__all__ = ["NodeFaults"]

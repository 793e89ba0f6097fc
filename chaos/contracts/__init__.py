"""What may be done to a home system past its faulted links: set it up, summon cameras, look at screens.

One small protocol, and one module for each kind of home system: the reference home's own operator contract, and what
the labels of somebody's containers declare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from chaos.plan import DEFAULT_CAMERA

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.displays import Display
    from chaos.plan import NodeFault
    from chaos.remote import AskState
    from chaos.stacks import Stack
    from chaos.topology import Topology

CAMERAS = (DEFAULT_CAMERA,)
"""Names of the cameras that every owner has."""
Plane = NDArray[np.uint8]


class Hub(Protocol):
    """One home's hub, as a person in front of it uses it."""

    def sign_in(self, owner: str) -> bool:
        """Change the account, and return whether the hub confirmed it; False when its network did not let it."""

    def ask(self, camera: str, feed: str) -> int:
        """Summon a camera; returns the hub's number of the ask as soon as it was taken."""

    def wait_settled(self, ask: int, seconds: float) -> AskState:
        """Wait up to `seconds` until the ask left ``open``; returns the state it is in then."""

    def close_feed(self) -> None:
        """Close the feed as a person does; returns once the screen is blank."""


class Contract(Protocol):
    """A home system of `owners`: what it is made of, and its handles outside of every faulted link."""

    owners: tuple[str, ...]
    topology: Topology
    updated: tuple[str, ...]
    """The nodes that the run's update changes; those with which it can be rolled back and out again."""
    lacks: frozenset[NodeFault]
    """Kinds of fault that need a node's help, which no node of this home gives."""

    @property
    def hubs(self) -> Mapping[str, Hub]:
        """The hub of each home, by its owner; empty before `connect`."""

    @property
    def displays(self) -> Mapping[str, Display]:
        """The screen of each hub, by the home's owner; empty before `connect`."""

    def sources(self, scratch: Path, *, updated: bool) -> Path:
        """Return the folder of the home's sources with the run's update, or with what was before it."""

    def digests(self, folder: Path) -> Mapping[str, str]:
        """Return what the home in `folder` is made of, as a hash for each part by its name."""

    def connect(self, stack: Stack) -> None:
        """Find every handle, hub and display, once all nodes run on `stack`."""

    def close(self) -> None:
        """Let go of every handle; may be called twice, and before `connect`."""

    def provision(self) -> None:
        """Bring accounts, registry and caches to the beginning of a case. Raises `Surroundings`."""

    def restore(self, node: str) -> None:
        """Bring back what a node that was started anew keeps on a disk in real life."""

    def restored_through(self, node: str) -> str | None:
        """Return the node through which `restore` brings it back, and which must not stand still then, if any."""

    def ends_sessions(self, node: str) -> bool:
        """Whether a restart of this node signs every hub out."""

    def filmed(self, owner: str) -> Plane | None:
        """Return what the owner's camera films now, asked past every link; None for no picture.

        Raises `Refused` or `Surroundings` when the camera does not answer.
        """

"""What may be done to a home system past its faulted links: set it up, summon cameras, look at screens.

One small protocol, and one module for each kind of home system: the reference home's own operator contract, and what
the labels of somebody's containers declare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chaos.plan import DEFAULT_CAMERA

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.displays import Display
    from chaos.plan import NodeFault
    from chaos.reading import Reader
    from chaos.remote import AskState
    from chaos.stacks import Stack
    from chaos.topology import Topology

Integration: TypeAlias = Literal["on", "suspended", "without cameras"]
"""What the vendor lets through: everything, nothing at all, or everything but cameras."""
CAMERAS = (DEFAULT_CAMERA,)
"""Names of the cameras that every owner has, where a scenario does not ask for more rooms."""
Plane = NDArray[np.uint8]


class Hub(Protocol):
    """One home's hub, as a person in front of it uses it."""

    @property
    def always_on(self) -> bool:
        """Whether it shows its owner's camera all the time: asking is looking, and it is never dark."""

    def sign_in(self, owner: str) -> bool:
        """Change the account, and return whether the hub confirmed it; False when its network did not let it."""

    def ask(self, camera: str, feed: str) -> int:
        """Summon a camera; returns the hub's number of the ask as soon as it was taken."""

    def say(self, said: str, feed: str) -> int:
        """Say something, such as 'show the living room', to the hub's assistant; returns as `ask` does."""

    def wait_settled(self, ask: int, seconds: float) -> AskState:
        """Wait up to `seconds` until the ask left ``open``; returns the state it is in then."""

    def close_feed(self) -> None:
        """Close the feed as a person does; returns once the screen is blank."""


class Desk(Protocol):
    """Where owners change what is theirs: passwords, a second factor, with whom a camera is shared, whose it is.

    A camera is told by the home in which it hung when the case began.
    """

    def unregister(self, owner: str) -> str | None:
        """Take the owner's camera out of the account, and return which it is; None when there is none."""

    def register(self, device: str, owner: str) -> None:
        """Make that camera the owner's, in the place of the one that she had."""

    def share(self, owner: str, guest: str) -> bool:
        """Let a guest see the owner's camera; returns whether there was one to share."""

    def unshare(self, owner: str, guest: str) -> None:
        """Let a guest see it no more."""

    def reset_password(self, owner: str) -> None:
        """Take a new password, which the hub in the owner's home is told; every session ends."""

    def protect(self, owner: str) -> None:
        """Demand a second factor from now on, which the hub in the owner's home is told."""

    def proof(self, home: str, owner: str) -> Literal["password", "old password", "password alone", "second factor"]:
        """Return what the hub in `home` has to sign in to the owner's account with."""

    def noted(self, owner: str) -> int:
        """Return how many sign-ins the account service has told the owner of."""

    def seen(self, owner: str) -> tuple[str, ...]:
        """Return which cameras, beside the one that hung in the owner's home, the account can see now."""


class Contract(Protocol):
    """A home system of `owners`: what it is made of, and its handles outside of every faulted link."""

    owners: tuple[str, ...]
    topology: Topology
    cameras: tuple[str, ...]
    """Names of the cameras that every owner has, the first one first."""
    updated: tuple[str, ...]
    """The nodes that the run's update changes; those with which it can be rolled back and out again."""
    changed: tuple[str, ...]
    """These, and the nodes that it adds."""
    changes_accounts: bool
    """Whether a hub can be signed in to another account."""
    speaks: bool
    """Whether hubs have an assistant that summons cameras by voice."""
    suspends: bool
    """Whether the integration can be suspended for everybody and restored, and an account unlinked."""
    lacks: frozenset[NodeFault]
    """Kinds of fault that need a node's help, which no node of this home gives."""

    @property
    def desk(self) -> Desk | None:
        """Where owners change what is theirs, if there is a handle for it."""

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

    def connect(self, stack: Stack, reader: Reader) -> None:
        """Find every handle, hub and display, once all nodes run on `stack`; `reader` reads what screens show."""

    def close(self) -> None:
        """Let go of every handle; may be called twice, and before `connect`."""

    def provision(self) -> None:
        """Bring accounts, registry and caches to the beginning of a case. Raises `Surroundings`."""

    def restore(self, node: str) -> None:
        """Bring back what a node that was started anew keeps on a disk in real life."""

    def integrate(self, state: Integration) -> None:
        """Suspend or restore the integration; returns when whoever decides on access has confirmed it."""

    def end_sessions(self, owner: str) -> None:
        """End every session of an owner's account; as `integrate`."""

    def restored_through(self, node: str) -> str | None:
        """Return the node through which `restore` brings it back, and which must not stand still then, if any."""

    def ends_sessions(self, node: str) -> bool:
        """Whether a restart of this node signs every hub out."""

    def unlike(self, camera_of: str, owner: str, case: int, reader: Reader, camera: str = DEFAULT_CAMERA) -> str | None:
        """Return None when that owner's camera films the scene of `owner` in this case, else what it films instead.

        It is asked past every link. Raises `Refused` or `Surroundings` when it does not answer.
        """


def unlike(luma: Plane | None, reader: Reader, expected: set[tuple[str, int]]) -> str | None:
    """Return None when a picture shows these (owner, case) and nobody else, else what it shows."""
    reading = reader.read(luma) if luma is not None else None
    shown = {(s.owner, s.case) for s in reading.sightings} if reading else set()
    return None if shown == expected else f"it films {sorted(shown) or 'nothing readable'}"

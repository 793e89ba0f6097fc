"""Frozen events: everything of a run that its verdict is made from.

Times are seconds on the harness's monotonic clock, which every process and container of one machine shares. A change
that takes time (an account, an ask) is one event with both ends, since between the two the old and the new are both
permitted. A history is written as JSON lines while the run goes on, and can be judged again years later: `Displayed`
holds what was read from the pixels, not the pixels.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from chaos.conditions import Conditions, Fault
from chaos.disturbance import Way
from chaos.plan import Feed, NodeFault, Plan


class _Event(msgspec.Struct, frozen=True, tag_field="event", kw_only=True):
    pass


class Sighting(msgspec.Struct, frozen=True, order=True):
    """Whom authenticated tiles of one picture name, and how many tiles did.

    `frame` and `captured` (seconds, monotonic) are None when only static tiles were left. With no tile at all, a sliver
    of the picture was matched with the registered owners, and `chance` bounds the probability that it names nobody's.
    `run` is the id of the key of an earlier run that the picture comes from: its numbers are other people's.
    """

    owner: str
    camera: str
    case: int
    tiles: int
    frame: int | None = None
    captured: float | None = None
    chance: float | None = None
    run: str | None = None

    @property
    def vouched(self) -> str:
        """How it is known, to be read after 'known by': by MAC, or the weaker kind of finding with its error bound."""
        if self.chance is None:
            return f"{self.tiles} authenticated tile{'' if self.tiles == 1 else 's'}"
        return (
            f"a sliver matched with the registered owners, which is nobody's in at most {self.chance:.2g} of pictures"
        )


class Reading(msgspec.Struct, frozen=True):
    """What was read from one displayed raster. `content` says whether there is camera content at all."""

    content: Literal["picture", "blank"]
    sightings: tuple[Sighting, ...] = ()


class CaseStarted(_Event, frozen=True, tag="case_started"):
    """A home was reset and proven reset; `kind` tells a planned case from a control."""

    at: float
    case: int
    kind: Literal["plan", "control"]
    plan: Plan | None = None


class CaseEnded(_Event, frozen=True, tag="case_ended"):
    """Nothing of this case is on any screen after `at`."""

    at: float
    case: int


class SignedIn(_Event, frozen=True, tag="signed_in"):
    """The account at `hub` changed to `owner` (None: signed out) between `began` and its confirmation at `ended`.

    `proof` is what whoever did it had, ``password alone`` where the owner demands a second factor too. `noticed` says
    whether the account service told the owner of it; it is asked of a hub in another home than the owner's.
    """

    hub: str
    owner: str | None
    began: float
    ended: float
    proof: Literal["password", "old password", "password alone", "second factor"] = "password"
    noticed: bool | None = None


class Asked(_Event, frozen=True, tag="asked"):
    """The person at `hub` summoned `camera` at `began`; the hub confirmed that it took the ask at `taken`.

    It settled at `settled` with a picture, 'unavailable', or not before the harness's patience ended. A 'lost' ask was
    made at a hub that was paused, which never heard of it: nothing was taken.
    """

    ask: int
    hub: str
    camera: str
    feed: Feed
    began: float
    taken: float
    settled: float
    outcome: Literal["picture", "unavailable", "given_up", "silent", "lost"]
    by: Literal["tap", "voice"] = "tap"


class Closed(_Event, frozen=True, tag="closed"):
    """The feed on `hub` was closed as a person closes it."""

    hub: str
    began: float
    ended: float


class Suspended(_Event, frozen=True, tag="suspended"):
    """The integration was suspended for everybody between `began` and its confirmation at `ended`.

    `within` seconds after that it must have taken effect: from then on no hub may show camera content.
    """

    began: float
    ended: float
    within: float


class Unlinked(_Event, frozen=True, tag="unlinked"):
    """Every session of `owner`'s account was ended between `began` and `ended`, as by a new password.

    From `within` seconds after that on, no hub may show the owner's cameras until it is signed in anew.
    """

    owner: str
    began: float
    ended: float
    within: float


class Sold(_Event, frozen=True, tag="sold"):
    """`owner` sold the camera `to` another: the seller's account lost it between `began` and `ended`.

    From `within` seconds after that on, no hub may show the seller's home by it; from `registered` on it is the buyer's
    and films the buyer's home.
    """

    owner: str
    to: str
    camera: str
    began: float
    ended: float
    within: float
    registered: float


class Shared(_Event, frozen=True, tag="shared"):
    """`owner` shared `camera` with `guest`, who has it as `name`, from `began` on, confirmed at `ended`."""

    owner: str
    guest: str
    camera: str
    name: str
    began: float
    ended: float


class Unshared(_Event, frozen=True, tag="unshared"):
    """`owner` ended what was shared with `guest` between `began` and `ended`; in effect `within` seconds later."""

    owner: str
    guest: str
    began: float
    ended: float
    within: float


class Restored(_Event, frozen=True, tag="restored"):
    """The integration was restored for everybody between `began` and `ended`, with its `cameras` or without them."""

    began: float
    ended: float
    cameras: bool


class Displayed(_Event, frozen=True, tag="displayed"):
    """A raster that was on `hub`'s screen from `at` until `until`; `digest` names the stored picture.

    `damaged` says that the harness itself cut or corrupted an exchange of the ask that was open then.
    """

    hub: str
    at: float
    until: float
    digest: str
    reading: Reading
    damaged: bool = False


class Unseen(_Event, frozen=True, tag="unseen"):
    """From `at` until `until` nobody knows what was on `hub`'s screen, and `why`: it can be no pass."""

    hub: str
    at: float
    until: float
    why: str


class ConditionsSet(_Event, frozen=True, tag="conditions_set"):
    """`link` came under `conditions` between `began` and `ended`."""

    link: str
    conditions: Conditions
    began: float
    ended: float


class Restarted(_Event, frozen=True, tag="restarted"):
    """`node` was killed at `began` and ready again at `ended`; a cache that was ``emptied`` only forgot.

    `why` tells what a plan did from the restart of a hub that stayed lit, and of a Toxiproxy that hung.
    """

    node: str
    began: float
    ended: float
    why: Literal["drawn", "rolled out", "rolled back", "emptied", "carried over", "hung"]

    @property
    def drawn(self) -> NodeFault | None:
        """The kind of fault that this was when a plan did it, else None."""
        match self.why:
            case "drawn":
                return "restarted"
            case "carried over" | "hung":
                return None
            case why:
                return why


class MomentCame(_Event, frozen=True, tag="moment_came"):
    """A step waited for a `moment` of `ask`, such as ``sent on ada.camera``, and it `came` at `at`, or never did."""

    ask: int
    moment: str
    at: float
    came: bool


class NodeFaultSet(_Event, frozen=True, tag="node_fault_set"):
    """`node` came under a fault of that kind (`on`), or was rid of it, between `began` and `ended`.

    `detail` has its numbers, such as ``198.18.0.4 after 198.18.0.3``.
    """

    node: str
    kind: NodeFault
    on: bool
    began: float
    ended: float
    detail: str = ""


class Met(_Event, frozen=True, tag="met"):
    """Proof that the exchange of `ask` met `fault`: `amount` bytes, or connections when the link refused them.

    For a fault of a node `Fault.link` is the node. What proves which is in ``docs/docker.md``.
    """

    at: float
    ask: int
    fault: Fault
    amount: int


class Touched(_Event, frozen=True, tag="touched"):
    """A packet fault touched `packets` packets of a connection of `link`, the first at `first`, the last at `last`.

    `connection` is told as its client and its server have it; `places` are the first of the places at which they were,
    counted as the fault counts (`chaos.packetfaults`).
    """

    link: str
    kind: str
    way: Way
    connection: str
    packets: int
    first: float
    last: float
    places: tuple[int, ...]


class ControlSeen(_Event, frozen=True, tag="control_seen"):
    """A control's outcome: every hub with a crossed scene was reported, or every cut link stopped its picture."""

    at: float
    what: str
    seen: bool
    detail: str


Event: TypeAlias = (
    CaseStarted
    | CaseEnded
    | SignedIn
    | Asked
    | Closed
    | Suspended
    | Unlinked
    | Restored
    | Sold
    | Shared
    | Unshared
    | Displayed
    | Unseen
    | ConditionsSet
    | NodeFaultSet
    | Restarted
    | MomentCame
    | Met
    | Touched
    | ControlSeen
)

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def to_line(event: Event) -> bytes:
    """Return one JSON line, without its line end."""
    return _ENCODER.encode(event)


def from_line(line: bytes) -> Event:
    """Read one JSON line; raises `msgspec.DecodeError` on anything else."""
    return _DECODER.decode(line)

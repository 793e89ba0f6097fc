"""The frozen steps of one case, drawn to the end before anything runs; what a replay file holds.

Every step stands on its own: leaving one out never makes another meaningless, so that a shrinker may drop any of them.
JSON with sorted keys is the plan's identity and its replay file; a seed or blob is neither, since editing a number in a
scenario changes what a seed draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar, Literal, TypeAlias

import msgspec

from chaos.conditions import Conditions
from chaos.errors import Misuse

Feed: TypeAlias = Literal["still", "stream"]
DEFAULT_CAMERA = "living-room"
NodeFault: TypeAlias = Literal["paused", "detached", "new address", "clock", "restarted"]
"""Kinds of fault that a node has, not a link; a run counts each (node, kind) as it counts each (link, kind)."""


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="step"):
    def simpler(self) -> Iterator[Step]:
        """Yield steps to try in this one's place when a plan is made smaller, furthest move first; none by default.

        Leaving a step out is tried for every step; this is about what stays: fewer askers, calmer values. Each step
        must be strictly simpler than the one before, so that shrinking ends.
        """
        yield from ()


class Ask(_Step, frozen=True, tag="ask"):
    """The owner in front of `home`'s hub summons `camera`, and waits until the hub has settled."""

    home: str
    camera: str = DEFAULT_CAMERA
    feed: Feed = "still"

    def describe(self) -> str:
        """Return a line of the printed program."""
        feed = "" if self.feed == "still" else f", feed={self.feed!r}"
        camera = "" if self.camera == DEFAULT_CAMERA else f", camera={self.camera!r}"
        return f"ask({self.home!r}{camera}{feed})"

    def code(self) -> str:
        """Return the Python expression for this step as a value."""
        return self.describe().replace("ask(", "Ask(", 1)

    def simpler(self) -> Iterator[Step]:
        """Yield the same ask for a still."""
        if self.feed == "stream":
            yield msgspec.structs.replace(self, feed="still")


class AskTogether(_Step, frozen=True, tag="ask_together"):
    """Several owners ask at the same moment; all settle before the next step."""

    asks: tuple[Ask, ...]

    def __post_init__(self) -> None:
        homes = [a.home for a in self.asks]
        if not homes or len(set(homes)) < len(homes):
            raise Misuse(
                f"ask_together names the homes {', '.join(homes) or 'none'}; expected at least one, and each once: "
                "a hub takes one ask at a time"
            )

    def describe(self) -> str:
        """Return a line of the printed program, as `Household.ask_together` takes it."""
        first = self.asks[0]
        if first.feed == "still" and all((a.camera, a.feed) == (first.camera, first.feed) for a in self.asks):
            camera = "" if first.camera == DEFAULT_CAMERA else f", camera={first.camera!r}"
            return f"ask_together({', '.join(repr(a.home) for a in self.asks)}{camera})"
        return f"ask_together({', '.join(a.code() for a in self.asks)})"  # no rule draws it, a plan file may hold it

    def simpler(self) -> Iterator[Step]:
        """Yield one asker fewer; a single asker is a plain ask."""
        if len(self.asks) == 1:
            yield self.asks[0]
            return
        for i in range(len(self.asks)):
            yield AskTogether(self.asks[:i] + self.asks[i + 1 :])


class GiveUp(_Step, frozen=True, tag="give_up"):
    """The owner asks, and closes the feed after `after_ms` milliseconds, whatever is shown by then."""

    home: str
    after_ms: int
    camera: str = DEFAULT_CAMERA
    feed: Feed = "still"

    def describe(self) -> str:
        """Return a line of the printed program."""
        camera = "" if self.camera == DEFAULT_CAMERA else f", camera={self.camera!r}"
        feed = "" if self.feed == "still" else f", feed={self.feed!r}"
        return f"give_up({self.home!r}, after_ms={self.after_ms}{camera}{feed})"

    def simpler(self) -> Iterator[Step]:
        """Yield the ask of somebody who waits."""
        yield Ask(self.home, self.camera, self.feed)


class ChangeAccount(_Step, frozen=True, tag="change_account"):
    """The hub in `home` is signed out and signed in to `owner`'s account."""

    home: str
    owner: str

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"change_account({self.home!r}, owner={self.owner!r})"


class SetConditions(_Step, frozen=True, tag="set_conditions"):
    """From here on `link` is under `conditions`."""

    link: str
    conditions: Conditions

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"set_conditions({self.link!r}, {self.conditions.code()})"

    def simpler(self) -> Iterator[Step]:
        """Yield calmer conditions of the same link; clearing it is a step of its own."""
        for calmer in self.conditions.calmer():
            if not calmer.calm:
                yield SetConditions(self.link, calmer)


class Clear(_Step, frozen=True, tag="clear"):
    """The link is well again."""

    link: str

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"clear({self.link!r})"


class Restart(_Step, frozen=True, tag="restart"):
    """The node is killed and started again; the next step waits until it is ready."""

    node: str
    fault: ClassVar[NodeFault] = "restarted"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"restart({self.node!r})"


class Pause(_Step, frozen=True, tag="pause"):
    """The node stands still from here on, with everything that it has open, until it is resumed or restarted."""

    node: str
    fault: ClassVar[NodeFault] = "paused"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"pause({self.node!r})"


class Resume(_Step, frozen=True, tag="resume"):
    """A paused node goes on where it stood; one that runs is left alone."""

    node: str
    fault: ClassVar[NodeFault] = "paused"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"resume({self.node!r})"


class Detach(_Step, frozen=True, tag="detach"):
    """The node is taken off every network that one of its links crosses: its cable is pulled."""

    node: str
    fault: ClassVar[NodeFault] = "detached"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"detach({self.node!r})"


class Attach(_Step, frozen=True, tag="attach"):
    """A detached node is back on its networks; with `new_address` it has other addresses than before.

    One that is attached is left alone, or taken off first where it gets a new address.
    """

    node: str
    new_address: bool = False

    @property
    def fault(self) -> NodeFault:
        """The kind of fault that this step is about."""
        return "new address" if self.new_address else "detached"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"attach({self.node!r}{', new_address=True' if self.new_address else ''})"


class SetClock(_Step, frozen=True, tag="set_clock"):
    """The camera's clock is `offset_s` seconds ahead (behind when below 0), and tells the time of `time_zone`.

    Raises `Misuse` for an offset that no date bears. `ZONES` and `OFFSETS` are what is drawn, calm first.
    """

    node: str
    offset_s: int = 0
    time_zone: str = "UTC"
    fault: ClassVar[NodeFault] = "clock"
    OFFSETS: ClassVar[tuple[int, ...]] = (0, 1, 60, -3600, 86_400, -31_536_000)
    """Seconds: right, skewed, forgot summer time, a day ahead, a year behind."""
    ZONES: ClassVar[tuple[str, ...]] = ("UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Kolkata", "Asia/Tokyo")
    """The December-26 pictures had time stamps of other time zones; one of these is no whole hour off."""

    def __post_init__(self) -> None:
        if isinstance(self.offset_s, bool) or not isinstance(self.offset_s, int) or abs(self.offset_s) > _TEN_YEARS:
            raise Misuse(
                f"set_clock.offset_s is {self.offset_s!r}; expected whole seconds, at most ten years ({_TEN_YEARS})"
            )

    @property
    def calm(self) -> bool:
        """Whether the clock is right."""
        return (self.offset_s, self.time_zone) == (0, "UTC")

    def calmer(self) -> Iterator[SetClock]:
        """Yield clocks that are wrong in fewer ways or by less, furthest move first."""
        if self.time_zone != self.ZONES[0] and self.offset_s:
            yield msgspec.structs.replace(self, time_zone=self.ZONES[0])
            yield msgspec.structs.replace(self, offset_s=0)
        ladder = self.OFFSETS[1 : self.OFFSETS.index(self.offset_s)] if self.offset_s in self.OFFSETS else ()
        for offset in ladder:
            yield msgspec.structs.replace(self, offset_s=offset)

    def describe(self) -> str:
        """Return a line of the printed program."""
        offset = f", offset_s={self.offset_s}" if self.offset_s else ""
        zone = "" if self.time_zone == "UTC" else f", time_zone={self.time_zone!r}"
        return f"set_clock({self.node!r}{offset}{zone})"

    def simpler(self) -> Iterator[Step]:
        """Yield calmer clocks."""
        yield from self.calmer()


_TEN_YEARS = 315_576_000
NodeStep: TypeAlias = Restart | Pause | Resume | Detach | Attach | SetClock
Step: TypeAlias = Ask | AskTogether | GiveUp | ChangeAccount | SetConditions | Clear | NodeStep

_FORMAT = 1


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that one case does: owners and steps, no clock and no chance."""

    homes: tuple[str, ...]
    steps: tuple[Step, ...]
    format: int = _FORMAT

    def __post_init__(self) -> None:
        if self.format != _FORMAT:
            raise Misuse(f"the plan has format {self.format}; this version reads format {_FORMAT}")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the plan; equal plans have equal digests."""
        return hashlib.sha256(self.to_json()).hexdigest()[:12]

    @property
    def asks(self) -> int:
        """Number of elementary asks, given-up ones included."""
        return sum(len(s.asks) if isinstance(s, AskTogether) else isinstance(s, Ask | GiveUp) for s in self.steps)

    def with_steps(self, steps: tuple[Step, ...]) -> Plan:
        """Return the same homes with other steps."""
        return msgspec.structs.replace(self, steps=steps)

    def to_json(self) -> bytes:
        """Return the plan as JSON with sorted keys."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_json(cls, data: bytes) -> Plan:
        """Read what `to_json` wrote; `Misuse` says where another file differs."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Misuse(f"not a plan of this version: {wrong}") from None

    def program(self) -> str:
        """Return the plan as lines to read and to paste into a scenario."""
        return "\n".join(f"self.{s.describe()}" for s in self.steps)

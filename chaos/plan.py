"""The frozen steps of one case, drawn to the end before anything runs; what a replay file holds.

Every step stands on its own: leaving one out never makes another meaningless, so that a shrinker may drop any of them.
JSON with sorted keys is the plan's identity and its replay file; a seed or blob is neither, since editing a number in a
scenario changes what a seed draws.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar, Literal, TypeAlias

import msgspec

from chaos.conditions import Conditions
from chaos.errors import Misuse

Feed: TypeAlias = Literal["still", "stream", "video"]
DEFAULT_CAMERA = "living-room"
NodeFault: TypeAlias = Literal[
    "paused", "detached", "new address", "clock", "picture", "restarted", "emptied", "rolled out", "rolled back"
]
"""Kinds of fault that a node has, not a link; a run counts each (node, kind) as it counts each (link, kind)."""


def _is_of(one: str, name: str) -> bool:
    return one == name or one.startswith(f"{name}.")


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="step"):
    def simpler(self) -> Iterator[Step]:
        """Yield steps to try in this one's place when a plan is made smaller, furthest move first; none by default.

        Leaving a step out is tried for every step; this is about what stays: fewer askers, calmer values. Each step
        must be strictly simpler than the one before, so that shrinking ends.
        """
        yield from ()

    def elements(self) -> Iterator[Step]:
        """Yield the steps that this one is made of; itself when it is made of none. A program's size counts them."""
        yield self  # type: ignore[misc] # every subclass is one of the union

    @property
    def names(self) -> tuple[str, ...]:
        """The homes, owners, links and nodes that this step is about; from fields of these names by default."""
        return tuple(getattr(self, f) for f in self.__struct_fields__ if f in ("home", "owner", "link", "node"))

    def without(self, name: str) -> Step | None:
        """Return what is left of this step without this home, owner, link or node and all that is theirs."""
        return None if any(_is_of(n, name) for n in self.names) else self  # type: ignore[return-value]


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

    def simpler(self) -> Iterator[Step]:
        """Yield the same ask for a still."""
        if self.feed != "still":
            yield msgspec.structs.replace(self, feed="still")


class Say(Ask, frozen=True, tag="say"):
    """The owner in front of `home`'s hub says 'show the …' with the name of `camera`, and waits as one who tapped."""

    @property
    def said(self) -> str:
        """What is said: the camera's name in words."""
        return f"show the {self.camera.replace('-', ' ')}"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return "say" + super().describe().removeprefix("ask")

    def simpler(self) -> Iterator[Step]:
        """Yield the same by a tap, and for a still."""
        yield Ask(self.home, self.camera, self.feed)
        yield from super().simpler()


class AskTogether(_Step, frozen=True, tag="ask_together"):
    """Several owners ask at the same moment; all settle before the next step."""

    asks: tuple[Ask | Say, ...]

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
        same = all((type(a), a.camera, a.feed) == (Ask, first.camera, "still") for a in self.asks)
        if same:
            camera = "" if first.camera == DEFAULT_CAMERA else f", camera={first.camera!r}"
            return f"ask_together({', '.join(repr(a.home) for a in self.asks)}{camera})"
        return f"ask_together({', '.join(value(a) for a in self.asks)})"  # no rule draws it, a plan file may hold it

    def simpler(self) -> Iterator[Step]:
        """Yield one asker fewer; a single asker is a plain ask."""
        if len(self.asks) == 1:
            yield self.asks[0]
            return
        for i in range(len(self.asks)):
            yield AskTogether(self.asks[:i] + self.asks[i + 1 :])

    def elements(self) -> Iterator[Step]:
        """Yield each ask."""
        yield from self.asks

    def without(self, name: str) -> AskTogether | None:
        """Return the asks of the others, if there are any."""
        rest = tuple(a for a in self.asks if a.home != name)
        return AskTogether(rest) if rest else None


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


class Reconnect(_Step, frozen=True, tag="reconnect"):
    """Every connection on these links drops at the same moment; new ones can be made at once."""

    links: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.links or len(set(self.links)) < len(self.links):
            raise Misuse(
                f"reconnect names the links {', '.join(self.links) or 'none'}; expected at least one, each once"
            )

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"reconnect({', '.join(map(repr, self.links))})"

    def simpler(self) -> Iterator[Step]:
        """Yield one link fewer."""
        if len(self.links) > 1:
            for i in range(len(self.links)):
                yield Reconnect(self.links[:i] + self.links[i + 1 :])

    @property
    def names(self) -> tuple[str, ...]:
        """The links."""
        return self.links

    def without(self, name: str) -> Reconnect | None:
        """Return the drop on the other links, if there are any."""
        rest = tuple(link for link in self.links if not _is_of(link, name))
        return Reconnect(rest) if rest else None


When: TypeAlias = Literal["taken", "sent", "answering", "failed"]


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instant of an ask that is under way, which other steps wait for.

    ``taken``: the hub has confirmed the ask. ``sent`` and ``answering``: bytes of the client, or of the server, have
    arrived at Toxiproxy on `link` since then. ``failed``: it ended without a picture.
    """

    what: When = "taken"
    link: str = ""

    def __post_init__(self) -> None:
        if bool(self.link) is not (self.what in ("sent", "answering")):
            raise Misuse(
                f"the moment {self.what!r} has the link {self.link!r}; expected a link for 'sent' and 'answering', and "
                "none for 'taken' and 'failed'"
            )

    @property
    def words(self) -> str:
        """The moment in words, such as ``sent on ada.camera``."""
        return f"{self.what} on {self.link}" if self.link else self.what

    def code(self) -> str:
        """Return the words of the verb `Household.meanwhile` for this moment."""
        return "" if self.what == "taken" else f", when={self.what!r}" + (f", link={self.link!r}" if self.link else "")


class Meanwhile(_Step, frozen=True, tag="meanwhile"):
    """While `ask` is under way and its `moment` has come, the other steps happen; then the ask is waited for.

    They happen in any case once the ask is over, except after ``failed`` where it got its picture. A plan in a plan is
    none: `steps` hold no `Meanwhile`. Steps that stop a hub are not possible here, since its ask is waited for.
    """

    ask: Ask | Say | GiveUp
    steps: tuple[InnerStep, ...]
    moment: Moment = Moment()

    def __post_init__(self) -> None:
        if not self.steps:
            raise Misuse("meanwhile has no steps; expected at least one, or a plain ask")

    def describe(self) -> str:
        """Return a line of the printed program."""
        inside = "".join(f", {value(s)}" for s in self.steps)
        return f"meanwhile({value(self.ask)}{inside}{self.moment.code()})"

    def simpler(self) -> Iterator[Step]:
        """Yield the ask alone, fewer and simpler steps, and the moment at which the ask was taken."""
        yield self.ask
        if len(self.steps) > 1:
            for i in range(len(self.steps)):
                yield msgspec.structs.replace(self, steps=self.steps[:i] + self.steps[i + 1 :])
        for i, step in enumerate(self.steps):
            for simpler in step.simpler():
                yield msgspec.structs.replace(self, steps=(*self.steps[:i], simpler, *self.steps[i + 1 :]))
        if self.moment.what != "taken":
            yield msgspec.structs.replace(self, moment=Moment())
        for simpler in self.ask.simpler():
            yield msgspec.structs.replace(self, ask=simpler)

    def elements(self) -> Iterator[Step]:
        """Yield the ask, and what each step is made of."""
        yield self.ask
        for step in self.steps:
            yield from step.elements()

    def without(self, name: str) -> Step | None:
        """Return the ask with what is left to happen meanwhile, or alone."""
        if self.ask.without(name) is None:
            return None
        left = tuple(s for s in (step.without(name) for step in self.steps) if s is not None)
        return msgspec.structs.replace(self, steps=left) if left else self.ask


class LetAge(_Step, frozen=True, tag="let_age"):
    """Wait until the last picture that was asked for in `home` is `ms` milliseconds old; at once when there is none."""

    home: str
    ms: int
    AGES: ClassVar[tuple[int, ...]] = (300, 1200)
    """Milliseconds that are drawn: about a time-out of the reference home, and beyond the longest."""

    def __post_init__(self) -> None:
        if isinstance(self.ms, bool) or not isinstance(self.ms, int) or not 0 < self.ms <= 60_000:
            raise Misuse(f"let_age.ms is {self.ms!r}; expected whole milliseconds from 1 to 60,000")

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"let_age({self.home!r}, ms={self.ms})"


class Restart(_Step, frozen=True, tag="restart"):
    """The node is killed and started again; the next step waits until it is ready."""

    node: str
    fault: ClassVar[NodeFault] = "restarted"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"restart({self.node!r})"


class RollBack(_Step, frozen=True, tag="roll_back"):
    """The node is replaced by one without the update of the run; what it kept elsewhere stays as it was."""

    node: str
    fault: ClassVar[NodeFault] = "rolled back"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"roll_back({self.node!r})"


class RollOut(_Step, frozen=True, tag="roll_out"):
    """The node is replaced by one with the update of the run, which is how every case begins."""

    node: str
    fault: ClassVar[NodeFault] = "rolled out"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"roll_out({self.node!r})"


class Evict(_Step, frozen=True, tag="evict"):
    """The cache, short of memory, lets go of everything that it can; its connections stay."""

    node: str = "cache"
    fault: ClassVar[NodeFault] = "emptied"

    def describe(self) -> str:
        """Return a line of the printed program."""
        return "evict()" if self.node == "cache" else f"evict({self.node!r})"


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


class SetPicture(_Step, frozen=True, tag="set_picture"):
    """The camera films grey at `night`, and encodes with this JPEG `quality` (1 to 95), its own without any.

    Raises `Misuse` for a quality that no JPEG has. `QUALITIES` is what is drawn, calm first.
    """

    node: str
    night: bool = False
    quality: int | None = None
    fault: ClassVar[NodeFault] = "picture"
    QUALITIES: ClassVar[tuple[int | None, ...]] = (None, 25, 10, 3)
    """The camera's own (40 in the reference home), and down to blocks in which a person knows no face."""

    def __post_init__(self) -> None:
        q = self.quality
        if q is not None and (isinstance(q, bool) or not isinstance(q, int) or not 1 <= q <= 95):
            raise Misuse(f"set_picture.quality is {q!r}; expected a whole number from 1 to 95, or None")

    @property
    def calm(self) -> bool:
        """Whether the camera is as it came."""
        return not self.night and self.quality is None

    def describe(self) -> str:
        """Return a line of the printed program."""
        night = ", night=True" if self.night else ""
        quality = "" if self.quality is None else f", quality={self.quality}"
        return f"set_picture({self.node!r}{night}{quality})"

    def simpler(self) -> Iterator[Step]:
        """Yield one setting less, then a better quality."""
        if self.night and self.quality is not None:
            yield SetPicture(self.node, night=True)
            yield SetPicture(self.node, quality=self.quality)
        if self.quality in self.QUALITIES[2:]:
            yield msgspec.structs.replace(self, quality=self.QUALITIES[1])


def _check_bound(verb: str, within_ms: int) -> None:
    if isinstance(within_ms, bool) or not isinstance(within_ms, int) or not 0 <= within_ms <= 60_000:
        raise Misuse(f"{verb}.within_ms is {within_ms!r}; expected whole milliseconds from 0 to 60,000")


class Suspend(_Step, frozen=True, tag="suspend"):
    """The vendor suspends the integration for everybody, and nothing else happens until `within_ms` have passed.

    That is the bound within which it must have taken effect on every hub: from then on no camera content is permitted.
    """

    within_ms: int = 2500
    WITHIN_MS: ClassVar[int] = 2500
    """Milliseconds: the reference hub's lease of 1.5 s, and a second for a busy machine."""

    def __post_init__(self) -> None:
        _check_bound("suspend", self.within_ms)

    def describe(self) -> str:
        """Return a line of the printed program."""
        return "suspend()" if self.within_ms == self.WITHIN_MS else f"suspend(within_ms={self.within_ms})"


class Unlink(_Step, frozen=True, tag="unlink"):
    """The owner unlinks the account, or resets its password: every session of it ends, wherever it is signed in.

    As with `Suspend`, nothing else happens until `within_ms` have passed. Signing in anew links it again.
    """

    owner: str
    within_ms: int = Suspend.WITHIN_MS

    def __post_init__(self) -> None:
        _check_bound("unlink", self.within_ms)

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"unlink({self.owner!r}{_bound(self.within_ms)})"


class Restore(_Step, frozen=True, tag="restore"):
    """The vendor restores the integration for everybody: all of it, or everything but the cameras."""

    cameras: bool = True

    def describe(self) -> str:
        """Return a line of the printed program."""
        return "restore()" if self.cameras else "restore(cameras=False)"

    def simpler(self) -> Iterator[Step]:
        """Yield restoring everything."""
        if not self.cameras:
            yield Restore()


class Sell(_Step, frozen=True, tag="sell"):
    """The owner sells the camera, and the buyer registers it as the `camera` of her own home, in which it hangs now.

    First the seller's account loses it and nothing else happens until `within_ms` have passed; then it films the
    buyer's home, and is registered. The buyer's own camera of that name is in use no more. Who has none sells nothing.
    """

    owner: str
    to: str
    within_ms: int = Suspend.WITHIN_MS

    def __post_init__(self) -> None:
        _check_bound("sell", self.within_ms)
        _check_two("sell", self.owner, self.to, "a buyer who is not the seller")

    @property
    def names(self) -> tuple[str, ...]:
        """Seller and buyer."""
        return self.owner, self.to

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"sell({self.owner!r}, to={self.to!r}{_bound(self.within_ms)})"


class Share(_Step, frozen=True, tag="share"):
    """The owner shares the camera with a guest, who finds it among her own under the name `shared(owner)`."""

    owner: str
    guest: str

    def __post_init__(self) -> None:
        _check_two("share", self.owner, self.guest, "a guest who is not the owner")

    @property
    def names(self) -> tuple[str, ...]:
        """Owner and guest."""
        return self.owner, self.guest

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"share({self.owner!r}, guest={self.guest!r})"


class Unshare(_Step, frozen=True, tag="unshare"):
    """The owner shares the camera with that guest no more; nothing else happens until `within_ms` have passed."""

    owner: str
    guest: str
    within_ms: int = Suspend.WITHIN_MS

    def __post_init__(self) -> None:
        _check_bound("unshare", self.within_ms)
        _check_two("unshare", self.owner, self.guest, "a guest who is not the owner")

    @property
    def names(self) -> tuple[str, ...]:
        """Owner and guest."""
        return self.owner, self.guest

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"unshare({self.owner!r}, guest={self.guest!r}{_bound(self.within_ms)})"


class ResetPassword(_Step, frozen=True, tag="reset_password"):
    """The owner takes a new password, which only the hub at home is told; every session ends, as by `Unlink`.

    Whoever signs another hub in to the account from here on knows the old password.
    """

    owner: str
    within_ms: int = Suspend.WITHIN_MS

    def __post_init__(self) -> None:
        _check_bound("reset_password", self.within_ms)

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"reset_password({self.owner!r}{_bound(self.within_ms)})"


class Protect(_Step, frozen=True, tag="protect"):
    """The owner turns a second factor on: a code on the owner's own telephone, which the hub at home is told."""

    owner: str

    def describe(self) -> str:
        """Return a line of the printed program."""
        return f"protect({self.owner!r})"


def shared(owner: str, camera: str = DEFAULT_CAMERA) -> str:
    """Return the name under which a guest has the camera that `owner` shares."""
    return f"{owner}s-{camera}"


def _bound(within_ms: int) -> str:
    return "" if within_ms == Suspend.WITHIN_MS else f", within_ms={within_ms}"


def _check_two(verb: str, one: str, other: str, expected: str) -> None:
    if one == other:
        raise Misuse(f"{verb} names {one!r} twice; expected {expected}")


_TEN_YEARS = 315_576_000
NodeStep: TypeAlias = Restart | RollOut | RollBack | Evict | Pause | Resume | Detach | Attach | SetClock | SetPicture
IntegrationStep: TypeAlias = Suspend | Unlink | Restore
AccountStep: TypeAlias = Sell | Share | Unshare | ResetPassword | Protect
"""What owners do to accounts, and to whose a camera is."""
InnerStep: TypeAlias = (
    Ask
    | Say
    | AskTogether
    | GiveUp
    | ChangeAccount
    | SetConditions
    | Clear
    | Reconnect
    | NodeStep
    | IntegrationStep
    | AccountStep
)
Step: TypeAlias = InnerStep | Meanwhile | LetAge


def value(step: Step) -> str:
    """Return the Python expression for a step as a value: its verb's words, under the name of its class."""
    if isinstance(step, AskTogether):
        return f"AskTogether(({', '.join(value(a) for a in step.asks)},))"
    if isinstance(step, Reconnect):
        return f"Reconnect({step.links!r})"
    if isinstance(step, SetConditions):
        return f"SetConditions({step.link!r}, {step.conditions.code()})"
    return type(step).__name__ + step.describe().removeprefix(str(step.__struct_config__.tag))


_FORMAT = 1


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that one case does: owners and steps, no clock and no chance.

    `looks` is how often, at its end, everybody asks once more though no rule said so (`chaos.aftermath`).
    """

    homes: tuple[str, ...]
    steps: tuple[Step, ...]
    format: int = _FORMAT
    looks: int = 0

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
        return sum(isinstance(s, Ask | GiveUp) for s in self.elements)

    @property
    def elements(self) -> tuple[Step, ...]:
        """The elementary steps, those inside of others included."""
        return tuple(e for s in self.steps for e in s.elements())

    @property
    def names(self) -> tuple[str, ...]:
        """Homes, owners, links and nodes that more than one element is about, those of most elements first."""
        counts = Counter(name for s in self.elements for n in set(s.names) for name in {n, n.partition(".")[0]})
        return tuple(name for name, count in counts.most_common() if count > 1)

    def without(self, name: str) -> Plan:
        """Return the plan without all that one home, owner, link or node does or suffers. Its homes stay homes."""
        left = (s.without(name) for s in self.steps)
        return self.with_steps(tuple(s for s in left if s is not None))

    def until_ask(self, number: int) -> Plan:
        """Return the plan up to the step in which the ask of that number, from 1, happens."""
        total = 0
        for i, step in enumerate(self.steps):
            total += self.with_steps((step,)).asks
            if total >= number:
                return self.with_steps(self.steps[: i + 1])
        return self

    def with_steps(self, steps: tuple[Step, ...]) -> Plan:
        """Return the same homes with other steps, none of which counts as a look."""
        return msgspec.structs.replace(self, steps=steps, looks=0)

    def to_json(self) -> bytes:
        """Return the plan as JSON with sorted keys; without looks it is what it was before there were any."""
        plain = msgspec.to_builtins(self)
        if not self.looks:
            del plain["looks"]
        return msgspec.json.encode(plain, order="sorted")

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

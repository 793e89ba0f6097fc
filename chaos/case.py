"""One case on a running home system: the verbs of a plan, done live, written down as events.

Nothing is judged while a case runs. When it ends, every screen's journal is collected and read, and for each ask and
each fault on its way the kernel's byte counters, or a refusal in the dialling node's log, say whether the two met.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import msgspec

from chaos import current
from chaos.conditions import CLEAR, OUTAGE, REFUSED, TOXICS, Conditions, Fault, Way
from chaos.errors import Misuse, NoSuchVerb, Surroundings, nearest
from chaos.fates import counted
from chaos.history import (
    Asked,
    Closed,
    ConditionsSet,
    Displayed,
    Event,
    Met,
    MomentCame,
    NodeFaultSet,
    Reading,
    Restarted,
    Restored,
    Shared,
    SignedIn,
    Sold,
    Suspended,
    Touched,
    Unlinked,
    Unseen,
    Unshared,
)
from chaos.packetfaults import PACKET_FAULTS
from chaos.plan import (
    DEFAULT_CAMERA,
    AccountStep,
    Ask,
    AskTogether,
    Attach,
    ChangeAccount,
    Clear,
    Detach,
    Evict,
    Feed,
    GiveUp,
    InnerStep,
    IntegrationStep,
    LetAge,
    Meanwhile,
    Moment,
    NodeFault,
    NodeStep,
    Pause,
    Plan,
    Protect,
    Reconnect,
    ResetPassword,
    Restart,
    Restore,
    Resume,
    RollBack,
    RollOut,
    Say,
    Sell,
    SetClock,
    SetConditions,
    SetPicture,
    Share,
    Step,
    Suspend,
    Unlink,
    Unshare,
    shared,
)
from chaos.reading import grown
from chaos.remote import AskState, Refused
from chaos.witnesses import Exchange, proofs, spans

if TYPE_CHECKING:
    from chaos.contracts import Desk
    from chaos.home import Home

PATIENCE = 3.0
"""Seconds that an ask is waited for; above every time-out of the reference home, so that silence is the home's."""

SIGN_INS = 3
"""Times that a hub is signed in when a case begins: its links are clear, and on a starved machine its own patience, a
second in the reference home, runs out all the same. Whoever is signed out then shows nothing in the whole case."""
_PLACES_TOLD = 20
LOST = 0.5
"""Seconds that a person looks at a frozen screen after a tap that it did not hear."""

_OUTCOMES: dict[AskState, Literal["picture", "unavailable", "given_up", "silent"]] = {
    "picture": "picture",
    "unavailable": "unavailable",
    "closed": "given_up",
    "open": "silent",
}


_WHYS: dict[type[Step], Literal["drawn", "rolled out", "rolled back"]] = {
    Restart: "drawn",
    RollOut: "rolled out",
    RollBack: "rolled back",
}
_TAKEN = Moment()


class _Open(msgspec.Struct):
    """An ask while its feed is open: whose account asked, and where each dialling node's log stood."""

    number: int
    owner: str | None
    camera: str
    also: tuple[str, ...]
    """The links to other people's cameras that this account can see now: bought, or shared."""
    marks: dict[str, int]
    since: float
    refusals: dict[str, str] = {}
    until: float | None = None


class _Seen(msgspec.Struct):
    """A raster that stood on a screen, read."""

    at: float
    until: float
    digest: str
    reading: Reading

    @property
    def is_unread(self) -> bool:
        return self.reading.content == "picture" and not self.reading.sightings


class Case:
    """The verbs of a plan on `home`; made by `Home.case`, which has reset it."""

    def __init__(self, home: Home, number: int) -> None:
        self.number = number
        self.events: list[Event] = []
        self._home = home
        self._lock = threading.Lock()
        self._account: dict[str, str | None] = {}
        self._asks: dict[int, _Open] = {}
        self._open: dict[str, _Open] = {}
        self._seen: dict[str, list[_Seen]] = {}
        self._replaced = len(home.links.restarts)
        self._lost_until: dict[str, str] = {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Name the nearest verb; asked only for what there is not."""
            raise NoSuchVerb.of(self, name)

    # What may happen: one method a step.

    def do(self, step: Step) -> None:
        """Do one step of a plan and return when it is done."""
        current.check_stop()
        self._home.stack.check()
        match step:
            case Ask():
                self._ask(step, None, threading.Barrier(1))
            case AskTogether():
                self._ask_all(step.asks)
            case GiveUp():
                self.give_up(step.home, after_ms=step.after_ms, camera=step.camera, feed=step.feed)
            case ChangeAccount():
                self.change_account(step.home, owner=step.owner)
            case SetConditions():
                self.set_conditions(step.link, step.conditions)
            case Clear():
                self.clear(step.link)
            case Reconnect():
                self.reconnect(*step.links)
            case Meanwhile():
                self.meanwhile(step.ask, *step.steps, moment=step.moment)
            case LetAge():
                self.let_age(step.home, ms=step.ms)
            case Suspend() | Unlink() | Restore() | Sell() | Share() | Unshare() | ResetPassword() | Protect():
                self._administer(step)
            case Restart() | RollOut() | RollBack():
                self._replace(step)
            case Evict() | Pause() | Resume() | Detach() | Attach() | SetClock() | SetPicture():
                self._do_to_node(step)

    def execute(self, plan: Plan) -> None:
        """Do every step of `plan`."""
        for step in plan.steps:
            self.do(step)

    def ask(self, home: str, *, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> Asked:
        """Let the owner in front of `home`'s hub summon `camera`, and wait until the hub has settled.

        Settled is: a complete picture is painted, or the hub shows that it has none. A ``stream`` goes on playing
        until the next ask on this hub, its close, or the end of the case.
        """
        return self._ask(Ask(home, camera, feed), None, threading.Barrier(1))

    def say(self, home: str, *, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> Asked:
        """Let the owner say 'show the …' to the hub's assistant, and wait as `ask` does."""
        return self._ask(Say(home, camera, feed), None, threading.Barrier(1))

    def ask_together(self, *homes: str, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> None:
        """Let several owners ask at the same moment, and wait until all have settled."""
        self._ask_all(AskTogether(tuple(Ask(home, camera, feed) for home in homes)).asks)

    def give_up(self, home: str, *, after_ms: int, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> Asked:
        """Ask, and close the feed `after_ms` milliseconds after the hub took the ask, whatever it shows by then."""
        return self._ask(Ask(home, camera, feed), after_ms / 1000, threading.Barrier(1))

    def close(self, home: str) -> None:
        """Close the feed on `home`'s hub as a person does; a paused hub does not hear it."""
        if self._is_frozen(home):
            return
        self._feed_ended(home)
        if self._home.hubs[home].always_on:
            return  # nothing closes it
        began = time.monotonic()
        try:
            self._home.hubs[home].close_feed()
        except Refused as refused:
            self._unseen(home, began, f"its feed could not be closed: {refused}")
        else:
            self._record(Closed(hub=home, began=began, ended=time.monotonic()))

    def change_account(self, home: str, *, owner: str) -> None:
        """Sign the hub in `home` out, and in to `owner`'s account, through whatever its network is now.

        A paused hub does not hear it.
        """
        self._home.check_owner(home)
        self._home.check_owner(owner)
        self._home.check_accounts()
        if self._is_frozen(home):
            return
        self._feed_ended(home)
        self._sign_in(home, owner)

    def suspend(self, *, within_ms: int = Suspend.WITHIN_MS) -> None:
        """Suspend the integration for everybody, and wait until it must have taken effect, `within_ms` later."""
        step = Suspend(within_ms)
        self._home.check_integration()
        began = time.monotonic()
        self._home.contract.integrate("suspended")
        ended = time.monotonic()
        self._record(Suspended(began=began, ended=ended, within=step.within_ms / 1000))
        wait_until_clock(ended + step.within_ms / 1000)

    def restore(self, *, cameras: bool = True) -> None:
        """Restore the integration for everybody, all of it or everything but the cameras.

        The suspension ended nobody's session, so that whoever was signed in is so again.
        """
        self._home.check_integration()
        began = time.monotonic()
        self._home.contract.integrate("on" if cameras else "without cameras")
        self._record(Restored(began=began, ended=time.monotonic(), cameras=cameras))

    def unlink(self, owner: str, *, within_ms: int = Suspend.WITHIN_MS) -> None:
        """End every session of an owner's account, and wait until it must have taken effect, `within_ms` later."""
        step = Unlink(owner, within_ms)
        self._home.check_owner(owner)
        self._home.check_integration()
        self._end_sessions(step, self._home.contract.end_sessions)

    def _end_sessions(self, step: Unlink | ResetPassword, end: Callable[[str], None]) -> None:
        began = time.monotonic()
        end(step.owner)
        ended, within = time.monotonic(), step.within_ms / 1000
        self._record(Unlinked(owner=step.owner, began=began, ended=ended, within=within))
        wait_until_clock(ended + within)

    def sell(self, owner: str, *, to: str, within_ms: int = Suspend.WITHIN_MS) -> None:
        """Let the owner sell the camera: the account loses it, the bound is waited for, then it is the buyer's.

        From then on it films the buyer's home. Who has sold it already sells nothing.
        """
        step, desk = Sell(owner, to, within_ms), self._desk(owner, to)
        began = time.monotonic()
        device = desk.unregister(owner)
        if device is None:
            return
        ended = time.monotonic()
        wait_until_clock(ended + step.within_ms / 1000)
        self._home.scene.hand_over((device, DEFAULT_CAMERA), (to, DEFAULT_CAMERA))
        self._home.wait_filming({device: to}, [DEFAULT_CAMERA])
        registered = time.monotonic()
        desk.register(device, to)
        sold = Sold(
            owner=owner, to=to, camera=DEFAULT_CAMERA,
            began=began, ended=ended, within=step.within_ms / 1000, registered=registered,
        )  # fmt: skip
        self._record(sold)

    def share(self, owner: str, *, guest: str) -> None:
        """Let the owner share the camera with a guest, who has it as `chaos.plan.shared(owner)`; nothing once sold."""
        Share(owner, guest)
        desk, began = self._desk(owner, guest), time.monotonic()
        if desk.share(owner, guest):
            name = shared(owner)
            ended = time.monotonic()
            self._record(Shared(owner=owner, guest=guest, camera=DEFAULT_CAMERA, name=name, began=began, ended=ended))

    def unshare(self, owner: str, *, guest: str, within_ms: int = Suspend.WITHIN_MS) -> None:
        """Let the owner share the camera with that guest no more, and wait until it must have taken effect."""
        step, desk = Unshare(owner, guest, within_ms), self._desk(owner, guest)
        began = time.monotonic()
        desk.unshare(owner, guest)
        ended, within = time.monotonic(), step.within_ms / 1000
        self._record(Unshared(owner=owner, guest=guest, began=began, ended=ended, within=within))
        wait_until_clock(ended + within)

    def reset_password(self, owner: str, *, within_ms: int = Suspend.WITHIN_MS) -> None:
        """Let the owner take a new password, which the hub at home is told; every session ends, as by `unlink`."""
        step, desk = ResetPassword(owner, within_ms), self._desk(owner)
        self._end_sessions(step, desk.reset_password)

    def protect(self, owner: str) -> None:
        """Let the owner turn a second factor on, which whoever signs in from now on needs beside the password."""
        self._desk(owner).protect(owner)

    def _desk(self, *owners: str) -> Desk:
        """Return where these owners change what is theirs; an account service that stands still goes on first."""
        for owner in owners:
            self._home.check_owner(owner)
        desk = self._home.desk()
        for node in self._still_accounts():
            self.resume(node)
        return desk

    def _administer(self, step: AccountStep | IntegrationStep) -> None:
        match step:
            case Suspend() | Unlink() | Restore():
                self._switch(step)
            case Sell():
                self.sell(step.owner, to=step.to, within_ms=step.within_ms)
            case Share():
                self.share(step.owner, guest=step.guest)
            case Unshare():
                self.unshare(step.owner, guest=step.guest, within_ms=step.within_ms)
            case ResetPassword():
                self.reset_password(step.owner, within_ms=step.within_ms)
            case Protect():
                self.protect(step.owner)

    def _switch(self, step: IntegrationStep) -> None:
        match step:
            case Suspend():
                self.suspend(within_ms=step.within_ms)
            case Unlink():
                self.unlink(step.owner, within_ms=step.within_ms)
            case Restore():
                self.restore(cameras=step.cameras)

    def set_conditions(self, link: str, conditions: Conditions) -> None:
        """Put `link` under `conditions`, in place of those that it is under."""
        began = self._home.meter.mark()
        self._home.links.set(link, conditions)
        ended = self._home.meter.mark()
        self._record(ConditionsSet(link=link, conditions=conditions, began=began, ended=ended))

    def clear(self, link: str | None = None) -> None:
        """Make `link` well again; without one, every link that is under conditions."""
        known = [k.name for k in self._home.topology.links]
        troubled = [name for name in known if not self._home.links.conditions(name).calm]
        for one in troubled if link is None else [link]:
            self.set_conditions(one, CLEAR)

    def reconnect(self, *links: str) -> None:
        """Drop every connection on these links at the same moment; new ones can be made at once."""
        before = {link: self._home.links.conditions(link) for link in links}
        in_parallel(links, lambda link: self.set_conditions(link, OUTAGE))
        in_parallel(links, lambda link: self.set_conditions(link, before[link]))

    def let_age(self, home: str, *, ms: int) -> None:
        """Wait until the last ask of `home` that got its picture was settled `ms` milliseconds ago."""
        self._home.check_owner(home)
        shown = [e.settled for e in self.events if isinstance(e, Asked) and e.hub == home and e.outcome == "picture"]
        if shown:
            wait_until_clock(max(shown) + ms / 1000)

    def meanwhile(self, ask: Ask | GiveUp, *steps: InnerStep, moment: Moment = _TAKEN) -> None:
        """Let the owner ask, do the other steps once the moment has come or the ask is over, and wait for the ask."""
        self._home.faults.check([Meanwhile(ask, steps, moment)])
        with ThreadPoolExecutor(1, thread_name_prefix="ownframe") as pool:
            number = self._home.next_ask()
            taken = threading.Event()
            since = self._home.meter.mark()
            asked = pool.submit(self._ask_as, ask, number, taken)
            came = self._wait_moment(moment, asked, taken, since)
            self._record(MomentCame(ask=number, moment=moment.words, at=time.monotonic(), came=came))
            if came or moment.what != "failed":
                for step in steps:
                    self.do(step)
            asked.result()

    def _ask_as(self, ask: Ask | GiveUp, number: int, taken: threading.Event) -> Asked:
        after = ask.after_ms / 1000 if isinstance(ask, GiveUp) else None
        summons = Ask(ask.home, ask.camera, ask.feed) if isinstance(ask, GiveUp) else ask
        return self._ask(summons, after, threading.Barrier(1), number=number, heard=taken)

    def _wait_moment(self, moment: Moment, asked: Future[Asked], taken: threading.Event, since: float) -> bool:
        """Wait until the moment has come, or the ask is over; returns whether it came."""
        if moment.what == "failed":
            return asked.result().outcome in ("unavailable", "silent")
        meter = self._home.meter
        way = self._way_of(moment) if moment.link else None
        while not asked.done():
            if way is None:
                if taken.wait(0.005):
                    return True
            else:
                began = meter.mark()
                if meter.moved(moment.link, way, since, began):
                    return True
                wait_until_clock(began + 0.003)  # between two looks at a condition
        asked.result()
        return taken.is_set() if way is None else bool(meter.moved(moment.link, way, since, meter.mark()))

    def _way_of(self, moment: Moment) -> Way:
        hops = self._home.links.hops
        if moment.link not in hops:
            raise unknown_link(moment.link, hops)
        stream = "upstream" if moment.what == "sent" else "downstream"
        return next(way for way in Way if hops[moment.link].stream(way) == stream)

    def evict(self, node: str = "cache") -> None:
        """Let a cache go of everything that it can, as when its memory is short; one that stands still does nothing."""
        step = Evict(node)
        self._home.faults.check([step])
        if self._home.faults.paused(node):
            return
        began = self._home.meter.mark()
        self._home.faults.do(step)
        self._record(Restarted(node=node, began=began, ended=self._home.meter.mark(), why="emptied"))

    def roll_out(self, node: str) -> None:
        """Replace a node by one with the run's update; as `restart` does, where it has it already."""
        self._replace(RollOut(node))

    def roll_back(self, node: str) -> None:
        """Replace a node by one without the run's update; what it kept elsewhere stays."""
        self._replace(RollBack(node))

    def restart(self, node: str) -> None:
        """Kill a node and start it again; returns when it is ready and, for a hub, signed in again.

        One that stands still goes on first: what its screen showed is then known. One that is detached stays so.
        """
        self._replace(Restart(node))

    def _replace(self, step: Restart | RollOut | RollBack) -> None:
        node = step.node
        self._home.faults.check([step])
        if self._home.faults.paused(node):
            self.resume(node)
        hub = self._home.hub_of(node)
        if hub is not None:
            self._collect(hub)
        began = self._home.meter.mark()
        self._home.faults.do(step)
        ended = self._home.meter.mark()
        self._record(Restarted(node=node, began=began, ended=ended, why=_WHYS[type(step)]))
        through = self._home.contract.restored_through(node)
        if through is not None and self._home.faults.paused(through):
            self._lost_until[node] = through
        else:
            self._home.contract.restore(node)
        if hub is not None:
            self._feed_ended(hub)
            self._home.displays[hub].restarted()
            self._sign_in(hub, self._account.get(hub) or hub)
        elif self._home.contract.ends_sessions(node):
            awake = [o for o in self._home.owners if not self._is_frozen(o)]
            in_parallel(awake, lambda h: self._sign_in(h, self._account.get(h) or h))

    def pause(self, node: str) -> None:
        """Let a node stand still with all that it has open, until it is resumed or restarted."""
        self._do_to_node(Pause(node))

    def resume(self, node: str) -> None:
        """Let a paused node go on where it stood."""
        self._do_to_node(Resume(node))

    def detach(self, node: str) -> None:
        """Take a node off every network that one of its links crosses, as a pulled cable does."""
        self._do_to_node(Detach(node))

    def attach(self, node: str, *, new_address: bool = False) -> None:
        """Put a node back on its networks, at other addresses than before if `new_address`."""
        self._do_to_node(Attach(node, new_address))

    def set_clock(self, node: str, *, offset_s: int = 0, time_zone: str = "UTC") -> None:
        """Set a camera's clock `offset_s` seconds ahead and let it tell the time of `time_zone`."""
        self._do_to_node(SetClock(node, offset_s, time_zone))

    def set_picture(self, node: str, *, night: bool = False, quality: int | None = None) -> None:
        """Let a camera film grey at night, and encode with this JPEG quality, its own without any."""
        self._do_to_node(SetPicture(node, night, quality))

    def _do_to_node(self, step: NodeStep) -> None:
        if isinstance(step, Evict):
            self.evict(step.node)
            return
        faults = self._home.faults
        before = dict(faults.in_force)
        began = self._home.meter.mark()
        faults.do(step)
        self._note_node_faults(before, began)
        if isinstance(step, Resume):
            for lost in [n for n, through in self._lost_until.items() if not faults.paused(through)]:
                del self._lost_until[lost]
                self._home.contract.restore(lost)

    def _note_node_faults(self, before: Mapping[tuple[str, NodeFault], str], began: float) -> None:
        """Record which faults of nodes came, went and changed since `began`."""
        ended = self._home.meter.mark()
        now = self._home.faults.in_force
        for at in before.keys() | now.keys():
            if before.get(at) != now.get(at):
                event = NodeFaultSet(
                    node=at[0], kind=at[1], on=at in now, began=began, ended=ended, detail=now.get(at, "")
                )
                self._record(event)

    def _is_frozen(self, home: str) -> bool:
        """Whether nothing that a person does at this hub is heard."""
        return any(self._home.faults.paused(n.name) for n in self._home.topology.with_role("hub", home))

    # The two ends of a case.

    def begin(self) -> None:
        """Sign every hub in to its own home's account; before one that is always on somebody stands from now on."""
        for _ in range(SIGN_INS):
            self.sign_in_whoever_is_out()
        in_parallel([h for h, hub in self._home.hubs.items() if hub.always_on], self.ask)

    def sign_in_whoever_is_out(self) -> None:
        """Sign every hub in to its own home's account that is in nobody's or somebody else's."""
        out = [h for h in self._home.owners if self._account.get(h) != h]
        in_parallel(out, lambda h: self._sign_in(h, h))

    def end(self) -> list[Event]:
        """Undo the faults of nodes, close every feed, read every screen, add the witnesses, and return all events."""
        before, began = dict(self._home.faults.in_force), self._home.meter.mark()
        self._home.faults.mend()
        self._note_node_faults(before, began)
        in_parallel(self._home.owners, self.close)
        for at in self._home.links.restarts[self._replaced :]:  # it hung and was replaced: every connection dropped
            self._record(Restarted(node="toxiproxy", began=at, ended=at, why="hung"))
        for hub in self._home.owners:
            self._collect(hub)
        self._add_witnesses()
        for link, kind, way, connection, touches in counted(self._home.links.touches()):
            first, last, places = touches[0].at, touches[-1].at, tuple(t.place for t in touches[:_PLACES_TOLD])
            event = Touched(
                link=link, kind=kind, way=way, connection=connection,
                packets=len(touches), first=first, last=last, places=places,
            )  # fmt: skip
            self._record(event)
        for hub, seen in self._seen.items():
            self._add_frames(hub, seen)
            for gap in self._home.displays[hub].gaps():
                self._record(Unseen(hub=hub, at=gap.at, until=gap.until, why=gap.why))
        return self.events

    def captured(self, home: str) -> list[float]:
        """Return when each picture was filmed that `home`'s screen has shown during its open ask."""
        self._collect(home)
        since = self._open[home].since if home in self._open else 0.0
        frames = [f for f in self._seen.get(home, ()) if f.at >= since]
        return [s.captured for f in frames for s in f.reading.sightings if s.captured is not None]

    # How.

    def _record(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)

    def _sign_in(self, home: str, owner: str) -> None:
        self._collect(home)  # while it is known whose pictures belong there
        began = time.monotonic()
        signed_in: str | None = owner
        desk = self._home.contract.desk
        noted = self._noted(home, owner)
        proof = desk.proof(home, owner) if desk is not None else "password"
        if not self._home.hubs[home].sign_in(owner):
            signed_in = None
        self._account[home] = signed_in
        ended = time.monotonic()
        again = self._noted(home, owner)
        noticed = None if noted is None or again is None else again > noted
        event = SignedIn(hub=home, owner=signed_in, began=began, ended=ended, proof=proof, noticed=noticed)
        self._record(event)

    def _noted(self, home: str, owner: str) -> int | None:
        """Return of how many sign-ins the owner was told, asked for a hub in another home; None where nobody says."""
        desk = self._home.contract.desk
        if desk is None or home == owner or self._still_accounts():
            return None
        try:
            return desk.noted(owner)
        except (Refused, Surroundings):
            return None

    def _still_accounts(self) -> list[str]:
        """Return the account services that stand still."""
        return [n.name for n in self._home.topology.with_role("accounts") if self._home.faults.paused(n.name)]

    def _ask_all(self, asks: Sequence[Ask]) -> None:
        homes = [a.home for a in asks]
        if len(set(homes)) != len(homes) or not homes:
            raise Misuse(
                f"asked together: {', '.join(homes) or 'nobody'}; expected different homes, each hub takes one ask"
            )
        barrier = threading.Barrier(len(asks))
        in_parallel(asks, lambda a: self._ask(a, None, barrier))

    def _ask(
        self,
        summons: Ask,
        give_up_after: float | None,
        barrier: threading.Barrier,
        *,
        number: int | None = None,
        heard: threading.Event | None = None,
    ) -> Asked:
        home, camera, feed = summons.home, summons.camera, summons.feed
        self._home.check_owner(home)
        self._home.check_camera(camera)
        if self._is_frozen(home):
            barrier.wait(timeout=10)
            return self._lost(home, camera, feed, number or self._home.next_ask())
        self._feed_ended(home)
        hub = self._home.hubs[home]
        opened = _Open(
            number=number or self._home.next_ask(),
            owner=self._account.get(home),
            camera=camera,
            also=self._home.also_seen(self._account.get(home)),
            marks={n: self._home.stack.log_mark(n) for n in self._home.diallers(home)},
            since=time.monotonic(),
        )
        with self._lock:
            self._asks[opened.number] = self._open[home] = opened
        barrier.wait(timeout=10)
        began = self._home.meter.mark()
        try:
            ask = hub.say(summons.said, feed) if isinstance(summons, Say) else hub.ask(camera, feed)
        except Refused as refused:
            return self._not_taken(opened, home, camera, feed, began, refused)
        taken = time.monotonic()
        if heard is not None:
            heard.set()
        if give_up_after is None:
            state = hub.wait_settled(ask, PATIENCE)
        else:
            hub.wait_settled(ask, give_up_after)
            wait_until_clock(taken + give_up_after)
            state = "closed"
        settled = self._home.meter.mark()
        asked = Asked(
            ask=opened.number,
            hub=home,
            camera=camera,
            feed=feed,
            began=began,
            taken=taken,
            settled=settled,
            outcome=_OUTCOMES[state],
            by="voice" if isinstance(summons, Say) else "tap",
        )
        self._record(asked)
        if give_up_after is not None and self._open.get(home) is opened:  # else somebody asked anew meanwhile
            self.close(home)
        return asked

    def _lost(self, home: str, camera: str, feed: Feed, number: int) -> Asked:
        """Tap on a screen that does not hear it: nothing is taken, and what was open stays open."""
        began = time.monotonic()
        wait_until_clock(began + LOST)
        return self._record_lost(number, home, camera, feed, began)

    def _not_taken(self, opened: _Open, home: str, camera: str, feed: Feed, began: float, refused: Refused) -> Asked:
        """Note an ask that the hub refused, as one does whose screen hangs: nobody can say what follows from that."""
        with self._lock:
            del self._asks[opened.number]
            if self._open.get(home) is opened:
                del self._open[home]
        self._unseen(home, began, f"it did not take an ask: {refused}")
        return self._record_lost(opened.number, home, camera, feed, began)

    def _record_lost(self, number: int, home: str, camera: str, feed: Feed, began: float) -> Asked:
        now = time.monotonic()
        lost = Asked(
            ask=number, hub=home, camera=camera, feed=feed, began=began, taken=now, settled=now, outcome="lost"
        )
        self._record(lost)
        return lost

    def _unseen(self, home: str, began: float, why: str) -> None:
        self._record(Unseen(hub=home, at=began, until=time.monotonic(), why=why))

    def _feed_ended(self, home: str) -> None:
        """Note until when the last ask of a hub could still exchange anything, and what refused it."""
        opened = self._open.pop(home, None)
        if opened is not None:
            opened.until = self._home.meter.mark()
            opened.refusals = {n: self._home.stack.log_since(n, m) for n, m in opened.marks.items()}

    def _collect(self, home: str) -> None:
        """Read what the hub's screen showed since the last look, and let the hub forget it."""
        now = time.monotonic()
        display, eye = self._home.displays[home], self._home.eye
        seen = self._seen.setdefault(home, [])
        for shown in display.collect():
            if seen and (seen[-1].at, seen[-1].digest) == (shown.at, shown.digest):
                seen.pop()  # it was on screen at the last look, and its end was not known
            reading = eye.read(display, shown.digest, lambda r: self._is_plainly_own(home, r))
            seen.append(_Seen(shown.at, now if shown.until is None else shown.until, shown.digest, reading))
            self._let_grow(home, seen)
        display.forget()

    def _let_grow(self, home: str, seen: list[_Seen]) -> None:
        """Give partial pictures right before a whole one its reading, where they are its upper part."""
        start = len(seen) - 1
        while start and seen[start - 1].is_unread:
            start -= 1
        chain = seen[start:]
        planes = [p for p in (self._home.eye.plane(s.digest) for s in chain) if p is not None]
        if len(chain) < 2 or len(planes) < len(chain) or not chain[-1].reading.sightings:
            return
        readings = grown(planes, [s.reading for s in chain], self._home.displays[home].box)
        for frame, reading in zip(chain, readings, strict=True):
            frame.reading = reading

    def _is_plainly_own(self, home: str, reading: Reading) -> bool:
        """Whether a picture cannot be part of any finding, so that its pixels need not be kept."""
        own = (self._account.get(home), self.number)
        ends = Suspended | Unlinked | Sold
        ended = any(isinstance(e, ends) for e in self.events)  # then one's own may be revoked
        return reading.content == "blank" or (
            not ended and bool(reading.sightings) and all((s.owner, s.case) == own for s in reading.sightings)
        )

    def _add_frames(self, home: str, seen: Iterable[_Seen]) -> None:
        for frame in seen:
            self._record(
                Displayed(
                    hub=home,
                    at=frame.at,
                    until=frame.until,
                    digest=frame.digest,
                    reading=frame.reading,
                    damaged=self._was_damaged(home, frame),
                )
            )

    def _was_damaged(self, home: str, frame: _Seen) -> bool:
        """Whether a fault of ours was on the way of an ask of this hub that was open while the frame stood."""
        until = frame.until
        for asked in self._asked():
            opened = self._asks[asked.ask]
            if asked.hub != home or asked.began > until or (opened.until or until) < frame.at:
                continue
            way = self._way(home, opened)
            if any(began <= until and ended >= asked.began for _, began, ended in self._faults_on(way)):
                return True
            if any(isinstance(e, Restarted) and e.began <= until and e.ended >= asked.began for e in self.events):
                return True
            if self._nodes_failed(way, asked.began, until):
                return True
        return False

    def _nodes_failed(self, way: Iterable[str], began: float, until: float) -> bool:
        """Whether a node at one of these links stood still, was cut off, or came or went, between two instants."""
        nodes = {end for k in self._home.links_of(way) for end in (k.client, k.server)}
        lasting = [(s.node, s.began, s.until) for s in spans(self.events) if s.kind in ("paused", "detached")]
        faults = [e for e in self.events if isinstance(e, NodeFaultSet) and e.kind not in ("clock", "picture")]
        changes = [(e.node, e.began, e.ended) for e in faults]
        return any(n in nodes and low <= until and high >= began for n, low, high in (*lasting, *changes))

    def _asked(self) -> list[Asked]:
        return [e for e in self.events if isinstance(e, Asked) and e.outcome != "lost"]

    def _faults_on(self, links: Iterable[str]) -> list[tuple[ConditionsSet, float, float]]:
        """Return the uncalm conditions of these links with the time in which each was fully in force."""
        result = []
        for link in links:
            changes = sorted(
                (e for e in self.events if isinstance(e, ConditionsSet) and e.link == link),
                key=lambda e: e.began,
            )
            ends = [*(c.began for c in changes[1:]), float("inf")]
            result += [(c, c.ended, e) for c, e in zip(changes, ends, strict=False) if not c.conditions.calm]
        return result

    def _way(self, home: str, opened: _Open) -> tuple[str, ...]:
        """Return the links that an ask can cross, those to cameras that were bought or shared last."""
        return tuple(dict.fromkeys((*self._home.way_of(home, opened.owner, opened.camera), *opened.also)))

    def _add_witnesses(self) -> None:
        for asked in self._asked():
            opened = self._asks[asked.ask]
            until = opened.until or asked.settled
            for change, began, ended in self._faults_on(self._way(asked.hub, opened)):
                low, high = max(began, asked.began), min(ended, until)
                if low >= high:
                    continue
                for fault in change.conditions.faults(change.link):
                    amount = self._witness(fault, change, opened, low, high)
                    if amount:
                        self._record(Met(at=low, ask=asked.ask, fault=fault, amount=amount))
        exchanges = [self._exchange(asked) for asked in self._asked()]
        for proof in list(proofs(self.events, exchanges, self._home.meter)):
            self._record(proof)

    def _exchange(self, asked: Asked) -> Exchange:
        """Return what an ask could cross; a still's exchange is over when it has settled."""
        opened = self._asks[asked.ask]
        until = (opened.until or asked.settled) if asked.feed != "still" else asked.settled
        # what a node suffers is seen on the connections of its links; a link over UDP has none
        way = tuple(k for k in self._home.links_of(self._way(asked.hub, opened)) if k.protocol == "tcp")
        return Exchange(asked, way, until, signed_in=opened.owner is not None)

    def _witness(self, fault: Fault, change: ConditionsSet, opened: _Open, low: float, high: float) -> int:
        if fault.kind in PACKET_FAULTS:
            return self._home.links.touched(fault, low, high)
        if fault.kind != REFUSED:
            ways = change.conditions.ways_of(fault.kind)
            moved = sum(self._home.meter.moved(fault.link, way, low, high) for way in ways)
            if TOXICS[fault.kind].ENDS_CONNECTIONS:
                return moved + self._home.meter.ended(fault.link, low, high)
            return moved
        dropped = self._home.meter.dropped(fault.link, change.began) if low <= change.ended else 0
        return dropped + self._refusals(fault.link, opened)

    def _refusals(self, link: str, opened: _Open) -> int:
        """Count the lines in which the dialling node itself says that this link's address refused it."""
        address = self._home.stack.dialled(link)
        client = self._home.client_of(link)
        host, port = address.rsplit(":", 1)
        resolved = self._home.links.hops[link].listen  # nginx names the address that it resolved the name to
        spellings = (address, f"('{host}', {port})", resolved)
        lines = opened.refusals.get(client, "").splitlines()
        return sum("refused" in x.lower() and any(s in x for s in spellings) for x in lines)


def in_parallel(items: Iterable[object], do: Callable[..., object]) -> None:
    """Do something for each item at once, in threads; the first error is raised when all are done."""
    todo = list(items)
    if not todo:
        return
    with ThreadPoolExecutor(len(todo), thread_name_prefix="ownframe") as pool:
        for future in [pool.submit(do, item) for item in todo]:
            future.result()


def wait_until_clock(at: float) -> None:
    """Return at `at` on the monotonic clock, or at once when it has passed."""
    threading.Event().wait(max(0.0, at - time.monotonic()))


def unknown_link(link: str, known: Iterable[str]) -> Misuse:
    """Return the error for a link that the home system does not have."""
    return Misuse(f"there is no link {link!r}{nearest(link, list(known))}")

"""`Household`, the state machine that scenario authors subclass.

What *may happen* is written, as plain Hypothesis rules; what *must hold* is inherited and cannot be forgotten. Rules
only add steps to a plan and return nothing. When the program is drawn to its end, the plan is executed on the real
system and judged, in one place: raising from inside a live rule ended in a 'flaky' error in 40 of 40 searches of a leak
that reproduces half of the time, a plan that is executed at the end, with its verdict remembered, in none.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import sys
import traceback
import unittest
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, get_state_machine_test, initialize, precondition, rule

from chaos import aftermath, current, drawn, lean, motifs
from chaos.conditions import CLEAR, Conditions
from chaos.errors import Misuse, NoSuchVerb, OwnframeError, nearest
from chaos.motifs import Motif, Place
from chaos.plan import (
    DEFAULT_CAMERA,
    Ask,
    AskTogether,
    Attach,
    ChangeAccount,
    Detach,
    Evict,
    Feed,
    GiveUp,
    InnerStep,
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
    When,
)
from chaos.plan import Clear as ClearStep
from chaos.topology import check_owners, check_rooms
from chaos.verdict import Conclusion, Outcome, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from chaos.run import Chapter, Finding, Run

SPARE = 10
"""Plans that a round draws beside those that are missing, since some were drawn before."""
STEPS = 7
"""Rules drawn for one plan; with what motifs add and the last asks of everybody, 37 elementary steps in the median."""


def _of_machine(attribute: str) -> st.SearchStrategy[str]:
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, attribute)))


any_home = _of_machine("homes")
"""One of the scenario's homes, by its owner's name."""
any_link = _of_machine("links")
"""Any link of those homes, the relay's own included."""
any_node = _of_machine("nodes")
"""Any node: it can be paused, restarted and, on the docker stack, detached."""
any_camera = _of_machine("cameras")
"""Any camera's node, such as ``ada.camera``: it has a clock."""
any_room: st.SearchStrategy[str] = st.runner().flatmap(lambda m: st.sampled_from((DEFAULT_CAMERA, *m.rooms)))
"""The name of one of the cameras that everybody has: ``self.ask(home, camera=room)``."""
any_clock = st.fixed_dictionaries(
    {"offset_s": st.sampled_from(SetClock.OFFSETS), "time_zone": st.sampled_from(SetClock.ZONES)}
)
"""A camera's clock: ``self.set_clock(camera, **clock)``."""


def _node_faults(machine: Household) -> st.SearchStrategy[NodeStep]:
    nodes, cameras = st.sampled_from(machine.nodes), st.sampled_from(machine.cameras)
    updated = st.sampled_from(machine.updated_nodes)
    zones, offsets = st.sampled_from(SetClock.ZONES), st.sampled_from(SetClock.OFFSETS)
    can: dict[NodeFault, tuple[st.SearchStrategy[NodeStep], ...]] = {
        "paused": (st.builds(Pause, nodes), st.builds(Resume, nodes)),
        "restarted": (st.builds(Restart, nodes),),
        "rolled out": (st.builds(RollOut, updated),),
        "rolled back": (st.builds(RollBack, updated),),
        "emptied": (st.builds(Evict, st.sampled_from(machine.evictable)),) if machine.evictable else (),
        "clock": (st.builds(SetClock, cameras, offsets, zones),),
        "picture": (st.builds(SetPicture, cameras, st.booleans(), st.sampled_from(SetPicture.QUALITIES)),),
        "detached": (st.builds(Detach, nodes), st.builds(Attach, nodes)),
        "new address": (st.builds(Attach, nodes, new_address=st.just(value=True)),),
    }
    return st.one_of(*(step for kind, steps in can.items() if kind in machine.node_faults for step in steps))


any_node_fault: st.SearchStrategy[NodeStep] = st.runner().flatmap(_node_faults)
"""A step that the run's stack can do to a node: ``self.add(fault)``. Pauses, restarts, clocks; on the docker stack
also detaching, attaching and new addresses."""


class SearchEnded(Exception):  # noqa: N818 - the one way in which Hypothesis learns that it may stop
    """A plan leaked, something broke, or time is up. Raised at one place: Hypothesis knows a failure by its line."""


class Leak(AssertionError):  # noqa: N818 - the documentation's word
    """A frame on somebody's screen was not theirs: the finding's text, and its picture's file if it was kept."""

    def __init__(self, text: str, picture: Path | None = None) -> None:
        super().__init__(text)
        self.picture = picture


class Inconclusive(Exception):  # noqa: N818 - not an error of anybody's
    """Nobody can say that it passed; pytest shows it as an error, not a failure."""


class _MakesTestCase:
    """Gives each scenario its own ``TestCase``, which pytest collects."""

    def __get__(self, _: object, scenario: type[Household]) -> type[unittest.TestCase]:
        class ScenarioTestCase(unittest.TestCase):
            __doc__ = scenario.__doc__
            household = scenario

            def runTest(self) -> None:  # noqa: N802 - unittest's name
                __tracebackhide__ = True
                conduct = current.conductor()
                if conduct is None:
                    scenario.check(current.run(), name=type(self).__name__)
                else:
                    conduct(scenario)

        ScenarioTestCase.__name__ = scenario.__name__
        ScenarioTestCase.__qualname__ = scenario.__qualname__
        ScenarioTestCase.__module__ = scenario.__module__
        return ScenarioTestCase


class Household(RuleBasedStateMachine):
    """Several homes around one relay. Subclass it, name the homes, write rules that call the verbs."""

    homes: ClassVar[tuple[str, ...]] = ("ada", "grace", "lin")
    rooms: ClassVar[tuple[str, ...]] = ()
    """Rooms in which every owner has a camera beside the living room's, such as ``("nursery",)``."""
    cases: ClassVar[int] = 25
    """Plans that are drawn and executed when nothing leaks."""
    motifs: ClassVar[tuple[Motif, ...]] = motifs.NETWORK
    """Sequences of steps that are mixed in, see `chaos.motifs`. ``motifs.ALL`` adds what is done to accounts and nodes;
    ``()`` leaves only the rules."""
    rules_of_age: ClassVar[Rules] = Rules()
    """What the scenario demands of the age of pictures, and whether a wrong camera of one's own is a leak."""

    TestCase = _MakesTestCase()  # type: ignore[assignment] # Hypothesis's own runs a plan's rules live

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse what would silently switch the property off."""
        super().__init_subclass__(**kwargs)
        for name in ("teardown", "check", "__init__"):
            if name in cls.__dict__:
                raise Misuse(
                    f"{cls.__name__} overrides {name}, where plans are executed and judged; write rules instead"
                )
        check_owners(cls.homes)
        check_rooms(cls.rooms)

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[Step] = []
        self._looks: list[aftermath.Slow] = []
        self._chapter: Chapter = current.chapter()

    @property
    def links(self) -> Sequence[str]:
        """Names of all links of these homes that Toxiproxy carries."""
        return [k.name for k in self._chapter.home.topology.over_tcp().links]

    @property
    def datagram_links(self) -> Sequence[str]:
        """Names of the links over UDP, which have packet faults alone."""
        return sorted(self._chapter.home.topology.datagrams)

    @property
    def nodes(self) -> Sequence[str]:
        """Names of all nodes of these homes."""
        return [n.name for n in self._chapter.home.topology.nodes if n.lasts]

    @property
    def cameras(self) -> Sequence[str]:
        """Names of the nodes that are cameras."""
        return [n.name for n in self._chapter.home.topology.with_role("camera")]

    @property
    def node_faults(self) -> frozenset[str]:
        """Kinds of fault of whole nodes that this run's stack and home system can do."""
        return self._chapter.home.faults.kinds

    @property
    def packets_can(self) -> bool:
        """Whether this run's stack has packet faults; `conditions.poor` draws them only then."""
        return self._chapter.home.links.packets_can

    @property
    def updated_nodes(self) -> Sequence[str]:
        """Names of the nodes that the run's update changes, or of those that serve everybody where it changes none."""
        home = self._chapter.home
        return home.updated or [n.name for n in home.topology.nodes if n.owner is None and n.lasts]

    @property
    def evictable(self) -> Sequence[str]:
        """Names of the nodes that can let go of what they keep."""
        return [n.name for n in self._chapter.home.topology.nodes if n.evict]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Name the nearest verb; asked only for what there is not."""
            raise NoSuchVerb.of(self, name)

    # Verbs: each adds a step.

    def ask(self, home: str, *, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> None:
        """The owner in front of `home`'s hub summons `camera` and waits until the hub has settled."""
        self._add(Ask(self._home(home), camera, feed))

    def say(self, home: str, *, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> None:
        """The owner in front of `home`'s hub says 'show the …' with the camera's name, and waits as one who tapped."""
        self._chapter.home.check_voice()
        self._add(Say(self._home(home), camera, feed))

    def ask_together(self, *homes: str | Ask, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> None:
        """Several owners ask at the same moment; an `Ask` in place of a home has a camera and feed of its own."""
        asks = [h if isinstance(h, Ask) else Ask(h, camera, feed) for h in homes]
        for ask in asks:
            self._home(ask.home)
        self._add(AskTogether(tuple(asks)))

    def give_up(self, home: str, *, after_ms: int, camera: str = DEFAULT_CAMERA, feed: Feed = "still") -> None:
        """The owner asks, and closes the feed `after_ms` milliseconds after the hub took the ask."""
        self._add(GiveUp(self._home(home), after_ms, camera, feed))

    def change_account(self, home: str, *, owner: str) -> None:
        """The hub in `home` is signed out and signed in to `owner`'s account."""
        self._chapter.home.check_accounts()
        self._add(ChangeAccount(self._home(home), self._home(owner)))

    def suspend(self, *, within_ms: int = Suspend.WITHIN_MS) -> None:
        """The vendor suspends the integration for everybody; `within_ms` later no hub may show a camera any more.

        Nothing else happens until then, but what happens by itself: a stream plays, conditions stay as they are.
        """
        self._chapter.home.check_integration()
        self._add(Suspend(within_ms))

    def unlink(self, owner: str, *, within_ms: int = Suspend.WITHIN_MS) -> None:
        """The owner unlinks the account or resets its password: every session ends, and the bound is waited for."""
        self._chapter.home.check_integration()
        self._add(Unlink(self._home(owner), within_ms))

    def sell(self, owner: str, *, to: str, within_ms: int = Suspend.WITHIN_MS) -> None:
        """The owner sells the camera, and the buyer registers it: from then on it films the buyer's home.

        The seller's account loses it first, and the bound is waited for. Who has sold it already sells nothing.
        """
        self._chapter.home.desk()
        self._add(Sell(self._home(owner), self._home(to), within_ms))

    def share(self, owner: str, *, guest: str) -> None:
        """The owner shares the camera with a guest, who asks for it as ``chaos.shared(owner)``."""
        self._chapter.home.desk()
        self._add(Share(self._home(owner), self._home(guest)))

    def unshare(self, owner: str, *, guest: str, within_ms: int = Suspend.WITHIN_MS) -> None:
        """The owner shares the camera with that guest no more, and the bound is waited for."""
        self._chapter.home.desk()
        self._add(Unshare(self._home(owner), self._home(guest), within_ms))

    def reset_password(self, owner: str, *, within_ms: int = Suspend.WITHIN_MS) -> None:
        """The owner takes a new password: every session ends, and the bound is waited for.

        Only the hub at home is told; whoever signs another hub in to the account has the old one.
        """
        self._chapter.home.desk()
        self._add(ResetPassword(self._home(owner), within_ms))

    def protect(self, owner: str) -> None:
        """The owner turns a second factor on, which only the hub at home is told."""
        self._chapter.home.desk()
        self._add(Protect(self._home(owner)))

    def restore(self, *, cameras: bool = True) -> None:
        """The vendor restores the integration for everybody, all of it or everything but the cameras."""
        self._chapter.home.check_integration()
        self._add(Restore(cameras))

    def set_conditions(self, link: str, under: Conditions) -> None:
        """From here on `link` is under these conditions."""
        if not isinstance(under, Conditions):
            raise Misuse(
                f"{under!r} are no conditions; use conditions.EDGE, conditions.named('EDGE') or conditions.of(...)"
            )
        step = SetConditions(link, under)
        self._check(step)
        self._add(step)

    def clear(self, link: str | None = None) -> None:
        """The link is well again; without one, every link that the steps so far leave under conditions."""
        for one in self._troubled() if link is None else [link]:
            self._add(ClearStep(self._one_of("link", one, self.links)))

    def meanwhile(self, ask: Ask | GiveUp, *steps: InnerStep, when: When = "taken", link: str = "") -> None:
        """The owner asks, and the other steps happen while that ask is under way; steps are values, as in a plan.

        They happen when the hub has ``taken`` the ask; when bytes of it were ``sent`` on `link`, or its server was
        ``answering`` there; or when it has ``failed``.
        """
        step = Meanwhile(ask, steps, Moment(when, self._one_of("link", link, self.links) if link else ""))
        for each in step.elements():
            self._check(each)
        self._chapter.home.faults.check([step])
        self._add(step)

    def let_age(self, home: str, *, ms: int) -> None:
        """Nothing happens until the last picture that was asked for in `home` is `ms` milliseconds old."""
        self._add(LetAge(self._home(home), ms))

    def reconnect(self, *links: str) -> None:
        """Every connection on these links drops at the same moment; new ones can be made at once."""
        self._add(Reconnect(tuple(self._one_of("link", link, self.links) for link in links)))

    def evict(self, node: str = "cache") -> None:
        """The cache, short of memory, lets go of everything that it can."""
        self.add(Evict(node))

    def roll_back(self, node: str) -> None:
        """The node is replaced by one without the run's update."""
        self.add(RollBack(node))

    def roll_out(self, node: str) -> None:
        """The node is replaced by one with the run's update, which is how every case begins."""
        self.add(RollOut(node))

    def restart(self, node: str) -> None:
        """The node is killed and started again."""
        self.add(Restart(node))

    def pause(self, node: str) -> None:
        """The node stands still with all that it has open, until it is resumed or restarted."""
        self.add(Pause(node))

    def resume(self, node: str) -> None:
        """A paused node goes on where it stood."""
        self.add(Resume(node))

    def detach(self, node: str) -> None:
        """The node is taken off every network that one of its links crosses; needs the docker stack."""
        self.add(Detach(node))

    def attach(self, node: str, *, new_address: bool = False) -> None:
        """The node is back on its networks, at other addresses if `new_address`; that needs the docker stack."""
        self.add(Attach(node, new_address))

    def set_clock(self, node: str, *, offset_s: int = 0, time_zone: str = "UTC") -> None:
        """The camera's clock is `offset_s` seconds ahead, and tells the time of `time_zone`; right without either."""
        self.add(SetClock(node, offset_s, time_zone))

    def set_picture(self, node: str, *, night: bool = False, quality: int | None = None) -> None:
        """The camera films grey at night, and encodes with this JPEG quality; as it came without either."""
        self.add(SetPicture(node, night, quality))

    def add(self, step: NodeStep) -> None:
        """What `any_node_fault` drew happens."""
        self._one_of("node", step.node, self.nodes)
        self._chapter.home.faults.check([step])
        self._add(step)

    @initialize(data=st.data())
    def _draw_both_ends(self, data: st.DataObject) -> None:
        """Draw what a plan opens with, and under what everybody looks again when all is over.

        Three of four open with a motif, where nothing that was kept before hides what it is about. What comes at the
        end is drawn now, since nothing is drawn then.
        """
        looks = self._chapter.looks
        self._looks = data.draw(st.lists(aftermath.slow(self._place()), min_size=looks, max_size=looks))
        if self.motifs and data.draw(st.sampled_from([True, True, True, False])):
            self.motif(data)

    @precondition(lambda self: bool(self.motifs))
    @rule(data=st.data())
    def motif(self, data: st.DataObject) -> None:
        """One of the scenario's motifs happens."""
        chosen = data.draw(st.sampled_from(self.motifs))
        self._steps += chosen(data.draw, self._place())

    @precondition(lambda self: bool(self.motifs))
    @rule(data=st.data())
    def _another_motif(self, data: st.DataObject) -> None:
        """One of them happens.

        Hypothesis leaves rules out of a plan by their names (swarm testing): with one name 56 of 100 plans had no motif
        at all, with three 23 have none, and a plan 3.8 instead of 2.0 (measured, 600 plans each).
        """
        self.motif(data)

    @precondition(lambda self: bool(self.motifs))
    @rule(data=st.data())
    def _one_more_motif(self, data: st.DataObject) -> None:
        """One of them happens."""
        self.motif(data)

    def _place(self) -> Place:
        home = self._chapter.home
        return Place(
            self.homes,
            home.topology.over_tcp(),
            home.updated,
            tuple(self._troubled()),
            home.changed,
            home.contract.changes_accounts,
            suspends=home.contract.suspends,
            speaks=home.contract.speaks,
        )

    def _troubled(self) -> list[str]:
        """Return the links that the steps so far leave under conditions."""
        now: dict[str, bool] = {}
        for step in (element for each in self._steps for element in each.elements()):
            if isinstance(step, SetConditions):
                now[step.link] = not step.conditions.calm
            elif isinstance(step, ClearStep):
                now[step.link] = False
        return [link for link, troubled in now.items() if troubled]

    # What happens with the plan.

    def teardown(self) -> None:
        """Execute the plan and judge it, when it was drawn to its end."""
        if sys.exc_info()[0] is not None:
            return  # Hypothesis gave this program up while it drew it
        everybody = AskTogether(tuple(Ask(h) for h in self.homes))
        after = aftermath.steps(self._steps, self.homes, self._looks, self._place())
        plan = Plan(self.homes, (*self._steps, everybody, *after), looks=len(self._looks) if after else 0)
        chapter = self._chapter
        try:
            if chapter.broken is None and chapter.execute(plan).leaks:
                chapter.leaked = plan
        except OwnframeError as failed:
            chapter.broken = failed
        enough = chapter.over() or chapter.executions >= chapter.limit
        if chapter.leaked == plan or chapter.broken is not None or enough:
            raise SearchEnded  # the one place, outside of `except`: Hypothesis tells failures apart by their context

    @classmethod
    def hunt(
        cls, chapter: Chapter, cases: int, seeded: int | None = None, database: drawn.Kept | None = None
    ) -> Plan | None:
        """Draw and execute up to `cases` plans in `chapter`; return the first that leaks.

        `seeded` makes the drawing reproducible, for benchmarks; a replay never uses it. The `database` remembers what
        was drawn for a plan that leaked, and is asked first.
        """
        __tracebackhide__ = True
        name = f"{cls.__module__}.{cls.__qualname__}"
        mine = database.of(name, lambda: chapter.leaked is not None) if database is not None else None
        left, rounds = cases, 0
        chapter.limit = chapter.executions + cases
        while left > 0:  # a plan that was drawn twice is executed once, so that some cases may be left
            before = chapter.executions
            # its first plan is always the same one, so that a round for one that is missing needs more than one
            test = get_state_machine_test(cls, settings=_settings(left + SPARE if rounds else left, mine))
            if seeded is not None:
                test = seed(f"{seeded}, round {rounds}" if rounds else seeded)(test)
            with current.using(chapter), contextlib.suppress(SearchEnded), _located(cls):
                test()
            done = chapter.executions - before
            if chapter.broken is not None or chapter.leaked is not None or chapter.over() or not done:
                break  # at the latest when everything that is drawn was executed before
            left, rounds = left - done, rounds + 1
        chapter.limit = math.inf
        if chapter.broken is not None:
            raise chapter.broken
        return chapter.leaked

    @classmethod
    def search(cls, run: Run, *, name: str, seeded: int | None = None) -> tuple[Finding | None, Conclusion]:
        """Hunt for a leak in a chapter of its own; shrink and confirm what was found, and conclude."""
        from chaos import bothways  # noqa: PLC0415 - a scenario file that is only collected starts nothing
        from chaos.run import Chapter  # noqa: PLC0415

        remembers = run.settings.known and seeded is None
        database = drawn.database(run.settings.database) if remembers else None
        chapter = Chapter(run, name, cls.homes, cls.rules_of_age, rooms=cls.rooms)
        cases = run.settings.cases or cls.cases
        if remembers:
            cases -= chapter.try_known(cases // 2)
        if chapter.leaked is None:
            cls.hunt(chapter, cases, seeded, database)
        if chapter.leaked is None:
            chapter.direct()
        finding = chapter.investigate(chapter.leaked) if chapter.leaked is not None else None
        if finding is not None and run.settings.both_ways:
            run.say("executing the program by the vendor's own app")
            both = bothways.compare(
                run, finding.plan, finding.hits, finding.tries, rules=cls.rules_of_age, rooms=cls.rooms
            )
            finding = chapter.note(finding, both.sentence())
        return finding, chapter.finish()

    @classmethod
    def check(cls, run: Run, *, name: str) -> None:
        """Search, and raise `Leak` or `Inconclusive` when that is what it came to."""
        __tracebackhide__ = True
        finding, conclusion = cls.search(run, name=name)
        if finding is not None:
            raise Leak(finding.text(), finding.picture)
        if conclusion.outcome is not Outcome.PASSED:
            raise Inconclusive("inconclusive: " + "; ".join(conclusion.reasons))

    # How.

    def _add(self, step: Step) -> None:
        self._steps.append(step)

    def _check(self, step: Step) -> None:
        """Raise `Misuse` for a home or link that there is not."""
        match step:
            case Ask() | GiveUp() | ChangeAccount() | LetAge():
                self._home(step.home)
            case SetConditions() | ClearStep():
                self._one_of("link", step.link, [*self.links, *self.datagram_links])
                if isinstance(step, SetConditions) and (step.conditions.packets or step.link in self.datagram_links):
                    self._chapter.home.links.check(step.link, step.conditions)
            case Reconnect():
                for link in step.links:
                    self._one_of("link", link, self.links)
            case _:
                pass

    def _home(self, name: str) -> str:
        return self._one_of("home", name, self.homes)

    def _one_of(self, what: str, name: str, known: Sequence[str]) -> str:
        if name not in known:
            raise Misuse(f"{type(self).__name__}: there is no {what} {name!r}{nearest(name, list(known))}")
        return name


@contextlib.contextmanager
def _located(scenario: type) -> Iterator[None]:
    """Say of a `Misuse` in which line of the scenario's file it was, and in which of its rules."""
    try:
        yield
    except Misuse as wrong:
        file = inspect.getsourcefile(scenario)
        lines = [f for f in traceback.extract_tb(wrong.__traceback__) if f.filename == file]
        if not lines:
            raise
        at = lines[-1]
        raise type(wrong)(f"{wrong}\n  {os.path.relpath(at.filename)}:{at.lineno}, in {at.name}: {at.line}") from wrong


def _settings(cases: int, database: drawn.Kept | None) -> settings:
    """Return the settings of a search: Hypothesis draws; shrinking, replay and printing are ours."""
    return settings(
        max_examples=cases,
        backend=lean.BACKEND,
        stateful_step_count=STEPS + 1,  # and the one that draws what comes after them
        deadline=None,
        database=database,
        derandomize=False,  # the `ci` profile would draw the same cases every night
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )


__all__ = [
    "CLEAR",
    "Household",
    "Inconclusive",
    "Leak",
    "any_camera",
    "any_clock",
    "any_home",
    "any_link",
    "any_node",
    "any_node_fault",
    "any_room",
]

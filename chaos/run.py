"""One run: a stack, an update or none, one key, one evidence folder; its homes, its chapters, its outcome.

A chapter is one scenario or one plain test: a control, its cases, directed cases for what no ask met, a control again,
and a conclusion. The ledger remembers the verdict of every plan, so that Hypothesis never executes one twice; only our
own shrinking and confirmation do that.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import math
import os
import platform
import time
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec

from chaos import children, controls, evidence, keys, updates
from chaos.compose import System, read, understand
from chaos.conditions import Conditions, Fault
from chaos.contracts import Contract
from chaos.contracts.declared import Declared
from chaos.contracts.reference import Reference, topology_of
from chaos.errors import Misuse, OwnframeError, nearest
from chaos.evidence import LIMIT as EVIDENCE_LIMIT
from chaos.fingerprints import Mechanism, mechanism
from chaos.history import Asked, CaseStarted, ConditionsSet, Event
from chaos.home import Home, check_plan
from chaos.identity import Key
from chaos.packetfaults import PACKET_FAULTS
from chaos.plan import (
    DEFAULT_CAMERA,
    Ask,
    AskTogether,
    Attach,
    Clear,
    Detach,
    Evict,
    Pause,
    Plan,
    Restart,
    Resume,
    RollBack,
    RollOut,
    SetClock,
    SetConditions,
    SetPicture,
    Step,
)
from chaos.register import Register, Replay, UnderTest
from chaos.shrink import AT_ALL, LAST_STEPS, SURE_AFTER, Shrinking
from chaos.stacks import Stack
from chaos.stacks.process import ProcessStack
from chaos.traces import Traces
from chaos.updates import Update
from chaos.verdict import (
    NO_MORE,
    Conclusion,
    Judged,
    Outcome,
    Rules,
    Verdict,
    conclude,
    exercised,
    is_leak,
    judge,
)
from chaos.whence import Whence

DIRECTED_TRIES = 3
"""Plans made for one kind of fault before it stays unmet."""

Say: TypeAlias = Callable[[str], None]


def _docker(scratch: children.Scratch, say: Say) -> Stack:
    from chaos.stacks.docker import DockerStack  # noqa: PLC0415 - who runs processes needs no docker SDK

    return DockerStack(scratch, say)


STACKS: dict[str, Callable[[children.Scratch, Say], Stack]] = {"process": ProcessStack, "docker": _docker}
SHRINK_BUDGET = 200
"""Executions that shrinking may take. A leak that happens each time takes some 35, one in three times 400 and more."""
SHRINK_SECONDS = 90.0
"""Seconds after which shrinking begins no other execution; a case takes half a second to three."""
CONFIRMATIONS = 5
"""Times that the shrunk plan is executed again, to say 'k of n'."""
UNTIL_SEEN = 20
"""Times at most, while it has not leaked again: one time in seven is not seen in five by a probability of 0.46."""
LOOKS = 1
"""Times that everybody looks again when the trouble of a plan is over, see `chaos.aftermath`."""
DIRECTED_BUDGET = 24
"""Directed cases that a chapter may add for kinds of fault that it drew and no ask met."""


class Settings(msgspec.Struct, frozen=True):
    """What a run is told: the stack by name, an update by name or path, where evidence goes.

    `display`, `camera` and `path` choose what the hubs' screens and the cameras are, and by which way a screen gets to
    a camera, of what the home system offers. With `both_ways` what is found is executed by the vendor's own app too.
    `compose` are the files of a home system of one's own, which runs on the docker stack, in place of the reference.
    `evidence_limit` is how many bytes the pictures in `evidence` may take.
    `cases` is how many plans a chapter executes (None: as many as its scenario says), `shrink_budget` how many
    executions, and `shrink_seconds` how long, shrinking may take; `looks` how often everybody looks again at the end of
    a drawn plan. With `known`, plans of the register are executed before others are drawn; `database` is where
    Hypothesis keeps what it drew, see `chaos.drawn`. A finding is executed again with the display `confirm_on`, where
    that is another one.
    """

    stack: str = "process"
    update: str | None = None
    compose: tuple[Path, ...] = ()
    evidence: Path = Path("ownframe-evidence")
    evidence_limit: int = EVIDENCE_LIMIT
    cases: int | None = None
    shrink_budget: int = SHRINK_BUDGET
    shrink_seconds: float = SHRINK_SECONDS
    looks: int = LOOKS
    known: bool = True
    database: str | None = None
    display: str = "headless"
    camera: str = "reference"
    confirm_on: str | None = None
    path: str = "integration"
    both_ways: bool = False

    @property
    def choices(self) -> dict[str, str]:
        """Return what is chosen of the home system."""
        return {"display": self.display, "camera": self.camera, "path": self.path}


class CaseResult(msgspec.Struct, frozen=True):
    """One executed plan: every displayed frame with its verdict, those that leak, and the first one's ask, from 1."""

    plan: Plan
    frames: tuple[Judged, ...]
    leaks: tuple[Judged, ...]
    leaking_ask: int | None = None


class Confirmation(msgspec.Struct, frozen=True):
    """What a finding's plan came to with another display: leaked in `hits` of `tries` executions.

    `why` says what kept it from being executed as often as it should, `picture` is where the first leak stands in full.
    """

    display: str
    hits: int
    tries: int
    picture: Path | None = None
    why: str = ""

    def text(self) -> str:
        """Return it in one sentence."""
        said = "confirmed" if self.hits else "not confirmed"
        often = f": {self.hits} of {self.tries} times" if self.tries else ""
        picture = f"; picture: {self.picture}" if self.picture is not None else ""
        return f"{said} on {self.display}{often}{picture}" + (f" ({self.why})" if self.why else "")


def how_executed(anew: bool, earlier: Plan | None) -> str:
    """Say, after a comma, how a finding is executed that depends on what nodes keep over cases; nothing of others."""
    if earlier is not None:
        return ", each on restarted nodes after an earlier case"
    return ", each on restarted nodes" if anew else ""


class Finding(msgspec.Struct, frozen=True):
    """A leak, as it is told: one sentence, the shrunk program, and how often it happened again."""

    scenario: str
    sentence: str
    plan: Plan
    drawn: Plan
    leak: Judged
    picture: Path | None
    hits: int
    tries: int
    note: str = ""
    mechanism: Mechanism | None = None
    earlier: Plan | None = None
    """The plan of the case that the picture was carried over from, or whose state it needs: it is executed first."""
    anew: bool = False
    """Whether it was executed on restarted nodes each time, since it depends on what they keep over cases."""
    replay: Path | None = None
    whence: Whence | None = None
    """Where the picture turned foreign; None where nothing was captured of its case."""
    capture: Path | None = None
    """The packets of its case, for Wireshark."""
    confirmed: Confirmation | None = None

    @property
    def remarks(self) -> str:
        """What else is to be said of it: on which other display it was confirmed, and the note."""
        return "; ".join(filter(None, (self.confirmed.text() if self.confirmed else "", self.note)))

    @property
    def fingerprint(self) -> str:
        """The name that every finding of this mechanism has, whoever it befell."""
        return self.mechanism.fingerprint if self.mechanism is not None else "unknown"

    @property
    def how(self) -> str:
        """What `how_executed` says of it."""
        return how_executed(self.anew, self.earlier)

    def text(self) -> str:
        """Return the headline, the program to paste, and 'k of n'."""
        program = "\n".join(f"    {line}" for line in self.plan.program().splitlines())
        where = f"{self.whence.sentence}\n\n" if self.whence else ""
        packets = f"; packets: {self.capture}" if self.capture else ""
        return (
            f"{self.sentence}\n\n{where}{program}\n\n"
            f"reproduced {self.hits} of {self.tries} times{self.how}; "
            f"picture: {self.picture or 'kept small only'}{packets}\n"
            f"finding {self.fingerprint}"
            + (f"; again: ownframe replay {self.replay}" if self.replay else "")
            + (f"\n{self.remarks}" if self.remarks else "")
        )


_NODE_WORDS: dict[str, str] = {
    "paused": "stood still",
    "detached": "was off its networks",
    "new address": "had a new address",
    "clock": "had a wrong clock",
    "picture": "filmed grey or coarse pictures",
}


def sentence(leak: Judged) -> str:
    """Say in one sentence who saw whose camera, on which hub, under which conditions."""
    assert leak.guilty is not None, "a leak names somebody"
    who = " and ".join(leak.owners) or "nobody signed in"
    where = f"the hub in {leak.frame.hub}'s home"
    words = [f"{link} was {c.describe()}" for link, c in leak.under]
    words += [f"{node} {_NODE_WORDS.get(kind, f'was {kind}')}" for node, kind in leak.nodes]
    under = ", ".join(words) or "all links were clear"
    seen = f"{leak.guilty.owner}'s {leak.guilty.camera}"
    old = f", left over from case {leak.carried_over}" if leak.carried_over else ""
    verb = {
        Verdict.FOREIGN: f"{who} saw {seen}{f', {leak.withdrawn},' if leak.withdrawn == NO_MORE else ''} on {where}",
        Verdict.REVOKED: f"{where}, {leak.withdrawn or 'signed out'}, showed {seen}",
        Verdict.MISDIRECTED: f"{who} was shown {seen} on {where} without asking for it",
        Verdict.STALE: f"{who} was shown an old picture of {seen} on {where}",
    }[leak.verdict]
    weaker = "" if leak.guilty.chance is None else f" No MAC says so: it is known by {leak.guilty.vouched}."
    return f"{verb}{old}, while {under}.{weaker}"


def own_system(compose: Sequence[Path], update: str | None) -> System:
    """Return the home system of these compose files, later ones laid over earlier ones; nothing is started.

    Raises `Misuse` with all that keeps it from being put under test, and for an update beside it.
    """
    if update is not None:
        raise Misuse(
            f"--update {update} is laid over the reference home; of your own home system bring another "
            "compose file, or one to lay over it (--compose A --compose B)"
        )
    system = understand(read(compose))
    system.check()
    return system


def _check_confirming(settings: Settings, update: Update | None) -> None:
    if settings.compose:
        raise Misuse(
            f"--confirm-on {settings.confirm_on} is another display of the reference home; the screens of your own "
            "home system are what its file says"
        )
    topology_of(_ANY, update, settings.choices | {"display": str(settings.confirm_on)})


_ANY = ("ada", "grace", "lin")


class Run:
    """Everything of one invocation. Use it as a context: leaving it ends every process."""

    def __init__(
        self,
        settings: Settings,
        *,
        folder: Path | None = None,
        say: Say = lambda _: None,
        on_case: Callable[[CaseResult], None] = lambda _: None,
    ) -> None:
        if settings.stack not in STACKS:
            raise Misuse(f"there is no stack {settings.stack!r}{nearest(settings.stack, list(STACKS))}")
        self.system = own_system(settings.compose, settings.update) if settings.compose else None
        if self.system is not None:
            settings = msgspec.structs.replace(settings, stack="docker")
        self.settings = settings
        self.say = say
        self.on_case = on_case
        self.update: Update | None = updates.find(settings.update) if settings.update else None
        if self.update is not None:
            updates.check_runs_here(self.update, settings.stack, settings.choices)
        what = "yours" if self.system is not None else self.update.name if self.update else "reference"
        label = f"{settings.stack}-{what}"
        if settings.confirm_on is not None:
            _check_confirming(settings, self.update)
        folder = folder or evidence.new_folder(settings.evidence.resolve(), label)
        self.evidence = evidence.Evidence(folder, settings.evidence_limit)
        self.findings: list[Finding] = []
        self.register = Register(settings.evidence)
        self.conclusions: dict[str, Conclusion] = {}
        # its own, and those of earlier runs: a picture that outlived its run is recognised, and is nobody's of this one
        self._keys = (Key.fresh(), *keys.recent())
        keys.remember(self._keys[0])
        self._scratch = children.Scratch()
        self._homes: dict[tuple[tuple[str, ...], str | None, tuple[str, ...]], Home] = {}
        self._began = time.monotonic()
        self._links: set[str] = set()
        self._write_about(None)

    def contract(self, owners: tuple[str, ...], path: str | None = None, rooms: tuple[str, ...] = ()) -> Contract:
        """Return what the home system of these owners is made of; nothing is started.

        `path` is another way to the cameras than that of the run, `rooms` are those in which everybody has a camera
        more. Somebody's own home system has the owners and cameras that its file has, and one way. Raises `Misuse` for
        another.
        """
        if self.system is None:
            return Reference(owners, self.update, self.settings.choices | ({"path": path} if path else {}), rooms)
        if path is not None:
            raise Misuse(
                f"{self.system.name} has no path {path!r}; of your own home system only the hubs' way is known"
            )
        known = self.system.topology.owners
        for owner in owners:
            if owner not in known:
                raise Misuse(
                    f"the scenario has a home of {owner!r}, and {self.system.name} has those of {', '.join(known)}"
                    f"{nearest(owner, known)} ownframe.owner is a name of your choice, such as the scenario's"
                )
        return Declared(self.system)

    def home(self, owners: tuple[str, ...], path: str | None = None, rooms: tuple[str, ...] = ()) -> Home:
        """Return the running home system of these owners, started at its first use; the others as for `contract`."""
        if self.system is not None:
            self.contract(owners)
            owners, rooms = self.system.topology.owners, ()
        if (owners, path, rooms) not in self._homes:
            self.say(f"starting the home system of {', '.join(owners)}")
            stack = STACKS[self.settings.stack](self._scratch, self.say)
            home = Home(self.contract(owners, path, rooms), stack, self._keys, self.evidence)
            try:
                home.start(self._scratch.folder / f"home-{len(self._homes)}")
            except BaseException:
                home.stop()
                raise
            self._homes[owners, path, rooms] = home
            self._links |= {k.name for k in home.topology.links}
        return self._homes[owners, path, rooms]

    @property
    def homes(self) -> tuple[Home, ...]:
        """The home systems that run."""
        return tuple(self._homes.values())

    @property
    def title(self) -> str:
        """What a page about this run is headed with: where it ran, and what was under test."""
        own = None if self.system is None else self.system.name
        update = None if self.update is None else self.update.name
        return f"{self.settings.stack}, {own or update or 'the home system as it is'}"

    @property
    def outcome(self) -> Outcome:
        """The worst that any chapter came to; a run without a chapter is inconclusive."""
        ranked = (Outcome.LEAK, Outcome.UNUSABLE, Outcome.INCONCLUSIVE, Outcome.PASSED)
        outcomes = {c.outcome for c in self.conclusions.values()} | ({Outcome.LEAK} if self.findings else set())
        return next((o for o in ranked if o in outcomes), Outcome.INCONCLUSIVE)

    def under_test(self, home: Home) -> UnderTest:
        """Return what plans of `home` are executed on, with digests of its parts."""
        sources = {f"the sources of {source}": digest for source, digest in home.digests.items()}
        if self.update is not None:
            sources["the update's folder"] = self.update.digest
        if self.system is not None:
            sources["the compose file"] = self.system.digest
        return UnderTest(
            stack=self.settings.stack,
            update=self.update.name if self.update is not None else None,
            ownframe=importlib.metadata.version("ownframe"),
            parts=sources | dict(home.stack.parts),
        )

    @property
    def by_fingerprint(self) -> dict[str, list[Finding]]:
        """The findings of one mechanism together, so that a bug that several scenarios met is told once."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.fingerprint, []).append(finding)
        return groups

    def close(self) -> None:
        """End every process, remove the scratch folder, write down what the run came to."""
        for home in self._homes.values():
            with contextlib.suppress(OwnframeError):
                home.stop()
        self._homes.clear()
        self._scratch.remove()
        try:
            self.evidence.cut_logs()
            self._write_about(self.outcome)
        finally:
            self.evidence.close()

    def __enter__(self) -> Self:
        """Return this run."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the run."""
        self.close()

    def _write_about(self, outcome: Outcome | None) -> None:
        about: dict[str, object] = {
            "format": evidence.FORMAT,
            "stack": self.settings.stack,
            **self.settings.choices,
            "update": None if self.update is None else {"name": self.update.name, "digest": self.update.digest},
            "compose": None if self.system is None else {"name": self.system.name, "digest": self.system.digest},
            "ownframe": importlib.metadata.version("ownframe"),
            "python": platform.python_version(),
            "process": os.getpid(),
            "key_id": self._keys[0].id,
            "began_monotonic": self._began,
            "wall": time.time() - time.monotonic(),
            "links": sorted(self._links),
            "outcome": None if outcome is None else outcome.name.lower(),
            "dropped": list(self.evidence.dropped),
            "chapters": {n: msgspec.to_builtins(_brief(c)) for n, c in self.conclusions.items()},
        }
        self.evidence.write("run.json", about)


def _brief(conclusion: Conclusion) -> dict[str, object]:
    exercise = conclusion.exercise
    return {
        "outcome": conclusion.outcome.name.lower(),
        "reasons": list(conclusion.reasons),
        "frames": conclusion.counts,
        "cases": exercise.cases,
        "asks": exercise.asks,
        "strong_asks": exercise.strong_asks,
        "bound_95": exercise.bound_95,
        "states": {s.name: [s.reached, s.aimed] for s in exercise.states},
        "met": {f"{f.kind} on {f.link}": n for f, n in exercise.met},
    }


_PAIRS: dict[str, Callable[[str], tuple[Step, Step]]] = {
    "paused": lambda node: (Pause(node), Resume(node)),
    "detached": lambda node: (Detach(node), Attach(node)),
    "new address": lambda node: (Attach(node, new_address=True), Attach(node)),
    "clock": lambda node: (SetClock(node, offset_s=3600), SetClock(node)),
    "picture": lambda node: (SetPicture(node, night=True), SetPicture(node)),
    "restarted": lambda node: (Restart(node), Resume(node)),
    "rolled out": lambda node: (RollOut(node), Resume(node)),
    "rolled back": lambda node: (RollBack(node), RollOut(node)),
    "emptied": lambda node: (Evict(node), Resume(node)),
}


def _guesses(result: CaseResult) -> tuple[Plan, ...]:
    """Return smaller plans to begin with, the last one without what came after the ask that leaked.

    The one before it is without bystanders too, and those before are its last few steps: most causes stand together,
    right before the ask. (A drawn plan of 53 elements with shared-fetch leaked in 1 of 11, and of 300 s nothing was
    left to shrink it in; where its last steps leak each time, its own rate need not be measured.) The last of these
    also with one ask after the other where several were at once, since who comes first of those is a matter of luck.
    """
    leak = result.leaks[0]
    short = result.plan.until_ask(result.leaking_ask) if result.leaking_ask else result.plan
    about = {leak.frame.hub, *leak.owners, *(s.owner for s in leak.frame.reading.sightings)}
    few = short
    for owner in result.plan.homes:
        few = few if owner in about else few.without(owner)
    last = [few.with_steps(few.steps[-n:]) for n in LAST_STEPS if n < len(few.steps)]
    return *last, *_one_after_the_other((last or [few])[-1]), few, short


def _one_after_the_other(plan: Plan) -> Iterator[Plan]:
    """Yield the plan with those who ask at the same moment one after the other: as they stand there, and backwards."""
    if any(isinstance(step, AskTogether) for step in plan.steps):
        for way in (1, -1):
            steps = (s.asks[::way] if isinstance(s, AskTogether) else (s,) for s in plan.steps)
            yield plan.with_steps(tuple(itertools.chain.from_iterable(steps)))


class Chapter:
    """One scenario or plain test within a run: its cases, its controls, its conclusion.

    It begins with a control, unless it is not `begins_controlled`: then nothing that did not leak says anything.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        owners: tuple[str, ...],
        rules: Rules,
        *,
        begins_controlled: bool = True,
        rooms: tuple[str, ...] = (),
    ) -> None:
        self.run = run
        self.name = name
        self.rules = rules
        self.rooms = rooms
        self.home = run.home(owners, rooms=rooms)
        self.looks = run.settings.looks
        self.limit = math.inf
        """Executions at which the search that is under way has had its cases."""
        self.events: list[Event] = []
        self.executions = 0
        self.leaked: Plan | None = None
        self.broken: OwnframeError | None = None
        self.over: Callable[[], bool] = lambda: False
        """Whether the search of this chapter must end now; asked after each case."""
        self._ledger: dict[str, CaseResult] = {}
        self._leaked = False
        self._controls: frozenset[int] = frozenset()
        self._traces = Traces(self.home.topology, self.home.stack.captures, self.home.reader)
        if begins_controlled:
            self._control()

    def execute(self, plan: Plan, earlier: Plan | None = None, *, anew: bool = False) -> CaseResult:
        """Return what the plan comes to; it is executed when the ledger does not know it."""
        if plan.digest not in self._ledger:
            self._ledger[plan.digest] = self.again(plan, earlier, anew=anew)
        return self._ledger[plan.digest]

    def try_known(self, limit: int) -> int:
        """Execute the plans of the register that this scenario left there, the last reproduced first, until one leaks.

        At most `limit`, and once each, since a search has its own budget; returns how many. The register hears of it.
        """
        tried = 0
        for known in self.run.register.all():
            replay = known.replay
            if tried >= limit or self.over():
                break
            if (replay.scenario, replay.plan.homes) != (self.name, self.home.owners) or not self._can(replay.plan):
                continue
            tried += 1
            self.run.say(f"executing the plan of finding {known.fingerprint} again")
            leaked = bool(self.execute(replay.plan, replay.earlier, anew=replay.anew).leaks)
            self.run.register.tried(known.fingerprint, int(leaked), 1, self.run.under_test(self.home))
            if leaked:
                self.leaked = replay.plan
                break
        return tried

    def _can(self, plan: Plan) -> bool:
        """Whether this home system, on this stack, has all that a plan needs."""
        try:
            check_plan(plan, self.home.topology)
            self.home.check(plan)
        except Misuse:
            return False
        return True

    def again(self, plan: Plan, earlier: Plan | None = None, *, anew: bool = False) -> CaseResult:
        """Execute the plan, whatever is known of it, and add it to the chapter's history.

        What an earlier case left behind is looked for from restarted nodes, after that case; what nodes keep over cases
        is out of the way `anew`, on restarted nodes alone.
        """
        if earlier is not None or anew:
            self.home.restart_nodes()
        if earlier is not None:
            self.again(earlier)
        self.executions += 1
        return self.judged(plan, self.home.execute(plan))

    def judged(self, plan: Plan, events: list[Event]) -> CaseResult:
        """Judge the events of one case, keep its leaking pictures in full size, and add it to the history."""
        self.events += events
        frames = judge(events, self.rules, controls=self._controls)
        leaks = tuple(j for j in frames if is_leak(j, self.rules))
        store = self.run.evidence
        if leaks:
            self._traces.keep(leaks[0].case)
            folder, first_of_all = f"findings/case-{leaks[0].case}", not self._leaked
            self._leaked = True
            evidence.point_at_leak(self.run.settings.evidence.resolve(), store.folder)
            try:
                store.write(f"{folder}/plan.json", plan.to_json())
                store.write(f"{folder}/headline.txt", sentence(leaks[0]) + "\n")
                store.keep_full(j.frame.digest for j in leaks)
                if first_of_all:  # of the others, shrinking keeps those that it tells of
                    self._write_trace(folder, leaks[0])
            except OwnframeError as failed:  # a leak that was seen is told, whatever became of its evidence
                self.run.say(f"not all of what was found could be stored: {failed}")
        store.forget()
        asked = leaks[0].ask if leaks else None
        first = min((e.ask for e in events if isinstance(e, Asked)), default=1)
        result = CaseResult(plan, frames, leaks, asked.ask - first + 1 if asked else None)
        self.run.on_case(result)
        return result

    def whence(self, leak: Judged) -> Whence | None:
        """Return where a leak of a case that just ended turned foreign; None when its packets are not kept any more."""
        return self._traces.whence(leak)

    def _write_trace(self, folder: str, leak: Judged) -> tuple[Whence | None, Path | None]:
        """Say where a leak turned foreign, and store its packets and that; where nothing is kept of it, nothing."""
        store, found = self.run.evidence, self.whence(leak)
        packets = self._traces.file(leak, f"{sentence(leak)} {found.sentence if found else ''}")
        trace = self._traces.trace(leak, found) if found is not None else None
        if trace is not None:
            store.write(f"{folder}/whence.json", msgspec.json.encode(trace))
        return found, store.write(f"{folder}/capture.pcapng", packets) if packets is not None else None

    def investigate(self, drawn: Plan) -> Finding:
        """Shrink a plan that leaked, execute the result again, and write the finding down.

        The plan leaked once, which is a fact and not a flake: it is a finding however often it happens again, and
        whatever comes between. Stopped or broken off, it is written with the smallest plan until then and with what was
        seen of that; stopping is passed on, failing surroundings are told with the finding.
        """
        first = self._ledger[drawn.digest]
        looking = _Looking(self, first)
        search = looking.at(drawn, looking.fails, guesses=looking.guesses, as_far=looking.guesses[-1])
        number = len(self.run.findings)
        hits = tries = 0
        note = ""
        confirmed = None
        self.run.say("shrinking the plan")
        self.run.findings.append(self._told(drawn, drawn, first, 1, 1, earlier=looking.earlier))
        self._write(number)  # whatever becomes of us, what was found is there
        try:
            search.run()
            self.run.say("executing the shrunk plan again")
            while tries < CONFIRMATIONS or (not hits and tries < UNTIL_SEEN):
                hits, tries = hits + search.fails(search.best), tries + 1
                if hits < tries == CONFIRMATIONS and (other := looking.otherwise(search, hits)) is not None:
                    search, hits, tries = other, 0, 0
                    search.run()
            confirmed = self._confirmed(number, search.best, looking.earlier, anew=search.is_anew)
        except OwnframeError as failed:
            note = f"looking further ended early: {failed}"
        finally:
            if not tries:
                hits, tries = search.seen(search.best)
                hits, tries = hits + (search.best in looking.begun), tries + (search.best in looking.begun)
            told = self._told(search.best, drawn, looking.latest[search.best], hits, tries, note, looking.earlier)
            self.run.findings[number] = msgspec.structs.replace(told, confirmed=confirmed, anew=search.is_anew)
            self._write(number, last=True)
        return self.run.findings[number]

    def _confirmed(self, number: int, plan: Plan, earlier: Plan | None, *, anew: bool) -> Confirmation | None:
        """Execute a shrunk plan with the display that findings are confirmed on, in a run and home of its own."""
        display = self.run.settings.confirm_on
        if display is None or display == self.run.settings.display:
            return None
        self.run.say(f"executing the shrunk plan on {display}")
        settings = msgspec.structs.replace(self.run.settings, display=display, confirm_on=None)
        folder = self.run.evidence.folder / f"findings/{number + 1}/on-{display}"
        hits = tries = 0
        picture: Path | None = None
        why = ""
        try:
            with Run(settings, folder=folder, say=self.run.say) as other:
                # a leak that is seen shows that the screen is; only where there is none a control has to
                owners, rooms = self.home.owners, self.rooms
                chapter = Chapter(other, self.name, owners, self.rules, begins_controlled=False, rooms=rooms)
                for _ in range(CONFIRMATIONS):
                    leaks = chapter.again(plan, earlier, anew=anew).leaks
                    tries += 1
                    hits += bool(leaks)
                    if leaks and picture is None:
                        stored = other.evidence.full(leaks[0].frame.digest)
                        picture = stored if stored.exists() else None
                if not hits:
                    chapter._control()
                    why = "; ".join(chapter.close().doubts)
        except OwnframeError as failed:  # the finding is one, whatever becomes of this
            why = str(failed)
        return Confirmation(display, hits, tries, picture, why)

    def plan_of(self, case: int | None) -> Plan | None:
        """Return the plan of an earlier case of these homes, None of none."""
        return next((c.plan for c in self._earlier_cases() if c.case == case), None)

    def plan_before(self, case: int) -> Plan | None:
        """Return the plan of the last case of these homes before that one, None where it was the first."""
        return next((c.plan for c in self._earlier_cases() if c.case < case), None)

    def _earlier_cases(self) -> Iterator[CaseStarted]:
        """Yield the cases of these homes that had a plan, the last one first."""
        for event in reversed(self.run.evidence.history):
            if isinstance(event, CaseStarted) and event.plan and event.plan.homes == self.home.owners:
                yield event

    def _told(
        self,
        plan: Plan,
        drawn: Plan,
        result: CaseResult,
        hits: int,
        tries: int,
        note: str = "",
        earlier: Plan | None = None,
    ) -> Finding:
        leak = result.leaks[0]
        picture = self.run.evidence.full(leak.frame.digest)
        return Finding(
            scenario=self.name,
            sentence=sentence(leak),
            plan=plan,
            drawn=drawn,
            leak=leak,
            picture=picture if picture.exists() else None,
            hits=hits,
            tries=tries,
            note=note,
            mechanism=mechanism(leak, self.home.owners, plan, self.run.update.name if self.run.update else None),
            earlier=earlier,
        )

    def _write(self, number: int, *, last: bool = False) -> None:
        """Write a finding into the evidence, and the `last` of it into the register; what fails is told with it."""
        store, folder = self.run.evidence, f"findings/{number + 1}"
        finding = msgspec.structs.replace(self.run.findings[number], replay=store.folder / folder / "replay.json")
        self.run.findings[number] = finding
        replay = Replay(
            fingerprint=finding.fingerprint,
            scenario=self.name,
            sentence=finding.sentence,
            plan=finding.plan,
            rules=self.rules,
            update=self.run.settings.update,
            rooms=self.rooms,
            compose=tuple(str(file.absolute()) for file in self.run.settings.compose),
            under_test=self.run.under_test(self.home),
            hits=finding.hits,
            tries=finding.tries,
            earlier=finding.earlier,
            anew=finding.anew,
        )
        try:
            whence, capture = self._write_trace(folder, finding.leak)
            finding = msgspec.structs.replace(finding, whence=whence, capture=capture)
            self.run.findings[number] = finding
            store.write(f"{folder}/plan.json", finding.plan.to_json())
            store.write(f"{folder}/replay.json", replay.to_json())
            store.write(f"{folder}/finding.txt", finding.text() + "\n")
            store.write(f"{folder}/finding.json", msgspec.json.encode(finding, enc_hook=str))
            if last and finding.mechanism is not None:
                self.run.register.reproduced(replay, finding.mechanism, finding.hits, finding.tries)
        except OwnframeError as failed:
            note = "; ".join(filter(None, (finding.note, f"not all of it could be stored: {failed}")))
            self.run.findings[number] = msgspec.structs.replace(finding, note=note)

    def note(self, finding: Finding, note: str) -> Finding:
        """Add a sentence to the last finding, in the evidence too, and return it."""
        number = self.run.findings.index(finding)
        together = "\n".join(filter(None, (finding.note, note)))
        self.run.findings[number] = msgspec.structs.replace(finding, note=together)
        self._write(number)
        return self.run.findings[number]

    @property
    def has_leaked(self) -> bool:
        """Whether any plan of this chapter leaked."""
        return self._leaked

    def direct(self, met: Container[Fault] = ()) -> None:
        """Add directed cases for what was drawn and met by no ask, here or (`met`) elsewhere, until one leaks."""
        for plan in self._directed(met):
            if self.execute(plan).leaks:
                self.leaked = plan
                return

    def finish(self, met: Container[Fault] = ()) -> Conclusion:
        """Add directed cases for what was drawn and not met, the control again, and conclude."""
        if not self.has_leaked:
            self.direct(met)
        return self.close()

    def close(self) -> Conclusion:
        """Add the control again, unless anything leaked, and conclude from what was executed."""
        leaked = self.has_leaked
        if not leaked:
            self._control()
        conclusion = conclude(self.events, self.rules, controls=1 if leaked else 2)
        self.run.conclusions[self.name] = conclusion
        return conclusion

    def _control(self) -> None:
        if not self.home.last_control:
            self.run.say("control: crossed scenes, cut links")
            self.home.last_control = (*controls.crossed_scenes(self.home), *controls.cut_links(self.home))
        events = self.home.last_control
        self._controls |= {e.case for e in events if isinstance(e, CaseStarted)}
        self.events += events
        self.run.evidence.forget()

    def _directed(self, met: Container[Fault]) -> Iterator[Plan]:
        """Yield plans, each made for one kind of fault that no ask met, until each was met or the budget is spent."""
        for _ in range(DIRECTED_BUDGET):
            untried = [
                plan
                for fault in exercised(self.events, ()).unmet
                if fault not in met
                for asks in range(1, DIRECTED_TRIES + 1)
                if (plan := self._plan_for(fault, asks)).digest not in self._ledger
            ]
            if not untried:
                return
            yield untried[0]

    def _plan_for(self, fault: Fault, asks: int) -> Plan:
        """Return a plan whose asks meet `fault`: a stream that plays while it comes, and so many asks after it."""
        device, _, what = fault.link.partition(".")
        camera = what if what in self.rooms else DEFAULT_CAMERA
        home = device if device in self.home.owners else self.home.owners[0]
        begins, ends = self._step_pair(fault)
        steps: list[Step] = [Ask(home, camera, "stream"), begins, *(Ask(home, camera) for _ in range(asks))]
        return Plan(self.home.owners, (*steps, ends, Ask(home, camera)))

    def _step_pair(self, fault: Fault) -> tuple[Step, Step]:
        """Return a step that brings a fault, and one that takes it away; only a new address stays."""
        if fault.kind in _PAIRS:
            return _PAIRS[fault.kind](fault.link)
        return SetConditions(fault.link, self._drawn(fault)), Clear(fault.link)

    def _drawn(self, fault: Fault) -> Conditions:
        drawn = next(
            e.conditions for e in self.events if isinstance(e, ConditionsSet) and fault in e.conditions.faults(e.link)
        )
        return drawn.soonest() if fault.kind in PACKET_FAULTS else drawn


class _Looking:
    """How a plan that leaked is executed again while it is looked into.

    As it is at first; if it leaks no more, on restarted nodes; then on restarted nodes after the case before.
    """

    def __init__(self, chapter: Chapter, first: CaseResult) -> None:
        self._chapter, self._first = chapter, first
        self.latest = {first.plan: first}
        """Each plan that leaked, with its latest execution that did."""
        self.begun = {first.plan}
        """Plans that had leaked before a search began with them."""
        self.earlier = chapter.plan_of(first.leaks[0].carried_over)
        self.guesses = _guesses(first)
        self._anew = partial(self.fails, anew=True) if self.earlier is None else None  # it is, after that case

    def fails(self, candidate: Plan, *, anew: bool = False) -> bool:
        """Execute a plan once; return whether it leaked."""
        result = self._chapter.again(candidate, self.earlier, anew=anew)
        if result.leaks:
            self.latest[candidate] = result
        return bool(result.leaks)

    def at(self, plan: Plan, fails: Callable[[Plan], bool], **more: Any) -> Shrinking:
        """Return a search for something smaller than this plan, with a whole budget."""
        settings = self._chapter.run.settings
        ends = time.monotonic() + settings.shrink_seconds
        return Shrinking(
            plan,
            fails,
            budget=settings.shrink_budget,
            enough=lambda: time.monotonic() > ends,
            worth=lambda plan: plan.asks > 0,
            anew=self._anew,
            **more,
        )

    def otherwise(self, search: Shrinking, hits: int) -> Shrinking | None:
        """Return a search that executes plans as they leak, where what this one came to does not each time; else None.

        What nodes keep over cases made it leak: that has walked since, or the case before had left it so. With some
        `hits` only what may leak each time is taken: asked-twice, whose relay keeps a ticket for two seconds, leaked in
        every second execution, twelve times in a row (measured).
        """
        anew, settings = self._anew, self._chapter.run.settings
        if anew is None or search.is_anew or self.earlier is not None or not settings.shrink_budget:
            return None
        for plan in (search.best,) if hits else (search.best, *self.guesses):
            if all(anew(plan) for _ in range(SURE_AFTER)):
                return self.at(plan, anew, seen=(SURE_AFTER, SURE_AFTER))
        if hits:
            return None
        self.earlier, short = self._chapter.plan_before(self._first.leaks[0].case), self.guesses[-1]
        leaked = False
        try:
            leaked = self.earlier is not None and any(self.fails(short) for _ in range(AT_ALL))
        finally:  # whatever ended it, what did not leak after that case does not need it
            if not leaked:
                self.earlier = None
        if not leaked:
            return None
        self.begun.add(short)
        return self.at(short, self.fails)

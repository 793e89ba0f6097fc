"""The workers of a gate, as the gate sees them: started, given tasks, listened to, replaced when they die.

Only a worker that closed in order counts: what it did before has then a control on either side. Everything that one did
which died is done again, by another; but what it saw stays seen.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

import msgspec
import psutil

from chaos.conditions import Fault
from chaos.evidence import LIMIT
from chaos.gate.messages import (
    Brief,
    Broken,
    Close,
    Closed,
    Collected,
    Done,
    Executed,
    Found,
    Leaked,
    Line,
    Once,
    Report,
    Said,
    Scenario,
    Search,
    Stop,
    Task,
    Told,
    UnderTest,
)
from chaos.gate.seeds import seed_of

WORKER = (sys.executable, "-m", "chaos.gate.worker")
ROUND = 10
"""Plans drawn for one task: enough for Hypothesis to leave its first, simplest ones, and over in half a minute."""
FIRST_ROUND = 3
"""Plans of a scenario's first task: all have a turn before one has many."""
LOOKS = 3
"""Times that everybody looks again when the trouble of a plan is over: up to nine asks that count (docs/gate.md)."""
GLANCE_SECONDS = 5.0
"""Seconds between two looks at how busy the machine's processors are."""
IDLE = 70.0
"""Percent of all processors' time: below it there is room for another home system, which takes half a core."""
BESIDE_SECONDS = 45.0
"""Seconds that must be left for another worker: a third of them go into its start and its controls."""
FEWEST_SECONDS = 5.0
"""Seconds that a task needs to be worth its beginning: some cases."""
FIRST_SECONDS = 15.0
"""Seconds that a worker's first task takes beside: a home system, and the controls before and after (13, measured)."""
SILENCE = 600.0
"""Seconds without a word after which a worker that runs cases is taken for hung; a case takes two."""
SILENCE_AT_START = 1200.0
"""The same while it starts its first home: images may be built, and one build may be silent for 900."""
FAILURES = 3
"""Workers that may die over the same task, or before their first, until the gate gives up."""
ENDING = 12.0
"""Seconds that a worker has to end its nodes in order after it was told to stop."""


class Lost(msgspec.Struct, frozen=True):
    """A worker that ended before it was told to, or said that it cannot go on."""

    number: int
    why: str
    cases: int


class Hand(msgspec.Struct, kw_only=True):
    """One worker and what is known of it."""

    number: int
    folder: Path
    log: Path
    process: subprocess.Popen[bytes]
    line: Line
    heard: float
    task: Task | None = None
    tasks: list[Task] = []
    collected: bool = False
    closing: bool = False
    ended: bool = False
    reserve: float
    counted: int = 0
    cases: int = 0
    asks: int = 0
    frames: Counter[str] = msgspec.field(default_factory=Counter)
    closed: Closed | None = None
    broken: Broken | None = None


class Terms(msgspec.Struct, frozen=True):
    """On which terms a crew works: `until` when all must be over, or `cases` how many to execute.

    `workers` work at once, and up to `more` beside where processors idle. `accepted` are fingerprints of findings that
    end the search of their scenario and of no other.
    """

    paths: tuple[str, ...]
    stack: str
    update: str | None
    folder: Path
    workers: int
    seed: int
    shrink_budget: int
    more: int = 0
    until: float | None = None
    cases: int | None = None
    accepted: frozenset[str] = frozenset()
    compose: tuple[str, ...] = ()
    looks: int = LOOKS
    evidence_limit: int = LIMIT
    command: tuple[str, ...] = WORKER
    chosen: dict[str, str] = {}


class Crew:
    """Several workers at one gate. `work` returns when all have ended; everything seen is kept in the attributes."""

    def __init__(self, terms: Terms, tick: Callable[[], object] = lambda: None) -> None:
        self.terms = terms
        self.scenarios: tuple[Scenario, ...] = ()
        self.notes: list[str] = []
        self.found: list[Found] = []
        self.leaks: list[tuple[str, Leaked]] = []
        self.told: list[tuple[int, Told]] = []
        self.under_test = UnderTest()
        self.lost: list[Lost] = []
        self.skipped: dict[str, str] = {}
        self.unusable: str | None = None
        self.doing: dict[int, str] = {}
        self.cases_to_first_foreign: int | None = None
        self.met: set[Fault] = set()
        self.hands: list[Hand] = []
        self._tick = tick
        self._known = False
        self._again: deque[Task] = deque()
        self._turn: deque[str] = deque()
        self._rounds: Counter[str] = Counter()
        self._barren: Counter[str] = Counter()
        self._executed = 0
        self._deaths: Counter[str] = Counter()
        self._called_off = False
        self._looked = time.monotonic()
        self.workers = terms.workers
        """Workers that are hired, but for those in the place of one that was lost."""
        self.stopped = False
        """Whether the workers were told to stop, by whoever runs the gate."""

    # What was counted as it happened; cases that shrinking takes are not among them.

    @property
    def cases(self) -> int:
        """Cases executed so far, by workers that are gone too."""
        return sum(h.cases for h in self.hands)

    @property
    def asks(self) -> int:
        """Asks of these cases."""
        return sum(h.asks for h in self.hands)

    @property
    def frames(self) -> Counter[str]:
        """Displayed frames of these cases, by the judge's words."""
        return sum((h.frames for h in self.hands), Counter())

    @property
    def at_work(self) -> bool:
        """Whether any worker has not ended."""
        return any(not h.ended for h in self.hands)

    # Life.

    def work(self) -> None:
        """Let the workers do what there is to do, and return when all have ended in order."""
        psutil.cpu_percent()  # the first word of it means nothing
        for _ in range(self.terms.workers):
            self._hire()
        while self.at_work:
            lines = [h.line.connection for h in self.hands if not h.ended]
            for ready in wait(lines, timeout=0.2):
                self._listen(next(h for h in self.hands if h.line.connection is ready))
            for hand in [h for h in self.hands if not h.ended]:
                self._look_after(hand)
            self._hire_beside()
            self._tick()

    def stop(self, patience: float = ENDING) -> None:
        """Stop all workers; what they say until they have ended, or `patience` seconds have passed, is heard."""
        self.stopped = True
        for hand in self.hands:
            if not hand.ended:
                with contextlib.suppress(ProcessLookupError):
                    hand.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self.at_work and time.monotonic() < deadline:
            lines = [h.line.connection for h in self.hands if not h.ended]
            for ready in wait(lines, timeout=0.1):
                self._listen(next(h for h in self.hands if h.line.connection is ready))
            self._tick()
        self.kill()

    def kill(self) -> None:
        """End what still runs, at once."""
        for hand in self.hands:
            if hand.process.poll() is None:
                hand.process.kill()
            hand.process.wait()
            hand.line.connection.close()
            hand.ended = True

    def _hire_beside(self) -> None:
        """Hire another worker where processors idle while all that there are execute cases, if time is left for it.

        Most of a case is waiting for what is slow, so that one worker a core leaves some of a quiet machine unused. On
        one that is busy another home system would starve all of them: their controls are then not seen.
        """
        now = time.monotonic()
        if self.workers >= self.terms.workers + self.terms.more or now - self._looked < GLANCE_SECONDS:
            return
        self._looked, busy = now, psutil.cpu_percent()  # since the last look
        at_work = [h for h in self.hands if not h.ended]
        ready = at_work and all(h.cases and not h.closing for h in at_work)
        left = math.inf if self.terms.until is None else self.terms.until - now
        if ready and busy < IDLE and left > BESIDE_SECONDS and not self._called_off:
            self.workers += 1
            self._hire()

    def _hire(self) -> None:
        number = len(self.hands) + 1
        folder = self.terms.folder / f"worker-{number}"
        log = self.terms.folder / "logs" / f"worker-{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        terms = self.terms
        brief = Brief(
            paths=terms.paths,
            stack=terms.stack,
            update=terms.update,
            evidence=str(folder),
            shrink_budget=terms.shrink_budget,
            compose=terms.compose,
            looks=terms.looks,
            evidence_limit=terms.evidence_limit,
            chosen=terms.chosen,
        )
        with theirs, log.open("ab") as output:
            process = subprocess.Popen(
                [*self.terms.command, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the gate, which stops its workers in order
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        assert process.stdin is not None, "it was asked for"
        with process.stdin, contextlib.suppress(BrokenPipeError):  # one that died at once is noticed by its line
            process.stdin.write(msgspec.json.encode(brief))
        line = Line(Connection(ours.detach()), Report)
        self.hands.append(
            Hand(
                number=number,
                folder=folder,
                log=log,
                process=process,
                line=line,
                heard=time.monotonic(),
                reserve=FIRST_SECONDS,
            )
        )

    # Listening.

    def _listen(self, hand: Hand) -> None:
        try:
            message: Report = hand.line.hear()
        except (EOFError, OSError):
            self._ended(hand)
            return
        except msgspec.MsgspecError as garbled:
            hand.broken = Broken("bug", f"it said what nobody understands: {garbled}")
            hand.process.kill()
            return
        hand.heard = time.monotonic()
        match message:
            case Collected():
                self._collected(hand, message)
            case Said():
                self.doing[hand.number] = message.line
            case Executed():
                self._count(hand, message)
            case Found():
                self.found.append(message)
                self._accept_or_call_off(hand, message)
            case Done():
                self._done(hand, message)
            case Closed():
                hand.closed = message
                self.told += [(hand.number, t) for t in message.chapters]
                self.under_test = joined(self.under_test, message.under_test)
                self.notes += [f"worker {hand.number}'s evidence: {what}" for what in message.dropped]
            case Broken():
                hand.broken = message

    def _collected(self, hand: Hand, message: Collected) -> None:
        hand.collected = True
        if not self._known:
            self._known = True
            self.scenarios = message.scenarios
            self.notes += message.notes
            self._turn = deque(s.id for s in message.scenarios if s.cases)
            self._again.extend(Once(s.id) for s in message.scenarios if not s.cases)
            if not message.scenarios:
                self.unusable = (
                    f"there is no scenario in {', '.join(self.terms.paths)}; expected files test_*.py with a "
                    "Household and its TestCase, or tests that take the fixture `home`; `ownframe new NAME` writes one"
                )

    def _count(self, hand: Hand, message: Executed) -> None:
        if message.kind != "again":
            hand.cases += 1
            hand.asks += message.asks
            hand.frames.update(message.frames)
            if message.frames.get("foreign") and self.cases_to_first_foreign is None:
                self.cases_to_first_foreign = self.cases
        if message.leaked is not None:
            self.leaks.append((message.scenario, message.leaked))
            if message.kind != "again" and not self.terms.accepted:  # else only its fingerprint tells
                self._call_off(hand)

    def _accept_or_call_off(self, hand: Hand, found: Found) -> None:
        if found.fingerprint not in self.terms.accepted:
            self._call_off(hand)
        elif found.scenario in self._turn:
            self._turn.remove(found.scenario)

    def _call_off(self, finder: Hand) -> None:
        """Somebody saw a stranger: the others end their search."""
        self._called_off = True
        for hand in self.hands:
            if hand is not finder and not hand.ended and not hand.closing:
                with contextlib.suppress(OSError):
                    hand.line.say(Stop())

    def _done(self, hand: Hand, message: Done) -> None:
        task, hand.task, hand.reserve = hand.task, None, message.reserve
        self.met.update(message.met)
        match task:
            case Search():
                hand.tasks.append(task)
                hand.counted += message.executed
                self._executed += message.executed
                self._barren[task.scenario] = 0 if message.executed else self._barren[task.scenario] + 1
                if message.skipped is not None:
                    self.skipped[task.scenario] = message.skipped
            case Once():
                self._executed += message.executed
                if message.told is not None:
                    self.told.append((hand.number, message.told))
                if message.skipped is not None:
                    self.skipped[task.test] = message.skipped
            case None:
                pass

    # Handing out.

    def _look_after(self, hand: Hand) -> None:
        """Give a worker that waits its next task, or let it close; take one for lost that says nothing any more."""
        if hand.collected and hand.task is None and not hand.closing:
            self._give(hand)
        silent = time.monotonic() - hand.heard
        if silent > (SILENCE if hand.cases else SILENCE_AT_START):
            hand.broken = Broken("surroundings", f"it said nothing for {silent:.0f} s")
            hand.process.kill()

    def _give(self, hand: Hand) -> None:
        hand.task = None if self._called_off else self._next(hand)
        try:
            if hand.task is not None:
                hand.line.say(hand.task)
            elif self._called_off or not self._waits_for_others():
                hand.closing = True
                hand.line.say(Close(tuple(self.met), quick=self._called_off))
        except OSError:
            pass  # it has ended, which its line says next

    def _waits_for_others(self) -> bool:
        """Whether there may be more to do once others have told what their tasks took."""
        return self.terms.cases is not None and self._left() <= 0 < self._left(without_open=True)

    def _next(self, hand: Hand) -> Task | None:
        if not self._is_worth(hand.reserve):
            return None
        if self._again:
            task = self._again.popleft()
            return msgspec.structs.replace(task, met=tuple(self.met)) if isinstance(task, Search) else task
        fertile = [s for s in self._turn if s not in self.skipped and self._barren[s] < 2]
        if not fertile:
            return None
        scenario = fertile[0]
        cases = ROUND if self._rounds[scenario] else FIRST_ROUND
        if self.terms.cases is not None:
            cases = min(cases, self._left())
        if cases <= 0:
            return None
        self._turn.remove(scenario)
        self._turn.append(scenario)
        number = self._rounds[scenario]
        self._rounds[scenario] += 1
        seed = seed_of(self.terms.seed, self.name_of(scenario), number)
        return Search(scenario, number, cases, seed, self.terms.until, tuple(self.met))

    def _is_worth(self, reserve: float) -> bool:
        """Whether there is time for a task by a worker that needs `reserve` seconds beside."""
        return self.terms.until is None or time.monotonic() + reserve + FEWEST_SECONDS <= self.terms.until

    def _left(self, *, without_open: bool = False) -> int:
        """Return how many cases of the budget nobody has taken."""
        assert self.terms.cases is not None, "asked only of a budget of cases"
        given = [*(h.task for h in self.hands if h.task is not None and not h.ended), *self._again]
        taken = 0 if without_open else sum(t.cases if isinstance(t, Search) else 1 for t in given)
        return self.terms.cases - self._executed - taken

    # Ending.

    def _ended(self, hand: Hand) -> None:
        """Tell a worker that closed in order from one that was lost, whose work goes back."""
        try:
            code = hand.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            hand.process.kill()
            code = hand.process.wait()
        hand.line.connection.close()
        hand.ended = True
        self.doing.pop(hand.number, None)
        if hand.closed is not None or (self.stopped and hand.broken is None):
            return
        self.lost.append(Lost(hand.number, _why(hand, code), hand.cases))
        self._again.extendleft(reversed([t for t in (*hand.tasks, hand.task) if t is not None]))
        self._executed -= hand.counted
        self._replace(hand)

    def _replace(self, hand: Hand) -> None:
        """Hire another in place of one that was lost, unless it would only be lost over the same."""
        over = msgspec.json.encode(hand.task).decode() if hand.task is not None else "start"
        self._deaths[over] += 1
        hopeless = hand.broken is not None and hand.broken.trouble in ("misuse", "cannot run here")
        if hopeless or self._deaths[over] >= FAILURES or sum(self._deaths.values()) > self.terms.workers + FAILURES:
            self.unusable = self.lost[-1].why
            self._call_off(hand)
        elif not self._called_off and not self.stopped and self._is_worth(FIRST_SECONDS):
            self._hire()

    def name_of(self, scenario: str) -> str:
        """Return the name to tell a scenario by: its own, or pytest's id where two have the same."""
        names = Counter(s.name for s in self.scenarios)
        found = next((s.name for s in self.scenarios if s.id == scenario), scenario)
        return found if names[found] == 1 else scenario


def _why(hand: Hand, code: int) -> str:
    if hand.broken is not None:
        where = f"; its log is {hand.log}" if hand.broken.trouble == "bug" else ""
        return hand.broken.sentence + where
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
    return f"it ended by itself with {how}; its last lines:\n{tail(hand.log)}"


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    try:
        said: Sequence[str] = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        said = ()
    return "\n".join(f"  | {line}" for line in said) or "  | (it logged nothing)"


def joined(one: UnderTest, other: UnderTest) -> UnderTest:
    """Return what two workers ran as what one ran."""
    return UnderTest(
        one.images | other.images,
        one.sources | other.sources,
        tuple(dict.fromkeys((*one.links, *other.links))),
        tuple(sorted({*one.kinds, *other.kinds})),
        tuple(sorted({*one.composed, *other.composed})),
    )

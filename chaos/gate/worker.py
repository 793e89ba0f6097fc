"""One worker of a gate: a process with a run of its own (home systems, Toxiproxy, evidence) that does what it is told.

It runs pytest, so that it finds exactly what ``pytest PATHS`` finds, with the conftest files, fixtures, marks and
parameters of whoever wrote the tests; but in place of going through them once it takes orders, one at a time. A
scenario is searched a little for each order, in one chapter that lasts from the first to the last of them.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest

from chaos import current, report
from chaos.conditions import REFUSED, TOXICS, Fault
from chaos.errors import CannotRunHere, Misuse, OwnframeError, Surroundings
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
    Order,
    Said,
    Scenario,
    Search,
    Stop,
    Told,
    Trouble,
    UnderTest,
)
from chaos.household import Household, Inconclusive, Leak
from chaos.run import CaseResult, Chapter, Run, Settings, sentence
from chaos.verdict import Conclusion, Judged, conclude, exercised

if TYPE_CHECKING:
    from chaos.home import Home

CASE = 2.0
"""Seconds of a case, before any was seen; 1.1 to 2.7 on two cores (measured)."""
MARGIN = 1.0
"""Seconds kept for what comes after the last control."""
_ARGUMENTS = ("-o", "addopts=", "-p", "no:cacheprovider", "--capture=no", "--tb=short", "--color=no")
"""A gate's own: what a project gives every pytest (``-n 4``, ``-x``, ``--cov``) is not for it."""


def _troubled(error: BaseException) -> Trouble:
    kinds: dict[type[BaseException], Trouble] = {
        Misuse: "misuse",
        CannotRunHere: "cannot run here",
        Surroundings: "surroundings",
    }
    return next((t for kind, t in kinds.items() if isinstance(error, kind)), "bug")


class _Home:
    """The chapters of one set of owners, which share a home system and its controls."""

    def __init__(self) -> None:
        self.chapters: dict[str, Chapter] = {}
        self.control_seconds = 0.0


class Worker:
    """A pytest plugin that takes orders in place of pytest's own loop."""

    def __init__(self, line: Line, brief: Brief) -> None:
        self._line = line
        self._brief = brief
        self._run: Run | None = None
        self._items: dict[str, pytest.Item] = {}
        self._wrong: list[str] = []
        self._homes: dict[tuple[tuple[str, ...], tuple[str, ...]], _Home] = {}
        self._doing: Search | Once | None = None
        self._kind: Literal["search", "directed", "again"] = "search"
        self._stop = False
        self._failed: list[str] = []
        self._skipped: str | None = None
        self._told_findings = 0
        self._broken: OwnframeError | None = None
        self._marks: dict[str, int] = {}
        self._drawn: set[Fault] = set()
        self._met: set[Fault] = set()
        self._case_seconds: list[float] = []
        self._until: float | None = None

    # What pytest asks.

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Let scenarios and the `home` fixture use this worker's run."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(current.running(self.run))
            stack.enter_context(current.conducting(self._search))
            config.add_cleanup(stack.pop_all().close)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be collected."""
        if report.failed:
            self._wrong.append(f"{report.nodeid or 'pytest'}: {report.longreprtext}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note what a test raised, once pytest knows it (a `TestCase` tells it late)."""
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        if isinstance(error, pytest.skip.Exception):
            self._skipped = str(error)
        elif isinstance(error, OwnframeError):
            self._broken = error
        elif call.excinfo is not None and not isinstance(error, Leak | Inconclusive) and not report.skipped:
            said = call.excinfo.exconly().splitlines()[0]
            self._failed.append(f"{said}\n{item.repr_failure(call.excinfo)}")
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Say what there is, and do what is ordered until that is to close."""
        try:
            self._work(session.items)
        except KeyboardInterrupt:  # asked to stop: what was seen until now still counts for something
            if self._run is not None and isinstance(self._doing, Search):
                self._tell_findings(self._doing.scenario)
            self._close(Close(quick=True))
        except OSError:
            pass  # the gate is gone, and nobody listens
        except Exception as error:  # noqa: BLE001 - pytest would call it an error of its own
            said = str(error)
            if not isinstance(error, OwnframeError):
                traceback.print_exc()  # to the worker's log
                said = f"{type(error).__name__}: {error}; this is a bug in ownframe and no verdict, please report it"
            self._line.say(Broken(_troubled(error), said))
        return True

    def _work(self, items: list[pytest.Item]) -> None:
        if self._wrong:
            raise Misuse("a scenario file cannot be used:\n" + "\n".join(self._wrong))
        self._line.say(self._collected(items))
        while True:
            order: Order = self._line.hear()
            match order:
                case Search() | Once():
                    self._do(order)
                case Stop():
                    self._stop = True
                case Close():
                    self._close(order)
                    return

    # The run.

    @property
    def paths(self) -> tuple[str, ...]:
        """Where scenarios are looked for."""
        return self._brief.paths

    def run(self) -> Run:
        """Return this worker's run, started at its first use."""
        if self._run is None:
            brief = self._brief
            folder = Path(brief.evidence)
            settings = Settings(
                stack=brief.stack,
                update=brief.update,
                compose=tuple(Path(file) for file in brief.compose),
                evidence=folder.parent.parent,  # where the register of findings is, beside all runs and gates
                shrink_budget=brief.shrink_budget,
                looks=brief.looks,
                evidence_limit=brief.evidence_limit,
            )
            settings = msgspec.structs.replace(settings, **brief.chosen)
            self._run = Run(settings, folder=folder, say=self._say, on_case=self._tell_case)
        return self._run

    def end(self) -> None:
        """End everything that runs, and write the page about it."""
        if self._run is None:
            return
        run, self._run = self._run, None
        run.close()
        parts = [(f"{run.evidence.folder.name}: {run.title}", run.evidence, run.findings)]
        try:
            report.write_page(run.evidence.folder / "index.html", parts)
        except Exception:  # noqa: BLE001 - a page is no part of the answer; why there is none is in the log
            traceback.print_exc()

    def _say(self, line: str) -> None:
        self._line.say(Said(line))

    def _tell_case(self, result: CaseResult) -> None:
        if self._doing is None:
            return
        frames: dict[str, int] = {}
        for judged in result.frames:
            frames[judged.verdict.word] = frames.get(judged.verdict.word, 0) + 1
        leaked = self._leaked(result.leaks) if result.leaks else None
        scenario = self._doing.scenario if isinstance(self._doing, Search) else self._doing.test
        asks = result.plan.asks or len({j.ask.ask for j in result.frames if j.ask is not None})
        self._line.say(Executed(scenario, self._kind, asks, frames, leaked))

    def _leaked(self, leaks: tuple[Judged, ...]) -> Leaked:
        worst = min(leaks, key=lambda j: (j.verdict, j.frame.at))
        stored = self.run().evidence.full(worst.frame.digest)
        return Leaked(sentence(worst), worst.frame.at, worst.verdict.word, str(stored) if stored.exists() else None)

    # Collecting.

    def _collected(self, items: list[pytest.Item]) -> Collected:
        scenarios: list[Scenario] = []
        others = 0
        for item in items:
            household = _household(item)
            if household is None and "home" not in getattr(item, "fixturenames", ()):
                others += 1
                continue
            self._items[item.nodeid] = item
            file, line = _place(item, household)
            scenarios.append(
                Scenario(
                    id=item.nodeid,
                    name=household.__name__ if household is not None else item.name,
                    file=file,
                    line=line,
                    cases=household.cases if household is not None else 0,
                    minimum_strong_asks=household.rules_of_age.minimum_strong_asks if household is not None else 0,
                )
            )
        notes = (
            [f"{others} {'test that takes' if others == 1 else 'tests that take'} no home left to pytest"]
            if others
            else []
        )
        notes += _never_run(items)
        return Collected(tuple(scenarios), tuple(notes))

    # Doing.

    def _do(self, task: Search | Once) -> None:
        self._begin(task)
        concluded, executed = dict(self.run().conclusions), self._executed()
        item = self._items[task.scenario if isinstance(task, Search) else task.test]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        current.check_stop()
        if self._broken is not None:
            raise self._broken
        if isinstance(task, Search):
            if self._failed:
                raise Misuse(f"the scenario {task.scenario} fails by itself: {self._failed[0]}")
            self._investigate(task.scenario)
            done = Done(
                self._executed() - executed,
                self._reserve(task.met),
                tuple(self._drawn),
                tuple(self._met),
                skipped=self._skipped,
            )
        else:
            new = next((c for name, c in self.run().conclusions.items() if concluded.get(name) is not c), None)
            told = self._told_of_test(task.test, new)
            done = Done(int(self._skipped is None), self._reserve(()), told=told, skipped=self._skipped)
        self._doing = None
        self._line.say(done)

    def _begin(self, task: Search | Once) -> None:
        self._doing, self._kind = task, "search"
        self._failed, self._broken, self._skipped = [], None, None

    def _search(self, scenario: type[Household]) -> None:
        """Search a scenario a little: what pytest's item comes to in a worker."""
        __tracebackhide__ = True
        task = self._doing
        assert isinstance(task, Search), "pytest runs a scenario's item only when it was ordered"
        chapter = self._chapter(task.scenario, scenario)
        self._until = task.until
        began, before = time.monotonic(), self._executed()
        chapter.over = lambda: self._over(chapter, task, began, before)
        if not chapter.over():
            scenario.hunt(chapter, task.cases, task.seed)
        if executed := self._executed() - before:
            self._case_seconds.append((time.monotonic() - began) / executed)
        self._count(task.scenario, chapter)

    def _chapter(self, scenario: str, household: type[Household]) -> Chapter:
        """Return the scenario's chapter; those of the same owners begin together, on one control."""
        home = self._homes.setdefault((household.homes, household.rooms), _Home())
        if scenario not in home.chapters:
            for name, item in self._items.items():
                other = _household(item)
                if other is not None and (other.homes, other.rooms) == (household.homes, household.rooms):
                    began = time.monotonic()
                    self.run().home(other.homes, rooms=other.rooms)
                    started = time.monotonic()
                    rules, rooms = other.rules_of_age, other.rooms
                    home.chapters[name] = Chapter(self.run(), other.__name__, other.homes, rules, rooms=rooms)
                    home.control_seconds = max(home.control_seconds, time.monotonic() - max(began, started))
        return home.chapters[scenario]

    def _chapters(self) -> dict[str, Chapter]:
        return {name: chapter for home in self._homes.values() for name, chapter in home.chapters.items()}

    def _executed(self) -> int:
        return sum(c.executions for c in self._chapters().values())

    def _count(self, scenario: str, chapter: Chapter) -> None:
        """Add what the newest events of a chapter drew and met."""
        new = exercised(chapter.events[self._marks.get(scenario, 0) :], ())
        self._marks[scenario] = len(chapter.events)
        self._drawn.update(new.drawn)
        self._met.update(f for f, _ in new.met)

    def _over(self, chapter: Chapter, task: Search, began: float, before: int) -> bool:
        """Whether the search must end: somebody saw a stranger, or what is left of the time is needed for closing."""
        while self._line.connection.poll():
            order = self._line.hear()
            assert isinstance(order, Stop), "while a worker searches it is told nothing else"
            self._stop = True
        if self._stop:
            return True
        if task.until is None:
            return False
        self._count(task.scenario, chapter)
        executed = self._executed() - before
        a_case = (time.monotonic() - began) / executed if executed else self._a_case()
        return time.monotonic() + a_case + self._reserve(task.met) > task.until

    def _a_case(self) -> float:
        recent = self._case_seconds[-3:]
        return sum(recent) / len(recent) if recent else CASE

    def _reserve(self, met: tuple[Fault, ...]) -> float:
        """Return the seconds that directed cases and the last controls will take."""
        unmet = len(self._drawn - self._met - set(met))
        return MARGIN + 1.25 * (sum(h.control_seconds for h in self._homes.values()) + unmet * self._a_case())

    def _investigate(self, scenario: str) -> None:
        chapter = self._chapters()[scenario]
        if chapter.leaked is None:
            return
        plan, chapter.leaked, self._kind = chapter.leaked, None, "again"
        chapter.investigate(plan)
        self._tell_findings(scenario)

    def _tell_findings(self, scenario: str) -> None:
        """Tell of findings that were not told yet: of one whose shrinking was stopped, what is known until then."""
        for finding in self.run().findings[self._told_findings :]:
            self._told_findings += 1
            self._line.say(
                Found(
                    scenario,
                    finding.sentence,
                    finding.leak.verdict.word,
                    finding.leak.frame.at,
                    program=finding.plan.program(),
                    plan=finding.plan.to_json().decode(),
                    picture=None if finding.picture is None else str(finding.picture),
                    hits=finding.hits,
                    tries=finding.tries,
                    note=finding.remarks,
                    fingerprint=finding.fingerprint,
                    replay=None if finding.replay is None else str(finding.replay),
                    where=finding.whence.sentence if finding.whence else "",
                )
            )

    def _told_of_test(self, test: str, conclusion: Conclusion | None) -> Told | None:
        failure = self._failed[0] if self._failed else None
        if conclusion is not None:
            if conclusion.leaks:
                leak = self._leaked(conclusion.leaks)
                self._line.say(Found(test, leak.sentence, leak.verdict, leak.at, picture=leak.picture))
            return _told(test, conclusion, failure)
        nothing = exercised((), ())
        return Told(test, nothing, {}, (), (), failure) if failure else None

    # Closing.

    def _close(self, order: Close) -> None:
        """Conclude every chapter, and say so; nothing of a quick close touches a home."""
        chapters = self._chapters()
        if not order.quick:
            for name, chapter in chapters.items():
                self._doing, self._kind = Search(name, 0, 0, 0), "directed"
                if not chapter.has_leaked:  # an accepted leak has ended its search
                    chapter.direct(order.met)
                    self._investigate(name)
        told = []
        for name, chapter in chapters.items():
            self._doing, self._kind = Search(name, 0, 0, 0), "directed"
            if order.quick:
                concluded = conclude(chapter.events, chapter.rules, controls=1)
                self.run().conclusions[chapter.name] = concluded  # the page says what was tried until then
            else:
                concluded = chapter.finish(order.met)
            told.append(msgspec.structs.replace(_told(name, concluded), finished=not order.quick))
        self._doing = None
        dropped = () if self._run is None else self._run.evidence.dropped
        self._line.say(Closed(tuple(told), self._under_test(), dropped))

    def _under_test(self) -> UnderTest:
        homes: list[Home] = [] if self._run is None else list(self._run.homes)
        images: dict[str, str] = {}
        sources: dict[str, str] = {}
        links: dict[str, None] = {}
        kinds: set[str] = {*TOXICS, REFUSED} if homes else set()
        for home in homes:
            images |= home.stack.images()
            sources |= home.digests
            links |= dict.fromkeys(k.name for k in home.topology.links)
            kinds |= set(home.stack.faults)
        own = None if self._run is None else self._run.system
        composed = () if own is None else (own.digest,)
        return UnderTest(images, sources, tuple(links), tuple(sorted(kinds)), composed)


def _told(scenario: str, concluded: Conclusion, failure: str | None = None) -> Told:
    return Told(scenario, concluded.exercise, concluded.counts, concluded.doubts, concluded.controls, failure)


def _household(item: pytest.Item) -> type[Household] | None:
    found = getattr(getattr(item, "cls", None), "household", None)
    return found if isinstance(found, type) and issubclass(found, Household) else None


def _place(item: pytest.Item, household: type[Household] | None) -> tuple[str, int]:
    """Return the file and line in which a test is written; a scenario's `TestCase` is made elsewhere."""
    if household is not None:
        with contextlib.suppress(OSError, TypeError):
            return str(inspect.getsourcefile(household)), inspect.getsourcelines(household)[1]
    file, line, _ = item.reportinfo()
    return str(file), (line or 0) + 1


def _never_run(items: list[pytest.Item]) -> Iterator[str]:
    """Yield a sentence for each scenario of the collected files that has no TestCase, so that nothing ever runs it."""
    run = {_household(item) for item in items}
    modules = {m.__name__: m for m in (getattr(item, "module", None) for item in items) if m is not None}
    for module in modules.values():
        defined = [
            v
            for v in vars(module).values()
            if isinstance(v, type) and issubclass(v, Household) and v.__module__ == module.__name__
        ]
        for one in defined:
            if one not in run and not any(other is not one and issubclass(other, one) for other in defined):
                yield (
                    f"{one.__name__} was not run: pytest finds a scenario by its TestCase; "
                    f"add the line `Test{one.__name__} = {one.__name__}.TestCase`"
                )


def _end_with_the_gate() -> None:
    """Let this process be stopped, in order, when the gate's own is gone (a ``kill -9``)."""
    gate = os.getppid()

    def watch() -> None:
        while os.getppid() == gate:
            time.sleep(0.5)  # between two looks at a condition
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="ownframe-gate-watch", daemon=True).start()


def main() -> int:
    """Work for the gate at the other end of the file descriptor that is the first argument."""
    worker = Worker(Line(Connection(int(sys.argv[1])), Order), msgspec.json.decode(sys.stdin.buffer.read(), type=Brief))
    os.environ.pop("PYTEST_ADDOPTS", None)
    with current.stoppable():
        _end_with_the_gate()
        try:
            return int(pytest.main([*_ARGUMENTS, *worker.paths], plugins=[worker]))
        finally:
            worker.end()


if __name__ == "__main__":
    sys.exit(main())

"""One gate from its options to its result: what is checked first, what is written when, who is told."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chaos import evidence, updates
from chaos.contracts.reference import topology_of
from chaos.errors import Misuse, OwnframeError, nearest
from chaos.gate import accepted as acceptances
from chaos.gate import ci, page, result, seeds
from chaos.gate.cluster import Cluster
from chaos.gate.crew import Crew, Terms
from chaos.gate.gathered import Frame, gathered
from chaos.gate.options import Options, engine
from chaos.gate.result import Compose, Result, Update
from chaos.run import STACKS, own_system
from chaos.scenarios import scenario_folder

INTERIM = 5.0
"""Seconds between two interim results in the file, for whoever looks at it, or finds it after a ``kill -9``."""

_OF_ANY_HOME = ("test_three_homes_one_relay.py", "test_everything_at_once.py")


class _OutOfTime(Exception):  # noqa: N818 - not an error of anybody's
    """The gate's own time-out has passed."""


class Gate:
    """One gate. `crew` has the numbers while it works, `until` is when its budget of time ends."""

    def __init__(self, options: Options, watch: Callable[[Gate], object] = lambda _: None) -> None:
        self.options = options
        self._watch = watch
        self._began = time.monotonic()
        self._began_at = datetime.now(tz=UTC)
        self._written = 0.0
        paths = _checked_paths(options.paths) or _default_paths(options)
        if options.stack not in STACKS:
            raise Misuse(f"there is no stack {options.stack!r}{nearest(options.stack, list(STACKS))}")
        compose = _own(options)
        stack = options.stack if compose is None else "docker"
        update = updates.find(options.update) if options.update else None
        choices = {name: value for name, value in options.chosen.items() if name != "confirm_on"}
        if update is not None:
            updates.check_runs_here(update, stack, choices)
        for chosen in (choices, {"display": options.confirm_on} if options.confirm_on else {}):
            topology_of(("ada", "grace", "lin"), update, chosen)  # raises Misuse for what there is not
        accepted = () if options.accepted is None else acceptances.read(options.accepted)
        name = update.name if update is not None else "reference" if compose is None else "yours"
        self.folder = evidence.new_folder(options.evidence.resolve(), f"gate-{stack}-{name}")
        self.until = None if options.budget.seconds is None else self._began + options.budget.seconds
        self._frame = Frame(
            budget=options.budget,
            timeout=options.timeout,
            seed=seeds.fresh() if options.seed is None else options.seed,
            workers=options.workers,
            stack=stack,
            compose=compose,
            update=None if update is None else Update(update.name, update.description.title, update.digest),
            evidence=str(self.folder),
            began=self._began,
            began_at=self._began_at,
            accepted=accepted,
        )
        terms = Terms(
            paths=tuple(str(p) for p in paths),
            stack=stack,
            compose=() if compose is None else compose.files,
            looks=options.looks,
            evidence_limit=options.evidence_limit,
            update=None if update is None else str(update.folder),
            folder=self.folder,
            workers=options.workers,
            more=options.more,
            seed=self._frame.seed,
            shrink_budget=options.shrink_budget,
            until=self.until,
            cases=options.budget.cases,
            accepted=frozenset(a.fingerprint for a in accepted if not a.expired(self._began_at.date())),
            command=options.command,
            chosen=options.chosen,
        )
        address = engine(options.engine)
        self.crew = Crew(terms, self._tick) if address is None else Cluster(terms, address or None, self._tick)

    def hold(self) -> Result:
        """Let the workers work, and return what it came to; its files are written whatever happens."""
        stopped = unusable = None
        self._write(self._result(finished=False))
        try:
            self.crew.work()
        except KeyboardInterrupt:
            stopped = f"stopped by a signal after {self._age():.0f} s"
        except _OutOfTime:
            stopped = f"its time-out of {self.options.timeout:.0f} s has passed (--timeout)"
        except OwnframeError as failed:
            unusable = str(failed)
        finally:
            if self.crew.at_work:
                self._end(stopped, unusable)
        final = self._result(finished=True, stopped=stopped, unusable=unusable)
        self._write(final)
        try:
            page.write_page(self.folder, final)
        except Exception:  # noqa: BLE001 - a page is no part of the answer
            traceback.print_exc()
        return final

    def _end(self, stopped: str | None, unusable: str | None) -> None:
        """Write what is known at once, since who sent the signal may not wait; then end the workers in order."""
        self._write(self._result(finished=True, stopped=stopped or "it broke off", unusable=unusable))
        try:
            self.crew.stop()
        except (KeyboardInterrupt, _OutOfTime):
            pass  # asked twice: at once, then
        finally:
            self.crew.kill()

    def _age(self) -> float:
        return time.monotonic() - self._began

    def _tick(self) -> None:
        self._watch(self)
        if self.options.timeout is not None and self._age() > self.options.timeout and not self.crew.stopped:
            raise _OutOfTime
        if self._age() - self._written > INTERIM and not self.crew.stopped:
            self._written = self._age()
            self._write(self._result(finished=False))

    def _result(self, *, finished: bool, stopped: str | None = None, unusable: str | None = None) -> Result:
        now = time.monotonic()
        frame = msgspec.structs.replace(self._frame, workers=self.crew.workers)
        return gathered(frame, self.crew, now, finished=finished, stopped=stopped, unusable=unusable)

    def _write(self, told: Result) -> None:
        content = result.to_json(told)
        for file in (self.folder / "gate.json", self.options.json):
            if file is not None:
                result.write(file, content)
        if told.finished and self.options.junit is not None:
            result.write(self.options.junit, ci.junit(told))


def _own(options: Options) -> Compose | None:
    """Return the compose files to put under test, or None without any; raises `Misuse` for all that is wrong there."""
    if not options.compose:
        return None
    if engine(options.engine) is not None:
        raise Misuse(
            f"--engine {options.engine} takes the reference home and updates of it to other machines; what a compose "
            "file needs beside it (folders to build from, files that are mounted) does not travel: leave --engine out"
        )
    system = own_system(options.compose, options.update)
    return Compose(tuple(str(file.absolute()) for file in options.compose), system.digest)


def _checked_paths(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return where to look for scenarios; raises `Misuse` for a path where nothing is."""
    for path in paths:
        file = Path(str(path).partition("::")[0])
        if not file.exists():
            raise Misuse(f"there is no file or folder {file}; expected scenario files, or folders of them")
    return tuple(Path(p if "::" in str(p) else p.resolve()) for p in paths)


def _default_paths(options: Options) -> tuple[Path, ...]:
    """Return the scenarios that come with ownframe: of somebody's own home system, those that name no node or link."""
    folder = scenario_folder()
    return tuple(folder / name for name in _OF_ANY_HOME) if options.compose else (folder,)

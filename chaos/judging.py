"""`ownframe judge`: files and folders in, one JSON line a frame out, on all cores.

Each worker is a process with a pipe of its own: a full pipe makes it wait, so that memory is bounded; and a codec that
a hostile file kills takes nothing with it but that file.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chaos import frames, media
from chaos.errors import Misuse
from chaos.identity import Box, Key, Register, Registered, Seen, Slivers, anchor, read, search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess

PATIENCE = 120.0
"""Seconds without a line after which a file is given up."""
STARTING = 120.0
"""Seconds that a process may take to begin, which is not the file's fault."""
BATCH = 64
"""Lines a message."""


class Named(msgspec.Struct, frozen=True):
    """One owner in a frame.

    `by` is 'mac', or 'match' where a sliver was compared with the registered owners: a weaker kind of finding, which is
    nobody's with a probability of at most `chance`.
    """

    owner: int
    camera: int
    case: int
    tiles: int
    by: str
    name: str | None = None
    frame: int | None = None
    captured_ms: int | None = None
    chance: float | None = None
    key: str = ""


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is printed of one frame."""

    file: str
    number: int
    verdict: str
    owners: tuple[Named, ...] = ()
    seconds: float | None = None
    reason: str = ""


class Task(msgspec.Struct, frozen=True):
    """What a frame is judged by. With an `owner` (and `camera`) a frame is own or somebody else's, without it is named.

    `register` gives numbers their names, and lets slivers be matched; `box` is where the picture sits in each frame, in
    pixels; `cases` are those whose slivers are matched beside the cases that a frame itself names. Without a `box`, a
    frame that names nobody is searched for a picture that is cut off; with `find`, for a test card, and for a picture
    among other things.
    """

    keys: tuple[Key, ...]
    register: Register | None = None
    owner: int | None = None
    camera: int | None = None
    box: Box | None = None
    cases: tuple[int, ...] = ()
    find: bool = False


def task(
    keys: tuple[Key, ...],
    owners: Path | None,
    owner: str | None,
    camera: int | None,
    box: str | None,
    cases: tuple[int, ...] = (),
    cameras: int = 1,
    *,
    find: bool = False,
) -> Task:
    """Return the task of a command line. Raises `Misuse` for what it cannot mean."""
    register = None if owners is None else Register(_names(owners), tuple(f"camera {n + 1}" for n in range(cameras)))
    number: int | None = None
    if owner is not None and owner.isdecimal():
        number = int(owner)
    elif owner is not None and register is None:
        raise Misuse(
            f"the owner {owner!r} is a name, and there are no names; give --owners FILE, or the owner's number"
        )
    elif owner is not None and register is not None:
        number = register.owner_number(owner)
    if camera is not None and owner is None:
        raise Misuse("a camera was named without its owner; give --owner too")
    return Task(keys, register, number, camera, None if box is None else _box(box), cases, find)


def _names(file: Path) -> tuple[str, ...]:
    try:
        with file.open(encoding="utf-8") as opened:
            return tuple(line.strip() for line in opened.read(1 << 24).splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as refused:
        why = getattr(refused, "strerror", None) or "it is no text"
        raise Misuse(f"the owners' names in {file} cannot be read ({why}); expected a name a line") from None


def _box(text: str) -> Box:
    try:
        return Box(*(float(part) for part in text.split(",")))
    except (ValueError, TypeError):
        raise Misuse(f"the box is {text!r}; expected X,Y,W,H in pixels, such as 0,12,1024,576") from None


def summary(counts: Counter[str], task: Task) -> str:
    """Return one line that says what came of it."""
    total = sum(counts.values())
    told = ", ".join(f"{n:,} {verdict}" for verdict, n in sorted(counts.items())) or "nothing to judge"
    ids = " ".join(key.id for key in task.keys)
    hint = (
        f"; nothing authenticates under key {ids}: is it the run's?" if total and counts["unreadable"] == total else ""
    )
    return f"{total:,} frame{'' if total == 1 else 's'}: {told}{hint}"


def exit_code(counts: Counter[str]) -> int:
    """Return 1 for somebody else's picture, 2 for nothing or for what nobody can say, 0 otherwise."""
    if counts["foreign"] or counts["misdirected"]:
        return 1
    return 2 if counts["unreadable"] or not sum(counts.values()) else 0


class Judge:
    """Judges the frames of files, one after the other, in this process."""

    def __init__(self, task: Task) -> None:
        self._task = task
        registered = () if task.register is None else Registered.all_of(task.register)
        self._slivers = Slivers(task.keys[0], registered, task.cases) if registered else None

    def lines(self, file: str) -> Iterator[Line]:
        """Yield a line for each frame of a file, and one with a reason for what cannot be read."""
        place: Box | None = None
        for shot in media.shots(Path(file), quick=self._task.box is None and not self._task.find):
            if shot.plane is None:
                yield Line(file, shot.number, "unreadable", seconds=shot.seconds, reason=shot.reason)
                continue
            seen = read(shot.plane, self._task.keys, self._task.box, self._slivers)
            if not seen and self._task.find and (card := anchor.straightened(shot.plane)) is not None:
                seen = read(card, self._task.keys, None, self._slivers)
            if not seen and self._task.box is None:
                plane = shot.plane if self._task.find else frames.quick_size(shot.plane)
                seen, found = search(plane, self._task.keys, self._slivers, place, thorough=self._task.find)
                place = found or place
            named = tuple(self._named(s) for s in seen)
            verdict = self._verdict(seen) if seen else "blank" if frames.is_blank(shot.plane) else "unreadable"
            reason = "no badge in it authenticates" if verdict == "unreadable" else ""
            yield Line(file, shot.number, verdict, named, shot.seconds, reason)

    def _named(self, s: Seen) -> Named:
        name = None if self._task.register is None else self._task.register.owner_name(s.owner)
        by = "mac" if s.chance is None else "match"
        return Named(s.owner, s.camera, s.case, s.tiles, by, name, s.frame, s.time_ms, s.chance, s.key_id)

    def _verdict(self, seen: Sequence[Seen]) -> str:
        if self._task.owner is None:
            return "named"
        if any(s.owner != self._task.owner for s in seen):
            return "foreign"
        if self._task.camera is not None and any(s.camera != self._task.camera for s in seen):
            return "misdirected"
        return "own"


def files(paths: Sequence[Path]) -> list[str]:
    """Return the files at `paths`, those of folders in order of their names. Raises `Misuse` for what is not there."""
    found: list[str] = []
    for path in paths:
        if path.is_dir():
            for folder, below, names in os.walk(path):
                below.sort()
                found += [f"{folder}{os.sep}{name}" for name in sorted(names)]
        elif path.exists():
            found.append(str(path))
        else:
            raise Misuse(f"there is no file or folder {path}; expected pictures, videos, or a folder of them")
    return found


def judge(
    task: Task,
    names: Sequence[str],
    jobs: int,
    write: Callable[[bytes], object],
    done: Callable[[], object] = lambda: None,
    patience: float = PATIENCE,
) -> Counter[str]:
    """Judge files on `jobs` processes and return how many frames had which verdict.

    `write` gets JSON lines, whole files after one another for one job and otherwise as they come, a frame's line after
    that of the frame before it; `done` is called after each file.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of the workers: a process a core is enough
    workers: list[_Worker] = []
    counts: Counter[str] = Counter()
    waiting = iter(names)
    try:
        workers = [_Worker(task) for _ in range(max(1, min(jobs, len(names))))]
        for worker in workers:
            worker.begin(next(waiting, None))
        while any(w.file is not None for w in workers):
            busy = [w for w in workers if w.file is not None]
            ready = wait([w.pipe for w in busy], timeout=1.0)
            for worker in busy:
                lines, over = worker.heard() if worker.pipe in ready else worker.silence(patience)
                if lines:
                    counts.update(verdict for verdict, _ in lines)
                    write(b"".join(line for _, line in lines))
                if over:
                    done()
                    worker.begin(next(waiting, None))
    finally:
        for worker in workers:
            worker.stop()
    return counts


class _Worker:
    """One process, and the file that it is at."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.file: str | None = None
        self._since = 0.0
        self._last = -1
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads of codecs
        self.pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, self._task), daemon=True)
        self._process.start()
        self._begun = False
        theirs.close()

    def begin(self, file: str | None) -> None:
        """Hand over the next file, or nothing."""
        self.file, self._since, self._last = file, time.monotonic(), -1
        if file is None:
            return
        try:
            self.pipe.send(file)
        except OSError:  # it ended while it had nothing to do
            self.stop()
            self._start()
            self.pipe.send(file)

    def heard(self) -> tuple[list[tuple[str, bytes]], bool]:
        """Return the lines that came, with their verdicts, and whether the file is over."""
        try:
            lines, last, over = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return self._given_up(f"the decoder ended by itself (code {self._process.exitcode})"), True
        self._since, self._last, self._begun = time.monotonic(), last, True
        return lines, over

    def silence(self, patience: float) -> tuple[list[tuple[str, bytes]], bool]:
        """Give the file up when nothing was heard for `patience` seconds."""
        if time.monotonic() - self._since < (patience if self._begun else max(patience, STARTING)):
            return [], False
        return self._given_up(f"nothing came of it for {patience:.0f} s"), True

    def _given_up(self, why: str) -> list[tuple[str, bytes]]:
        assert self.file is not None
        line = Line(self.file, self._last + 1, "unreadable", reason=f"{why}; the rest of this file was given up")
        self.stop()
        self._start()
        return [(line.verdict, _json(line))]

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        self._process.terminate()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _json(line: Line) -> bytes:
    try:
        return _ENCODER.encode(line) + b"\n"
    except UnicodeEncodeError:  # a name that is no text
        name = os.fsencode(line.file).decode(errors="backslashreplace")
        return _ENCODER.encode(msgspec.structs.replace(line, file=name)) + b"\n"


_ENCODER = msgspec.json.Encoder(order="deterministic")


def _work(pipe: Connection, task: Task) -> None:
    """Judge the files that come through the pipe, until it is closed."""
    import cv2  # noqa: PLC0415 - in the worker

    cv2.setNumThreads(1)
    try:
        worker = Judge(task)
        pipe.send(([], -1, False))
        while True:
            lines: list[tuple[str, bytes]] = []
            last = -1
            for line in worker.lines(pipe.recv()):
                lines.append((line.verdict, _json(line)))
                last = line.number
                if len(lines) >= BATCH:
                    pipe.send((lines, last, False))
                    lines = []
            pipe.send((lines, last, True))
    except (EOFError, OSError, KeyboardInterrupt):
        return

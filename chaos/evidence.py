"""The folder that a run leaves behind: history, displayed frames, logs, findings. Written as things happen.

```
run.json         what was run: stack, update, versions, owners, id of the key (never the key), outcome at the end
history.jsonl    every event of the run, one JSON line each
frames/          every displayed raster by content hash: a small JPEG, and the full PNG around a finding
findings/N/      plan.json, replay.json (see `ownframe replay`), finding.json and finding.txt of one finding
logs/            each node's log, and Toxiproxy's
index.html       the page that shows it
```

Pictures have room up to a limit: beyond it those of displayed frames are left out, except around a finding, and
counted. A log is cut to its end when the run is over. The history is kept whole, since the verdict stands on it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from chaos import frames
from chaos.displays import Raster
from chaos.errors import Misuse, Surroundings
from chaos.history import Event, from_line, to_line

FORMAT = 1
SMALL_WIDTH = 320
LIMIT = 1_000_000_000
"""Bytes that the pictures of one run may take; an hour of the reference home on two cores leaves some 200 MB."""
LOG_LIMIT = 50_000_000
"""Bytes that are kept of a node's log, its end."""
LONGEST_LINE = 4_000_000
"""Bytes of one event; the longest that a run writes, a case's plan, has some 10,000."""
LARGEST_ABOUT = 16_000_000
"""Bytes of ``run.json`` and of what is stored of one finding."""
LARGEST_PICTURE = 64_000_000
MOST_RUNS = 500
DEPTH = 3
_UNITS = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", re.IGNORECASE)


class Evidence:
    """Writes one run's folder. A full disk becomes `Surroundings` that says what is kept; use it as a context.

    `limit` is how many bytes of pictures it may have; `dropped` says what was left out.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        with disk(folder):
            (folder / "frames").mkdir(parents=True, exist_ok=True)
            self.logs = folder / "logs"
            self.logs.mkdir(exist_ok=True)
            self._history: IO[bytes] = (folder / "history.jsonl").open("ab", buffering=0)
            self._length = self._history.seek(0, os.SEEK_END)
        self.folder = folder
        self._limit = limit
        self._room = limit
        self._left_out = 0
        self._cut: dict[str, int] = {}
        self._kept: set[str] = set()
        self._recent: dict[str, Raster] = {}
        self._events: list[Event] = []

    @property
    def history(self) -> tuple[Event, ...]:
        """Every event recorded so far."""
        return tuple(self._events)

    def record(self, events: Iterable[Event]) -> None:
        """Append events; they are in the file when this returns.

        When the disk fills up in the middle, the lines that had room stay and the beginning of another is taken back,
        so that nothing is damaged if the run goes on.
        """
        new = list(events)
        self._events += new
        data = b"".join(to_line(e) + b"\n" for e in new)
        written = 0
        with disk(self.folder):
            try:
                while written < len(data):
                    written += self._history.write(data[written:])
            except OSError:
                written = data.rfind(b"\n", 0, written) + 1
                with contextlib.suppress(OSError):
                    self._history.truncate(self._length + written)
                raise
            finally:
                self._length += written

    def keep(self, raster: Raster, *, full: bool = True) -> None:
        """Store the small picture of a raster once, while there is room.

        With `full`, its pixels stay at hand for `keep_full`.
        """
        if full:
            self._recent[raster.digest] = raster
        if raster.digest in self._kept:
            return
        self._kept.add(raster.digest)
        if self._room <= 0:
            self._left_out += 1
            return
        self._store_small(raster)

    def keep_full(self, digests: Iterable[str]) -> None:
        """Store rasters of the case that just ended in full size, and small, whether there is room or not.

        Those no longer at hand stay small.
        """
        with disk(self.folder):
            for digest in set(digests) & self._recent.keys():
                raster = self._recent[digest]
                path = self.full(digest)
                if not path.exists():
                    path.write_bytes(frames.encode_png(raster.rgb, raster.width, raster.height))
                    self._room -= path.stat().st_size
                if not self._small(digest).exists():
                    self._left_out -= 1
                    self._store_small(raster)

    def _store_small(self, raster: Raster) -> None:
        with disk(self.folder):
            small = frames.thumbnail(raster.rgb, raster.width, raster.height, SMALL_WIDTH)
            self._small(raster.digest).write_bytes(small)
            self._room -= len(small)

    def _small(self, digest: str) -> Path:
        return self.folder / "frames" / f"{digest[:16]}.jpg"

    def cut_logs(self) -> None:
        """Cut logs that are longer than `LOG_LIMIT` to their end; whoever wrote them has ended."""
        with disk(self.folder):
            for log in sorted(self.logs.glob("*.log")):
                beyond = log.stat().st_size - LOG_LIMIT
                if beyond <= 0 or log.is_symlink():
                    continue
                with log.open("rb") as whole:
                    whole.seek(beyond)
                    end = whole.read().partition(b"\n")[2]  # from a line's beginning
                self._cut[log.stem] = log.stat().st_size - len(end)
                log.write_bytes(b"(ownframe: what was before is left out, see run.json)\n" + end)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What is not in the folder, a sentence each."""
        told = []
        if self._left_out:
            told.append(
                f"{self._left_out:,} small pictures of displayed frames were left out, since the run's pictures have "
                f"{describe(self._limit)} of room; their readings are in the history, pictures of findings were kept"
            )
        told += [f"the first {describe(n)} of the log of {node} were left out" for node, n in self._cut.items()]
        return tuple(told)

    def forget(self) -> None:
        """Let go of the pixels of a case that was judged."""
        self._recent.clear()

    def full(self, digest: str) -> Path:
        """Return where the full picture of a raster is stored, if it is."""
        return self.folder / "frames" / f"{digest[:16]}.png"

    def write(self, name: str, content: bytes | str | dict[str, object]) -> Path:
        """Store a file whole or not at all, and return its path."""
        path = self.folder / name
        if isinstance(content, dict):
            content = json.dumps(content, indent=2, sort_keys=True) + "\n"
        data = content.encode() if isinstance(content, str) else content
        with disk(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(data)
            part.replace(path)
        return path

    def close(self) -> None:
        """Close the history."""
        with disk(self.folder):
            self._history.close()


def size(text: str) -> int:
    """Return the bytes that ``500MB`` or ``2GB`` mean; raises `Misuse` for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise Misuse(f"the size is {text!r}; expected a number with a unit, such as 500MB or 2GB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def describe(count: int) -> str:
    """Return a number of bytes as a person says it."""
    unit = next((u for u in ("GB", "MB") if count >= _UNITS[u]), "KB")
    return f"{count / _UNITS[unit]:.3g} {unit}"


def new_folder(root: Path, label: str) -> Path:
    """Return a new, empty folder under `root`, named by time and `label`, and point ``latest`` at it."""
    stamp = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S")
    with disk(root):
        root.mkdir(parents=True, exist_ok=True)
        for n in range(1000):
            folder = root / (f"{stamp}-{label}" + (f"-{n}" if n else ""))
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            _point(root, "latest", folder)
            return folder
    raise Surroundings(f"could not make a folder of its own for this run under {root}; remove old ones")


def point_at_leak(root: Path, folder: Path) -> None:
    """Point ``latest-leak`` of `root` at the newest run, gate or demo that saw a leak, of which `folder` is a part."""
    if folder.is_relative_to(root) and folder != root:
        _point(root, "latest-leak", root / folder.relative_to(root).parts[0])


def _point(root: Path, name: str, folder: Path) -> None:
    temporary = root / f".{name}-{os.getpid()}"
    with contextlib.suppress(OSError):  # a convenience: two runs may start in the same moment
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        temporary.replace(root / name)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def read_history(folder: Path) -> tuple[Event, ...]:
    """Read a stored run's events. A last line that was cut off is left out; any other damage is `Misuse`."""
    path = folder / "history.jsonl"
    if not path.is_file():
        raise Misuse(f"{folder} is no evidence folder: it has no history.jsonl")
    events: list[Event] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break  # the file ends with a line end
        try:
            events.append(from_line(line))
        except (msgspec.DecodeError, UnicodeDecodeError, Misuse) as wrong:
            if number == len(lines):
                break  # the run was killed while it wrote this line
            raise Misuse(f"{path}, line {number}: {wrong}") from None
    return tuple(events)


# What comes from somewhere: half written, of another version, or made by somebody who means harm.


def runs(folder: Path) -> list[Path]:
    """Return the folders of runs in an evidence folder: itself, a gate's workers, a demo's halves."""
    found: list[Path] = []
    for here, below, names in os.walk(folder, followlinks=False):
        depth = len(Path(here).relative_to(folder).parts)
        below[:] = sorted(b for b in below if not (Path(here) / b).is_symlink()) if depth < DEPTH else []
        if {"history.jsonl", "run.json"} & set(names):
            found.append(Path(here))
            below.clear()
        if len(found) >= MOST_RUNS:
            break
    return found


def stored_events(folder: Path, missing: list[str]) -> Iterator[Event]:
    """Yield the events of a stored run that can be read; what cannot is added to `missing`, a sentence each."""
    path = folder / "history.jsonl"
    if not is_plain(path, missing):
        return
    damaged: list[str] = []
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE):
                number += 1
                if not line.endswith(b"\n") and len(line) == LONGEST_LINE:
                    damaged.append(f"line {number} of history.jsonl is longer than any event")
                    while line and not line.endswith(b"\n"):
                        line = file.readline(LONGEST_LINE)
                    continue
                try:
                    yield from_line(line.rstrip(b"\n"))
                except (msgspec.DecodeError, UnicodeDecodeError, Misuse, RecursionError) as wrong:
                    damaged.append(f"line {number} of history.jsonl: {str(wrong)[:200]}")
    except OSError as failed:
        damaged.append(f"history.jsonl cannot be read on: {failed.strerror or failed}")
    missing += damaged


def stored_file(path: Path, most: int, missing: list[str]) -> bytes | None:
    """Return what is in a file of at most so many bytes, or None and a sentence in `missing`."""
    if not is_plain(path, missing):
        return None
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as failed:
        missing.append(f"{path.name} cannot be read: {failed.strerror or failed}")
        return None
    if len(data) > most:
        missing.append(f"{path.name} is larger than {most:,} bytes, and is left alone")
        return None
    return data


def is_plain(path: Path, missing: list[str]) -> bool:
    """Whether a file is there and is one; a link leads somewhere else and is not followed."""
    if path.is_symlink():
        missing.append(f"{path.name} is a link, which is not followed")
    elif not path.exists():
        missing.append(path.name)
    elif not path.is_file():
        missing.append(f"{path.name} is no file")
    else:
        return True
    return False


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while something is written into `Surroundings` that say what to do."""
    try:
        yield
    except OSError as failed:
        if failed.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Surroundings(
                f"the disk of {folder} is full; free some space or give --evidence another place. "
                "What was found until now is in that folder"
            ) from failed
        raise Surroundings(
            f"could not write evidence: {failed}; give --evidence a folder that can be written"
        ) from failed

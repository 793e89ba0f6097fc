"""The folder that a run leaves behind: history, displayed frames, logs, findings. Written as things happen.

```
run.json         what was run: stack, update, versions, owners, id of the key (never the key), outcome at the end
history.jsonl    every event of the run, one JSON line each
frames/          every displayed raster by content hash: a small JPEG, and the full PNG around a finding
findings/N/      plan.json, replay.json (see `ownframe replay`), finding.json and finding.txt of one finding
logs/            each node's log, and Toxiproxy's
index.html       the page that shows it
```
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
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


class Evidence:
    """Writes one run's folder. A full disk becomes `Surroundings` that says what is kept; use it as a context."""

    def __init__(self, folder: Path) -> None:
        with disk(folder):
            (folder / "frames").mkdir(parents=True, exist_ok=True)
            self.logs = folder / "logs"
            self.logs.mkdir(exist_ok=True)
            self._history: IO[bytes] = (folder / "history.jsonl").open("ab", buffering=0)
            self._length = self._history.seek(0, os.SEEK_END)
        self.folder = folder
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
        """Store the small picture of a raster once; with `full`, its pixels stay at hand for `keep_full`."""
        if full:
            self._recent[raster.digest] = raster
        if raster.digest in self._kept:
            return
        self._kept.add(raster.digest)
        with disk(self.folder):
            small = frames.thumbnail(raster.rgb, raster.width, raster.height, SMALL_WIDTH)
            (self.folder / "frames" / f"{raster.digest[:16]}.jpg").write_bytes(small)

    def keep_full(self, digests: Iterable[str]) -> None:
        """Store rasters of the case that just ended in full size; those no longer at hand stay small."""
        with disk(self.folder):
            for digest in set(digests) & self._recent.keys():
                raster = self._recent[digest]
                path = self.full(digest)
                if not path.exists():
                    path.write_bytes(frames.encode_png(raster.rgb, raster.width, raster.height))

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
            latest = root / "latest"
            temporary = root / f".latest-{os.getpid()}"
            with contextlib.suppress(OSError):  # a convenience: two runs may start in the same moment
                temporary.unlink(missing_ok=True)
                temporary.symlink_to(folder.name)
                temporary.replace(latest)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            return folder
    raise Surroundings(f"could not make a folder of its own for this run under {root}; remove old ones")


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

"""A screen as pictures in a folder that somebody else writes: a capture card's program, a device's own screenshots.

Each picture is a file of its own, made whole and then renamed into the folder, when what is on the screen changes. It
stands until the next one comes. A file that is written again counts as a new picture; of two that were written into
one name between two looks, only the second can be seen, so names should not come again.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import msgspec

from chaos import frames
from chaos.displays.watching import Watching
from chaos.identity import Box

LOOK = 0.02
"""Seconds between two looks into the folder."""
WHOLE_WITHIN = 1.0
"""Seconds in which a file that is no picture yet may become one: it is being written."""
CLOCKS_APART = 1.0
"""Seconds. A file that was written longer ago than this before it was noticed, or later, is on another clock."""
MAX_BYTES = 64 << 20
"""A larger file is no picture."""


class _Seen(msgspec.Struct, frozen=True):
    """A file as it was at one look."""

    written: int
    name: str
    size: int
    number: int


class Folder(Watching):
    """The pictures of one folder; those that are there at the beginning are old, but for the newest."""

    def __init__(self, hub: str, folder: Path, *, box: Box | None = None) -> None:
        super().__init__(hub, box, _decoded, f"pictures (JPEG, PNG or WebP) in {folder}")
        self._folder = folder
        self._known: set[_Seen] = set()
        self._unread: dict[str, tuple[_Seen, float]] = {}
        """Files that are no pictures yet, and since when."""
        self._first = True
        self.begin()

    def watch(self) -> None:
        """Look into the folder again and again."""
        while not self.closing.is_set():
            began = time.monotonic()
            if self.again.is_set():
                self._first = False
                self._known = set(self._files() or ())  # what was on the screen before
                self.began_again()
            files = self._files()
            if files is None:
                self.lost(began, f"{self._folder} cannot be read")
            else:
                self._look(files, began)
            self.closing.wait(LOOK)

    def _files(self) -> list[_Seen] | None:
        """Return the folder's files, the last written last; None when it cannot be read."""
        try:
            with os.scandir(self._folder) as found:
                return sorted(filter(None, map(_seen, found)), key=lambda s: (s.written, s.name))
        except OSError as refused:
            self.why = f"{self._folder}: {refused.strerror or refused}"
            return None

    def _look(self, files: list[_Seen], now: float) -> None:
        new = [s for s in files if s not in self._known]
        if self._first and new:
            new = new[-1:]
        for seen in new:
            picture = self._picture(seen)
            if picture is not None:
                self._unread.pop(seen.name, None)
                self._first = False
                self.saw(_since(seen, now), picture)
                continue
            before, since = self._unread.get(seen.name, (seen, now))
            if before != seen:  # it grows
                since = now
            self._unread[seen.name] = seen, since
            if now - since < WHOLE_WITHIN:
                return  # it comes before whatever was written after it
            del self._unread[seen.name]
            self.why = f"{seen.name} is no picture"
            self.lost(_since(seen, now), self.why)
            self._known.add(seen)
            return
        self._known = set(files)

    def _picture(self, seen: _Seen) -> bytes | None:
        try:
            picture = (self._folder / seen.name).read_bytes() if seen.size <= MAX_BYTES else b""
        except OSError:
            return None
        try:
            _decoded(picture)
        except ValueError:
            return None
        return picture


def _seen(entry: os.DirEntry[str]) -> _Seen | None:
    try:
        status = entry.stat()
    except OSError:  # it went meanwhile
        return None
    if entry.name.startswith(".") or not stat.S_ISREG(status.st_mode):
        return None
    return _Seen(status.st_mtime_ns, entry.name, status.st_size, status.st_ino)


def _since(seen: _Seen, now: float) -> float:
    """Return since when a picture stands: it was written before it was noticed. A wall clock is not believed far."""
    age = time.time() - seen.written / 1e9
    return now - age if 0 <= age <= CLOCKS_APART else now


def _decoded(data: bytes) -> tuple[int, int, bytes]:
    if data[:2] == b"\xff\xd8":
        return frames.rgb_of_jpeg(data)  # one that is cut is not whole yet
    picture = frames.picture_of_encoded(data)
    if picture is None:
        raise ValueError("no picture")
    return picture.shape[1], picture.shape[0], picture.tobytes()

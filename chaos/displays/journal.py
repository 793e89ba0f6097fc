"""What was on a screen that the harness watches by itself, as `Display` gives it out. Any number of threads."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import msgspec

from chaos.displays import Gap, Raster, Shown
from chaos.errors import Surroundings

Decode = Callable[[bytes], tuple[int, int, bytes]]
"""From what a screen gave to (width, height, RGB24)."""


class _Entry(msgspec.Struct):
    at: float
    until: float | None
    digest: str


class Journal:
    """Rasters in the order in which they stood, each as the bytes that came, decoded when somebody asks for it.

    What is shown ends what stood there before. Only where nobody knows what was on the screen is a hole between two.
    """

    def __init__(self, hub: str, decode: Decode) -> None:
        self._hub = hub
        self._decode = decode
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._entries: list[_Entry] = []
        self._given = 0
        self._pictures: dict[str, bytes] = {}
        self._gaps: list[Gap] = []
        self._lost: tuple[float, str] | None = None
        """Since when nobody knows what is on the screen, and why; None while somebody does."""

    def show(self, at: float, picture: bytes) -> None:
        """Note that `picture` stands on the screen since `at`; the same bytes again are no new raster."""
        digest = hashlib.sha256(picture).hexdigest()
        with self._lock:
            last = self._entries[-1] if self._entries else None
            if last is not None and last.until is None:
                if last.digest == digest:
                    return
                at = max(at, last.at)
                last.until = at
            self._pictures[digest] = picture
            self._entries.append(_Entry(at, None, digest))
            self._came.notify_all()

    def lose(self, at: float, why: str) -> None:
        """Note that since `at` nobody knows what is on the screen, until it is `found`; told again, `why` is new."""
        with self._lock:
            if self._lost is None and self._entries and self._entries[-1].until is None:
                self._entries[-1].until = max(at, self._entries[-1].at)
            self._lost = (at if self._lost is None else self._lost[0], why)

    def found(self, at: float) -> None:
        """Note that from `at` on it is known again what is on the screen."""
        with self._lock:
            self._end_gap(at)
            self._lost = None

    @property
    def stands(self) -> bool:
        """Whether it is known what is on the screen."""
        with self._lock:
            return bool(self._entries) and self._lost is None

    def gap(self, at: float, until: float, why: str) -> None:
        """Note that from `at` to `until` nobody knows what was on the screen."""
        with self._lock:
            self._gaps.append(Gap(at, max(at, until), why))

    @property
    def last(self) -> bytes | None:
        """What was shown last, as it came."""
        with self._lock:
            return self._pictures[self._entries[-1].digest] if self._entries else None

    @property
    def now(self) -> Shown:
        """What was shown last; there must have been something."""
        with self._lock:
            entry = self._entries[-1]
            return Shown(entry.at, entry.until, entry.digest)

    def wait_first(self, seconds: float) -> bool:
        """Return whether anything was shown within that time."""
        with self._lock:
            return self._came.wait_for(lambda: bool(self._entries), seconds)

    def collect(self) -> list[Shown]:
        """Return what was shown since the last call, what stands there now included."""
        with self._lock:
            new = [Shown(e.at, e.until, e.digest) for e in self._entries[self._given :]]
            self._given = max(0, len(self._entries) - 1)
            return new

    def raster(self, digest: str) -> Raster:
        """Return a raster; raises `Surroundings` when what came is no picture."""
        with self._lock:
            picture = self._pictures[digest]
        try:
            width, height, rgb = self._decode(picture)
        except ValueError as wrong:
            raise Surroundings(
                f"the screen of {self._hub}'s hub gave {len(picture)} bytes that are no picture ({wrong})"
            ) from None
        return Raster(digest, width, height, rgb)

    def forget(self) -> None:
        """Drop all that was collected but what stands on the screen."""
        with self._lock:
            del self._entries[: self._given]
            self._given = 0
            needed = {e.digest for e in self._entries}
            self._pictures = {d: p for d, p in self._pictures.items() if d in needed}

    def gaps(self) -> list[Gap]:
        """Return the gaps since the last call; of one that is not over what there is of it until now."""
        with self._lock:
            now = time.monotonic()
            self._end_gap(now)
            if self._lost is not None:  # what comes after it is the next call's
                self._lost = max(now, self._lost[0]), self._lost[1]
            new, self._gaps = self._gaps, []
            return new

    def clear(self) -> None:
        """Begin again with nothing."""
        with self._lock:
            self._entries.clear()
            self._pictures.clear()
            self._gaps.clear()
            self._given = 0
            self._lost = None

    def _end_gap(self, at: float) -> None:
        if self._lost is not None:
            began, why = self._lost
            self._gaps.append(Gap(began, max(began, at), why))

"""What every screen has in common that a thread of ours watches, and that keeps what it saw in a journal."""

from __future__ import annotations

import contextlib
import threading
import time

from chaos.displays import Gap, Raster, Shown
from chaos.displays.journal import Decode, Journal
from chaos.errors import Surroundings
from chaos.identity import Box

SEEN_WITHIN = 15.0
"""Seconds in which a screen must show something, at the beginning and after its hub was started anew."""
_ENDS_WITHIN = 5.0


class Watching:
    """A screen that `watch`, which a kind of screen defines, looks at on a thread until `closing` is set.

    It is `begin` that starts to watch. `expected` says in one phrase what would have shown something.
    """

    def __init__(self, hub: str, box: Box | None, decode: Decode, expected: str) -> None:
        self.hub = hub
        self.box = box
        self.closing = threading.Event()
        self.again = threading.Event()
        """Set when the hub was started anew: what was seen before is of no concern."""
        self.why = "nothing was tried yet"
        """Why nothing can be seen, where nothing can."""
        self.journal = Journal(hub, decode)
        self._expected = expected
        self._thread = threading.Thread(target=self.watch, name=f"screen-{hub}", daemon=True)

    def begin(self) -> None:
        """Start to watch. Raises `Surroundings` when nothing is seen within `SEEN_WITHIN`."""
        self._thread.start()
        self._wait_seen()

    def watch(self) -> None:
        """Look at the screen until `closing` is set, and tell `saw` and `lost` of it."""
        raise NotImplementedError

    # What the watcher tells.

    @property
    def stands(self) -> bool:
        """Whether it is known what is on the screen."""
        return self.journal.stands

    def saw(self, at: float, picture: bytes) -> None:
        """Note that `picture` stands on the screen since `at`, whatever is in it."""
        self.journal.found(at)
        self.journal.show(at, picture)

    def lost(self, at: float, why: str) -> None:
        """Note that since `at` nobody knows what is on the screen, until something is seen again."""
        self.why = why
        if self.journal.last is not None:
            self.journal.lose(at, why)

    def began_again(self) -> None:
        """Forget what was seen, when the hub was started anew: whoever watches calls this between two looks."""
        if self.again.is_set():
            self.journal.clear()
            self.again.clear()

    # What the harness asks.

    def collect(self) -> list[Shown]:
        """Return what was shown since the last call; the last one is on screen still (`until` is None)."""
        return self.journal.collect()

    def raster(self, digest: str) -> Raster:
        """Return the raster of that name."""
        return self.journal.raster(digest)

    def now(self) -> Shown:
        """Return what was shown last."""
        return self.journal.now

    def forget(self) -> None:
        """Drop what was collected."""
        self.journal.forget()

    def gaps(self) -> list[Gap]:
        """Return when the screen could not be seen."""
        return self.journal.gaps()

    def restarted(self) -> None:
        """Begin again with what is shown from now on."""
        self.again.set()
        deadline = time.monotonic() + SEEN_WITHIN
        while self.again.is_set() and time.monotonic() < deadline:
            self.closing.wait(0.01)
        self._wait_seen()

    def close(self) -> None:
        """Stop watching."""
        self.closing.set()
        with contextlib.suppress(RuntimeError):  # it never began
            self._thread.join(_ENDS_WITHIN)

    def _wait_seen(self) -> None:
        if self.journal.wait_first(SEEN_WITHIN):
            return
        self.close()
        raise Surroundings(
            f"nothing of the screen of {self.hub}'s hub was seen within {SEEN_WITHIN:.0f} s ({self.why}); expected "
            f"{self._expected}"
        )

"""The reference hub's own screen journal: every raster that it painted, with the time it stood."""

from __future__ import annotations

from chaos.displays import Gap, Raster, Shown
from chaos.identity import Box
from chaos.remote import Entry, HubRemote

SCREEN = (1024, 600)
PICTURE = Box(x=0, y=12, width=1024, height=576)
"""A 16:9 picture in a 1024×600 screen, letterboxed as the reference hub does."""


class Headless:
    """A hub that paints into memory. Keeps no raster: the hub holds them until `forget`."""

    def __init__(self, hub: str, remote: HubRemote, box: Box | None = PICTURE) -> None:
        self.hub = hub
        self.box = box
        self._remote = remote
        self._next = 0
        self._sizes: dict[str, tuple[int, int]] = {}

    def collect(self) -> list[Shown]:
        """Return what was shown since the last call; the last one may be on screen still (`until` is None)."""
        upto, entries = self._remote.journal(self._next)
        self._sizes.update({e.raster: (e.width, e.height) for e in entries})
        open_now: Entry | None = entries[-1] if entries and entries[-1].until is None else None
        self._next = open_now.seq if open_now is not None else upto
        return [Shown(e.since, e.until, e.raster) for e in entries]

    def raster(self, digest: str) -> Raster:
        """Fetch one raster from the hub."""
        width, height = self._sizes[digest]
        return Raster(digest, width, height, self._remote.raster(digest))

    def forget(self) -> None:
        """Let the hub drop what was collected."""
        self._remote.forget(self._next)
        self._sizes.clear()

    def gaps(self) -> list[Gap]:
        """Return nothing: the journal has none, and a hub that does not answer is told by `collect`."""
        return []

    def restarted(self) -> None:
        """Begin again at the start of a fresh journal."""
        self._next = 0

    def close(self) -> None:
        """Do nothing: the hub's operator port belongs to the home."""

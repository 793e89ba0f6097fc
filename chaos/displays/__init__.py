"""What a hub shows, as displayed frames: one small protocol, one module for each kind of screen (docs/displays.md)."""

from __future__ import annotations

from typing import Protocol

import msgspec

from chaos.identity import Box


class Raster(msgspec.Struct, frozen=True):
    """A picture as it stood on a screen: `rgb` is RGB24, row after row, `digest` names it in evidence."""

    digest: str
    width: int
    height: int
    rgb: bytes


class Shown(msgspec.Struct, frozen=True):
    """A raster that was on the screen from `at` to `until` (seconds, monotonic; None: it still is)."""

    at: float
    until: float | None
    digest: str


class Gap(msgspec.Struct, frozen=True):
    """A time (seconds, monotonic) in which nobody knows what was on the screen, and why."""

    at: float
    until: float
    why: str


class Display(Protocol):
    """One hub's screen."""

    hub: str
    box: Box | None
    """Where on the screen this display puts a camera's picture, in pixels; None: anywhere."""

    def collect(self) -> list[Shown]:
        """Return everything shown since the last call, the raster that is on screen now included."""

    def raster(self, digest: str) -> Raster:
        """Return the raster of that name; it can be had until `forget`."""

    def forget(self) -> None:
        """Let go of every raster that is no longer on the screen."""

    def gaps(self) -> list[Gap]:
        """Return the times since the last call in which the screen could not be read. They are no pass."""

    def restarted(self) -> None:
        """Begin again: the hub was started anew, and what it showed before was collected.

        Raises `Surroundings` when its screen cannot be seen.
        """

    def close(self) -> None:
        """Let go of the screen."""

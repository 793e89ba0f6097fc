"""From what a screen showed to what the judge reads: each raster once, partial pictures with what they grew into."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chaos import frames, identity
from chaos.history import Reading, Sighting
from chaos.identity import Box, Key, Register, Registered, Slivers

Plane = NDArray[np.uint8]

_SEAM = 34
"""Rows above the edge of a partial picture that may still change: a decoder's MCU row of a 4:2:0 JPEG; and, of a screen
that is sent as JPEG, another one and what its chroma is interpolated from."""
_LOSS = 6
"""Levels by which the same rows of a screen differ that was sent as JPEG of quality 100, beside an edge or not."""


class Reader:
    """Reads luma planes with the run's keys and names whom they show.

    `keys` are the run's own and then those of earlier runs. Slivers are matched with everybody in `register`.
    """

    def __init__(self, register: Register, keys: Sequence[Key]) -> None:
        self._register = register
        self._keys = tuple(keys)
        everybody = (
            Registered(o + 1, c + 1) for o in range(len(register.owners)) for c in range(len(register.cameras))
        )
        self._slivers = Slivers(self._keys[0], tuple(everybody))

    def read(self, luma: Plane, box: Box | None = None) -> Reading:
        """Return whom the picture names; `blank` is said only when no tile authenticates and nothing is textured."""
        seen = identity.read(luma, self._keys, box, self._slivers)
        if not seen and box is not None:
            seen = identity.read(luma, self._keys, None, self._slivers)
        if not seen:
            return Reading("blank" if frames.is_blank(luma) else "picture")
        return Reading("picture", tuple(self._sighting(s) for s in seen))

    def _sighting(self, seen: identity.Seen) -> Sighting:
        own_run = seen.key_id == self._keys[0].id
        return Sighting(
            # numbers of another run are other people's: whoever it was, nobody of this run asked for it
            owner=self._register.owner_name(seen.owner) if own_run else f"owner {seen.owner} of run {seen.key_id}",
            camera=self._register.camera_name(seen.camera),
            case=seen.case,
            tiles=seen.tiles,
            frame=seen.frame,
            captured=None if seen.time_ms is None else seen.time_ms / 1000,
            chance=seen.chance,
            run=None if own_run else seen.key_id,
        )


def grown(planes: Sequence[Plane], readings: Sequence[Reading], box: Box | None = None) -> list[Reading]:
    """Give a partial picture that nobody can read the reading of the picture that it grew into.

    `planes` are what one screen showed, one after the other, `box` is where a camera's picture stands on it. A picture
    with no sighting whose rows stand again, unchanged, in the next picture is that picture with its lower part missing,
    as browsers paint while bytes arrive; it shows the same camera. Anything else keeps its reading.
    """
    if box is not None:  # what a hub shows around the picture stands in both, and proves nothing
        x, y, width, height = (int(value) for value in (box.x, box.y, box.width, box.height))
        planes = [p[y : y + height, x : x + width] for p in planes]
    result = list(readings)
    for i in range(len(planes) - 2, -1, -1):
        if _is_unread(result[i]) and result[i + 1].sightings and _is_top_of(planes[i], planes[i + 1]):
            result[i] = result[i + 1]
    return result


def _is_unread(reading: Reading) -> bool:
    return reading.content == "picture" and not reading.sightings


def _is_top_of(part: Plane, whole: Plane) -> bool:
    if part.shape != whole.shape:
        return False
    lit = np.flatnonzero(part.max(axis=1) > 24)  # above a decoder's ringing on a black screen
    if not lit.size:
        return False
    first, last = int(lit[0]), int(lit[-1]) + 1
    sure = max(first + 1, last - _SEAM)
    return bool(np.abs(part[first:sure].astype(np.int16) - whole[first:sure]).max() <= _LOSS)

"""From the pixels of a plane to the mean level of every module."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from chaos.identity import layout
from chaos.identity.badge import Box

if TYPE_CHECKING:
    from chaos.identity.layout import Plane

ENOUGH_INSIDE = 0.75
"""Share of a tile's modules that must lie on the raster: Reed-Solomon repairs 9 bytes of 40."""


class Modules(msgspec.Struct, frozen=True):
    """The levels of all modules of a picture as (64, 120), and which of `layout.PLACES` lie on the raster.

    Levels are uint8 where they come so from the pixels, which is cheaper, else float32.
    """

    levels: NDArray[np.uint8] | NDArray[np.float32]
    usable: NDArray[np.intp]

    def tiles(self) -> NDArray[np.float32]:
        """Return the levels of the usable tiles as (tiles, 320), row by row."""
        return self.levels.ravel()[_TILES[self.usable]].astype(np.float32)

    def words(self) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Return the levels of all twelve tiles as (12, 320), in the order of the bits of a code word."""
        return self.levels.ravel().take(_WORDS)


_LINES = np.arange(layout.MODULES_DOWN * layout.MODULES_ACROSS).reshape(-1, layout.MODULES_ACROSS)
_TILES = np.stack([
    _LINES[r * layout.TILE_ROWS :, c * layout.TILE_COLUMNS :][: layout.TILE_ROWS, : layout.TILE_COLUMNS].ravel()
    for r, c in layout.PLACES
])  # fmt: skip
"""Which modules of the (64, 120) are those of each tile, row by row."""
_WORDS = _TILES.reshape(-1, layout.CODEWORD_BYTES, 8)[:, layout.POSITION].reshape(-1, layout.MODULES)
_SMALL = (2 * layout.MODULES_ACROSS, 135)
"""Width and height of the smallest plane on which each module has two whole pixels."""
_ALL = np.arange(len(layout.PLACES))


class _Sampling(msgspec.Struct, frozen=True):
    """How module levels come from a plane: `down @ shrunk @ across`, after shrinking by a whole factor."""

    factor: int
    down: NDArray[np.float32]
    across: NDArray[np.float32]
    usable: NDArray[np.intp]


def modules(luma: Plane, box: Box | None = None) -> Modules:
    """Return the module levels of an (H, W) plane in which the camera's picture fills `box` (None: all of it)."""
    if box is not None and _is_inside(box, luma):
        x, y, wide, tall = (int(v) for v in (box.x, box.y, box.width, box.height))
        luma, box = luma[y : y + tall, x : x + wide], None
    if box is None and luma.shape[0] >= _SMALL[1] and luma.shape[1] >= _SMALL[0] and luma.shape[1] % _SMALL[0]:
        # its pixels' edges are edges of modules too, so that nothing is mixed
        luma = np.asarray(cv2.resize(luma, _SMALL, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = luma.shape
    side = width // layout.MODULES_ACROSS
    if box is None and side and (width, height) == (side * layout.MODULES_ACROSS, side * layout.REFERENCE_HEIGHT // 16):
        # Every module has side x side whole pixels, as in 1920x1080 and in its decode scaled to an eighth.
        top = side * layout.TOP // layout.MODULE
        grid = luma[top : top + side * layout.MODULES_DOWN]
        size = (layout.MODULES_ACROSS, layout.MODULES_DOWN)
        return Modules(np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_AREA), np.uint8), _ALL)
    sampling = _sampling(height, width, box or Box(0, 0, width, height))
    if sampling.factor > 1:
        f = sampling.factor
        whole = luma[: height // f * f, : width // f * f]
        luma = np.asarray(cv2.resize(whole, None, fx=1 / f, fy=1 / f, interpolation=cv2.INTER_AREA), np.uint8)
    return Modules(sampling.down @ luma.astype(np.float32) @ sampling.across, sampling.usable)


def _is_inside(box: Box, luma: Plane) -> bool:
    """Whether a box has whole pixels and lies on a plane."""
    x, y, wide, tall = box.x, box.y, box.width, box.height
    whole = all(float(v).is_integer() for v in (x, y, wide, tall))
    return whole and x >= 0 and y >= 0 and y + tall <= luma.shape[0] and x + wide <= luma.shape[1]


@lru_cache(maxsize=64)
def _sampling(height: int, width: int, box: Box) -> _Sampling:
    wide = box.width * layout.MODULE / layout.REFERENCE_WIDTH
    tall = box.height * layout.MODULE / layout.REFERENCE_HEIGHT
    factor = max(1, min(int(min(wide, tall) / 2), height, width))
    across, inside_x = weights(layout.MODULES_ACROSS, box.x / factor, wide / factor, width // factor)
    down, inside_y = weights(
        layout.MODULES_DOWN,
        (box.y + tall * layout.TOP / layout.MODULE) / factor,
        tall / factor,
        height // factor,
    )
    usable = [
        i
        for i, (row, column) in enumerate(layout.PLACES)
        if inside_y[row * layout.TILE_ROWS : (row + 1) * layout.TILE_ROWS].mean()
        * inside_x[column * layout.TILE_COLUMNS : (column + 1) * layout.TILE_COLUMNS].mean()
        >= ENOUGH_INSIDE
    ]
    return _Sampling(factor, down, np.ascontiguousarray(across.T), np.array(usable, np.intp))


def weights(modules: int, start: float, side: float, pixels: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return (modules, pixels) weights that average each module, and which modules are all there."""
    begin = start + np.arange(modules)[:, None] * side
    pixel = np.arange(pixels)[None, :]
    overlap = np.clip(np.minimum(begin + side, pixel + 1) - np.maximum(begin, pixel), 0, None)
    covered = overlap.sum(axis=1, keepdims=True)
    weights = overlap / np.maximum(covered, 1e-9)
    return weights.astype(np.float32), (covered[:, 0] > 0.5 * side)

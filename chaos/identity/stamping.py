"""A badge into pixels."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chaos.errors import Misuse
from chaos.identity import layout
from chaos.identity.badge import Badge, dynamic_payload, static_payload
from chaos.identity.repair import encode

if TYPE_CHECKING:
    from chaos.identity.key import Key
    from chaos.identity.layout import Plane

SHINE = 3
"""A tile's luma is the scene's divided by 2**3 plus its level, so that the scene still shines through
faintly."""
DARK = 16
BRIGHT = 208
"""With the scene's 0..31 on top, modules are 16..47 and 208..239, 32 and 224 over mid-grey: always 192 apart,
and clear of the ends, where a tone change would clip them."""

MIN_WIDTH = layout.MODULES_ACROSS * 2
MIN_HEIGHT = 135
"""Two pixels a module: under that a plane cannot hold a badge."""

_Edges: TypeAlias = tuple[slice, slice, NDArray[np.intp], NDArray[np.intp]]


def stamp(luma: Plane, badge: Badge, key: Key) -> None:
    """Stamp `badge` into `luma`, an (H, W) plane of uint8, in place.

    Raises `Misuse` for another shape or type, or a plane under 240x135, where a module has less than 2x2 px.
    """
    if luma.ndim != 2 or luma.dtype != np.uint8:
        raise Misuse(
            f"stamp() got an array of shape {luma.shape} and type {luma.dtype};"
            " expected an (H, W) plane of uint8: pass the luma plane alone"
        )
    height, width = luma.shape
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        raise Misuse(
            f"a plane of {width}x{height} is too small for a badge; at least {MIN_WIDTH}x{MIN_HEIGHT}:"
            " stamp the scene before it is scaled down"
        )
    for (rows, columns, tall, wide), levels in zip(_edges(height, width), _levels(badge, key), strict=True):
        tile = luma[rows, columns]
        tile >>= SHINE
        tile += levels.repeat(wide, axis=1).repeat(tall, axis=0)


def codeword(payload: bytes, key: Key) -> NDArray[np.uint8]:
    """Return the 40 bytes of a code word: payload, MAC and Reed-Solomon parity."""
    return np.frombuffer(encode(payload + key.mac(payload)), np.uint8)


def _levels(badge: Badge, key: Key) -> NDArray[np.uint8]:
    """Return (12, 8, 40) levels: DARK or BRIGHT for each module of each tile."""
    words = np.where(_IS_DYNAMIC, codeword(dynamic_payload(badge), key), _static(static_payload(badge, key), key))
    tiles = np.empty_like(words)
    tiles[:, layout.POSITION] = words
    bits = np.unpackbits(tiles ^ layout.MASK_BYTES, axis=1)
    levels: NDArray[np.uint8] = bits * np.uint8(BRIGHT - DARK) + np.uint8(DARK)
    return levels.reshape(-1, layout.TILE_ROWS, layout.TILE_COLUMNS)


_IS_DYNAMIC = np.array(layout.DYNAMIC)[:, None]


@lru_cache(maxsize=1024)
def _static(payload: bytes, key: Key) -> NDArray[np.uint8]:
    return codeword(payload, key)


@lru_cache(maxsize=16)
def _edges(height: int, width: int) -> tuple[_Edges, ...]:
    """For each place: its rows and columns of pixels, and how many pixels each module is tall and wide."""
    down = _pixels(layout.MODULES_DOWN, layout.TOP / layout.MODULE, height * layout.MODULE / layout.REFERENCE_HEIGHT)
    across = _pixels(layout.MODULES_ACROSS, 0, width * layout.MODULE / layout.REFERENCE_WIDTH)
    edges = []
    for row, column in layout.PLACES:
        ys = down[row * layout.TILE_ROWS : (row + 1) * layout.TILE_ROWS + 1]
        xs = across[column * layout.TILE_COLUMNS : (column + 1) * layout.TILE_COLUMNS + 1]
        edges.append((slice(ys[0], ys[-1]), slice(xs[0], xs[-1]), np.diff(ys), np.diff(xs)))
    return tuple(edges)


def _pixels(modules: int, before: float, side: float) -> NDArray[np.intp]:
    edges: NDArray[np.intp] = np.rint((np.arange(modules + 1) + before) * side).astype(np.intp)
    return edges

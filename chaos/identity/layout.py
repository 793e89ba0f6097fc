"""Where a badge's tiles lie, and which bit is which module: the one place that stamping and reading share.

On the 1920x1080 reference a module is 16 px square and a tile 40x8 modules. Tiles lie on a grid of 3 columns
and 8 rows which begins 32 px from the top: module edges then fall on the edges of JPEG's and H.264's 16 px
blocks, and a 1/8 DCT-scaled decode shows each module as exactly 2x2 px. Other sizes are the same layout
scaled.

Every second place holds a tile, like the dark fields of a chessboard (12 of 24; 47 % of the picture), so that
the scene stays visible everywhere. What the choice has to bear:

- every row of places holds a *static* tile: any 255 rows of pixels hold one whole, and a sliver of 64 rows
  holds at least 3 rows of its modules, which a registered owner can be matched with;
- the middle column is static in rows 1, 3, 5 and 7, and row 3 survives a crop of 30 % on all four sides;
- *dynamic* tiles, which cost a video encoder bits whenever they change, are four, one in each row of two.

A byte is 8 modules side by side: a lost row of modules costs 5 of the 40 bytes and Reed-Solomon repairs 9. The
bytes of a code word go down the columns: so each row of modules has one byte of what many owners share (version,
case, owner, camera) and four that differ at random from owner to owner, by which `slivers` tells them apart.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from chaos.identity.badge import MESSAGE_BYTES

Plane: TypeAlias = NDArray[np.uint8]

REFERENCE_WIDTH = 1920
REFERENCE_HEIGHT = 1080
MODULE = 16
"""Side of a module in reference pixels."""
TOP = 32
"""Reference pixels above the grid; 24 are left below it."""

TILE_COLUMNS = 40
TILE_ROWS = 8
GRID_COLUMNS = 3
GRID_ROWS = 8
MODULES_ACROSS = GRID_COLUMNS * TILE_COLUMNS
MODULES_DOWN = GRID_ROWS * TILE_ROWS
MODULES = TILE_COLUMNS * TILE_ROWS

CODEWORD_BYTES = MODULES // 8
PARITY_BYTES = CODEWORD_BYTES - MESSAGE_BYTES
"""18: Reed-Solomon over GF(256) repairs 9 wrong bytes of the 40."""

POSITION: NDArray[np.intp] = np.array(
    [(i % TILE_ROWS) * (TILE_COLUMNS // 8) + i // TILE_ROWS for i in range(CODEWORD_BYTES)]
)
"""Where in a tile, row by row, each byte of a code word stands: word[i] is tile[POSITION[i]]."""
POSITION.setflags(write=False)

PLACES: tuple[tuple[int, int], ...] = tuple(
    (row, column) for row in range(GRID_ROWS) for column in range(GRID_COLUMNS) if (row + column) % 2 == 0
)
"""The (row, column) of each tile on the grid."""

DYNAMIC: tuple[bool, ...] = tuple(row % 2 == 0 and column == (0 if row % 4 else 2) for row, column in PLACES)
"""For each of `PLACES`, whether its tile carries frame number and time."""


def _mask(place: int) -> NDArray[np.uint8]:
    digest = hashlib.shake_128(b"ownframe badge 2, place %d" % place).digest(CODEWORD_BYTES)
    return np.unpackbits(np.frombuffer(digest, np.uint8))


MASKS: NDArray[np.uint8] = np.stack([_mask(i) for i in range(len(PLACES))])
"""(12, 320) bits that are added to each tile's bits: levels are balanced whatever the payload, neighbouring
tiles differ, and a tile read at a wrong place does not authenticate. No secret."""
MASKS.setflags(write=False)

MASK_BYTES: NDArray[np.uint8] = np.packbits(MASKS, axis=1)
"""The same as (12, 40) bytes."""
MASK_BYTES.setflags(write=False)

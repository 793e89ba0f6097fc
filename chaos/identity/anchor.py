"""Marks in the places that hold no tile, by which a picture is found on a screen that a camera films at an angle.

A mark says where the picture is, never whose: it is an ArUco marker, which alone would give false identities, and
everything that is read after straightening still needs its MAC. Two marks that are seen are enough.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from chaos.identity import layout

if TYPE_CHECKING:
    from chaos.identity.layout import Plane

SIDE = 96
"""Side of a mark in reference pixels: six cells of 16, as many as a module has."""
QUIET = 16
"""White around a mark."""
STRAIGHT = (960, 540)
"""Size of a straightened picture: eight pixels a module."""
_FEW = 2
_NEAR = 4.0
"""Pixels by which corners may miss and still be of one screen: lenses bend lines."""

_FREE = [(r, c) for r in range(layout.GRID_ROWS) for c in range(layout.GRID_COLUMNS) if (r, c) not in layout.PLACES]
_DICTIONARY = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)


def _corner(number: int) -> tuple[int, int]:
    """Return x and y of a mark's upper left corner: at the outer edges of the outer places, amid the middle ones."""
    row, column = _FREE[number]
    x = {0: QUIET + 16, 1: 960 - SIDE // 2, 2: layout.REFERENCE_WIDTH - SIDE - QUIET - 16}[column]
    return x, layout.TOP + row * layout.TILE_ROWS * layout.MODULE + QUIET


def draw(luma: Plane) -> None:
    """Draw the marks into an (H, W) plane, in place, beside the tiles of the badge."""
    height, width = luma.shape
    fx, fy = width / layout.REFERENCE_WIDTH, height / layout.REFERENCE_HEIGHT
    for number in range(len(_FREE)):
        x, y = _corner(number)
        mark = np.full((SIDE + 2 * QUIET, SIDE + 2 * QUIET), 235, np.uint8)
        mark[QUIET:-QUIET, QUIET:-QUIET] = cv2.aruco.generateImageMarker(_DICTIONARY, number, SIDE) // 255 * 219 + 16
        left, right = round((x - QUIET) * fx), round((x + SIDE + QUIET) * fx)
        top, bottom = round((y - QUIET) * fy), round((y + SIDE + QUIET) * fy)
        size = (right - left, bottom - top)
        luma[top:bottom, left:right] = cv2.resize(mark, size, interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=1)
def _detector() -> cv2.aruco.ArucoDetector:
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    return cv2.aruco.ArucoDetector(_DICTIONARY, settings)


def straightened(luma: Plane) -> Plane | None:
    """Return the marked picture that an (H, W) plane shows, upright and 960x540, or None when it shows none."""
    corners, numbers, _ = _detector().detectMarkers(luma)
    known = [] if numbers is None else [(n, c) for n, c in zip(numbers.ravel(), corners, strict=True) if n < len(_FREE)]
    if len(known) < _FEW:
        return None
    here = np.concatenate([c.reshape(4, 2) for _, c in known]).astype(np.float32)
    scale = STRAIGHT[0] / layout.REFERENCE_WIDTH
    there = np.concatenate([_square(int(n)) for n, _ in known]) * scale
    found, _ = cv2.findHomography(here, there.astype(np.float32), cv2.RANSAC, _NEAR)
    if found is None or not np.isfinite(found).all():
        return None
    return np.asarray(cv2.warpPerspective(luma, found, STRAIGHT, flags=cv2.INTER_LINEAR), np.uint8)


def _square(number: int) -> NDArray[np.float32]:
    x, y = _corner(number)
    # a marker's corners lie on the edges between pixels, and a pixel's centre is its coordinate
    return np.array([(x, y), (x + SIDE, y), (x + SIDE, y + SIDE), (x, y + SIDE)], np.float32) - 0.5

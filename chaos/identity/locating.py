"""Where a picture lies on a plane, when nobody knows: cut off, scaled, or somewhere on a screenshot.

Module edges lie at even distances across and down, which shows in the spectrum of the differences between neighbouring
pixels; scenes have no such peak, so that a picture without a badge costs no more than a spectrum. Which module is which
follows from the masks: static tiles say the same whoever's they are, so that two of them differ as their masks do.

Where a picture lies says nothing of whose it is: what is read there still needs its MAC.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, combinations
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from chaos.identity import layout
from chaos.identity.badge import Box, Seen
from chaos.identity.reading import read
from chaos.identity.sampling import weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.identity.key import Key
    from chaos.identity.layout import Plane
    from chaos.identity.slivers import Slivers

PEAK = 5.0
"""Height of a spectrum's peak, over its root mean square, from which there may be modules. Measured on quick decodes of
cropped pictures: 6.1 and more; on scenes without a badge at most 3.9."""
PEAK_AMONG_OTHERS = 2.5
"""The same where edges of other things are looked among."""
ALIKE = 6.0
"""Standard deviations by which modules must agree with the masks; the best of all places in a scene reaches 5."""
SQUARE = 1.5
"""How much taller than wide, or wider than tall, modules may have become."""
_FINEST = 2.02
"""Pixels of the smallest module: two are at the limit of what a plane can show."""
_MODULES = 40
"""Fewer modules across hold no tile."""
_FINER = 8
_NEXT = 0.5
"""Every second edge has as much of twice the frequency, and text on a page more; so peaks of half the height count."""
_DISTANCES = 4
_WHOLE = (layout.MODULES_ACROSS, layout.REFERENCE_HEIGHT / layout.MODULE)
"""Modules of a picture across and down, those above and below the tiles too."""
_MANY = 2
"""Places that are told."""
_LEAST = 128
"""So many modules at least are compared, about as many as of one tile in two."""

_NEAR = ((2, 0), (1, 1), (1, -1))
"""Distances in places of the static tiles that are compared; a crop of 30 % on all sides still has a pair."""

Floats: TypeAlias = NDArray[np.float32]
Spectrum: TypeAlias = NDArray[np.complex64]


def search(
    luma: Plane,
    keys: Sequence[Key],
    slivers: Slivers | None = None,
    likely: Box | None = None,
    *,
    thorough: bool = False,
) -> tuple[tuple[Seen, ...], Box | None]:
    """Return whom `read` names where the picture of an (H, W) plane may lie, and where; nobody and None if none does.

    `likely` is tried first: where it lay in the frame before. Slivers are matched only where a MAC vouches for
    somebody, so that trying several places does not add to their chance. `thorough` is as of `boxes`.
    """
    for box in chain([] if likely is None else [likely], _later(luma, thorough)):
        if seen := read(luma, keys, box):
            return (read(luma, keys, box, slivers) if slivers is not None else seen), box
    return (), None


def _later(luma: Plane, thorough: bool) -> Iterator[Box]:
    yield from boxes(luma, thorough=thorough)


def boxes(luma: Plane, *, thorough: bool = False) -> tuple[Box, ...]:
    """Return where the picture of an (H, W) plane may lie, the likeliest first; nothing if no modules are to be seen.

    Modules must be upright, have more than two pixels, and be 40 or more across. A picture that fills the plane is not
    told: it was read before anybody asks. `thorough` looks among other things with edges too, as text on a page has.
    """
    height, width = luma.shape
    if min(height, width) < _FINEST * _MODULES / 2:
        return ()
    found: list[tuple[float, Box]] = []
    for wide, left in _combs(luma, 1, _FINEST, width / _MODULES, PEAK_AMONG_OTHERS if thorough else PEAK):
        for tall, top in _combs(luma, 0, max(_FINEST, wide / SQUARE), wide * SQUARE, 0):
            if abs(width / wide - _WHOLE[0]) < 0.5 and abs(height / tall - _WHOLE[1]) < 0.5:
                return ()
            columns, rows = int((width - left) / wide), int((height - top) / tall)
            if columns < _MODULES or rows < layout.TILE_ROWS:
                continue
            down, across = weights(rows, top, tall, height)[0], weights(columns, left, wide, width)[0]
            found += [
                (
                    score,
                    Box(
                        left + column * wide,
                        top + (row - layout.TOP / layout.MODULE) * tall,
                        wide * _WHOLE[0],
                        tall * _WHOLE[1],
                    ),
                )
                for score, row, column in _origins(down @ luma.astype(np.float32) @ across.T)
            ]
    return tuple(box for _, box in sorted(found, key=lambda f: -f[0])[:_MANY])


def _combs(luma: Plane, axis: int, least: float, most: float, peak: float) -> list[tuple[float, float]]:
    """Return the likeliest distances of edges along an axis, with the place of the first, in pixels."""
    ahead, behind = (luma[1:], luma[:-1]) if axis == 0 else (luma[:, 1:], luma[:, :-1])
    sums = cv2.reduce(cv2.absdiff(ahead, behind), 1 - axis, cv2.REDUCE_SUM, dtype=cv2.CV_32F).reshape(1, -1)
    edges: Floats = np.asarray(sums - cv2.blur(sums, (31, 1)), np.float32).ravel()
    pixels = len(edges)
    edges *= np.hanning(pixels).astype(np.float32)
    strength = float(np.sqrt(np.square(edges).sum()))
    size = _FINER * (1 << (pixels - 1).bit_length())
    low, high = int(np.ceil(size / most)), int(size / least)
    if not strength or high <= low:
        return []
    spectrum = np.abs(np.fft.rfft(edges, size)[: high + 2]) / strength
    inside = spectrum[low : high + 1].copy()
    enough = max(peak, float(inside.max()) * _NEXT)
    told: list[tuple[float, float]] = []
    while len(told) < _DISTANCES and inside.max() >= enough:
        at = low + int(np.argmax(inside))
        inside[max(0, at - low - 2 * _FINER) : at - low + 2 * _FINER] = 0
        before, here, after = (float(n) for n in spectrum[at - 1 : at + 2])
        bend = before - 2 * here + after
        frequency = (at + (0.5 * (before - after) / bend if bend < 0 else 0.0)) / size
        turn = float(np.angle(np.vdot(np.exp(2j * np.pi * frequency * np.arange(pixels)), edges)))
        # between pixels n and n + 1 is edge n + 1
        told.append((1 / frequency, (1 - turn / (2 * np.pi * frequency)) % (1 / frequency)))
    return told


def _origins(levels: Floats) -> list[tuple[float, int, int]]:
    """Return where a badge's (64, 120) modules may begin: deviations above chance, and row and column of levels."""
    rows, columns = levels.shape
    signs = np.sign(levels - cv2.blur(levels, (9, 5)))
    shape = _shape(rows, columns)
    alike = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
    for distance, (template, _) in _templates(shape).items():
        here, there = _apart(rows, columns, *distance)
        products = np.zeros((rows, columns), np.float32)
        products[here] = signs[here] * signs[there]
        alike += np.fft.rfft2(products, shape) * template
    score = np.fft.irfft2(alike, shape) * _scale(rows, columns)
    found = []
    for at in np.argpartition(score, -_MANY, axis=None)[-_MANY:]:
        row, column = (int(n) for n in np.unravel_index(at, shape))
        if score[row, column] >= ALIKE:  # beyond the modules are those badges that begin above or left of them
            found.append(
                (float(score[row, column]), row - shape[0] * (row >= rows), column - shape[1] * (column >= columns))
            )
    return found


def _apart(rows: int, columns: int, down: int, across: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where the modules lie that have another so far below and to the right of them, and where those lie."""
    tall, wide = max(0, rows - down), max(0, columns - abs(across))
    left = max(0, -across)
    return (slice(0, tall), slice(left, left + wide)), (
        slice(rows - tall, rows),
        slice(left + across, left + across + wide),
    )


def _shape(rows: int, columns: int) -> tuple[int, int]:
    """Return a size of transforms in which nothing overlaps; few of them are enough."""
    return -(-(rows + layout.MODULES_DOWN) // 64) * 64, -(-(columns + layout.MODULES_ACROSS) // 64) * 64


@lru_cache(maxsize=64)
def _scale(rows: int, columns: int) -> Floats:
    """Return for each origin what a sum of products is multiplied with to be one of standard deviations."""
    shape = _shape(rows, columns)
    compared = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
    for distance, (_, where) in _templates(shape).items():
        seen = np.zeros((rows, columns), np.float32)
        seen[_apart(rows, columns, *distance)[0]] = 1
        compared += np.fft.rfft2(seen, shape) * where
    many = np.fft.irfft2(compared, shape)
    return np.where(many >= _LEAST, 1 / np.sqrt(np.maximum(many, 1)), 0).astype(np.float32)


@lru_cache(maxsize=8)
def _templates(shape: tuple[int, int]) -> dict[tuple[int, int], tuple[Spectrum, Spectrum]]:
    """Return for distances in modules how static tiles that lie so differ (1 alike, -1 not), and where, as spectra."""
    made: dict[tuple[int, int], Floats] = {}
    for i, j in combinations(np.flatnonzero(~np.array(layout.DYNAMIC)), 2):
        (r, c), (below, right) = layout.PLACES[i], layout.PLACES[j]
        if (below - r, right - c) in _NEAR:
            distance = (below - r) * layout.TILE_ROWS, (right - c) * layout.TILE_COLUMNS
            whole = made.setdefault(distance, np.zeros((layout.MODULES_DOWN, layout.MODULES_ACROSS), np.float32))
            tile = whole[r * layout.TILE_ROWS :, c * layout.TILE_COLUMNS :][: layout.TILE_ROWS, : layout.TILE_COLUMNS]
            tile[:] = 1 - 2.0 * (layout.MASKS[i] ^ layout.MASKS[j]).reshape(tile.shape)
    return {d: (_spectrum(t, shape), _spectrum(np.abs(t), shape)) for d, t in made.items()}


def _spectrum(template: Floats, shape: tuple[int, int]) -> Spectrum:
    return np.conj(np.fft.rfft2(template, shape)).astype(np.complex64)

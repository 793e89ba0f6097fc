"""Owners of whom too little is left for a MAC: a sliver of a torn picture, matched with those who are registered.

Each row of places holds one static tile, and its pixels follow from key, case, owner and camera. So what two or three
whole rows of its modules must look like is known for every registered owner, and 64 rows of a 1080p picture hold that
much anywhere. What is compared of a row are its 32 modules that differ at random from owner to owner (`layout`).

A match is a weaker kind of finding than a MAC: it says which of the *registered* owners it is, if it is any, and it
has a chance of being wrong. That chance is bounded: a picture that has nothing to do with an owner agrees in each
module with probability 1/2, independently, because fewer bytes are compared (12) than the code words have free ones
(15 of 40: 7 of filling and 8 of MAC; beside the head any 15 bytes determine the code word). How many modules may be
wrong follows from the number of comparisons.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from math import comb
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from chaos.identity import layout
from chaos.identity.badge import Badge, Seen, static_payload
from chaos.identity.reading import MIN_CONTRAST, split
from chaos.identity.stamping import codeword

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from chaos.identity.key import Key
    from chaos.identity.register import Register
    from chaos.identity.sampling import Modules

CHANCE = 1e-9
"""Bound for one picture of naming anybody by chance, over everybody it is compared with."""
ROWS = (3, 2)
"""Whole rows of modules in a sliver. One has 32 modules, too few for 1,044 owners."""
_BITS = 32
_SHARED = 1
"""Bytes at the beginning of each row of a tile that many owners share."""
_MODULE_ROWS = layout.MODULES_DOWN
CASES = 16
"""Cases that are remembered to be compared with, beside those that a picture itself names."""

_PLACE = [next(i for i, (r, _) in enumerate(layout.PLACES) if r == row and not layout.DYNAMIC[i]) for row in range(8)]
"""The static tile of each row of places."""


class Registered(msgspec.Struct, frozen=True):
    """Somebody whose picture may be among those that are read."""

    owner: int
    camera: int

    @classmethod
    def all_of(cls, register: Register) -> tuple[Registered, ...]:
        """Return every owner with every camera."""
        owners, cameras = len(register.owners), len(register.cameras)
        return tuple(cls(owner, camera) for owner in range(1, owners + 1) for camera in range(1, cameras + 1))


class Slivers:
    """Matches slivers with the `registered` of one run; remembers the last cases that its pictures named.

    `cases` are known beforehand. Several threads may share it.
    """

    def __init__(self, key: Key, registered: Sequence[Registered], cases: Iterable[int] = ()) -> None:
        self._key = key
        self._registered = tuple(registered)
        self._looks: dict[int, NDArray[np.uint32]] = {}
        self._learning = threading.Lock()
        for case in cases:
            self._learn(case)

    def find(self, modules: Modules, seen: Sequence[Seen]) -> tuple[Seen, ...]:
        """Return those whom slivers name and no tile does; `seen` is whom tiles of the same picture name."""
        for s in seen:
            if s.key_id == self._key.id:
                self._learn(s.case)
        with self._learning:
            all_looks = dict(self._looks)
        if not all_looks or not self._registered:
            return ()
        known = {(s.case, s.owner, s.camera) for s in seen}
        rows, visible = _rows(modules)
        compared = len(all_looks) * len(self._registered)
        found: dict[tuple[int, int], tuple[float, Seen]] = {}
        for case, look in all_looks.items():
            wrong = np.bitwise_count(look ^ rows[:, None])  # (64, registered)
            wrong[~visible] = _BITS
            for length in ROWS:
                allowed = allowed_errors(length, compared)
                if allowed < 0:
                    continue
                windows = wrong[: _windows(length)].copy()
                for i in range(1, length):
                    windows += wrong[i : _windows(length) + i]
                for start, who in np.argwhere(windows <= allowed) if windows.min() <= allowed else ():
                    person = self._registered[int(who)]
                    if (case, person.owner, person.camera) in known:
                        continue
                    chance = _chance(length, int(windows[start, who]), compared)
                    told = Seen(person.owner, person.camera, case, 0, None, None, self._key.id, chance)
                    found[case, int(who)] = min(found.get((case, int(who)), (chance, told)), (chance, told))
        return tuple(told for _, told in sorted(found.values()))

    def _learn(self, case: int) -> None:
        with self._learning:
            look = self._looks.pop(case, None)
            if look is None:
                look = looks(self._key, case, self._registered)
            self._looks[case] = look  # the last named is the last forgotten
            while len(self._looks) > CASES:
                del self._looks[next(iter(self._looks))]


def looks(key: Key, case: int, registered: Sequence[Registered]) -> NDArray[np.uint32]:
    """Return how the 64 rows of modules of everybody's static tiles look: (64, registered), a bit a module."""
    words = [codeword(static_payload(Badge(case, r.owner, r.camera, 0, 0), key), key) for r in registered]
    tiles = np.empty((len(words), layout.CODEWORD_BYTES), np.uint8)
    tiles[:, layout.POSITION] = np.array(words, np.uint8).reshape(-1, layout.CODEWORD_BYTES)
    masked = tiles[None, :, :] ^ layout.MASK_BYTES[_PLACE][:, None, :]
    rows = masked.reshape(layout.GRID_ROWS, len(words), layout.TILE_ROWS, -1).transpose(0, 2, 1, 3)
    return _packed(rows.reshape(_MODULE_ROWS, len(words), -1))


def _packed(row_bytes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the four bytes of each row that differ from owner to owner as one number."""
    return np.ascontiguousarray(row_bytes[..., _SHARED:]).view(np.uint32)[..., 0]


def _rows(modules: Modules) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the 64 rows of modules of the static tiles, a bit a module, and which of them are to be seen."""
    levels = np.empty((_MODULE_ROWS, layout.TILE_COLUMNS), np.float32)
    there = np.ones(_MODULE_ROWS, np.bool_)
    if len(modules.usable) < len(layout.PLACES):
        there = np.isin(_PLACE, modules.usable).repeat(layout.TILE_ROWS)
    for row, place in enumerate(_PLACE):
        left = layout.PLACES[place][1] * layout.TILE_COLUMNS
        rows = slice(row * layout.TILE_ROWS, (row + 1) * layout.TILE_ROWS)
        levels[rows] = modules.levels[rows, left : left + layout.TILE_COLUMNS]
    bits, above, below = split(levels)
    return _packed(np.packbits(bits, axis=1)), there & ((above - below)[:, 0] >= MIN_CONTRAST)


def _windows(length: int) -> int:
    return _MODULE_ROWS - length + 1


@lru_cache(maxsize=256)
def allowed_errors(length: int, compared: int) -> int:
    """Return how many of the 32 * `length` modules may be wrong, so that chance names somebody in `CHANCE` of pictures.

    `compared` is the number of (case, owner, camera) that the picture is compared with. -1: not even none.
    """
    allowed = -1
    while _chance(length, allowed + 1, compared) <= CHANCE / len(ROWS):
        allowed += 1
    return allowed


def _chance(length: int, wrong: int, compared: int) -> float:
    """Return the bound: comparisons times the probability that as few modules as that are wrong in one of them."""
    modules = _BITS * length
    return compared * _windows(length) * (sum(comb(modules, k) for k in range(wrong + 1)) / int(2**modules))

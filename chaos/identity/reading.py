"""Pixels into badges: whom the authenticated tiles of a plane name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from chaos.errors import Misuse
from chaos.identity import layout, sampling
from chaos.identity.badge import MESSAGE_BYTES, Box, Message, Seen, parse
from chaos.identity.repair import repair

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from chaos.identity.key import Key
    from chaos.identity.layout import Plane
    from chaos.identity.sampling import Modules
    from chaos.identity.slivers import Slivers

MIN_CONTRAST = 8.0
"""Luma between the means of a tile's dark and bright modules under which it is no tile. Stamped it is 192; a
blend of one part in ten still has 19."""
TURNS = (0.27, 0.73)
"""Share of neighbouring modules that differ. Whitened tiles have 0.50 with a spread of 0.03, and 0.39 when they are as
uniform in part as Reed-Solomon can repair; scenes, flat fields and checkerboards of coarser pitch lie outside."""

_STATIC = ~np.array(layout.DYNAMIC)
_MASKS = layout.MASK_BYTES[:, layout.POSITION[:MESSAGE_BYTES]]
"""What is added to each tile's first 22 bytes, in the order of a code word."""


def read(luma: Plane, keys: Sequence[Key], box: Box | None = None, slivers: Slivers | None = None) -> tuple[Seen, ...]:
    """Return whom the tiles of `luma` name, one entry per (owner, camera, case, key), most tiles first.

    `luma` is an (H, W) plane of uint8, `box` where the camera's picture sits in it (None: it fills it), and
    `keys` the run's key first, then those of recent runs. Only a tile whose MAC verifies counts, so that a
    picture without a badge, or one that is damaged beyond repair, gives an empty tuple. With `slivers`, owners of
    whom too little is left for a MAC are matched with those that are registered; they come last, with no tiles and
    with the bound of their `chance`. Raises `Misuse` for no key or another kind of array.
    """
    if not keys:
        raise Misuse("read() got no key; expected the run's key: nothing authenticates without one")
    if luma.ndim != 2 or luma.dtype != np.uint8:
        raise Misuse(
            f"read() got an array of shape {luma.shape} and type {luma.dtype};"
            " expected an (H, W) plane of uint8: decode to greyscale first"
        )
    if not luma.size:
        return ()
    return read_modules(sampling.modules(luma, box), keys, slivers)


def read_modules(modules: Modules, keys: Sequence[Key], slivers: Slivers | None = None) -> tuple[Seen, ...]:
    """Return what `read` returns, from the levels of a picture's modules."""
    found: dict[tuple[int, int, int, str], list[Message]] = {}
    whole = 0
    places = modules.usable
    said = _all_whole(modules, keys[0]) or _vouched(_tiles(modules.tiles(), places), keys)
    for message, key, repaired in said:
        whole += not repaired
        found.setdefault((message.owner, message.camera, message.case, key.id), []).append(message)
    seen = tuple(sorted((_seen(*who, tiles) for who, tiles in found.items()), key=lambda s: (-s.tiles, s)))
    if slivers is not None and whole < len(places):  # two rows of somebody else can be repaired away
        seen += slivers.find(modules, seen)
    return seen


def _seen(owner: int, camera: int, case: int, key_id: str, tiles: list[Message]) -> Seen:
    times = [(m.time_ms, m.frame) for m in tiles if m.time_ms is not None and m.frame is not None]
    time_ms, frame = min(times) if times else (None, None)
    return Seen(owner, camera, case, len(tiles), frame, time_ms, key_id)


def _all_whole(modules: Modules, key: Key) -> list[tuple[Message, Key, bool]]:
    """Return what all tiles say if the run's key vouches for each as it is: most pictures are whole, and end here.

    From the means of modules as ever: one pixel of each would do, and would not see somebody else's lines between them.
    Static tiles of one owner say the same, so that two words are vouched for and not twelve; and one threshold for all
    tiles is enough for a picture that is lit evenly.
    """
    levels, masks = modules.words(), _MASKS
    if len(modules.usable) < len(layout.PLACES):
        levels, masks = levels[modules.usable], masks[modules.usable]
    if not levels.size:
        return []
    bits = levels > levels.dtype.type(levels.sum() // levels.size)
    messages = (np.packbits(bits[:, : 8 * MESSAGE_BYTES], axis=1) ^ masks).tobytes()
    vouched: dict[bytes, tuple[Message, Key, bool]] = {}
    said = []
    for at in range(0, len(messages), MESSAGE_BYTES):
        word = messages[at : at + MESSAGE_BYTES]
        if (told := vouched.get(word)) is None:
            if (message := parse(word, key)) is None:
                return []
            vouched[word] = told = (message, key, False)
        said.append(told)
    return said


def _vouched(tiles: _Tiles, keys: Sequence[Key]) -> Iterable[tuple[Message, Key, bool]]:
    """Yield what each tile says that a key vouches for, with the key, and whether it was repaired.

    The run's own key is tried on the bytes as they are: most tiles are whole, and Reed-Solomon costs 100 times a MAC.
    If no tile says anything, what the static tiles say together is tried.
    """
    said = list(_authentic(_words(tiles.signs > 0, tiles.places), keys))
    static = _STATIC[tiles.places]
    if not said and static.sum() > 1:
        said = list(_authentic(_together(tiles.signs[static], tiles.places[static]), keys))[:1]
    return said


def _together(signs: NDArray[np.float32], places: NDArray[np.intp]) -> list[bytes]:
    """Return the words of all, the upper and the lower static tiles, each module by the sum of its levels.

    They say the same, so that what one lost another has. Upper and lower, since a torn picture has two owners.
    """
    unmasked = signs * (1 - 2 * layout.MASKS[places].astype(np.float32))
    middle = len(places) // 2
    parts = (unmasked, unmasked[:middle], unmasked[middle:])
    return [np.packbits(p.sum(axis=0) > 0)[layout.POSITION].tobytes() for p in parts if len(p) > 1]


def _authentic(words: Sequence[bytes], keys: Sequence[Key]) -> Iterable[tuple[Message, Key, bool]]:
    """Yield what those of some code words say that a key vouches for; the repaired last."""
    broken = []
    for word in words:
        if (message := parse(word[:MESSAGE_BYTES], keys[0])) is not None:
            yield message, keys[0], False
        else:
            broken.append(word)
    for repaired in repair(broken):
        for key in keys if repaired is not None else ():
            if repaired is not None and (message := parse(repaired, key)) is not None:
                yield message, key, True
                break


class _Tiles(msgspec.Struct, frozen=True):
    """The tiles that look like one: levels from -1 (dark) to 1 (bright) as (tiles, 320), and their places."""

    signs: NDArray[np.float32]
    places: NDArray[np.intp]


def _tiles(levels: NDArray[np.float32], places: NDArray[np.intp]) -> _Tiles:
    bits, above, below = split(levels)
    lines = bits.reshape(-1, layout.TILE_ROWS, layout.TILE_COLUMNS)
    turns = (lines[:, :, 1:] != lines[:, :, :-1]).mean(axis=(1, 2))
    tile = ((above - below)[:, 0] >= MIN_CONTRAST) & (turns > TURNS[0]) & (turns < TURNS[1])
    middle, half = (above + below)[tile] / 2, (above - below)[tile] / 2
    return _Tiles(np.clip((levels[tile] - middle) / half, -1, 1), places[tile])


def split(levels: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Return which of each row's levels are bright, and the mean (rows, 1) of the bright ones and of the dark ones."""
    count = levels.shape[1]
    total = levels.sum(axis=1, keepdims=True)
    threshold = total / count
    for _ in range(2):
        bright = levels > threshold
        many = np.clip(bright.sum(axis=1, keepdims=True), 1, count - 1)
        lit = np.where(bright, levels, 0).sum(axis=1, keepdims=True)
        above, below = lit / many, (total - lit) / (count - many)
        threshold = (above + below) / 2
    return levels > threshold, above.astype(np.float32), below.astype(np.float32)


def _words(bits: NDArray[np.bool_], places: NDArray[np.intp]) -> list[bytes]:
    """Return the code word of each tile's bits."""
    words = (np.packbits(bits, axis=1) ^ layout.MASK_BYTES[places])[:, layout.POSITION]
    return [row.tobytes() for row in words]

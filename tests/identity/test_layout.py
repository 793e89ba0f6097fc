"""What the layout must be able to bear, checked on the layout itself."""

from __future__ import annotations

import numpy as np

from chaos.identity import layout
from tests.pictures import BADGE, KEY, stamped, textured


def _rows(place: int) -> tuple[int, int]:
    top = layout.TOP + layout.PLACES[place][0] * 128
    return top, top + 128


def test_half_of_the_places_hold_tiles_and_no_two_touch_at_a_side():
    assert len(layout.PLACES) == 12
    for row, column in layout.PLACES:
        assert (row + 1, column) not in layout.PLACES
        assert (row, column + 1) not in layout.PLACES


def test_the_scene_stays_visible_on_half_of_the_picture():
    changed = stamped(BADGE, KEY) != textured(1)
    assert 0.40 < changed.mean() < 0.48


def test_any_256_rows_hold_a_whole_static_tile():
    for top in range(1080 - 256 + 1):
        whole = (i for i in range(12) if top <= _rows(i)[0] and _rows(i)[1] <= top + 256)
        assert not all(layout.DYNAMIC[i] for i in whole), top


def test_module_edges_fall_on_block_edges_of_the_codecs():
    assert layout.TOP % 16 == 0
    assert layout.MODULE % 16 == 0


def test_a_crop_of_30_percent_on_all_sides_leaves_a_whole_tile():
    left, right, top, bottom = 576, 1920 - 576, 324, 1080 - 324
    whole = [
        i
        for i, (_, column) in enumerate(layout.PLACES)
        if left <= column * 640 and (column + 1) * 640 <= right and top <= _rows(i)[0] and _rows(i)[1] <= bottom
    ]
    assert whole


def test_a_third_of_the_tiles_is_dynamic():
    assert sum(layout.DYNAMIC) == 4


def test_masks_balance_levels_and_differ():
    assert (abs(layout.MASKS.mean(axis=1) - 0.5) < 0.1).all()
    for a in range(12):
        for b in range(a):
            assert 0.35 < (layout.MASKS[a] != layout.MASKS[b]).mean() < 0.65


def test_layouts_do_not_change_unnoticed():
    # Pictures of old runs are judged again: another mask is another version.
    assert layout.MASK_BYTES[0, :4].tobytes().hex() == "bb8e239c"
    assert np.packbits(layout.MASKS[11])[-1] == layout.MASK_BYTES[11, -1]

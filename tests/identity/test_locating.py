from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from chaos.frames import luma_of_jpeg
from chaos.identity import Key, read, search
from chaos.identity.locating import boxes
from chaos.scene.painting import planes
from tests.pictures import BADGE, KEY, filmed, jpeg, scaled, stamped

ALL_SIDES = (576, 324, 1344, 756)
CORNER = (0, 0, 1344, 756)
MIDDLE = (301, 97, 1700, 1001)
LITTLE = (70, 41, 1885, 1055)


def cropped(sides: tuple[int, int, int, int], scale: Fraction = Fraction(1), quality: int = 85) -> np.ndarray:
    left, top, right, bottom = sides
    part = filmed(BADGE)[top:bottom, left:right]
    if scale != 1:
        part = scaled(part, int(part.shape[1] * scale), int(part.shape[0] * scale))
    plane = luma_of_jpeg(jpeg(part, quality))
    assert plane is not None
    return plane


@pytest.mark.parametrize("sides", [ALL_SIDES, CORNER, MIDDLE, LITTLE])
@pytest.mark.parametrize(("scale", "quality"), [(Fraction(1), 85), (Fraction(8, 15), 50), (Fraction(1, 3), 75)])
def test_a_cropped_picture_is_found_without_being_told_where_it_lay(sides, scale, quality):
    plane = cropped(sides, scale, quality)
    assert not read(plane, [KEY])
    seen, box = search(plane, [KEY])
    assert [(s.owner, s.case) for s in seen] == [(BADGE.owner, BADGE.case)]
    assert box is not None
    left, top, right, bottom = sides
    across, down = plane.shape[1] / (right - left), plane.shape[0] / (bottom - top)
    expected = (-left * across, -top * down, 1920 * across, 1080 * down)
    assert (box.x, box.y, box.width, box.height) == pytest.approx(expected, abs=16 * across)


def test_a_crop_that_was_scaled_up_again_and_stretched_is_found():
    plane = luma_of_jpeg(jpeg(np.asarray(cv2.resize(filmed(BADGE)[100:980, 200:1500], (1920, 1080)), np.uint8)))
    assert plane is not None
    assert search(plane, [KEY])[0]


def test_another_key_finds_nobody():
    assert search(cropped(MIDDLE), [Key(bytes(32))]) == ((), None)


def test_the_place_of_the_frame_before_is_tried_first(monkeypatch):
    plane = cropped(MIDDLE)
    _, box = search(plane, [KEY])
    monkeypatch.setattr("chaos.identity.locating.boxes", lambda *_, **__: pytest.fail("searched again"))
    assert search(plane, [KEY], likely=box)[0]


@pytest.mark.parametrize("owner", range(1, 7))
@pytest.mark.parametrize("thorough", [False, True])
def test_a_scene_without_a_badge_has_no_place_for_one(owner, thorough):
    for plane in (planes(owner, 1).luma, scaled(planes(owner, 1).luma, 240, 135)):
        assert boxes(plane, thorough=thorough) == ()


def test_a_picture_that_fills_the_plane_is_not_told_again():
    assert boxes(scaled(stamped(), 1024, 576)) == ()


@pytest.mark.parametrize("shape", [(1, 1), (135, 3), (20, 240), (135, 240)])
def test_what_has_no_modules_has_no_place(shape):
    rng = np.random.default_rng(4)
    for plane in (np.zeros(shape, np.uint8), rng.integers(0, 256, shape, np.uint8)):
        assert boxes(plane) == ()
    y, x = np.indices(shape)
    for side in range(1, 9):
        assert search((((y // side + x // side) % 2) * 255).astype(np.uint8), [KEY]) == ((), None)


def test_a_picture_on_a_page_is_found_among_its_text():
    page = np.full((1080, 1920), 245, np.uint8)
    for y in range(60, 1060, 44):
        cv2.putText(page, "Cameras  Living room  " * 5, (40, y), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 40, 2)
    page[200:740, 333:1293] = scaled(stamped(), 960, 540)
    seen, box = search(page, [KEY], thorough=True)
    assert [(s.owner, s.tiles) for s in seen] == [(BADGE.owner, 12)]
    assert box is not None
    assert (box.x, box.y, box.width, box.height) == pytest.approx((333, 200, 960, 540), abs=3)

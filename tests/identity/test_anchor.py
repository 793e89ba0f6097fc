"""A screen that a camera films from the side: straightened by its marks, believed by its MACs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from chaos.identity import Badge, Key, anchor, read, stamp
from tests.bench.damage import through_a_camera
from tests.pictures import KEY, scaled, textured

CARD = Badge(case=8, owner=77, camera=3, frame=500, time_ms=100_000)


@lru_cache(maxsize=2)
def card(key: Key = KEY) -> np.ndarray:
    luma = textured(2).copy()
    stamp(luma, CARD, key)
    anchor.draw(luma)
    return luma


ANGLES = [
    pytest.param(0, 0, 0, id="straight"),
    pytest.param(5, 0, 0, id="rolled 5"),
    pytest.param(-20, 0, 0, id="rolled 20"),
    pytest.param(0, 30, 0, id="from the side, 30"),
    pytest.param(0, 0, -25, id="from below, 25"),
    pytest.param(10, -20, 15, id="all at once"),
    pytest.param(180, 0, 0, id="upside down"),
]


@pytest.mark.parametrize(("roll", "turn", "tilt"), ANGLES)
@pytest.mark.parametrize(("size", "share"), [((1920, 1080), 0.7), ((1280, 720), 0.8), ((1920, 1080), 0.45)])
def test_a_filmed_card_is_read_at_angles_and_distances(roll, turn, tilt, size, share):
    luma = through_a_camera(size, share, (roll, turn, tilt), card())
    straight = anchor.straightened(luma)
    assert straight is not None
    (seen,) = read(straight, [KEY])
    assert (seen.owner, seen.camera, seen.case, seen.time_ms) == (77, 3, 8, 100_000)
    assert seen.tiles >= 8
    if (roll, turn, tilt) != (0, 0, 0):
        assert read(luma, [KEY]) == (), "without its marks nobody finds it"


def test_a_card_that_is_half_covered_is_found_by_the_marks_that_are_left():
    luma = through_a_camera((1920, 1080), 0.7, (7, 15, 0), card())
    luma[:, :960] = 30
    straight = anchor.straightened(luma)
    assert straight is not None
    assert read(straight, [KEY])[0].owner == 77


def test_a_mark_names_nobody():
    forged = through_a_camera((1920, 1080), 0.7, (10, 0, 0), card(Key(bytes(32))))
    straight = anchor.straightened(forged)
    assert straight is not None
    assert read(straight, [KEY]) == ()


@pytest.mark.parametrize("luma", [np.zeros((600, 1024), np.uint8), textured(4), np.zeros((1, 1), np.uint8)])
def test_where_no_marks_are_nothing_is_straightened(luma):
    assert anchor.straightened(luma) is None


def test_marks_lie_beside_the_tiles():
    luma = textured(2).copy()
    stamp(luma, CARD, KEY)
    assert read(luma, [KEY]) == read(card(), [KEY])
    assert read(card(), [KEY])[0].tiles == 12
    small = scaled(card(), 240, 135)
    assert read(small, [KEY])[0].tiles == 12


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (640, 360)])
def test_marks_are_drawn_at_any_size(size):
    luma = scaled(textured(2), *size)
    stamp(luma, CARD, KEY)
    anchor.draw(luma)
    straight = anchor.straightened(luma)
    assert straight is not None
    assert read(straight, [KEY])[0].tiles == 12

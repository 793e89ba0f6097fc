"""Pixels into readings: whom a raster names, and what a partial picture grew into."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from chaos import frames
from chaos.history import Reading
from chaos.identity import Badge, Box, Key, Register, stamp
from chaos.reading import Reader, grown
from tests.makers import OWNERS, ROOM, seen
from tests.pictures import filmed

KEY, OTHER_KEY = (Key(bytes([n]) * 32) for n in (1, 2))
REGISTER = Register(OWNERS, (ROOM, "porch"))
HEIGHT, WIDTH = 540, 960


def scene(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a picture with texture everywhere, nowhere black."""
    chance = np.random.default_rng(seed)
    return chance.integers(60, 200, (height, width), np.uint8)


def badge(owner: int = 1, **more: int) -> Badge:
    return Badge(**({"case": 1, "owner": owner, "camera": 1, "frame": 7, "time_ms": 5000} | more))


def stamped(owner: int = 1, key: Key = KEY, **more: int) -> np.ndarray:
    plane = scene(owner)
    stamp(plane, badge(owner, **more), key)
    return plane


def reader(*keys: Key) -> Reader:
    return Reader(REGISTER, keys or (KEY,))


def test_a_stamped_picture_names_its_owner_camera_case_and_time():
    reading = reader().read(stamped(2, camera=2, case=9))

    assert reading.content == "picture"
    (sighting,) = reading.sightings
    assert (sighting.owner, sighting.camera, sighting.case) == ("grace", "porch", 9)
    assert (sighting.frame, sighting.captured) == (7, 5.0)
    assert sighting.tiles == 12


def test_a_picture_in_its_box_on_a_screen_is_read():
    screen = np.zeros((800, 1280), np.uint8)
    screen[100 : 100 + HEIGHT, 160 : 160 + WIDTH] = stamped(3)

    reading = reader().read(screen, Box(160, 100, WIDTH, HEIGHT))

    assert [s.owner for s in reading.sightings] == ["lin"]


def test_a_picture_that_fills_the_screen_is_read_although_it_should_be_in_a_box():
    assert reader().read(stamped(3), Box(160, 100, 400, 225)).sightings[0].owner == "lin"


def test_a_torn_picture_names_both_owners():
    torn = stamped(1)
    torn[HEIGHT // 2 :] = stamped(2)[HEIGHT // 2 :]

    assert {s.owner for s in reader().read(torn).sightings} == {"ada", "grace"}


def test_an_owner_who_is_not_registered_is_named_by_number():
    assert reader().read(stamped(17)).sightings[0].owner == "unknown owner 17"


def test_a_camera_that_is_not_registered_is_named_by_number():
    assert reader().read(stamped(1, camera=9)).sightings[0].camera == "unknown camera 9"


@pytest.mark.parametrize("level", [0, 16, 128, 255])
@pytest.mark.parametrize("box", [None, Box(100, 100, 480, 270)])
def test_a_screen_of_one_colour_is_blank(level, box):
    assert reader().read(np.full((HEIGHT, WIDTH), level, np.uint8), box) == Reading("blank")


@pytest.mark.parametrize(
    "plane", [scene(), stamped(1, OTHER_KEY)], ids=["without a badge", "with the badge of a key that we don't have"]
)
def test_a_picture_that_does_not_authenticate_is_a_picture_of_nobody_and_never_blank(plane):
    assert reader().read(plane) == Reading("picture")


def test_a_picture_of_a_recent_run_is_read_with_that_runs_key():
    (sighting,) = reader(KEY, OTHER_KEY).read(stamped(2, OTHER_KEY)).sightings
    assert sighting.run == OTHER_KEY.id
    assert sighting.owner == f"owner 2 of run {OTHER_KEY.id}", "number 2 of another run need not be grace"


def test_a_sliver_of_another_owner_is_told_with_its_chance():
    torn = stamped(1)
    torn[200:232] = stamped(3)[200:232]
    own, sliver = reader().read(torn).sightings
    assert (own.owner, own.chance) == ("ada", None)
    assert (sliver.owner, sliver.tiles) == ("lin", 0)
    assert sliver.chance is not None


# Partial pictures.

UNREAD, BLANK = Reading("picture"), Reading("blank")
ADA, GRACE = Reading("picture", (seen("ada"),)), Reading("picture", (seen("grace"),))


def top(plane: np.ndarray, rows: int) -> np.ndarray:
    """Return a picture of which the lower part has not come yet."""
    part = np.zeros_like(plane)
    part[:rows] = plane[:rows]
    return part


def with_seam(plane: np.ndarray, rows: int) -> np.ndarray:
    """Return the same as a decoder leaves it: the last row of blocks is not what it will be."""
    part = top(plane, rows)
    part[rows - 16 : rows] = 128
    return part


WHOLE, OTHER = scene(1), scene(2)
SHIFTED = np.roll(WHOLE, 1, axis=1)


@pytest.mark.parametrize(
    ("what", "planes", "readings", "expected"),
    [
        ("a part takes the reading of its whole", [top(WHOLE, 200), WHOLE], [UNREAD, ADA], [ADA, ADA]),
        ("a part with an unfinished seam does too", [with_seam(WHOLE, 200), WHOLE], [UNREAD, ADA], [ADA, ADA]),
        (
            "parts that grow step by step all do",
            [top(WHOLE, 50), top(WHOLE, 200), top(WHOLE, 400), WHOLE],
            [UNREAD, UNREAD, UNREAD, ADA],
            [ADA] * 4,
        ),
        ("a part of another picture does not", [top(OTHER, 200), WHOLE], [UNREAD, ADA], [UNREAD, ADA]),
        ("a part of the same scene, moved, does not", [top(SHIFTED, 200), WHOLE], [UNREAD, ADA], [UNREAD, ADA]),
        ("a part after its whole does not", [WHOLE, top(WHOLE, 200)], [ADA, UNREAD], [ADA, UNREAD]),
        (
            "a part whose whole comes after another screen does not",
            [top(WHOLE, 200), np.zeros_like(WHOLE), WHOLE],
            [UNREAD, BLANK, ADA],
            [UNREAD, BLANK, ADA],
        ),
        (
            "a part that is torn from two pictures does not",
            [np.vstack([WHOLE[:100], OTHER[100:200], np.zeros((HEIGHT - 200, WIDTH), np.uint8)]), WHOLE],
            [UNREAD, ADA],
            [UNREAD, ADA],
        ),
        ("a part that was read keeps its own reading", [top(WHOLE, 200), WHOLE], [GRACE, ADA], [GRACE, ADA]),
        ("a part that never grew stays unread", [top(WHOLE, 200)], [UNREAD], [UNREAD]),
        ("a part of what nobody can read either", [top(WHOLE, 200), WHOLE], [UNREAD, UNREAD], [UNREAD, UNREAD]),
        ("a blank screen stays blank", [top(WHOLE, 0), WHOLE], [BLANK, ADA], [BLANK, ADA]),
        ("a picture that is black stays unread", [top(WHOLE, 0), WHOLE], [UNREAD, ADA], [UNREAD, ADA]),
        (
            "a screen of another size does not",
            [top(WHOLE, 200), scene(1, HEIGHT, WIDTH + 2)],
            [UNREAD, ADA],
            [UNREAD, ADA],
        ),
        ("nothing", [], [], []),
    ],
)
def test_a_partial_picture_shows_what_it_grew_into_and_nothing_else(what, planes, readings, expected):
    assert grown(planes, readings) == expected, what


def test_a_part_of_a_torn_picture_names_both_owners():
    both = Reading("picture", (seen("ada"), seen("grace")))

    assert grown([top(WHOLE, 200), WHOLE], [UNREAD, both]) == [both, both]


def test_a_part_of_a_strangers_picture_that_ones_own_replaced_is_not_ones_own():
    own, strangers = stamped(1), stamped(2)
    planes = [top(strangers, 40), own]

    readings = grown(planes, [reader().read(p) for p in planes])

    assert readings[0] == UNREAD
    assert readings[1].sightings[0].owner == "ada"


def test_the_planes_and_readings_that_were_given_stay_as_they_were():
    readings = [UNREAD, ADA]
    planes = [top(WHOLE, 200), WHOLE.copy()]

    grown(planes, readings)

    assert readings == [UNREAD, ADA]
    assert np.array_equal(planes[1], WHOLE)


def screen(owner: int, rows: int = 576) -> np.ndarray:
    """Return the luma of a hub's screen that shows so many rows of an owner's picture, sent as JPEG."""
    picture = np.zeros((600, 1024, 3), np.uint8)
    there = cv2.resize(filmed(badge(owner), KEY), (1024, 576), interpolation=cv2.INTER_AREA)
    picture[12 : 12 + rows] = there[:rows, :, None]
    width, height, rgb = frames.rgb_of_jpeg(frames.encode_jpeg(picture, 100))
    return frames.luma_of_rgb(rgb, width, height)


@pytest.mark.parametrize("rows", [8, 40, 90, 300, 500])
def test_a_part_grows_into_its_own_whole_on_a_screen_that_is_sent_as_jpeg(rows):
    box = Box(0, 12, 1024, 576)
    unread, read = Reading("picture"), Reading("picture", (seen("ada"),))
    assert grown([screen(1, rows), screen(1)], [unread, read], box) == [read, read]
    assert grown([screen(1, rows), screen(2)], [unread, read], box) == [unread, read]

from __future__ import annotations

from functools import lru_cache

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import Misuse
from chaos.frames import luma_of_jpeg
from chaos.identity import Badge, Box, Key, Seen, layout, read, stamp
from tests.pictures import BADGE, KEY, filmed, jpeg, scaled, stamped, textured

OTHER = Badge(case=70_000, owner=77, camera=1, frame=9, time_ms=4_000)
SIZES = [(1920, 1080), (1280, 720), (1024, 576), (640, 360), (320, 180), (240, 135)]


def seen(badge: Badge, tiles: int, key: Key = KEY) -> Seen:
    return Seen(badge.owner, badge.camera, badge.case, tiles, badge.frame, badge.time_ms, key.id)


def named(luma: np.ndarray, *keys: Key) -> set[tuple[int, int, int]]:
    return {(s.owner, s.camera, s.case) for s in read(luma, keys or (KEY,))}


def who(badge: Badge) -> tuple[int, int, int]:
    return badge.owner, badge.camera, badge.case


# Round trips.


@settings(max_examples=40, deadline=None)
@given(
    badge=st.builds(
        Badge,
        case=st.integers(0, (1 << 24) - 1),
        owner=st.integers(1, 65535),
        camera=st.integers(1, 255),
        frame=st.integers(0, 65535),
        time_ms=st.integers(0, (1 << 40) - 1),
    ),
    secret=st.binary(min_size=32, max_size=32),
    seed=st.integers(0, 3),
    size=st.sampled_from(SIZES),
)
def test_what_is_stamped_is_read_at_every_size(badge, secret, seed, size):
    key = Key(secret)
    luma = stamped(badge, key, seed=seed)
    assert read(scaled(luma, *size), [key]) == (seen(badge, 12, key),)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(320, 1920), height=st.integers(180, 1080))
def test_a_plane_of_any_size_can_be_stamped(width, height):
    luma = textured(2, 1920, 1080)[:height, :width].copy()
    stamp(luma, BADGE, KEY)
    assert read(luma, [KEY]) == (seen(BADGE, 12),)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_badge_is_read_over_any_flat_ground(level):
    luma = np.full((1080, 1920), level, np.uint8)
    stamp(luma, BADGE, KEY)
    assert read(luma, [KEY]) == (seen(BADGE, 12),)


def test_stamping_leaves_the_scene_beside_the_tiles_alone():
    luma, bare = stamped(), textured(1)
    assert (luma[:32] == bare[:32]).all()
    assert (luma[1056:] == bare[1056:]).all()
    assert (luma[32:160, 640:1280] == bare[32:160, 640:1280]).all()


def test_static_tiles_do_not_change_between_frames():
    later = msgspec.structs.replace(BADGE, frame=BADGE.frame + 1, time_ms=BADGE.time_ms + 100)
    rows = np.flatnonzero((stamped(BADGE) != stamped(later)).any(axis=1))
    dynamic = {
        r
        for (row, _), d in zip(layout.PLACES, layout.DYNAMIC, strict=True)
        if d
        for r in range(128 * row, 128 * row + 128)
    }
    assert rows.size
    assert set((rows - 32).tolist()) <= dynamic


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
@pytest.mark.parametrize("size", [(1920, 1080), (1024, 576), (640, 360), (320, 180)])
@pytest.mark.parametrize("quick", [True, False])
def test_jpeg_at_every_size_and_quality_is_read(quality, size, quick):
    for owner in (1, 2):
        badge = msgspec.structs.replace(BADGE, owner=owner, camera=1)
        luma = luma_of_jpeg(jpeg(scaled(filmed(badge), *size), quality), quick=quick)
        assert luma is not None
        (only,) = read(luma, [KEY])
        assert (only.owner, only.frame, only.time_ms) == (owner, BADGE.frame, BADGE.time_ms)
        assert only.tiles >= 11


def test_a_1080p_jpeg_is_read_from_an_eighth_of_its_size():
    luma = luma_of_jpeg(jpeg(stamped()))
    assert luma is not None
    assert luma.shape == (135, 240)
    assert read(luma, [KEY]) == (seen(BADGE, 12),)


# Damage.


@pytest.mark.parametrize(("share", "tiles"), [(0.9, 9), (0.6, 6), (0.3, 2)])
def test_a_jpeg_that_was_cut_names_its_owner(share, tiles):
    data = jpeg(filmed(Badge(5, 1, 1, 6, 7)))
    luma = luma_of_jpeg(data[: int(len(data) * share)])
    assert luma is not None
    (only,) = read(luma, [KEY])
    assert (only.owner, only.case) == (1, 5)
    assert tiles <= only.tiles
    assert share > 0.6 or only.tiles < 12


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("kind", ["noise", "black", "white", "shifted"])
def test_scan_lines_leave_the_owner_readable(share, kind):
    rng = np.random.default_rng(3)
    for seed in range(5):
        luma = stamped(seed=seed % 3)
        rows = rng.choice(1080, int(1080 * share), replace=False)
        luma[rows] = {
            "noise": rng.integers(0, 256, (rows.size, 1920), np.uint8),
            "black": 0,
            "white": 255,
            "shifted": np.roll(luma[rows], 300, axis=1),
        }[kind]
        for plane in (luma, scaled(luma, 1024, 576), scaled(luma, 240, 135)):
            assert named(plane) == {who(BADGE)}


@pytest.mark.parametrize(
    "tone",
    [
        pytest.param(lambda x: x * 0.25, id="dark"),
        pytest.param(lambda x: x * 0.3 + 170, id="washed out"),
        pytest.param(lambda x: 255 * (x / 255) ** 2.2, id="gamma 2.2"),
        pytest.param(lambda x: 255 * (x / 255) ** 0.45, id="gamma 0.45"),
        pytest.param(lambda x: 1.6 * x - 40, id="hard"),
    ],
)
def test_tone_changes_leave_every_tile_readable(tone):
    luma = np.clip(tone(stamped().astype(np.float32)), 0, 255).astype(np.uint8)
    assert read(luma, [KEY]) == (seen(BADGE, 12),)


def test_two_owners_torn_across_are_both_named():
    for at in range(270, 820, 50):
        torn = stamped()
        torn[at:] = stamped(OTHER, seed=2)[at:]
        for plane in (torn, scaled(torn, 1024, 576), scaled(torn, 240, 135)):
            assert named(plane) == {who(BADGE), who(OTHER)}


def test_a_band_of_256_rows_of_another_owner_is_named():
    for top in range(0, 824, 37):
        torn = stamped()
        torn[top : top + 256] = stamped(OTHER, seed=2)[top : top + 256]
        assert named(torn) == {who(BADGE), who(OTHER)}


def test_lines_of_another_owner_between_are_never_overlooked():
    # a person sees both: whoever has the larger share of the lines is named, the other alone never is
    for own in range(1, 16):
        woven = stamped(OTHER, seed=2)
        for line in range(own):
            woven[(line * 7 + 8) % 16 :: 16] = stamped()[(line * 7 + 8) % 16 :: 16]
        for plane in (woven, scaled(woven, 1024, 576), scaled(woven, 240, 135)):
            told = named(plane)
            assert who(BADGE) not in told or own >= 8, own
            assert who(OTHER) not in told or own <= 8, own


def test_whoever_has_most_tiles_comes_first():
    torn = stamped()
    torn[800:] = stamped(OTHER, seed=2)[800:]
    first, second = read(torn, [KEY])
    assert (first.owner, second.owner) == (BADGE.owner, OTHER.owner)
    assert first.tiles > second.tiles


def test_torn_between_two_moments_the_oldest_is_told():
    later = msgspec.structs.replace(BADGE, frame=BADGE.frame + 40, time_ms=BADGE.time_ms + 4000)
    for top, bottom in ((BADGE, later), (later, BADGE)):
        torn = stamped(top)
        torn[540:] = stamped(bottom)[540:]
        assert read(torn, [KEY]) == (seen(BADGE, 12),)


def test_the_case_before_is_told_from_this_one():
    carried = msgspec.structs.replace(BADGE, case=BADGE.case - 1)
    torn = stamped()
    torn[540:] = stamped(carried)[540:]
    assert named(torn) == {who(BADGE), who(carried)}
    assert {s.tiles for s in read(torn, [KEY])} <= {5, 6, 7}


def test_without_dynamic_tiles_the_age_is_unknown():
    luma = stamped()
    for (row, column), dynamic in zip(layout.PLACES, layout.DYNAMIC, strict=True):
        if dynamic:
            luma[32 + row * 128 : 160 + row * 128, column * 640 : (column + 1) * 640] = 90
    (only,) = read(luma, [KEY])
    assert (only.owner, only.tiles, only.frame, only.time_ms) == (BADGE.owner, 8, None, None)


def test_tiles_that_say_nothing_alone_are_read_together():
    rng = np.random.default_rng(8)
    luma = stamped()
    for place, (row, column) in enumerate(layout.PLACES):
        tile = luma[32 + row * 128 : 160 + row * 128, column * 640 : (column + 1) * 640]
        if layout.DYNAMIC[place]:
            tile[:] = 90
        for at in rng.choice(40, 13, replace=False):  # one module of each of 13 bytes: more than can be repaired
            y, x = at // 5 * 16, at % 5 * 128 + int(rng.integers(8)) * 16
            tile[y : y + 16, x : x + 16] = 255 - tile[y : y + 16, x : x + 16]
    (only,) = read(luma, [KEY])
    assert (only.owner, only.camera, only.case, only.frame) == (BADGE.owner, BADGE.camera, BADGE.case, None)


# Reed-Solomon and MAC.


def _with_wrong_bytes(count: int, word: np.ndarray, rng: np.random.Generator) -> bytes:
    word = word.copy()
    at = rng.choice(40, count, replace=False)
    word[at] ^= rng.integers(1, 256, count, np.uint8)
    return word.tobytes()


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 9), seed=st.integers(0, 10_000))
def test_nine_wrong_bytes_of_a_tile_are_repaired(count, seed):
    from chaos.identity.badge import static_payload
    from chaos.identity.reading import _authentic
    from chaos.identity.stamping import codeword

    rng = np.random.default_rng(seed)
    word = codeword(static_payload(BADGE, KEY), KEY)
    ((message, _, repaired),) = _authentic([_with_wrong_bytes(count, word, rng)], [KEY])
    assert (message.owner, repaired) == (BADGE.owner, count > 0 and repaired)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(10, 40), seed=st.integers(0, 10_000))
def test_more_than_nine_wrong_bytes_are_nobody(count, seed):
    from chaos.identity.badge import static_payload
    from chaos.identity.reading import _authentic
    from chaos.identity.stamping import codeword

    rng = np.random.default_rng(seed)
    word = codeword(static_payload(BADGE, KEY), KEY)
    assert list(_authentic([_with_wrong_bytes(max(count, 23), word, rng)], [KEY])) == []


def test_a_perfect_code_word_with_a_wrong_mac_is_nobody():
    forged = stamped(BADGE, Key.fresh())
    assert read(forged, [KEY]) == ()
    assert read(scaled(forged, 240, 135), [KEY, Key.fresh()]) == ()


def test_a_picture_of_an_earlier_run_is_named_with_its_key():
    earlier = Key.fresh()
    torn = stamped()
    torn[540:] = stamped(OTHER, earlier, seed=2)[540:]
    assert {(s.owner, s.key_id) for s in read(torn, [KEY, Key.fresh(), earlier])} == {
        (BADGE.owner, KEY.id),
        (OTHER.owner, earlier.id),
    }


def test_a_tile_at_another_place_is_nobody():
    luma = textured(3).copy()
    luma[32:160, 0:640] = stamped()[288:416, 0:640]
    assert read(luma, [KEY]) == ()


# Where the picture sits.


@pytest.mark.parametrize("box", [Box(0, 12, 1024, 576), Box(100, 50, 853.4, 480), Box(13.5, 7.25, 700, 393.75)])
def test_a_letterboxed_picture_is_read_through_its_box(box):
    raster = np.zeros((600, 1024), np.uint8)
    x, y = np.meshgrid(np.arange(1024), np.arange(600))
    placed = cv2.remap(
        scaled(stamped(), round(box.width), round(box.height)),
        ((x - box.x) * round(box.width) / box.width).astype(np.float32),
        ((y - box.y) * round(box.height) / box.height).astype(np.float32),
        cv2.INTER_LINEAR,
        dst=raster,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    assert read(placed, [KEY], box) == (seen(BADGE, 12),)
    assert read(placed, [KEY]) != (seen(BADGE, 12),)


def test_a_crop_of_30_percent_on_all_sides_names_the_owner():
    crop = stamped()[324:756, 576:1344]
    (only,) = read(np.ascontiguousarray(crop), [KEY], Box(-576, -324, 1920, 1080))
    assert (only.owner, only.tiles) == (BADGE.owner, 1)


def test_a_box_beside_the_raster_reads_nothing():
    assert read(stamped(), [KEY], Box(5000, 5000, 100, 100)) == ()


# Nothing there.


def _adversaries(rng: np.random.Generator, i: int) -> np.ndarray:
    shape = (135, 240)
    kind = i % 7
    if kind == 0:
        return rng.integers(0, 256, shape, np.uint8)
    if kind == 1:  # the very grid of modules, black and white at random
        return cv2.resize(rng.integers(0, 2, (67, 120), np.uint8) * 255, (240, 135), interpolation=cv2.INTER_NEAREST)
    if kind == 2:  # a checkerboard
        side = int(rng.integers(1, 20))
        y, x = np.indices(shape)
        return (((y // side + x // side) % 2) * 255).astype(np.uint8)
    if kind == 3:  # like a QR code: modules of another size
        side = int(rng.integers(3, 9))
        small = rng.integers(0, 2, (135 // side + 1, 240 // side + 1), np.uint8) * 255
        return small.repeat(side, 0).repeat(side, 1)[:135, :240]
    if kind == 4:  # a room without a badge
        return _small_room(i % 5)
    if kind == 5:  # one wrong module in each byte of every tile, too many to repair
        luma = _small().copy()
        for column in (0, 1):
            luma[:, column::16] = 255 - luma[:, column::16]
        return luma
    luma = _small_room(i % 5).copy()  # a badge under another key
    stamp(luma, BADGE, Key(i.to_bytes(32, "big")))
    return luma


@lru_cache
def _small_room(seed: int) -> np.ndarray:
    return scaled(textured(seed), 240, 135)


@lru_cache
def _small() -> np.ndarray:
    return scaled(stamped(seed=1), 240, 135)


def test_nobody_is_named_where_no_badge_is():
    rng = np.random.default_rng(20191226)
    for i in range(2_100):
        assert read(_adversaries(rng, i), [KEY]) == (), i


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_badge_is_itself_or_nobody(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    luma = _small().copy()
    for _ in range(data.draw(st.integers(1, 30))):
        y, x = int(rng.integers(0, 135)), int(rng.integers(0, 240))
        part = luma[y : y + int(rng.integers(1, 40)), x : x + int(rng.integers(1, 80))]
        part[:] = rng.integers(0, 256, part.shape, np.uint8) if rng.integers(2) else 255 - part
    assert named(luma) <= {who(BADGE)}


def test_a_flat_or_bare_picture_never_reaches_reed_solomon(monkeypatch):
    from chaos.identity import reading

    def refuse(words: list[bytes]) -> list[None]:
        assert not words, "Reed-Solomon was tried on a picture without a tile"
        return []

    monkeypatch.setattr(reading, "repair", refuse)
    for luma in (np.zeros((600, 1024), np.uint8), textured(4), scaled(textured(4), 240, 135)):
        assert read(luma, [KEY]) == ()


# Wrong use.


@pytest.mark.parametrize("luma", [np.zeros((10, 10, 3), np.uint8), np.zeros((200, 300), np.float32)])
def test_only_planes_of_bytes_are_taken(luma):
    with pytest.raises(Misuse, match="expected an"):
        read(luma, [KEY])
    with pytest.raises(Misuse, match="expected an"):
        stamp(luma, BADGE, KEY)


def test_reading_without_a_key_is_misuse():
    with pytest.raises(Misuse, match="no key"):
        read(stamped(), [])


def test_a_plane_that_is_too_small_is_not_stamped():
    with pytest.raises(Misuse, match="too small"):
        stamp(np.zeros((100, 160), np.uint8), BADGE, KEY)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (0, 0), (3, 2000)])
def test_a_tiny_plane_reads_as_nobody(shape):
    assert read(np.zeros(shape, np.uint8), [KEY]) == ()

"""Own and corrupted is told from foreign and corrupted: grey by night, coarse, cut, torn, or with the wrong time on it.

Pictures are made as cameras and networks make them: encoded grey or with few bits, and cut or mixed as bytes.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFile

from chaos import frames
from chaos.history import Reading
from chaos.identity import Badge, Key, Register
from chaos.reading import Reader
from chaos.scene.painting import stamped_jpeg
from chaos.verdict import Rules, Verdict, judge
from tests.makers import OWNERS, ROOM, asked, case, only, shown, signed_in

KEY = Key.fresh()
READER = Reader(Register(OWNERS, (ROOM,)), (KEY,))
CAPTURED = 5.0
SETTINGS = [(night, quality) for night in (False, True) for quality in (40, 25, 10, 3)]
"""The rungs of `SetPicture.QUALITIES`, by day and by night."""


def still(owner: str, *, night: bool, quality: int, told: str = "2020-01-01 03:14:15") -> bytes:
    """Return what a camera sends: scaled, with a time burnt in, encoded grey or in colour."""
    badge = Badge(case=1, owner=OWNERS.index(owner) + 1, camera=1, frame=7, time_ms=int(CAPTURED * 1000))
    picture = Image.open(io.BytesIO(stamped_jpeg(badge, KEY))).convert("L" if night else "RGB").resize((1024, 576))
    ImageDraw.Draw(picture).text((1000, 560), told, fill=255, anchor="rb")
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, restart_marker_rows=1)
    return out.getvalue()


def raster(jpeg: bytes) -> np.ndarray:
    """Return what a hub paints of a JPEG that may have been cut: the rest stays grey."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def read(rgb: np.ndarray) -> Reading:
    return READER.read(frames.luma_of_rgb(rgb.tobytes(), rgb.shape[1], rgb.shape[0]))


def verdict(reading: Reading, *, damaged: bool = True, rules: Rules | None = None, at: float = CAPTURED + 1) -> Verdict:
    frame = shown(at, at + 1, *reading.sightings, damaged=damaged, blank=reading.content == "blank")
    return only(judge([case(), signed_in("ada", 0, 1), asked(2), frame], rules)).verdict


@pytest.mark.parametrize(("night", "quality"), SETTINGS)
@pytest.mark.parametrize("left", [1.0, 0.6, 0.3], ids=["whole", "cut", "cut to a third"])
def test_whose_a_grey_or_coarse_still_is_that_was_cut(night, quality, left):
    for owner, expected in (("ada", Verdict.OWN), ("grace", Verdict.FOREIGN)):
        jpeg = still(owner, night=night, quality=quality)
        reading = read(raster(jpeg[: int(len(jpeg) * left)]))
        assert verdict(reading) is expected, reading
        assert {s.owner for s in reading.sightings} == {owner}


@pytest.mark.parametrize(("night", "quality"), SETTINGS)
def test_a_torn_still_that_has_a_strangers_rows_is_foreign_and_names_both(night, quality):
    """The upper rows are hers and the lower ones a stranger's, as of a buffer that is used again after a short read."""
    upper, lower = (raster(still(o, night=night, quality=quality)) for o in ("ada", "grace"))
    reading = read(np.concatenate([upper[:290], lower[290:]]))
    assert {s.owner for s in reading.sightings} == {"ada", "grace"}
    assert verdict(reading) is Verdict.FOREIGN


@pytest.mark.parametrize(("night", "quality"), SETTINGS)
def test_scan_lines_over_a_tenth_of_the_rows_hide_nobody(night, quality):
    rows = np.random.default_rng(1).random(576) < 0.1
    for owner, expected in (("ada", Verdict.OWN), ("grace", Verdict.FOREIGN)):
        torn = raster(still(owner, night=night, quality=quality)).copy()
        torn[rows] = np.random.default_rng(2).integers(0, 256, torn[rows].shape, dtype=np.uint8)
        assert verdict(read(torn)) is expected


def test_a_night_still_has_one_channel_and_is_decoded_as_one():
    jpeg = still("ada", night=True, quality=40)
    assert Image.open(io.BytesIO(jpeg)).mode == "L"
    assert {s.owner for s in READER.read(frames.luma_of_jpeg(jpeg)).sightings} == {"ada"}


def test_what_nobody_can_read_is_no_pass_unless_the_harness_cut_it():
    picture = raster(still("ada", night=True, quality=3)).copy()
    picture[3:] = 128
    reading = read(picture)
    assert not reading.sightings
    for damaged in (True, False):
        frame = shown(6, 7, *reading.sightings, damaged=damaged)
        judged = only(judge([case(), signed_in("ada", 0, 1), asked(2), frame]))
        assert (judged.verdict, judged.unexplained) == (Verdict.UNREADABLE, not damaged)


@pytest.mark.parametrize("bound", [0.5, 2.0, None])
@pytest.mark.parametrize("told", ["now", "2020-01-01 03:14:15", "1970-01-01 00:00:00"])
def test_the_age_is_the_badges_whatever_is_burnt_in_and_each_scenario_bounds_it_for_itself(told, bound):
    words = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}" if told == "now" else told
    reading = read(raster(still("ada", night=True, quality=10, told=words)))
    rules = Rules(stale_after=bound)
    assert verdict(reading, rules=rules) is (Verdict.STALE if bound == 0.5 else Verdict.OWN)

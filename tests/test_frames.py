from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from chaos import frames
from chaos.errors import Misuse
from chaos.identity import read
from chaos.scene.painting import paint, stamped_jpeg
from tests.pictures import BADGE, KEY, at_night, filmed, jpeg, scaled, screens, stamped

# Encoded pictures.


@pytest.mark.parametrize(
    ("width", "quick", "full"),
    [(1920, (135, 240), (1080, 1920)), (1024, (144, 256), (576, 1024)), (640, (135, 240), (360, 640))],
)
def test_a_quick_decode_keeps_two_pixels_for_a_module(width, quick, full):
    data = jpeg(scaled(stamped(), width, width * 9 // 16))
    for wanted, plane in ((quick, frames.luma_of_jpeg(data)), (full, frames.luma_of_jpeg(data, quick=False))):
        assert plane is not None
        assert plane.shape == wanted
        assert plane.dtype == np.uint8


@pytest.mark.parametrize("size", [(640, 360), (320, 180), (240, 135), (100, 60), (1, 1), (800, 40)])
def test_a_small_picture_is_never_scaled_too_far(size):
    plane = frames.luma_of_jpeg(jpeg(np.full((size[1], size[0]), 90, np.uint8)))
    assert plane is not None
    assert plane.shape[0] >= min(size[1], 135)
    assert plane.shape[1] >= min(size[0], 240)


def test_luma_is_what_jfif_says():
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:] = (200, 100, 50)
    plane = frames.luma_of_jpeg(frames.encode_jpeg(colours, 95), quick=False)
    assert plane is not None
    assert abs(int(plane[32, 32]) - round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1
    assert abs(int(frames.luma_of_rgb(colours.tobytes(), 64, 64)[0, 0]) - int(plane[32, 32])) <= 1


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
@pytest.mark.parametrize("quick", [True, False])
def test_a_truncated_jpeg_gives_what_is_there(share, quick):
    data = jpeg(stamped())
    whole = frames.luma_of_jpeg(data, quick=quick)
    cut = frames.luma_of_jpeg(data[: int(len(data) * share)], quick=quick)
    assert whole is not None
    assert cut is not None
    assert cut.shape == whole.shape
    sure = int(whole.shape[0] * share * 0.7)
    assert (cut[:sure] == whole[:sure]).all()
    assert not (cut == whole).all()


def test_a_jpeg_with_damaged_bytes_is_still_a_picture():
    rng = np.random.default_rng(5)
    data = bytearray(jpeg(stamped()))
    for at in rng.integers(5000, len(data) - 2, 20):
        data[at] = int(rng.integers(0, 256))
    plane = frames.luma_of_jpeg(bytes(data))
    assert plane is not None
    assert plane.shape == (135, 240)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "progressive", "444"])
def test_jpegs_of_every_kind_are_read(mode):
    picture = Image.fromarray(stamped())
    out = io.BytesIO()
    kind = mode if mode in ("RGB", "L", "CMYK") else "RGB"
    picture.convert(kind).save(
        out, "JPEG", quality=90, progressive=mode == "progressive", subsampling=0 if mode == "444" else 2
    )
    plane = frames.luma_of_jpeg(out.getvalue())
    assert plane is not None
    assert [s.owner for s in read(plane, [KEY])] == [BADGE.owner]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pictures_that_are_no_jpeg_are_read_as_well(kind):
    out = io.BytesIO()
    Image.fromarray(scaled(stamped(), 640, 360)).convert("RGB").save(out, kind)
    plane = frames.luma_of_jpeg(out.getvalue())
    assert plane is not None
    assert [s.owner for s in read(plane, [KEY])] == [BADGE.owner]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"not a picture" * 50, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff" * 90],
)
def test_what_is_no_picture_is_none(data):
    assert frames.luma_of_jpeg(data) is None


def test_every_cut_of_a_header_is_a_picture_or_none():
    data = jpeg(scaled(stamped(), 320, 180))
    for end in range(700):
        plane = frames.luma_of_jpeg(data[:end])
        assert plane is None or plane.shape == (135, 240)


def test_noise_is_never_more_than_no_picture():
    rng = np.random.default_rng(7)
    for _ in range(300):
        plane = frames.luma_of_jpeg(b"\xff\xd8" + rng.bytes(int(rng.integers(0, 400))))
        assert plane is None or plane.ndim == 2


def test_a_decompression_bomb_is_no_picture(monkeypatch):
    data = bytearray(jpeg(scaled(stamped(), 640, 360)))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (65000).to_bytes(2, "big") * 2
    assert frames.luma_of_jpeg(bytes(data)) is None
    out = io.BytesIO()
    Image.new("1", (9000, 9000)).save(out, "PNG")
    assert frames.luma_of_jpeg(out.getvalue()) is None


# Raw rasters and evidence.


def test_a_raster_of_another_size_is_misuse():
    for call in (frames.luma_of_rgb, frames.jpeg_of_rgb, frames.encode_png, frames.thumbnail):
        with pytest.raises(Misuse, match="expected 60000"):
            call(b"\0" * 100, 200, 100)


def test_a_png_keeps_every_pixel():
    picture = paint(1, 1, (320, 180))
    png = frames.encode_png(picture.tobytes(), 320, 180)
    assert (np.array(Image.open(io.BytesIO(png))) == picture).all()


def test_evidence_shows_the_colours_that_were_there():
    picture = np.zeros((180, 320, 3), np.uint8)
    picture[:] = (220, 40, 30)
    for data in (
        frames.jpeg_of_rgb(picture.tobytes(), 320, 180),
        frames.encode_jpeg(picture),
        frames.thumbnail(picture.tobytes(), 320, 180, 80),
    ):
        shown = simplejpeg.decode_jpeg(data)
        assert abs(shown[5, 5].astype(int) - (220, 40, 30)).max() < 6


@pytest.mark.parametrize(("small", "size"), [(80, (80, 45)), (320, (320, 180)), (1000, (320, 180))])
def test_a_thumbnail_is_as_wide_as_asked_and_never_wider_than_the_raster(small, size):
    data = frames.thumbnail(paint(2, 1, (320, 180)).tobytes(), 320, 180, small)
    assert Image.open(io.BytesIO(data)).size == size


# Blank or not.


@pytest.mark.parametrize("size", [(1024, 600), (1280, 800), (1920, 1080)])
def test_screens_without_camera_content_are_blank(size):
    for name, luma in screens(*size):
        assert frames.is_blank(luma), (name, frames.textured_share(luma))


@pytest.mark.parametrize("owner", range(1, 11))
def test_every_scene_is_no_blank_by_day_and_by_night(owner):
    luma = filmed(BADGE.__class__(1, owner, 1, 1, 1))
    for light in (1.0, 0.5, 0.2, 0.1):
        for quality in (92, 50, 30):
            dark = luma if light == 1.0 else at_night(luma, light)
            shown = frames.luma_of_jpeg(jpeg(dark, quality), quick=False)
            assert shown is not None
            for plane in (shown, scaled(shown, 1024, 576)):
                assert not frames.is_blank(plane), (light, quality, plane.shape)


def _slivers(share: float) -> list[tuple[float, float]]:
    rng = np.random.default_rng(4)
    result = []
    for owner in range(1, 11):
        luma = filmed(BADGE.__class__(1, owner, 1, 1, 1))
        for light, quality in ((1.0, 92), (1.0, 50), (0.2, 80), (0.1, 92)):
            dark = luma if light == 1.0 else at_night(luma, light)
            plane = frames.luma_of_jpeg(jpeg(dark, quality), quick=False)
            assert plane is not None
            plane = cv2.resize(plane, (1024, 576), interpolation=cv2.INTER_LINEAR)
            rows = round(600 * share)
            for ground in (0, 20, 240):
                raster = np.full((600, 1024), ground, np.uint8)
                at, top = int(rng.integers(20, 545 - rows)), int(rng.integers(0, 600 - rows))
                raster[top : top + rows] = plane[at : at + rows]
                result.append((light, frames.textured_share(raster)))
    return result


def test_a_strip_of_a_scene_over_3_percent_of_the_screen_is_no_blank():
    strips = _slivers(0.03)
    by_day = [share >= frames.BLANK_SHARE for light, share in strips if light == 1.0]
    in_the_dark = [share >= frames.BLANK_SHARE for light, share in strips if light < 1.0]
    assert np.mean(by_day) >= 0.95
    assert np.mean(in_the_dark) >= 0.9


def test_a_strip_over_8_percent_is_no_blank_however_dark():
    assert min(share for _, share in _slivers(0.08)) >= frames.BLANK_SHARE


def test_a_plane_smaller_than_a_block_is_blank():
    for shape in ((1, 1), (3, 900), (0, 0), (7, 7)):
        assert frames.is_blank(np.zeros(shape, np.uint8))


def test_the_encoded_scene_is_what_a_camera_gets():
    plane = frames.luma_of_jpeg(stamped_jpeg(BADGE.__class__(1, 3, 1, 4, 5), KEY))
    assert plane is not None
    (only,) = read(plane, [KEY])
    assert (only.owner, only.tiles) == (3, 12)


# What a screen gives.


def test_a_jpeg_of_a_screen_is_rgb_again():
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, 50:] = (200, 40, 40)
    width, height, rgb = frames.rgb_of_jpeg(frames.encode_jpeg(picture, 100))
    assert (width, height) == (100, 60)
    again = np.frombuffer(rgb, np.uint8).reshape(60, 100, 3)
    assert np.abs(again.astype(int) - picture)[:, [10, 90]].max() < 6


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg(np.zeros((60, 100), np.uint8))[:40]])
def test_what_is_no_jpeg_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        frames.rgb_of_jpeg(data)

"""Encoded pictures and raw rasters into luma planes, and rasters into files for the evidence.

Pure: bytes in, arrays or bytes out. Whatever a bad network leaves of a JPEG is decoded as far as it goes,
since a browser shows it too.
"""

from __future__ import annotations

import io
import warnings
from typing import TypeAlias

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from chaos.errors import Misuse

Plane: TypeAlias = NDArray[np.uint8]
"""(H, W), uint8: luma as JFIF has it, BT.601 full range."""
Picture: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), uint8, RGB."""

MAX_PIXELS = 40_000_000
"""A picture that claims more than this (a decompression bomb, or header damage) is no picture; 8K has 33 million."""
QUICK_WIDTH = 240
QUICK_HEIGHT = 135
"""A quick decode is the fewest eighths of a picture that have this size: two pixels for each module of a badge."""


def luma_of_jpeg(data: bytes, *, quick: bool = True) -> Plane | None:
    """Return the luma plane of an encoded picture, or None when it is no picture.

    A truncated or damaged JPEG gives what is there; rows that are missing are mid-grey or black. With `quick`
    the plane is scaled down by the decoder itself, to 240x135 for JPEGs of 1080p and of 640x360, which costs less
    than decoding all of it. Pictures of other kinds (PNG, WebP) are decoded as well, at full size.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if height * width > MAX_PIXELS:
            return None
        least = {"min_width": QUICK_WIDTH, "min_height": QUICK_HEIGHT} if quick else {}
        gray = simplejpeg.decode_jpeg(data, "GRAY", fastdct=quick, strict=False, **least)
    except (ValueError, KeyError):  # KeyError: subsampling that it has no name for
        return _luma_of_other(data)
    return np.asarray(gray[:, :, 0], np.uint8)


def quick_size(luma: Plane) -> Plane:
    """Return a plane scaled down by a whole number while it keeps the size of a quick decode."""
    part = min(luma.shape[1] // QUICK_WIDTH, luma.shape[0] // QUICK_HEIGHT)
    if part < 2:
        return luma
    whole = luma[: luma.shape[0] // part * part, : luma.shape[1] // part * part]
    return np.asarray(cv2.resize(whole, None, fx=1 / part, fy=1 / part, interpolation=cv2.INTER_AREA), np.uint8)


def _luma_of_other(data: bytes) -> Plane | None:
    """Decode with Pillow what simplejpeg does not take, or return None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own warning of a bomb; the limit here is lower
            with Image.open(io.BytesIO(data)) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return None
                return np.array(picture.convert("L"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # what Pillow raises for what it cannot identify, cannot finish, or finds malformed
        return None


def picture_of_rgb(raw: bytes, width: int, height: int) -> Picture:
    """Return a view of raw RGB24 bytes, rows from the top, as (H, W, 3); `Misuse` when sizes disagree."""
    if width < 1 or height < 1 or len(raw) != width * height * 3:
        raise Misuse(
            f"a raster of {width}x{height} came with {len(raw)} bytes; expected {max(0, width * height * 3)}:"
            " three bytes a pixel, without padding"
        )
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3)


def picture_of_encoded(data: bytes) -> Picture | None:
    """Return an encoded picture as (H, W, 3) RGB, or None when it is no picture; of a damaged JPEG what there is."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        if height * width > MAX_PIXELS:
            return None
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=False), np.uint8)
    except (ValueError, KeyError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return None
                return np.array(picture.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def luma_of_rgb(raw: bytes, width: int, height: int) -> Plane:
    """Return the luma plane of a raw RGB24 raster, at its size. Raises `Misuse` when sizes disagree."""
    return np.asarray(cv2.cvtColor(picture_of_rgb(raw, width, height), cv2.COLOR_RGB2GRAY), np.uint8)


def rgb_of_jpeg(data: bytes) -> tuple[int, int, bytes]:
    """Return (width, height, RGB24) of a JPEG; raises `ValueError` for anything else, also when it is cut."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if height * width > MAX_PIXELS:
        raise ValueError(f"a JPEG of {width}x{height} pixels")
    return width, height, np.asarray(simplejpeg.decode_jpeg(data, "RGB")).tobytes()


def encode_jpeg(picture: Picture, quality: int = 92) -> bytes:
    """Return an (H, W, 3) RGB or (H, W) luma array as a JPEG (4:2:0)."""
    if picture.ndim == 2:
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture)[..., None], quality, "GRAY"))
    return bytes(
        simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", colorsubsampling="420", fastdct=True)
    )


def jpeg_of_rgb(raw: bytes, width: int, height: int, quality: int = 92) -> bytes:
    """Return a raw RGB24 raster as a JPEG at its size."""
    return encode_jpeg(picture_of_rgb(raw, width, height), quality)


def encode_png(raw: bytes, width: int, height: int) -> bytes:
    """Return a raw RGB24 raster as a PNG, every pixel as it was: full-size evidence of a finding."""
    bgr = cv2.cvtColor(picture_of_rgb(raw, width, height), cv2.COLOR_RGB2BGR)
    done, png = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done, "a PNG encoder refuses no (H, W, 3) array"
    return png.tobytes()


def thumbnail(raw: bytes, width: int, height: int, small_width: int = 320) -> bytes:
    """Return a raw RGB24 raster as a small JPEG, at most `small_width` pixels wide."""
    picture = picture_of_rgb(raw, width, height)
    if width > small_width:
        size = (small_width, max(1, round(height * small_width / width)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return encode_jpeg(picture, quality=80)


BLANK_SHARE = 0.005
"""Share of textured blocks under which a raster is blank: fewer than 12 blocks of the 2,368 of a 1024x600 screen.

Measured with rendered screens at 1024x600 (dark, black, grey and light; one and two lines, six lines of prose, a clock
with digits 180 px high, panels with round corners, gradients): at most 0.0038. Strips of stamped scenes over 3 % of the
screen lie above in 98 of 100 by day and in 95 of 100 at a fifth and a tenth of the light (JPEG of quality 92 to 50);
over 8 % all do. `tests/test_frames.py` tries both ways.
"""
_ROUGH = 0.2
_FLAT = 0.5


def is_blank(luma: Plane) -> bool:
    """Whether a raster shows no camera content: nothing, or a flat user interface with a little text.

    Judged from pixels alone, those of a screen at its own size: text that was scaled or compressed looks like texture.
    Camera content over 3 % of the raster is seen, also at night; `BLANK_SHARE` says how surely.
    """
    return textured_share(luma) < BLANK_SHARE


def textured_share(luma: Plane) -> float:
    """Return the share of an (H, W) plane's blocks that are textured as only camera content is.

    A block is a 64th of the width. It counts when a fifth of its pixels differ from a neighbour (flat and smooth areas
    don't), and when no level, give or take one, has half of its pixels (text and icons do: they stand on something).
    """
    side = -(-luma.shape[1] // 512) * 8
    down, across = (luma.shape[0] // side, luma.shape[1] // side) if side else (0, 0)
    if not down or not across:
        return 0.0
    rough = np.zeros(luma.shape, np.uint8)
    rough[:, 1:] = luma[:, 1:] != luma[:, :-1]
    rough[1:] |= luma[1:] != luma[:-1]
    blocks = _blocks(luma, side, down, across)
    blocks = np.sort(blocks[_blocks(rough, side, down, across).mean(axis=1) > _ROUGH], axis=1)
    half = int(side * side * _FLAT)
    flat = (blocks[:, half - 1 :] - blocks[:, : side * side - half + 1] <= 2).any(axis=1)
    return float(np.count_nonzero(~flat) / (down * across))


def _blocks(plane: Plane, side: int, down: int, across: int) -> Plane:
    """Return a plane's whole squares as (squares, pixels)."""
    whole = plane[: down * side, : across * side].reshape(down, side, across, side)
    return whole.transpose(0, 2, 1, 3).reshape(down * across, side * side)

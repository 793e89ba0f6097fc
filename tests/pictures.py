"""Pictures for tests: textured backgrounds, stamped scenes, damage, and the screens of a hub."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageDraw, ImageFont

from chaos.identity import Badge, Key, stamp
from chaos.scene.painting import planes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[np.uint8]

KEY = Key.from_hex("5a" * 32)
BADGE = Badge(case=70_000, owner=513, camera=2, frame=40_000, time_ms=0x12_3456_789A)


@lru_cache(maxsize=16)
def textured(seed: int, width: int = 1920, height: int = 1080) -> Plane:
    """Return something like a room: large soft shapes, edges, and the grain of a sensor."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (9, 16), np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    for _ in range(30):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        far = (x + int(rng.integers(20, width // 3)), y + int(rng.integers(20, height // 3)))
        cv2.rectangle(soft, (x, y), far, float(rng.integers(10, 245)), -1)
    soft += rng.normal(0, 4, soft.shape)
    return np.clip(soft, 0, 255).astype(np.uint8)


def stamped(badge: Badge = BADGE, key: Key = KEY, width: int = 1920, height: int = 1080, seed: int = 1) -> Plane:
    """Return a textured plane with `badge` in it."""
    luma = textured(seed, width, height).copy()
    stamp(luma, badge, key)
    return luma


def filmed(badge: Badge, key: Key = KEY) -> Plane:
    """Return the luma of a painted scene of the badge's owner, stamped."""
    luma = planes(badge.owner, badge.camera).luma.copy()
    stamp(luma, badge, key)
    return luma


def scaled(luma: Plane, width: int, height: int) -> Plane:
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(luma: Plane, quality: int = 90) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(luma)[..., None], quality, "GRAY"))


def at_night(luma: Plane, light: float) -> Plane:
    """Return the picture with that share of its light, over the black level of a sensor."""
    soft = cv2.GaussianBlur(luma, (0, 0), 1.2).astype(np.float32)
    return np.clip(soft * light + 8, 0, 255).astype(np.uint8)


def screens(width: int = 1024, height: int = 600) -> Iterator[tuple[str, Plane]]:
    """Yield named screens of a hub on which there is no camera content."""
    themes = {"black": (0, 200), "dark": (20, 235), "grey": (70, 255), "light": (240, 30)}
    scale = width / 1024

    def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size * scale)

    for theme, (ground, ink) in themes.items():
        for what in ("nothing", "one line", "two lines", "clock", "panel", "prose", "large"):
            picture = Image.new("L", (width, height), ground)
            draw = ImageDraw.Draw(picture)

            def text(x: float, y: float, words: str, size: float, draw: ImageDraw.ImageDraw = draw) -> None:
                draw.text((x * scale, y * scale), words, font=font(size), fill=ink)  # noqa: B023

            if what in ("one line", "two lines", "panel"):
                text(300, 280, "Camera unavailable", 40)
            if what == "two lines":
                text(200, 340, "The living room camera cannot be reached right now", 26)
            if what == "clock":
                text(300, 180, "12:47", 180)
                text(330, 400, "Thursday, 26 December", 36)
            if what == "panel":
                outline = tuple(round(v * scale) for v in (60, 60, 960, 200))
                draw.rounded_rectangle(outline, 24 * scale, fill=ground + 12)
                text(90, 100, "grace's home · living room", 32)
            if what == "prose":
                for i in range(6):
                    text(60, 60 + i * 44, "Your camera is offline. Check that it has power and network.", 30)
            if what == "large":
                text(40, 200, "UNAVAILABLE", 140)
            yield f"{theme}, {what}", np.array(picture)
    slope = np.linspace(20, 80, height)[:, None] + np.linspace(0, 40, width)[None, :]
    yield "gradient", slope.astype(np.uint8)

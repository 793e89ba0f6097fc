"""A drawing floor for scenes: shaded shapes, soft shadows, wallpapers, floors, light, and sensor noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), uint8, RGB."""
Colour: TypeAlias = tuple[int, int, int]
Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH = 1920
HEIGHT = 1080


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour `share` of the way from `a` to `b`."""
    r, g, bl = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, bl


def lit(colour: Colour, factor: float) -> Colour:
    """Return `colour` brightened or darkened by `factor`."""
    r, g, b = (min(255, max(0, round(c * factor))) for c in colour)
    return r, g, b


def box(x: float, y: float, width: float, height: float, round_by: float = 0) -> Points:
    """Return the outline of a rectangle with its corners rounded by a radius in pixels."""
    r = min(round_by, width / 2, height / 2)
    if r <= 0:
        return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    corners = (
        (x + width - r, y + r, -90),
        (x + width - r, y + height - r, 0),
        (x + r, y + height - r, 90),
        (x + r, y + r, 180),
    )
    turn = np.radians(np.linspace(0, 90, 9))
    return [
        (cx + r * float(np.cos(a)), cy + r * float(np.sin(a)))
        for cx, cy, start in corners
        for a in turn + np.radians(start)
    ]


def oval(x: float, y: float, rx: float, ry: float) -> Points:
    """Return the outline of an ellipse around (x, y)."""
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in turn]


def _staggered(across: int, down: int, first: int) -> Iterator[tuple[int, int]]:
    """Yield points over the whole picture, every second row moved by half a step."""
    for row, y in enumerate(range(0, HEIGHT + down, down)):
        for x in range(first + across // 2 * (row % 2), WIDTH + across, across):
            yield x, y


class Canvas:
    """An RGB picture of 1920x1080 to paint on, with one source of randomness that its seed decides."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rng = np.random.default_rng(list(seed))
        self.pixels = np.zeros((HEIGHT, WIDTH, 3), np.float32)

    # Shapes.

    def shape(
        self,
        points: Points,
        colour: Colour,
        light: tuple[float, float] = (1.12, 0.82),
        shadow: float = 0,
        alpha: float = 1,
    ) -> None:
        """Fill an outline, `light` times its colour at top and bottom; `shadow` is a blur in pixels."""
        if shadow:
            reach = [(x + shadow * 0.35, y + shadow * 0.55) for x, y in points]
            self._blend(reach, np.zeros(3, np.float32), (1, 1), 0.45, blur=shadow)
        self._blend(points, np.array(colour, np.float32), light, alpha)

    def _blend(
        self,
        points: Points,
        colour: NDArray[np.float32],
        light: tuple[float, float],
        alpha: float,
        blur: float = 0,
    ) -> None:
        outline = np.array(points, np.float32)
        margin = int(blur * 2) + 2
        x0, y0 = np.maximum(np.floor(outline.min(axis=0)).astype(int) - margin, 0)
        x1, y1 = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + margin, (WIDTH, HEIGHT))
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(mask, [np.rint((outline - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        cover = mask.astype(np.float32) * (alpha / 255)
        if blur:
            cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), blur / 2), np.float32)
        ramp = np.linspace(light[0], light[1], y1 - y0, dtype=np.float32)[:, None, None]
        part = self.pixels[y0:y1, x0:x1]
        part += (ramp * colour - part) * cover[..., None]

    def line(self, a: tuple[float, float], b: tuple[float, float], colour: Colour, width: float = 4) -> None:
        """Draw a straight line."""
        (xa, ya), (xb, yb) = a, b
        length = max(1e-6, float(np.hypot(xb - xa, yb - ya)))
        nx, ny = -(yb - ya) / length * width / 2, (xb - xa) / length * width / 2
        corners = [(xa + nx, ya + ny), (xb + nx, yb + ny), (xb - nx, yb - ny), (xa - nx, ya - ny)]
        self.shape(corners, colour, (1, 1))

    # Surfaces.

    def wall(self, colour: Colour, pattern: str, second: Colour) -> None:
        """Paper the whole picture: `plain`, `stripes`, `dots`, `diamonds`, `bricks`, `panels` or `leaves`."""
        self.shape(box(0, 0, WIDTH, HEIGHT), colour, (1.05, 0.8))
        for points, shade, light in self._pattern(pattern, second):
            self.shape(points, shade, light)

    def _pattern(self, pattern: str, colour: Colour) -> Iterator[tuple[Points, Colour, tuple[float, float]]]:
        match pattern:
            case "stripes":
                for x in range(0, WIDTH, 96):
                    yield box(x, 0, 44, HEIGHT), colour, (1.05, 0.85)
            case "panels":
                for y in range(0, HEIGHT, 84):
                    yield box(0, y, WIDTH, 78), colour, (1.08, 0.9)
            case "leaves":
                for _ in range(190):
                    yield self._leaf(), colour, (1.12, 0.82)
            case "dots":
                for x, y in _staggered(90, 70, 40):
                    yield oval(x, y, 13, 13), colour, (1, 1)
            case "diamonds":
                for x, y in _staggered(120, 60, 0):
                    yield [(x, y - 46), (x + 46, y), (x, y + 46), (x - 46, y)], colour, (1.05, 0.95)
            case "bricks":
                for x, y in _staggered(120, 48, -70):
                    yield box(x, y, 114, 42, 3), lit(colour, float(self.rng.uniform(0.85, 1.12))), (1.06, 0.92)

    def _leaf(self) -> Points:
        x, y = float(self.rng.uniform(0, WIDTH)), float(self.rng.uniform(0, HEIGHT))
        turn, size = float(self.rng.uniform(0, np.pi)), float(self.rng.uniform(22, 46))
        c, s = float(np.cos(turn)) * size, float(np.sin(turn)) * size
        return [(x - c, y - s), (x - s * 0.4, y + c * 0.4), (x + c, y + s), (x + s * 0.4, y - c * 0.4)]

    def floor(self, top: float, colour: Colour, kind: str) -> None:
        """Lay a floor from row `top` down: `planks`, `tiles` or `carpet`, in perspective."""
        self.shape(box(0, top, WIDTH, HEIGHT - top), colour, (0.78, 1.12))
        dark = lit(colour, 0.68)
        if kind == "carpet":
            speck = self.rng.normal(0, 13, (HEIGHT - int(top), WIDTH, 1)).astype(np.float32)
            self.pixels[int(top) :] += cv2.GaussianBlur(speck, (0, 0), 1.5)[..., None] * 1.6
        else:
            for x in np.linspace(-2.2, 3.2, 28 if kind == "planks" else 20) * WIDTH:
                self.line((WIDTH / 2 + (x - WIDTH / 2) * 0.42, top), (x, HEIGHT), dark, 3)
        if kind == "tiles":
            for t in np.linspace(0, 1, 7) ** 1.7:
                self.line((0, top + t * (HEIGHT - top)), (WIDTH, top + t * (HEIGHT - top)), dark, 3)
        self.shape(box(0, top - 22, WIDTH, 24), (232, 228, 220), (1, 0.8))

    # Light.

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float = 1) -> None:
        """Add light that falls off around (x, y)."""
        ys, xs = np.ogrid[:HEIGHT, :WIDTH]
        fall = np.exp(-(((xs - x) / radius) ** 2 + ((ys - y) / radius) ** 2)).astype(np.float32)
        self.pixels += fall[..., None] * (np.array(colour, np.float32) * 0.45 * strength)

    def dim(self, factor: float, tint: Colour = (255, 255, 255)) -> None:
        """Turn the light down, towards a tint: evening."""
        self.pixels *= np.array(tint, np.float32) / 255 * factor

    def finish(self) -> Picture:
        """Return the picture as a camera sees it: vignetted, and with the grain of a small sensor."""
        ys, xs = np.ogrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
        self.pixels *= (1.04 - 0.24 * (xs**2 + ys**2) / 2)[..., None].astype(np.float32)
        grain = self.rng.normal(0, 4.5, (HEIGHT, WIDTH, 1)).astype(np.float32)
        tint = self.rng.normal(0, 2.5, (HEIGHT // 2, WIDTH // 2, 3)).astype(np.float32)
        self.pixels += grain + cv2.resize(tint, (WIDTH, HEIGHT))
        return np.clip(self.pixels, 4, 251).astype(np.uint8)

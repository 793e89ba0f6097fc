"""What stands in the rooms, and the tastes that colour it."""

from __future__ import annotations

import msgspec
import numpy as np

from chaos.scene.canvas import Canvas, Colour, box, lit, mixed, oval


class Taste(msgspec.Struct, frozen=True):
    """The colours of one home."""

    wall: Colour
    paper: Colour
    floor: Colour
    fabric: Colour
    accent: Colour
    wood: Colour
    pattern: str
    ground: str


TASTES: tuple[Taste, ...] = (
    Taste(
        (196, 178, 148),
        (184, 164, 132),
        (134, 94, 60),
        (46, 96, 112),
        (214, 120, 52),
        (112, 74, 46),
        "stripes",
        "planks",
    ),
    Taste(
        (178, 204, 214),
        (158, 188, 202),
        (206, 192, 168),
        (236, 206, 120),
        (222, 106, 118),
        (226, 208, 176),
        "dots",
        "carpet",
    ),
    Taste(
        (140, 158, 124),
        (124, 144, 108),
        (146, 140, 128),
        (172, 82, 60),
        (232, 196, 92),
        (92, 70, 52),
        "panels",
        "tiles",
    ),
    Taste(
        (212, 148, 126), (200, 132, 110), (98, 70, 56), (90, 60, 96), (86, 156, 140), (66, 46, 40), "plain", "planks"
    ),
    Taste(
        (96, 112, 146),
        (84, 100, 134),
        (172, 132, 88),
        (196, 190, 182),
        (234, 168, 76),
        (152, 106, 66),
        "diamonds",
        "planks",
    ),
    Taste(
        (182, 92, 84), (166, 80, 72), (122, 118, 116), (58, 74, 66), (236, 218, 168), (74, 54, 44), "bricks", "tiles"
    ),
    Taste(
        (206, 194, 222),
        (188, 172, 210),
        (178, 168, 178),
        (118, 96, 162),
        (104, 178, 138),
        (212, 196, 178),
        "leaves",
        "carpet",
    ),
    Taste(
        (84, 124, 116), (102, 142, 132), (120, 86, 58), (206, 152, 96), (226, 84, 66), (98, 66, 42), "leaves", "planks"
    ),
    Taste(
        (224, 206, 142),
        (212, 190, 120),
        (152, 156, 160),
        (70, 108, 164),
        (206, 72, 78),
        (176, 138, 90),
        "stripes",
        "tiles",
    ),
    Taste(
        (110, 98, 104), (126, 112, 118), (84, 66, 58), (158, 48, 62), (222, 190, 120), (134, 92, 62), "panels", "carpet"
    ),
    Taste(
        (152, 190, 176),
        (238, 236, 226),
        (190, 150, 108),
        (226, 128, 96),
        (56, 88, 120),
        (196, 158, 112),
        "diamonds",
        "planks",
    ),
)
"""Eleven of them beside ten motifs: two homes share both only once in 110."""


def window(
    c: Canvas, t: Taste, x: float, y: float, w: float, h: float, night: bool = False, curtains: bool = True
) -> None:
    """Draw a window with what is outside it, and curtains."""
    c.shape(box(x - 16, y - 16, w + 32, h + 32, 4), (238, 234, 226), shadow=18)
    top, low = ((18, 24, 52), (60, 58, 92)) if night else ((120, 176, 226), (226, 236, 240))
    for i in range(24):
        c.shape(box(x, y + h * i / 24, w, h / 24 + 1), mixed(top, low, i / 23), (1, 1))
    if night:
        c.shape(oval(x + w * 0.72, y + h * 0.25, 26, 26), (246, 240, 214), (1, 1))
        for _ in range(26):
            c.shape(
                oval(x + float(c.rng.uniform(8, w - 8)), y + float(c.rng.uniform(8, h * 0.6)), 2, 2),
                (240, 240, 250),
                (1, 1),
            )
    skyline = x
    while skyline < x + w:
        step = min(float(c.rng.uniform(40, 110)), x + w - skyline)
        tall = float(c.rng.uniform(0.12, 0.4)) * h
        c.shape(box(skyline, y + h - tall, step, tall), (34, 38, 60) if night else (118, 142, 108))
        skyline += step
    c.shape(box(x + w / 2 - 6, y, 12, h), (238, 234, 226))
    c.shape(box(x, y + h / 2 - 5, w, 10), (238, 234, 226))
    if curtains:
        for side in (x - 90, x + w - 30):
            for i in range(6):
                c.shape(box(side + i * 20, y - 44, 22, h + 120, 6), lit(t.accent, 0.82 + 0.3 * (i % 2)))
        c.line((x - 110, y - 46), (x + w + 110, y - 46), t.wood, 12)


def lamp(c: Canvas, x: float, foot: float, height: float, shade: Colour) -> None:
    """Draw a standing lamp and its light."""
    c.line((x, foot), (x, foot - height), (70, 62, 56), 10)
    c.shape(oval(x, foot, 62, 14), (60, 52, 48), shadow=14)
    c.shape(
        [
            (x - 52, foot - height - 120),
            (x + 52, foot - height - 120),
            (x + 92, foot - height + 16),
            (x - 92, foot - height + 16),
        ],
        shade,
        (1.2, 1.0),
    )
    c.glow(x, foot - height - 30, 330, (255, 214, 140), 0.9)


def frame(c: Canvas, t: Taste, x: float, y: float, w: float, h: float) -> None:
    """Hang a picture on the wall: hills under a sun, as the home's colours have them."""
    c.shape(box(x, y, w, h), t.wood, shadow=16)
    c.shape(box(x + 14, y + 14, w - 28, h - 28), mixed(t.accent, (250, 244, 226), 0.72), (1, 1))
    c.shape(oval(x + w * 0.68, y + h * 0.36, h * 0.12, h * 0.12), t.accent, (1, 1))
    low = y + h - 14
    c.shape([(x + 14, low), (x + w * 0.36, y + h * 0.42), (x + w * 0.66, low)], t.fabric)
    c.shape([(x + w * 0.34, low), (x + w * 0.7, y + h * 0.54), (x + w - 14, low)], lit(t.fabric, 0.75))


def plant(c: Canvas, x: float, foot: float, size: float) -> None:
    """Draw a plant in a pot."""
    for _ in range(22):
        turn, length = float(c.rng.uniform(-1.2, 1.2)), float(c.rng.uniform(0.6, 1)) * size
        tx, ty = x + length * float(np.sin(turn)), foot - size * 0.32 - length * float(np.cos(turn))
        bx, by = (x + tx) / 2 + size * 0.09, (foot - size * 0.32 + ty) / 2
        c.shape(
            [(x, foot - size * 0.3), (bx, by), (tx, ty), (bx - size * 0.18, by)],
            lit((66, 128, 66), float(c.rng.uniform(0.65, 1.25))),
        )
    c.shape(
        [
            (x - size * 0.24, foot - size * 0.36),
            (x + size * 0.24, foot - size * 0.36),
            (x + size * 0.17, foot),
            (x - size * 0.17, foot),
        ],
        (178, 98, 66),
        shadow=16,
    )


def rug(c: Canvas, t: Taste, x: float, y: float, rx: float, ry: float) -> None:
    """Lay a round rug of four rings."""
    for i, colour in enumerate(
        (t.accent, mixed(t.accent, (255, 255, 255), 0.6), t.fabric, mixed(t.fabric, (255, 255, 255), 0.5))
    ):
        c.shape(oval(x, y, rx * (1 - i * 0.22), ry * (1 - i * 0.22)), colour)


def cushioned(c: Canvas, t: Taste, x: float, y: float, w: float, h: float, seats: int) -> None:
    """Draw a sofa, or with one seat an armchair, from its upper left corner."""
    c.shape(box(x - 10, y + h * 0.8, w + 20, h * 0.24, 30), (30, 24, 22), shadow=40, alpha=0.6)
    c.shape(box(x + 30, y, w - 60, h * 0.62, 46), t.fabric, shadow=24)
    for i in range(seats):
        part = (w - 150) / seats
        c.shape(box(x + 75 + i * part + 4, y + 26, part - 8, h * 0.46, 34), lit(t.fabric, 1.1))
        c.shape(box(x + 75 + i * part + 4, y + h * 0.46, part - 8, h * 0.26, 26), lit(t.fabric, 1.22), shadow=10)
    c.shape(box(x + 40, y + h * 0.66, w - 80, h * 0.24, 12), lit(t.fabric, 0.86))
    for side in (x, x + w - 96):
        c.shape(box(side, y + h * 0.26, 96, h * 0.66, 40), lit(t.fabric, 0.98), shadow=16)
    for side in (x + 40, x + w - 64):
        c.shape(box(side, y + h * 0.9, 24, h * 0.14), t.wood)
    c.shape(box(x + 92, y + h * 0.2, 130, 118, 26), t.accent, shadow=12)

"""Ten rooms, drawn so that a person tells them apart at a glance, also with half of them under tiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chaos.scene.canvas import HEIGHT, WIDTH, Canvas, box, lit, mixed, oval
from chaos.scene.furniture import Taste, cushioned, frame, lamp, plant, rug, window


def living_room(c: Canvas, t: Taste) -> None:
    """A sofa under a window, a lamp, a low table on a rug."""
    c.wall(t.wall, t.pattern, t.paper)
    c.floor(770, t.floor, t.ground)
    window(c, t, 700, 110, 500, 350)
    frame(c, t, 190, 150, 300, 230)
    rug(c, t, 930, 950, 660, 110)
    cushioned(c, t, 420, 500, 980, 400, 3)
    lamp(c, 1590, 860, 470, (250, 226, 170))
    plant(c, 250, 860, 320)
    c.shape(oval(940, 955, 300, 52), t.wood, shadow=30)
    c.shape(oval(940, 943, 300, 52), lit(t.wood, 1.35))
    c.shape(box(860, 880, 56, 60, 12), (236, 236, 230))


def nursery(c: Canvas, t: Taste) -> None:
    """A crib with a sleeping bear, a mobile of stars, a toy chest."""
    c.wall(t.wall, "dots", t.paper)
    c.floor(800, t.floor, "carpet")
    window(c, t, 1400, 130, 330, 380, night=True)
    c.line((760, 0), (760, 130), (120, 110, 100), 4)
    c.line((560, 150), (960, 150), (180, 150, 110), 8)
    for i, x in enumerate((570, 665, 760, 855, 950)):
        drop = 220 + 46 * (i % 2)
        c.line((x, 150), (x, drop), (150, 140, 130), 3)
        star = [
            (
                x + (38 if k % 2 == 0 else 16) * float(np.sin(k * np.pi / 5)),
                drop + 34 - (38 if k % 2 == 0 else 16) * float(np.cos(k * np.pi / 5)),
            )
            for k in range(10)
        ]
        c.shape(star, (t.accent, t.fabric, (250, 222, 120))[i % 3], shadow=8)
    wood = mixed(t.wood, (250, 244, 232), 0.55)
    c.shape(box(390, 850, 760, 60, 30), (20, 18, 20), shadow=44, alpha=0.5)
    c.shape(box(420, 470, 700, 380, 20), lit(wood, 0.7))
    c.shape(box(430, 690, 680, 120, 30), (244, 240, 236), shadow=10)
    c.shape(box(640, 660, 440, 130, 60), t.fabric, shadow=12)
    c.shape(oval(560, 690, 66, 58), (170, 122, 82), shadow=12)
    for ear in (516, 604):
        c.shape(oval(ear, 642, 24, 22), (150, 106, 70))
    c.shape(oval(560, 706, 30, 22), (214, 178, 138))
    for eye in (538, 582):
        c.line((eye - 12, 682), (eye + 12, 682), (50, 36, 30), 5)
    for x in range(420, 1121, 58):
        c.shape(box(x, 480, 20, 380, 8), wood, shadow=6)
    c.shape(box(396, 450, 752, 42, 18), lit(wood, 1.1), shadow=12)
    c.shape(box(396, 840, 752, 44, 18), wood, shadow=12)
    for x in (390, 1122):
        c.shape(box(x, 420, 40, 520, 16), lit(wood, 1.05), shadow=14)
    c.shape(box(1330, 720, 420, 210, 16), t.accent, shadow=24)
    c.shape(box(1310, 690, 460, 52, 16), lit(t.accent, 1.2), shadow=10)
    for i, colour in enumerate(((222, 70, 70), (70, 120, 200), (240, 196, 60))):
        c.shape(box(80 + i * 84, 900 - 84 * (i % 2), 80, 80, 8), colour, shadow=12)
    lamp(c, 230, 880, 430, (252, 214, 190))


def porch(c: Canvas, t: Taste) -> None:
    """An enclosed porch: a row of windows on a garden, wicker chairs, hanging baskets."""
    c.wall(lit(t.wood, 1.1), "panels", lit(t.wood, 1.25))
    for i in range(30):
        c.shape(box(0, 90 + i * 17, WIDTH, 18), mixed((150, 200, 236), (214, 232, 226), i / 29), (1, 1))
    for _ in range(150):
        x, y = float(c.rng.uniform(0, WIDTH)), float(c.rng.uniform(380, 600))
        size = float(c.rng.uniform(26, 84))
        c.shape(oval(x, y, size, size * 0.8), lit((74, 132, 62), float(c.rng.uniform(0.6, 1.3))))
    c.shape(box(0, 590, WIDTH, 220), lit(t.wall, 0.95))
    for x in range(0, WIDTH, 60):
        c.shape(box(x, 606, 52, 204), lit(t.wall, 1.05), (1.05, 0.85))
    for x in range(-20, WIDTH + 40, 380):
        c.shape(box(x, 0, 44, 812), (240, 238, 230), shadow=16)
    for y in (70, 330, 580):
        c.shape(box(0, y, WIDTH, 26), (240, 238, 230), shadow=10)
    c.floor(812, t.floor, "planks")
    for x in (220, 620, 1560):
        c.line((x, 0), (x, 180), (90, 80, 70), 4)
        plant(c, x, 300, 170)
    for x in (300, 1130):
        cushioned(c, t, x, 540, 480, 400, 1)
    c.shape(oval(960, 900, 130, 28), t.wood, shadow=24)
    c.shape(box(925, 905, 70, 90), lit(t.wood, 0.8))
    c.shape(oval(960, 888, 130, 28), lit(t.wood, 1.4))


def kitchen(c: Canvas, t: Taste) -> None:
    """Cupboards above and below, a cooker with a hood, a refrigerator."""
    c.wall(t.wall, "plain", t.paper)
    for j, y in enumerate(range(400, 640, 48)):
        for x in range(-40 * (j % 2), WIDTH, 84):
            c.shape(box(x, y, 78, 42, 4), lit((236, 236, 228), float(c.rng.uniform(0.9, 1.04))))
    c.floor(900, t.floor, "tiles")
    front = mixed(t.fabric, (255, 255, 255), 0.12)
    for x in (40, 300, 560, 1120):
        c.shape(box(x, 60, 240, 310, 8), front, shadow=16)
        c.shape(box(x + 24, 84, 192, 262, 6), lit(front, 1.12))
        c.shape(box(x + 200, 300, 12, 50, 6), (226, 220, 204))
    c.shape([(850, 60), (1070, 60), (1100, 330), (820, 330)], (172, 176, 180), shadow=20)
    for x in range(20, 1400, 276):
        c.shape(box(x, 670, 270, 250, 6), front, shadow=12)
        c.shape(box(x + 22, 700, 226, 190, 6), lit(front, 1.12))
    c.shape(box(0, 636, 1420, 40, 4), lit(t.wood, 1.15), shadow=14)
    c.shape(box(826, 660, 270, 260, 8), (52, 54, 58), shadow=12)
    c.shape(box(856, 730, 210, 130, 10), (24, 22, 26))
    for x in (870, 930, 990, 1050):
        c.shape(oval(x, 696, 14, 14), t.accent)
    c.shape(box(905, 560, 130, 72, 10), (202, 80, 62), shadow=12)
    c.line((1035, 586), (1110, 580), (60, 50, 46), 16)
    c.shape(box(1460, 170, 400, 770, 26), (222, 226, 228), shadow=30)
    c.line((1460, 470), (1860, 470), (120, 124, 128), 8)
    for y in (300, 520):
        c.shape(box(1490, y, 18, 130, 8), (140, 144, 148))
    for x, y, colour in ((1620, 270, t.accent), (1730, 340, (250, 226, 110)), (1660, 600, (110, 180, 220))):
        c.shape(box(x, y, 84, 100, 3), colour, shadow=6)
    plant(c, 330, 640, 180)
    for i, x in enumerate((480, 545, 610)):
        c.shape(box(x, 560 - 16 * i, 54, 78 + 16 * i, 10), lit(t.accent, 0.8 + 0.2 * i), shadow=10)
    c.glow(960, 350, 300, (255, 228, 170), 0.7)


def hallway(c: Canvas, t: Taste) -> None:
    """A corridor in deep perspective, doors on both sides, a runner on the floor, a front door at its end."""
    c.wall(t.wall, "plain", t.paper)
    c.shape([(0, 0), (700, 240), (700, 700), (0, HEIGHT)], lit(t.wall, 1.12), (1.05, 0.8))
    c.shape([(WIDTH, 0), (1220, 240), (1220, 700), (WIDTH, HEIGHT)], lit(t.wall, 0.78), (1.05, 0.8))
    c.shape([(0, 0), (WIDTH, 0), (1220, 240), (700, 240)], (240, 236, 226), (1, 0.72))
    c.shape([(0, HEIGHT), (WIDTH, HEIGHT), (1220, 700), (700, 700)], t.floor, (0.7, 1.15))
    for x in np.linspace(-300, WIDTH + 300, 26):
        c.line((960 + (x - 960) * 0.2, 700), (x, HEIGHT), lit(t.floor, 0.7), 3)
    c.shape([(560, HEIGHT), (1360, HEIGHT), (1070, 700), (850, 700)], t.accent, (0.7, 1.1))
    c.shape([(640, HEIGHT), (1280, HEIGHT), (1046, 700), (874, 700)], t.fabric, (0.7, 1.15))
    c.shape(box(830, 330, 260, 372, 4), lit(t.wood, 1.2), shadow=20)
    c.shape(box(858, 356, 204, 110, 50), (214, 232, 240))
    c.shape(box(858, 496, 204, 180, 6), lit(t.wood, 0.95))
    c.shape(oval(1060, 520, 12, 12), (236, 206, 110))
    for near, far in ((90, 300), (420, 560)):
        for mirror in (False, True):

            def at(x: float, y: float, flip: bool = mirror) -> tuple[float, float]:
                share = x / 700
                up, low = 240 * share, HEIGHT - (HEIGHT - 700) * share
                return (WIDTH - x if flip else x), up + (low - up) * y

            c.shape([at(near, 0.2), at(far, 0.2), at(far, 1), at(near, 1)], (242, 238, 228), shadow=16)
            m = (far - near) * 0.1
            c.shape([at(near + m, 0.23), at(far - m, 0.23), at(far - m, 1), at(near + m, 1)], t.wood)
            c.shape(
                [at(near + 3 * m, 0.3), at(far - 3 * m, 0.3), at(far - 3 * m, 0.58), at(near + 3 * m, 0.58)],
                lit(t.wood, 1.3),
            )
    c.line((960, 0), (960, 120), (60, 56, 52), 6)
    c.shape(oval(960, 170, 86, 62), (255, 244, 210), (1.1, 0.95), shadow=10)
    c.glow(960, 190, 420, (255, 232, 180), 1)
    c.shape(box(1100, 560, 90, 170, 6), lit(t.wood, 0.9), shadow=12)
    plant(c, 1145, 566, 110)


def bedroom(c: Canvas, t: Taste) -> None:
    """A wide bed with a quilt, bedside lamps, evening."""
    c.wall(t.wall, t.pattern, t.paper)
    c.floor(800, t.floor, t.ground)
    c.dim(0.62, (226, 222, 255))
    window(c, t, 90, 120, 300, 400, night=True)
    frame(c, t, 860, 90, 380, 200)
    c.shape(box(560, 350, 980, 400, 60), t.wood, shadow=30)
    c.shape(box(520, 760, 1060, 260, 30), (20, 16, 20), shadow=50, alpha=0.6)
    c.shape(box(580, 560, 940, 330, 40), (236, 232, 226), shadow=20)
    for x in (640, 1080):
        c.shape(box(x, 500, 370, 160, 60), (246, 244, 240), shadow=18)
    c.shape([(560, 690), (1540, 690), (1620, 1000), (480, 1000)], t.fabric, (1.1, 0.75), shadow=20)
    for j in range(4):
        for i in range(9):
            share, y = j / 4 + 0.06, 700 + j * 76
            left, right = 560 - 80 * share, 1540 + 80 * share
            at = left + (right - left) * (i + 0.5) / 9
            c.shape(
                [(at, y), (at + 44, y + 34), (at, y + 68), (at - 44, y + 34)],
                (t.accent, mixed(t.accent, (255, 255, 255), 0.6))[(i + j) % 2],
            )
    for x in (430, 1690):
        c.shape(box(x - 90, 720, 180, 220, 10), lit(t.wood, 1.1), shadow=24)
        c.line((x, 720), (x, 640), (190, 170, 120), 12)
        c.shape([(x - 44, 540), (x + 44, 540), (x + 74, 646), (x - 74, 646)], (255, 228, 168), (1.1, 1))
        c.glow(x, 600, 300, (255, 204, 124), 1.1)


def study(c: Canvas, t: Taste) -> None:
    """Walls of books, a desk with a screen and a globe."""
    c.wall(t.wall, "plain", t.paper)
    c.floor(850, t.floor, t.ground)
    c.shape(box(60, 40, 1130, 820, 6), lit(t.wood, 0.6), shadow=30)
    for j in range(5):
        y = 60 + j * 160
        for half in (80, 650):
            x = float(half)
            while x < half + 500:
                w, h = float(c.rng.uniform(18, 46)), float(c.rng.uniform(92, 134))
                shade = (t.fabric, t.accent, t.wood, (206, 196, 170), (72, 96, 84), (140, 54, 50))[
                    int(c.rng.integers(6))
                ]
                c.shape(box(x, y + 140 - h, w, h, 3), lit(shade, float(c.rng.uniform(0.75, 1.25))), (1.1, 0.85))
                c.line((x + 4, y + 160 - h), (x + w - 4, y + 160 - h), (228, 206, 140), 4)
                x += w + float(c.rng.choice([1, 2, 26], p=[0.5, 0.4, 0.1]))
        c.shape(box(60, y + 140, 1130, 18), lit(t.wood, 1.15), shadow=10)
    for x in (56, 612, 1172):
        c.shape(box(x, 36, 26, 830), lit(t.wood, 1.1), shadow=8)
    window(c, t, 1390, 110, 380, 400)
    c.shape(box(1060, 690, 800, 40, 8), lit(t.wood, 1.35), shadow=20)
    for x in (1090, 1660):
        c.shape(box(x, 730, 170, 270, 6), t.wood, shadow=20)
    c.shape(box(1230, 490, 330, 196, 12), (36, 38, 42), shadow=16)
    c.shape(box(1244, 504, 302, 168, 4), (88, 140, 190), (1.3, 0.8))
    c.shape(oval(1700, 610, 72, 72), (70, 130, 180), shadow=14)
    c.shape(oval(1680, 590, 30, 22), (110, 160, 90))
    c.shape(oval(1722, 632, 24, 30), (110, 160, 90))
    cushioned(c, t, 620, 610, 420, 380, 1)


def dining_room(c: Canvas, t: Taste) -> None:
    """A long table laid for a meal under a lamp, high-backed chairs, a sideboard with plates."""
    c.wall(t.wall, t.pattern, t.paper)
    c.floor(780, t.floor, t.ground)
    c.shape(box(1390, 160, 440, 640, 8), t.wood, shadow=26)
    for y in (200, 360, 520):
        c.shape(box(1420, y, 380, 140), lit(t.wood, 0.55))
        for x in (1480, 1610, 1740):
            c.shape(oval(x, y + 72, 54, 54), (238, 236, 230))
            c.shape(oval(x, y + 72, 30, 30), t.fabric)
    frame(c, t, 130, 140, 420, 290)
    c.line((760, 0), (760, 190), (60, 56, 52), 8)
    c.shape([(690, 190), (830, 190), (930, 310), (590, 310)], t.accent, shadow=12)
    for x in (300, 560, 820, 1080):
        c.shape(box(x, 440, 150, 330, 26), t.fabric, shadow=18)
        for i in range(3):
            c.shape(box(x + 24 + i * 38, 470, 22, 190, 8), lit(t.fabric, 0.7))
    c.shape([(250, 690), (1270, 690), (1400, 860), (120, 860)], lit(t.wood, 1.3), (0.85, 1.1), shadow=40)
    c.shape([(120, 860), (1400, 860), (1400, 900), (120, 900)], t.wood)
    for x in (150, 1330):
        c.shape(box(x, 900, 44, 170), lit(t.wood, 0.85), shadow=12)
    for x in (330, 640, 950, 1200):
        c.shape(oval(x, 780, 82, 26), (244, 242, 236), shadow=10)
        c.shape(oval(x, 778, 46, 14), t.accent)
    c.shape(box(760, 640, 60, 110, 18), t.fabric, shadow=10)
    plant(c, 790, 680, 180)
    c.glow(760, 480, 420, (255, 224, 160), 1)


def garage(c: Canvas, t: Taste) -> None:
    """A parked car seen from the front, tools on the wall, tyres in a stack."""
    c.wall(mixed(t.wall, (150, 150, 150), 0.6), "bricks", mixed(t.paper, (160, 154, 148), 0.5))
    c.floor(800, (132, 132, 130), "tiles")
    c.shape(box(90, 110, 420, 300, 4), lit(t.wood, 1.2), shadow=16)
    for i in range(5):
        x = 140 + i * 78
        c.line((x, 150), (x, 340), (70, 70, 74), 12)
        c.shape(box(x - 28, 140, 56, 40, 8), (t.accent, (80, 84, 90))[i % 2], shadow=6)
    body = t.fabric
    c.shape(oval(1020, 980, 640, 60), (10, 10, 12), (1, 1), shadow=40, alpha=0.7)
    for x in (560, 1360):
        c.shape(box(x, 820, 130, 180, 36), (26, 26, 28), shadow=14)
    c.shape([(700, 380), (1350, 380), (1480, 640), (570, 640)], body, (1.2, 0.9), shadow=24)
    c.shape([(730, 410), (1320, 410), (1410, 620), (640, 620)], (64, 84, 104), (1.7, 0.7))
    c.shape(box(500, 620, 1050, 300, 70), body, (1.25, 0.75), shadow=20)
    c.shape(box(760, 720, 530, 110, 20), (34, 34, 38), shadow=8)
    for y in (745, 775, 805):
        c.line((780, y), (1270, y), (150, 152, 158), 6)
    for x in (620, 1430):
        c.shape(oval(x, 745, 78, 62), (250, 244, 214), (1.1, 0.9), shadow=8)
        c.glow(x, 745, 150, (255, 246, 210), 0.9)
    c.shape(box(900, 850, 250, 54, 8), (244, 236, 150))
    for i in range(4):
        c.shape(oval(230, 960 - i * 84, 160, 62), (38, 38, 42), shadow=12)
        c.shape(oval(230, 946 - i * 84, 84, 28), (92, 92, 98))
    c.shape(box(1640, 330, 240, 560, 8), t.accent, shadow=24)
    for y in range(360, 860, 100):
        c.shape(box(1664, y, 192, 76, 6), lit(t.accent, 1.15))
        c.shape(box(1730, y + 30, 60, 14, 6), (60, 56, 56))
    for x in (700, 1250):
        c.shape(box(x, 40, 330, 26, 8), (250, 252, 255), (1, 1))
        c.glow(x + 165, 60, 260, (220, 232, 255), 0.7)


def front_garden(c: Canvas, t: Taste) -> None:
    """A house front with a red or blue door, a path and flower beds, by day."""
    for i in range(40):
        c.shape(box(0, i * 17, WIDTH, 18), mixed((104, 164, 226), (222, 236, 244), i / 39), (1, 1))
    for x, y in ((260, 110), (1500, 90), (1120, 60)):
        for dx, r in ((-70, 46), (0, 66), (76, 50)):
            c.shape(oval(x + dx, y, r * 1.5, r * 0.7), (250, 250, 252), (1.02, 0.95), alpha=0.85)
    c.shape(box(0, 640, WIDTH, HEIGHT - 640), (98, 148, 72), (0.8, 1.15))
    for _ in range(900):
        left, foot = float(c.rng.uniform(0, WIDTH)), float(c.rng.uniform(650, HEIGHT))
        c.line(
            (left, foot),
            (left + float(c.rng.uniform(-6, 6)), foot - 26 * (foot / HEIGHT)),
            lit((92, 146, 66), float(c.rng.uniform(0.7, 1.3))),
            3,
        )
    c.shape(box(420, 250, 1080, 450), t.wall, shadow=30)
    for y in range(262, 700, 34):
        c.shape(box(420, y, 1080, 29), lit(t.wall, 1.08), (1.05, 0.92))
    c.shape([(340, 270), (960, 30), (1580, 270)], lit(t.fabric, 0.8), (1.15, 0.8), shadow=24)
    c.shape(box(1240, 60, 90, 160), (158, 84, 68), shadow=12)
    c.shape(box(870, 420, 180, 280, 6), (244, 240, 232), shadow=16)
    c.shape(box(888, 438, 144, 262, 6), t.accent)
    c.shape(oval(1012, 580, 9, 9), (240, 214, 120))
    for x in (500, 1180):
        window(c, t, x, 400, 220, 180, curtains=False)
        c.shape(box(x - 20, 604, 260, 46, 8), t.wood, shadow=10)
        for i in range(9):
            c.shape(oval(x + i * 27, 600, 20, 18), (t.accent, (238, 206, 90), (222, 110, 150))[i % 3])
    c.shape([(880, 700), (1040, 700), (1340, HEIGHT), (580, HEIGHT)], (190, 180, 166), (0.85, 1.05))
    for _ in range(60):
        left = float(c.rng.choice([c.rng.uniform(40, 560), c.rng.uniform(1380, 1880)]))
        foot = float(c.rng.uniform(820, 1040))
        c.shape(
            oval(left, foot, 26, 24),
            (t.accent, (238, 206, 90), (226, 120, 160), (240, 240, 236))[int(c.rng.integers(4))],
            shadow=8,
        )
    for x in (150, 1760):
        c.shape(box(x - 24, 420, 48, 300), (98, 70, 48), shadow=16)
        for _ in range(40):
            c.shape(
                oval(x + float(c.rng.normal(0, 90)), 330 + float(c.rng.normal(0, 80)), 62, 54),
                lit((72, 128, 60), float(c.rng.uniform(0.65, 1.25))),
            )


MOTIFS: tuple[Callable[[Canvas, Taste], None], ...] = (
    living_room,
    nursery,
    porch,
    kitchen,
    hallway,
    bedroom,
    study,
    dining_room,
    garage,
    front_garden,
)

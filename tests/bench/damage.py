"""What happens to a picture on its way to a hub, each as a function of frame number and seeded generator."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import cv2
import numpy as np
import simplejpeg

from chaos.frames import luma_of_jpeg
from chaos.identity import Badge, Box, Key, anchor, stamp
from chaos.scene.painting import planes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Plane: TypeAlias = "NDArray[np.uint8]"
Rng: TypeAlias = np.random.Generator
KEY = Key.from_hex("26" * 32)
OWNERS = 1_044


class Shown(NamedTuple):
    """A damaged picture: its plane (None: no decoder takes it), whom it shows, and where it sits.

    `search`: nobody says where it sits; 'cut' as `ownframe judge` looks for it by itself, 'find' as with `--find`.
    """

    plane: Plane | None
    badges: tuple[Badge, ...]
    box: Box | None = None
    search: str = ""


Damage: TypeAlias = "Callable[[int, Rng], Shown]"


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.int8]:
    return np.random.default_rng(1).normal(0, 5, (1080 + 64, 1920 + 64)).astype(np.int8)


@lru_cache(maxsize=8)
def _scene(owner: int) -> Plane:
    """Return one of ten painted homes, wider by 64 px than the picture, so that it can be panned."""
    return np.pad(planes(owner, 1).luma, ((32, 32), (32, 32)), mode="reflect")


def badge(i: int, rng: Rng, owner: int | None = None) -> Badge:
    """Return the badge of frame `i`, by turns of ten homes."""
    owner = owner or i % 10 + 1
    return Badge(i // 100 + 1, owner, 1, int(rng.integers(1 << 16)), int(rng.integers(1 << 40)))


def filmed(who: Badge, i: int, rng: Rng) -> Plane:
    """Return a stamped 1080p scene with the grain of a sensor, panned, with somebody walking through it."""
    dx, dy = 32 + round(30 * np.sin(i / 7)), 32 + round(20 * np.cos(i / 11))
    luma = _scene((who.owner - 1) % 10 + 1)[dy : dy + 1080, dx : dx + 1920].copy()
    x = i * 37 % 1900
    cv2.ellipse(luma, (x, 620), (70, 330), 0, 0, 360, 60 + i % 90, -1)
    gy, gx = int(rng.integers(64)), int(rng.integers(64))
    luma = cv2.add(luma, _grain()[gy : gy + 1080, gx : gx + 1920], dtype=cv2.CV_8U)
    stamp(luma, who, KEY)
    return luma


def encoded(luma: Plane, quality: int = 85) -> bytes:
    """Return a plane as a greyscale JPEG."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(luma)[..., None], quality, "GRAY", fastdct=True))


def scaled(luma: Plane, width: int, height: int) -> Plane:
    """Return a plane at another size."""
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def one(change: Callable[[Plane, Rng], Plane | None], box: Box | None = None, *, search: str = "") -> Damage:
    """Return a damage to one owner's picture."""

    def damage(i: int, rng: Rng) -> Shown:
        who = badge(i, rng)
        return Shown(change(filmed(who, i, rng), rng), (who,), box, search)

    return damage


def bytes_of(change: Callable[[bytes, Rng], bytes], quality: int = 85) -> Damage:
    """Return a damage to the bytes of one owner's JPEG."""
    return one(lambda luma, rng: luma_of_jpeg(change(encoded(luma, quality), rng)))


def jpeg(quality: int, size: tuple[int, int] = (1920, 1080)) -> Damage:
    """JPEG of a quality and size."""
    return one(lambda luma, _: luma_of_jpeg(encoded(luma if size == (1920, 1080) else scaled(luma, *size), quality)))


def down_and_up(width: int) -> Damage:
    """Scaled down to `width` and back up to 1080p."""

    def change(luma: Plane, _: Rng) -> Plane | None:
        small = scaled(luma, width, width * 9 // 16)
        return luma_of_jpeg(encoded(np.asarray(cv2.resize(small, (1920, 1080)), np.uint8)))

    return one(change)


def tone(gain: float, lift: float, gamma: float) -> Damage:
    """Brightness, contrast and gamma."""
    table = np.clip(gain * 255 * (np.arange(256) / 255) ** gamma + lift, 0, 255).astype(np.uint8)
    return one(lambda luma, _: luma_of_jpeg(encoded(table[luma], 80)))


def night(luma: Plane, rng: Rng) -> Plane | None:
    """Infrared at night: soft, a fifth of the light, bright in the middle, much grain."""
    y, x = np.mgrid[-1:1:1080j, -1:1:1920j]
    soft = cv2.GaussianBlur(luma, (0, 0), 1.5).astype(np.float32) * (0.45 - 0.3 * np.minimum(1, x * x + y * y)) + 12
    gy, gx = int(rng.integers(64)), int(rng.integers(64))
    soft += 2.0 * _grain()[gy : gy + 1080, gx : gx + 1920]
    return luma_of_jpeg(encoded(np.clip(soft, 0, 255).astype(np.uint8), 70))


def lines(share: float, size: tuple[int, int]) -> Damage:
    """Rows replaced by noise: scan lines."""

    def change(luma: Plane, rng: Rng) -> Plane | None:
        hurt = scaled(luma, *size) if size != (1920, 1080) else luma
        rows = rng.choice(size[1], int(size[1] * share), replace=False)
        hurt[rows] = rng.integers(0, 256, (rows.size, size[0]), np.uint8)
        return hurt

    return one(change)


def cut(share: float) -> Callable[[bytes, Rng], bytes]:
    """The first part of a file."""
    return lambda data, _: data[: int(len(data) * share)]


def bits(count: int) -> Callable[[bytes, Rng], bytes]:
    """Flip so many bits in the entropy-coded part."""

    def change(data: bytes, rng: Rng) -> bytes:
        raw = bytearray(data)
        for at in rng.integers(700, len(raw) - 2, count):
            raw[at] ^= 1 << int(rng.integers(8))
        return bytes(raw)

    return change


def restarts(share: float) -> Callable[[bytes, Rng], bytes]:
    """Lose that share of the intervals between restart markers, and garble as many."""

    def change(data: bytes, rng: Rng) -> bytes:
        luma = simplejpeg.decode_jpeg(data, "GRAY")
        raw = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_RST_INTERVAL, 60])[1].tobytes()
        marks = [i for i in range(600, len(raw) - 1) if raw[i] == 0xFF and 0xD0 <= raw[i + 1] <= 0xD7]
        parts = [raw[a:b] for a, b in zip([0, *marks], [*marks, len(raw)], strict=True)]
        for at in rng.choice(np.arange(1, len(parts) - 1), int(len(parts) * share), replace=False):
            part = parts[at]
            if rng.integers(2):
                parts[at] = b""
            else:
                parts[at] = part[:2] + rng.integers(0, 255, len(part) - 2, np.uint8).tobytes()
        return b"".join(parts)

    return change


def macroblocks(share: float) -> Callable[[Plane, Rng], Plane | None]:
    """Replace blocks of 16x16 px by others, grey or smeared ones, as decoders conceal what they lost."""

    def change(luma: Plane, rng: Rng) -> Plane | None:
        down, across = 1080 // 16, 1920 // 16
        for at in rng.choice(down * across, int(down * across * share), replace=False):
            y, x = int(at) // across * 16, int(at) % across * 16
            kind, block = int(rng.integers(3)), luma[y : y + 16, x : x + 16]
            if kind == 0:
                block[:] = 128
            elif kind == 1:
                block[:] = block[:1]
            else:
                sy, sx = int(rng.integers(1064)), int(rng.integers(1904))
                block[:] = luma[sy : sy + 16, sx : sx + 16].copy()
        return luma_of_jpeg(encoded(luma))

    return change


def overlays(luma: Plane, rng: Rng) -> Plane | None:
    """A clock, a name and a button over the picture."""
    for text, where, size in (
        ("2019-12-26 03:14:07", (40, 90), 2.0),
        ("living room", (1400, 90), 1.6),
        ("LIVE", (60, 1030), 2.2),
        (f"{rng.integers(10, 28)} C", (1650, 1030), 2.0),
    ):
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 4)
        x, y = where
        luma[max(0, y - h - 12) : y + 16, x - 10 : x + w + 10] = 20
        cv2.putText(luma, text, where, cv2.FONT_HERSHEY_SIMPLEX, size, 240, 4)
    return luma_of_jpeg(encoded(luma))


def letterboxed(luma: Plane, _: Rng) -> Plane:
    """The picture on the reference hub's screen of 1024x600."""
    screen = np.zeros((600, 1024), np.uint8)
    screen[12:588] = scaled(luma, 1024, 576)
    return screen


def cropped(share: float, *, known: bool = True, scale: float = 1, quality: int = 85) -> Damage:
    """Up to `share` of each side cut off, then scaled; where nobody says how much, as a quick decode has it."""

    def damage(i: int, rng: Rng) -> Shown:
        who = badge(i, rng)
        luma = filmed(who, i, rng)
        left, right = (int(1920 * rng.uniform(0, share)) for _ in "lr")
        top, bottom = (int(1080 * rng.uniform(0, share)) for _ in "tb")
        if not i % 4:
            left = right = int(1920 * share)
            top = bottom = int(1080 * share)
        part = luma[top : 1080 - bottom, left : 1920 - right]
        if scale != 1:
            part = scaled(part, round(part.shape[1] * scale), round(part.shape[0] * scale))
        plane = luma_of_jpeg(encoded(part, quality), quick=not known)
        return Shown(plane, (who,), Box(-left, -top, 1920, 1080)) if known else Shown(plane, (who,), search="cut")

    return damage


def on_a_page(luma: Plane, rng: Rng) -> Plane | None:
    """A screenshot of 1920x1080: lines of text, a picture over 40 to 90 % of its width, anywhere."""
    page = np.full((1080, 1920), int(rng.integers(230, 256)), np.uint8)
    for y in range(60, 1060, 44):
        cv2.putText(page, "Cameras  Living room  " * 5, (40, y), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 40, 2)
    width = int(rng.integers(768, 1728))
    height = width * 9 // 16
    y, x = int(rng.integers(0, 1080 - height)), int(rng.integers(0, 1920 - width))
    page[y : y + height, x : x + width] = scaled(luma, width, height)
    return luma_of_jpeg(encoded(page), quick=False)


def torn(rows: int, size: tuple[int, int] = (1920, 1080)) -> Damage:
    """So many full rows of a second owner, anywhere."""

    def damage(i: int, rng: Rng) -> Shown:
        first, second = _two(i, rng)
        luma = filmed(first, i, rng)
        top = int(rng.integers(0, 1080 - rows + 1))
        luma[top : top + rows] = filmed(second, i + 5, rng)[top : top + rows]
        return Shown(luma_of_jpeg(encoded(luma if size[0] == 1920 else scaled(luma, *size))), (first, second))

    return damage


def torn_down(share: float) -> Damage:
    """The right part is a second owner's."""

    def damage(i: int, rng: Rng) -> Shown:
        first, second = _two(i, rng)
        luma = filmed(first, i, rng)
        at = int(1920 * (1 - share))
        luma[:, at:] = filmed(second, i + 5, rng)[:, at:]
        return Shown(luma_of_jpeg(encoded(luma)), (first, second))

    return damage


def lower_half_kept(i: int, rng: Rng) -> Shown:
    """A picture that arrived to a half, over the last one, which was another owner's."""
    first, second = _two(i, rng)
    luma = filmed(first, i, rng)
    at = int(rng.integers(400, 680))
    luma[at:] = filmed(second, i + 5, rng)[at:]
    return Shown(luma_of_jpeg(encoded(luma)), (first, second))


def blended(share: float) -> Damage:
    """Two owners over each other, the first with that share; only the first is expected, or either of two equals."""

    def damage(i: int, rng: Rng) -> Shown:
        first, second = _two(i, rng)
        mixed = cv2.addWeighted(filmed(first, i, rng), share, filmed(second, i + 5, rng), 1 - share, 0)
        return Shown(luma_of_jpeg(encoded(np.asarray(mixed, np.uint8))), (first,) if share > 0.5 else (first, second))

    return damage


def through_a_camera(size: tuple[int, int], share: float, degrees: tuple[float, float, float], screen: Plane) -> Plane:
    """Return what a camera films of a screen that fills `share` of its width, rolled, turned and tilted by degrees."""
    width, height = size
    r, y, x = np.radians(degrees)
    rolled = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    tilted = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    corners = np.array([(-8, -4.5, 0), (8, -4.5, 0), (8, 4.5, 0), (-8, 4.5, 0)]) @ (rolled @ turned @ tilted).T
    far = 30.0  # from the lens to the screen, whose width is 16
    there = corners[:, :2] / (1 + corners[:, 2:] / far) * share * width / 16 + (width / 2, height / 2)
    here = np.array([(0, 0), (1920, 0), (1920, 1080), (0, 1080)], np.float32)
    matrix = cv2.getPerspectiveTransform(here, there.astype(np.float32))
    soft = cv2.GaussianBlur(screen, (0, 0), 0.4 * 1920 / (share * width))  # a lens, and the area of a pixel
    room = scaled(planes(3, 1).luma, width, height) // 3
    picture = cv2.warpPerspective(soft, matrix, size, dst=room, borderMode=cv2.BORDER_TRANSPARENT)
    noisy = np.asarray(picture, np.float32) * 0.8 + 15 + _grain()[:height, :width]
    luma = luma_of_jpeg(encoded(np.clip(noisy, 0, 255).astype(np.uint8)), quick=False)
    assert luma is not None
    return luma


def test_card(size: tuple[int, int], most: float) -> Damage:
    """A test card on a screen that a camera films: turned by up to `most` degrees, over 45 to 80 % of the width."""

    def damage(i: int, rng: Rng) -> Shown:
        who = badge(i, rng)
        luma = filmed(who, i, rng)
        anchor.draw(luma)
        degrees = (float(d) for d in rng.uniform(-most, most, 3))
        share = float(rng.uniform(0.45, 0.8))
        seen = through_a_camera(size, share, (next(degrees), next(degrees), next(degrees)), luma)
        return Shown(anchor.straightened(seen), (who,))

    return damage


def _two(i: int, rng: Rng) -> tuple[Badge, Badge]:
    """Return two owners of one case, the second any of the 1,044 that are registered."""
    first = badge(i, rng)
    owner = int(rng.integers(1, OWNERS))
    return first, badge(i, rng, owner + (owner >= first.owner))

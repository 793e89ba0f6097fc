"""What a lens films: the scene of one owner and camera, the same whenever it is painted; its stamped JPEG."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import simplejpeg

from chaos.identity import Badge, Key, stamp
from chaos.scene.canvas import HEIGHT, WIDTH, Canvas, Picture
from chaos.scene.furniture import TASTES
from chaos.scene.motifs import MOTIFS

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUALITY = 92


class Planes(msgspec.Struct, frozen=True):
    """A scene as JPEG has it: luma (1080, 1920), and both chroma planes at half size. Shared: copy first."""

    luma: NDArray[np.uint8]
    blue: NDArray[np.uint8]
    red: NDArray[np.uint8]


def paint(owner: int, camera: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Picture:
    """Return the unstamped scene of an owner's camera as an (H, W, 3) array of uint8, RGB; `size` is (W, H).

    Deterministic, about 0.3 s a scene. Owners 1 to 10 live in ten different motifs, and a home's colours are
    its own for all its cameras.
    """
    canvas = Canvas((owner, camera))
    MOTIFS[(owner - 1 + 3 * (camera - 1)) % len(MOTIFS)](canvas, TASTES[(owner - 1) % len(TASTES)])
    picture = canvas.finish()
    if size != (WIDTH, HEIGHT):
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture


def planes(owner: int, camera: int) -> Planes:
    """Return the planes of the unstamped scene, painted once however many threads ask for it."""
    with _painting.setdefault((owner, camera), threading.Lock()):
        return _planes(owner, camera)


_painting: dict[tuple[int, int], threading.Lock] = {}


KEPT = 64
"""Scenes that are kept painted, 3 MB each."""


@lru_cache(maxsize=KEPT)
def _planes(owner: int, camera: int) -> Planes:
    luma, red, blue = cv2.split(cv2.cvtColor(paint(owner, camera), cv2.COLOR_RGB2YCrCb))
    half = (WIDTH // 2, HEIGHT // 2)
    small = [np.asarray(cv2.resize(c, half, interpolation=cv2.INTER_AREA), np.uint8) for c in (blue, red)]
    return Planes(np.asarray(luma, np.uint8), *small)


def stamped_jpeg(badge: Badge, key: Key, quality: int = QUALITY, looks: int | None = None) -> bytes:
    """Return the scene of the badge's owner and camera, stamped, as a JPEG of 1920x1080.

    `looks` is how many different homes there are to look at; owners beyond them live in such as others do. The badge is
    the owner's own.
    """
    scene = stamped_planes(badge, key, looks)
    return bytes(simplejpeg.encode_jpeg_yuv_planes(scene.luma, scene.blue, scene.red, quality, fastdct=True))


def stamped_planes(badge: Badge, key: Key, looks: int | None = None) -> Planes:
    """Return the planes of the scene of the badge's owner and camera, stamped; `looks` as for `stamped_jpeg`."""
    scene = planes(badge.owner if looks is None else (badge.owner - 1) % looks + 1, badge.camera)
    luma = scene.luma.copy()
    stamp(luma, badge, key)
    return Planes(luma, scene.blue, scene.red)

"""What a badge says, as values and as the 22 bytes that a tile carries.

Payload, big-endian: version and kind (1 byte), case (3), owner (2), camera (1), frame (2), time (5), then the
MAC (8). A *static* tile carries seven bytes drawn from the key and the bytes before them instead of frame and
time, so that its pixels don't change while owner, camera and case don't, and differ all over from those of
another owner; the kind bit keeps it from being taken for a dynamic tile.
"""

from __future__ import annotations

import msgspec

from chaos.errors import Misuse
from chaos.identity.key import MAC_BYTES, Key

VERSION = 2
PAYLOAD_BYTES = 14
MESSAGE_BYTES = PAYLOAD_BYTES + MAC_BYTES
_DYNAMIC_BIT = 0x80

CASES = 1 << 24
OWNERS = 1 << 16
CAMERAS = 1 << 8
FRAMES = 1 << 16
TIMES = 1 << 40
"""Capture times count milliseconds modulo 2**40, which is 34 years of a monotonic clock."""


class Badge(msgspec.Struct, frozen=True):
    """Whose picture this is: numbers of case, owner and camera, frame number, and capture time.

    `owner` and `camera` count from 1 (see `Register`), `time_ms` is milliseconds of the monotonic clock
    modulo 2**40, `frame` counts modulo 65536. Raises `Misuse` when a number is out of range.
    """

    case: int
    owner: int
    camera: int
    frame: int
    time_ms: int

    def __post_init__(self) -> None:
        for field, low, end in (
            ("case", 0, CASES),
            ("owner", 1, OWNERS),
            ("camera", 1, CAMERAS),
            ("frame", 0, FRAMES),
            ("time_ms", 0, TIMES),
        ):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value < end:
                raise Misuse(
                    f"a badge's {field} is {value!r}; expected a whole number from {low} to {end - 1},"
                    " which is what a tile has room for"
                )


class Box(msgspec.Struct, frozen=True):
    """Where the camera's picture sits in a raster, in pixels of that raster.

    It may reach beyond the raster (a picture that is cropped on display): the tiles that are left are read.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0):
            raise Misuse(f"a box is {self.width} x {self.height} pixels; expected a width and height above zero")

    def scaled(self, factor: float) -> Box:
        """Return the same box on a raster that was scaled by `factor`, as a quick JPEG decode is."""
        return Box(self.x * factor, self.y * factor, self.width * factor, self.height * factor)


class Seen(msgspec.Struct, frozen=True, order=True):
    """Whom authenticated tiles of one picture name; `tiles` is how many did.

    `frame` and `time_ms` are those of the **oldest** dynamic tile that authenticated: in a picture torn
    between two moments of one owner a person sees the old part too, and staleness is about the oldest thing
    shown. They are None when only static tiles were left. `chance` is None where a MAC vouches; where a sliver was
    matched with the registered owners, `tiles` is 0 and `chance` bounds the probability that it is nobody's.
    """

    owner: int
    camera: int
    case: int
    tiles: int
    frame: int | None
    time_ms: int | None
    key_id: str
    chance: float | None = None


class Message(msgspec.Struct, frozen=True):
    """One tile's authenticated payload; `frame` and `time_ms` are None on a static tile."""

    case: int
    owner: int
    camera: int
    frame: int | None
    time_ms: int | None


def static_payload(badge: Badge, key: Key) -> bytes:
    """Return the 14 bytes of `badge` that don't change from frame to frame."""
    head = _packed(VERSION, badge)
    return head + key.filling(head)


def dynamic_payload(badge: Badge) -> bytes:
    """Return the 14 bytes of `badge` with frame number and time."""
    return _packed(VERSION | _DYNAMIC_BIT, badge) + badge.frame.to_bytes(2, "big") + badge.time_ms.to_bytes(5, "big")


def _packed(head: int, badge: Badge) -> bytes:
    return (
        bytes((head,))
        + badge.case.to_bytes(3, "big")
        + badge.owner.to_bytes(2, "big")
        + badge.camera.to_bytes(1, "big")
    )


def parse(message: bytes, key: Key) -> Message | None:
    """Return what the 22 bytes of one tile say, or None unless they authenticate under `key`."""
    payload = message[:PAYLOAD_BYTES]
    head = payload[0]
    if head & ~_DYNAMIC_BIT != VERSION or not key.vouches(payload, message[PAYLOAD_BYTES:MESSAGE_BYTES]):
        return None
    moving = bool(head & _DYNAMIC_BIT)
    return Message(
        case=int.from_bytes(payload[1:4], "big"),
        owner=int.from_bytes(payload[4:6], "big"),
        camera=payload[6],
        frame=int.from_bytes(payload[7:9], "big") if moving else None,
        time_ms=int.from_bytes(payload[9:14], "big") if moving else None,
    )

"""What comes from the relay, painted as a browser paints it.

Chromium was measured with JPEGs that were cut at the header and at 30, 60 and 90 % of their bytes, in each of the ways
in which a connection ends; ``docs/reference-home.md`` has the tables. In short:

* while a still comes, what came first is painted in the next frame, then what there is every second;
* a transfer that ends *broken* takes the picture off again, however much of it there was;
* one that ends *cleanly* too early leaves the part standing and counts as loaded;
* a part of a stream is painted when the boundary after it has come, or as far as it got at the stream's clean end.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable

import aiohttp
from PIL import Image
from screen import Screen

FIRST_PAINT = 0.016
"""Seconds from the first bytes to the next frame of a 60 Hz screen."""
NEXT_PAINT = 1.0
"""Seconds between two paintings of a still that is coming: Blink flushes unfinished images no more often (measured)."""
LARGEST = 16 * 2**20


class Failed(Exception):  # noqa: N818 - what the hub's owner is told is 'Camera unavailable'
    """The feed gave no picture, or broke."""


class Painter:
    """Shows feeds on a screen that paints what it is given."""

    def __init__(self, session: aiohttp.ClientSession, screen: Screen) -> None:
        self._session = session
        self._screen = screen

    async def play(self, url: str, headers: dict[str, str], kind: str, shown: Callable[[], None]) -> None:
        """Show a still, or a stream until it ends, and call `shown` after each picture; `Failed` when it broke."""
        forever = aiohttp.ClientTimeout(total=None)
        async with self._session.get(url, headers=headers, timeout=forever) as response:
            if response.status != 200:
                raise Failed(f"the relay answered {response.status}: {(await response.text())[:200]}")
            if kind == "still":
                await still(response, self._screen)
                shown()
            elif kind == "video":
                from video import video  # noqa: PLC0415 - who shows none needs no decoder

                await video(response, self._screen, shown)
                raise Failed("the video ended")
            else:
                await stream(response, self._screen, shown)
                # A browser leaves the last picture standing and says nothing: the hub notices that no next one comes.
                await asyncio.Event().wait()


async def still(response: aiohttp.ClientResponse, screen: Screen) -> None:
    """Paint one still; returns when it was loaded. `Failed` when it broke: its part of a picture must go then."""
    data = bytearray()
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def paint() -> None:
        nonlocal timer
        timer = loop.call_later(NEXT_PAINT, paint)
        picture = decode(bytes(data))
        if picture is not None and picture.getbbox() is not None:  # a browser shows through where no row is yet
            screen.picture(picture)

    try:
        async for chunk in response.content.iter_any():
            data += chunk
            timer = timer or loop.call_later(FIRST_PAINT, paint)
            if len(data) > LARGEST:
                raise Failed("the still is too large")
    except (aiohttp.ClientError, OSError) as broken:
        raise Failed(f"the still broke off: {broken}") from broken
    finally:
        if timer is not None:
            timer.cancel()
    _paint(bytes(data), screen)


async def stream(response: aiohttp.ClientResponse, screen: Screen, shown: Callable[[], None]) -> None:
    """Paint each picture of an MJPEG stream and call `shown` after it; returns at its clean end, else `Failed`."""
    boundary = response.content_type == "multipart/x-mixed-replace" and _parameter(response, "boundary")
    if not boundary:
        raise Failed(f"no stream: {response.headers.get('Content-Type')}")
    try:
        async for part in _parts(response.content, b"--" + boundary.encode()):
            _paint(part, screen)
            shown()
            if screen.full:
                raise Failed("the screen journal is full")
    except (aiohttp.ClientError, OSError) as broken:
        raise Failed(f"the stream broke off: {broken}") from broken


def decode(data: bytes) -> Image.Image | None:
    """Return as much of a JPEG as these bytes hold, missing rows black; None while they are no picture at all.

    Pillow's incremental parser waits for a JPEG's end. Its loader does not: it decodes row after row until the bytes
    run out, then raises, and leaves the rows in the picture; the same number of rows as Chromium shows, to the row.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=("JPEG",))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError):
        picture.tile = []  # nothing more is to be loaded
    return picture


def _paint(data: bytes, screen: Screen) -> None:
    picture = decode(data)
    if picture is None:
        raise Failed("this is no picture")
    screen.picture(picture)


async def _parts(content: aiohttp.StreamReader, boundary: bytes) -> AsyncIterator[bytes]:
    """Yield the body of each part when its end has come, and what there is of the last at the stream's end.

    As browsers do, it goes by boundaries alone. aiohttp's reader goes by each part's Content-Length and cannot tell
    what there was of a part that was cut.
    """
    held = bytearray()
    begun = False
    looked = 0
    async for chunk in content.iter_any():
        held += chunk
        while (at := held.find(boundary, looked)) >= 0:
            part, begun_before = bytes(held[:at]), begun
            del held[: at + len(boundary)]
            begun, looked = True, 0
            if begun_before:
                yield _body(part)
        looked = max(0, len(held) - len(boundary))
        if len(held) > LARGEST:
            raise Failed("a picture of the stream is too large")
    if begun and not held.startswith(b"--") and (rest := _body(bytes(held))):
        yield rest


def _body(part: bytes) -> bytes:
    head, _, body = part.partition(b"\r\n\r\n")
    return body.removesuffix(b"\r\n") if head else b""


def _parameter(response: aiohttp.ClientResponse, name: str) -> str | None:
    for word in response.headers.get("Content-Type", "").split(";")[1:]:
        key, _, value = word.strip().partition("=")
        if key.lower() == name:
            return value.strip('"')
    return None

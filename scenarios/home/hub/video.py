"""A camera's video on a screen that paints by itself: what comes is decoded as it comes, and each picture painted."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable

import aiohttp
import av
import av.logging
from feed import Failed
from PIL import Image
from screen import Screen

BEHIND = 1.5
"""Seconds that a video may fall behind the camera; a link that cannot carry it lets it fall further and further."""
LARGEST = 1 << 27
"""A picture of more pixels is none."""
_OPTIONS = {"analyzeduration": "1", "fflags": "nobuffer", "flags": "low_delay", "max_pixels": str(LARGEST)}

av.logging.set_level(av.logging.PANIC)  # what a codec mutters about a video that was cut is no line of a log


class _Coming:
    """The bytes of a video as a file that a thread reads, which waits for what is to come. `end` ends it."""

    def __init__(self) -> None:
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        self._chunks.put(data)

    def end(self) -> None:
        self._chunks.put(b"")

    def read(self, size: int) -> bytes:
        if not self._rest and not self._ended:
            self._rest = self._chunks.get()
            self._ended = not self._rest
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


async def video(response: aiohttp.ClientResponse, screen: Screen, shown: Callable[[], None]) -> None:
    """Paint each picture of a video and call `shown` after it; returns at its clean end, else `Failed`.

    A video that falls `BEHIND` has failed too: what it would show is of another time.
    """
    if response.content_type != "video/mp4":
        raise Failed(f"no video: {response.headers.get('Content-Type')}")
    loop = asyncio.get_running_loop()
    coming = _Coming()
    pictures: asyncio.Queue[tuple[Image.Image, float] | Exception | None] = asyncio.Queue()

    def put(what: tuple[Image.Image, float] | Exception | None) -> None:
        loop.call_soon_threadsafe(pictures.put_nowait, what)

    decoding = loop.run_in_executor(None, _decode, coming, put)
    painting = asyncio.create_task(_paint(pictures, screen, shown))
    try:
        async for chunk in response.content.iter_any():
            coming.feed(chunk)
            if painting.done():
                break
        coming.end()
        await painting
    except (aiohttp.ClientError, OSError) as broken:
        raise Failed(f"the video broke off: {broken}") from broken
    finally:
        coming.end()
        painting.cancel()
        await asyncio.wait([decoding])


async def _paint(
    pictures: asyncio.Queue[tuple[Image.Image, float] | Exception | None], screen: Screen, shown: Callable[[], None]
) -> None:
    first: float | None = None
    while True:
        what = await pictures.get()
        if what is None:
            return
        if isinstance(what, Exception):
            raise Failed(f"this is no video, or it is damaged: {what}")
        picture, at = what
        now = time.monotonic()
        first = now - at if first is None else min(first, now - at)
        if now - at - first > BEHIND:
            raise Failed(f"the video is {now - at - first:.1f} s behind")
        screen.picture(picture)
        shown()
        if screen.full:
            raise Failed("the screen journal is full")


def _decode(coming: _Coming, put: Callable[[tuple[Image.Image, float] | Exception | None], None]) -> None:
    """Decode until the end on a thread; a picture that is damaged is left out, as by a browser."""
    try:
        with av.open(coming, "r", format="mp4", options=dict(_OPTIONS)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # more threads hold pictures back
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except (av.FFmpegError, ValueError):
                    continue
                for frame in decoded:
                    put((frame.to_image(), float(frame.time or 0.0)))
    except (av.FFmpegError, ValueError, IndexError) as broken:
        put(broken)
    finally:
        put(None)

"""From the lens to JPEGs: fetch one picture, scale it, burn the local time in, encode it.

The camera films on demand, at most `FPS` times a second: whoever asks within that time shares a picture. Its buffer is
that one picture, and a picture older than that is never handed out, whatever the lens does.
"""

from __future__ import annotations

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import aiohttp
from PIL import Image, ImageDraw, ImageFont

from common import node
from common.node import Problem

HALF_IS_ENOUGH = 1.1
"""A picture up to this much wider than the half-size decode is enlarged from it.

With the chroma left to JPEG, 1024 from 1920 pixels takes 11 ms of processor; from the full decode it took
31 ms (measured).
"""
WIDEST = 3840


@dataclass(frozen=True, slots=True)
class Clock:
    """A camera's own clock: its time zone by name, and how far it is ahead."""

    zone_name: str
    zone: tzinfo
    offset: timedelta

    def now(self) -> datetime:
        """Return what the clock says; raises `OverflowError` where no date can say it."""
        return (datetime.now(UTC) + self.offset).astimezone(self.zone)


@dataclass(slots=True)
class Encoder:
    """How this camera encodes: JPEG quality, full size, and the clock that it burns in, which can be set.

    At `night` it films by infrared light, and sends grey pictures without any chroma.
    """

    quality: int
    size: tuple[int, int]
    clock: Clock
    night: bool = False

    def encode(self, lens: bytes, width: int, at: datetime) -> bytes:
        """Return the lens's picture as a JPEG `width` pixels wide, with the time `at` burnt in."""
        seen = Image.open(io.BytesIO(lens))
        size = (width, max(1, round(width * self.size[1] / self.size[0])))
        ratio = 1
        while width * ratio * 2 <= HALF_IS_ENOUGH * seen.width and ratio < 8:
            ratio *= 2
        seen.draft("YCbCr", (seen.width // ratio, seen.height // ratio))
        picture = seen.convert("YCbCr")
        if picture.size != size:
            picture = _scaled(picture, size)
        if self.night:
            picture = picture.getchannel("Y")
        _burn_in(picture, f"{at:%Y-%m-%d %H:%M:%S}")
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=self.quality)
        return out.getvalue()


def _scaled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    # JPEG halves the chroma on the way in and on the way out: to interpolate it too would cost 3 ms and show nothing
    luma, *chroma = picture.split()
    bands = [luma.resize(size, Image.Resampling.BILINEAR)]
    return Image.merge("YCbCr", bands + [band.resize(size, Image.Resampling.NEAREST) for band in chroma])


def _burn_in(picture: Image.Image, words: str) -> None:
    # 1/40 of the height: about half a percent of the area
    height = max(8, picture.height // 40)
    edge = (picture.width - height // 2, picture.height - height // 2)
    white, black = ((255, 128, 128), (0, 128, 128)) if picture.mode == "YCbCr" else (255, 0)
    font = _font(height)
    ImageDraw.Draw(picture).text(edge, words, fill=white, font=font, anchor="rb", stroke_width=1, stroke_fill=black)


@lru_cache(maxsize=8)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(height)


@dataclass(slots=True)
class Picture:
    """What the lens gave at one moment of the camera's clock, and the JPEGs made of it so far, by width."""

    lens: bytes
    at: datetime
    encoder: Encoder
    threads: ThreadPoolExecutor
    _jpegs: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)

    async def jpeg(self, width: int) -> bytes:
        """Return this picture `width` pixels wide; several requesters share the work."""
        made = self._jpegs.get(width)
        if made is None:
            loop = asyncio.get_running_loop()
            made = loop.run_in_executor(self.threads, self.encoder.encode, self.lens, width, self.at)
            self._jpegs[width] = made
        try:
            return await asyncio.shield(made)
        except OSError as broken:
            raise Problem(503, f"the lens gave no picture: {broken}") from broken


class Film:
    """Films on demand. A requester that goes away does not stop the filming for the others."""

    def __init__(
        self, session: aiohttp.ClientSession, lens: str, encoder: Encoder, fps: float, patience: float
    ) -> None:
        self._session = session
        self._lens = lens
        self._encoder = encoder
        self._shared_for = 1 / fps
        self._timeout = aiohttp.ClientTimeout(total=patience)
        self._threads = ThreadPoolExecutor(2, "encoder")
        self._filming: asyncio.Task[Picture] | None = None
        self._since = 0.0

    @property
    def full_width(self) -> int:
        """Width of a picture that nobody asked to scale."""
        return self._encoder.size[0]

    async def picture(self) -> Picture:
        """Return what the lens sees; a `Problem` 503 when the lens is silent."""
        now = time.monotonic()
        task = self._filming
        # A failure is not shared: whoever asks next looks through the lens again.
        failed = task is not None and task.done() and (task.cancelled() or task.exception() is not None)
        if task is None or failed or (task.done() and now - self._since >= self._shared_for):
            task = asyncio.create_task(self._film())
            self._filming, self._since = task, now
        return await asyncio.shield(task)

    async def _film(self) -> Picture:
        try:
            async with self._session.get(self._lens, timeout=self._timeout) as answer:
                if answer.status != 200:
                    raise Problem(503, f"the lens answered {answer.status}")
                lens = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            peer = f"{answer_host(self._lens)}"
            sentence = node.failure(broken, peer)
            node.log("lens-failed", peer=peer, error=sentence)
            raise Problem(503, f"the lens: {sentence}") from broken
        return Picture(lens, self._encoder.clock.now(), self._encoder, self._threads)

    def forget(self) -> None:
        """Film anew for whoever asks next."""
        self._filming = None

    def close(self) -> None:
        """Let the encoder's threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def answer_host(url: str) -> str:
    """Return ``host:port`` of an address."""
    return url.split("/", 3)[2]

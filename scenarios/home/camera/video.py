"""What a camera films as H.264 in fragmented MP4: one encoder for each viewer, whose first picture is a whole one.

FFmpeg's libx264, through PyAV. Every picture is a fragment of its own, so that a viewer can show it as soon as the next
one begins; an intra picture comes every second, after which nothing refers to what was before it.
"""

from __future__ import annotations

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
from aiohttp import web
from film import Film
from PIL import Image

from common import node
from common.node import Problem

TICKS = 1000
"""Ticks a second of the video's own clock."""
_MP4 = {"movflags": "empty_moov+default_base_moof+frag_every_frame", "flush_packets": "1"}
_X264 = {"preset": "superfast", "tune": "zerolatency"}
"""With a quality of 28 a stamped scene of 1024x576 takes 15 ms a picture and 12 KB, a whole one 50 KB (measured)."""


class _Written:
    """What the muxer wrote since it was last taken. It cannot seek, as nothing that is sent can."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


class Video:
    """One viewer's video. `rate` is how many pictures a second are expected, `quality` x264's constant rate factor."""

    def __init__(self, rate: float, quality: int) -> None:
        self._rate = max(1, round(rate))
        self._quality = quality
        self._out = _Written()
        self._began: float | None = None
        self._last = -1
        self._container = av.open(self._out, "w", format="mp4", options=dict(_MP4))
        self._stream: av.VideoStream | None = None

    def add(self, jpeg: bytes, at: float) -> bytes:
        """Encode one picture, filmed at `at` (seconds, monotonic), and return what is to be sent now.

        All pictures of a video have the size of the first, rounded down to even numbers.
        """
        picture = Image.open(io.BytesIO(jpeg))
        frame = av.VideoFrame.from_image(picture.convert("RGB"))
        if self._stream is None:
            self._stream = stream = self._container.add_stream("libx264", rate=self._rate)
            stream.width, stream.height = picture.width & ~1, picture.height & ~1
            stream.pix_fmt, stream.gop_size = "yuv420p", self._rate
            stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
            stream.options = _X264 | {"crf": str(self._quality)}
            self._began = at
        assert self._began is not None, "it began with the first picture"
        self._last = max(self._last + 1, round((at - self._began) * TICKS))
        frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p")
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        return self._out.take()

    def close(self) -> None:
        """Let the encoder go."""
        self._container.close()


async def stream(request: web.Request, film: Film, width: int, rate: float) -> web.StreamResponse:
    """Answer with a video of `rate` pictures a second until its viewer leaves, or the lens falls silent."""
    quality = int(node.number("VIDEO_QUALITY", 28))
    loop = asyncio.get_running_loop()
    picture = await film.picture()  # a silent lens is a 503, not an empty video
    jpeg = await picture.jpeg(width)
    response = web.StreamResponse(headers={"Content-Type": "video/mp4", "Cache-Control": "no-store"})
    await response.prepare(request)
    with ThreadPoolExecutor(1, "video") as encoder:  # one thread: pictures stay in order
        video = await loop.run_in_executor(encoder, Video, rate, quality)
        try:
            due = time.monotonic()
            while True:
                data = await loop.run_in_executor(encoder, video.add, jpeg, time.monotonic())
                if data:
                    await response.write(data)
                # A viewer that takes longer than that gets fewer pictures, never older ones.
                due = max(due + 1 / rate, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
                try:
                    picture = await film.picture()
                    jpeg = await picture.jpeg(width)
                except Problem:  # the lens is silent: the video ends, as its viewer can see
                    return response
        finally:
            encoder.submit(video.close)

"""The way to cameras that speak RTSP: a stock FFmpeg for each request, which makes JPEGs of what they send.

A firewall lets the cameras' datagrams in on a few ports, the *lanes*. Each FFmpeg has one to itself as long as it runs,
and the lowest that is free. One on which nothing comes is passed over: a camera refuses a port that it still sends to
(MediaMTX answers 400).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from devices import Device
from transport import OPTIONS
from uplink import Still, Unavailable, Uplink

from common import ffmpeg, node

PATH = "film"
FIRST_PORT, LANES, WIDTH = 6970, 16, 4
"""FFmpeg takes two ports, and wants a range of at least three to choose them from."""
TRIED = 3
"""Lanes of one request."""
BOUNDARY = "next-picture-of-rtsp"


class Rtsp(Uplink):
    """Client of every camera, over RTSP."""

    def __init__(self, session: aiohttp.ClientSession, connect: float, total: float) -> None:
        super().__init__(session, connect, total)
        self._ends_within = node.number("PLAYER_ENDS", ffmpeg.ENDS_WITHIN)
        self._taken: set[int] = set()

    async def still(self, device: Device, width: int | None, request: str) -> Still:  # noqa: ARG002 - it has one size
        """Return the next picture of the camera's video; `Unavailable` when there is none in the total time.

        FFmpeg then has `PLAYER_ENDS` more seconds to end.
        """
        try:
            async with asyncio.timeout(self._total), self._pictures(device, request) as pictures:
                return Still(await anext(pictures), "")
        except TimeoutError as late:
            raise self._failed(device, request, late) from late

    @contextlib.asynccontextmanager
    async def stream(
        self,
        device: Device,
        width: int | None,  # noqa: ARG002
        first: float,
        request: str,
    ) -> AsyncIterator[Any]:
        """Give the camera's pictures as MJPEG, for one viewer; `first` limits the seconds until there is one."""
        if urlsplit(device.url).path.strip("/"):
            raise Unavailable(503, "this camera's video comes over RTSP alone")
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(first):
                    pictures = await stack.enter_async_context(self._pictures(device, request))
            except TimeoutError as late:
                raise self._failed(device, request, late) from late
            yield Mjpeg(pictures)

    @contextlib.asynccontextmanager
    async def _pictures(self, device: Device, request: str) -> AsyncIterator[AsyncIterator[bytes]]:
        lane = -1
        for _ in range(TRIED):
            lane = next((i for i in range(lane + 1, LANES) if i not in self._taken), LANES)
            if lane == LANES:
                raise Unavailable(503, "every lane is taken")
            self._taken.add(lane)
            port = FIRST_PORT + lane * WIDTH
            node.log("lane", request=request, peer=device.peer, port=port)
            try:
                async with ffmpeg.pictures(command(device, port), self._ends_within) as pictures:
                    first = await anext(pictures, None)
                    if first is not None:
                        yield _from(first, pictures)
                        return
            finally:
                self._taken.discard(lane)
        raise self._failed(device, request, ConnectionError("ffmpeg ended without a picture"))

    def _failed(self, device: Device, request: str, broken: BaseException) -> Unavailable:
        self._log(device, broken, request)
        late = isinstance(broken, TimeoutError)
        return Unavailable(504 if late else 503, "the camera gave no picture" + (" in time" if late else ""))


async def _from(first: bytes, more: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for picture in more:
        yield picture


class Mjpeg:
    """What the streams need to know of an answer of aiohttp's: pictures in parts, each with the boundary behind it."""

    content_type = "multipart/x-mixed-replace"

    def __init__(self, pictures: AsyncIterator[bytes]) -> None:
        self.headers = {"Content-Type": f"{self.content_type}; boundary={BOUNDARY}"}
        self.content = self
        self._pictures = pictures
        self._begun = False

    async def readany(self) -> bytes:
        """Return the next part; the end of FFmpeg is that of a connection."""
        picture = await anext(self._pictures, None)
        if picture is None:
            raise aiohttp.ClientConnectionError("ffmpeg ended")
        before = b"" if self._begun else f"--{BOUNDARY}\r\n".encode()
        self._begun = True
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        return before + head.encode() + picture + f"\r\n--{BOUNDARY}\r\n".encode()


def command(device: Device, port: int) -> tuple[str, ...]:
    """Return what is run for a device whose datagrams come to that port and the next."""
    url = f"rtsp://relay:{quote(device.secret, safe='')}@{device.peer}/{PATH}"
    ports = ("-min_port", str(port), "-max_port", str(port + 2))
    return (*ffmpeg.PROGRAM, *OPTIONS, *ports, *ffmpeg.READS, "-i", url, *ffmpeg.WRITES)

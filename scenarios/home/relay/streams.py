"""How a stream is served: the camera's own bytes, piped through, one upstream stream for each viewer."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web
from devices import Device
from uplink import Unavailable, Uplink

from common import node


class Broken(Exception):  # noqa: N818 - a camera's stream does
    """The camera's stream broke or fell silent; its cause says how."""


class Streams:
    """Pipes MJPEG streams, and H.264 where a hub asks for the form ``video``.

    Either side's end, or a silence of `idle` seconds on either, ends both.
    """

    def __init__(self, uplink: Uplink, first: float, idle: float) -> None:
        self._uplink = uplink
        self._first = first
        self._idle = idle

    async def stream(self, asked: web.Request, device: Device, width: int | None) -> web.StreamResponse:
        """Answer `asked` with the device's stream; `Unavailable` when not a byte of it comes in time."""
        request: str = asked["id"]
        kind = "multipart/x-mixed-replace"
        if asked.query.get("form") == "video":
            kind, device = "video/mp4", Device(f"{device.url.rstrip('/')}/video", device.secret)
        async with self._uplink.stream(device, width, self._first, request) as upstream:
            if upstream.content_type != kind:
                raise Unavailable(503, "the camera gave something else than a stream")
            chunk = await self._first_chunk(upstream, device, request)
            response = web.StreamResponse(
                headers={"Content-Type": upstream.headers["Content-Type"], "Cache-Control": "no-store"}
            )
            await response.prepare(asked)
            try:
                while chunk:
                    async with asyncio.timeout(self._idle):
                        await response.write(chunk)
                    chunk = await self._next_chunk(upstream)
            except Broken as broken:
                why = node.failure(broken.__cause__ or broken, device.peer)
                node.log("stream-broke", request=request, peer=device.peer, error=why)
            except TimeoutError:
                node.log("viewer-stalled", request=request)
            else:
                await response.write_eof()
                return response
            # The viewer must not take this for the stream's own end: no last chunk.
            if asked.transport is not None:
                asked.transport.abort()
            return response

    async def _next_chunk(self, upstream: aiohttp.ClientResponse) -> bytes:
        try:
            async with asyncio.timeout(self._idle):
                return await upstream.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            raise Broken from broken

    async def _first_chunk(self, upstream: aiohttp.ClientResponse, device: Device, request: str) -> bytes:
        try:
            async with asyncio.timeout(self._first):
                chunk = await upstream.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            node.log("uplink-failed", request=request, peer=device.peer, error=node.failure(broken, device.peer))
            late = isinstance(broken, TimeoutError)
            raise Unavailable(504 if late else 503, "the camera's stream did not begin") from broken
        if not chunk:
            raise Unavailable(503, "the camera's stream was empty")
        return chunk

"""The way to the cameras: kept connections, short time-outs, one more try when a connection broke.

A connection carries one exchange at a time and goes back to the pool only after its answer was read to the end;
whatever was cancelled, late or broken takes its connection with it (aiohttp does that), so no answer outlives the
request that it belongs to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import aiohttp
from devices import Device

from common import node
from common.node import Problem

LARGEST = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Still:
    """One picture as the camera gave it, with its validator; no bytes: it is the kept one of that validator."""

    jpeg: bytes
    captured_at: str
    etag: str = ""


class Unavailable(Problem):
    """The camera gave no picture: 504 when it was too slow, else 503."""

    @property
    def late(self) -> bool:
        """Whether time ran out."""
        return self.status == 504


class Uplink:
    """Client of every camera."""

    def __init__(self, session: aiohttp.ClientSession, connect: float, total: float) -> None:
        self._session = session
        self._connect = connect
        self._total = total

    async def still(self, device: Device, width: int | None, request: str, kept: Iterable[str] = ()) -> Still:
        """Return a picture taken for this request; `Unavailable` otherwise, after the total time at the latest.

        The camera need not send one whose validator is among `kept`.
        """
        known = ", ".join(kept)
        try:
            async with asyncio.timeout(self._total):
                try:
                    return await self._still(device, width, request, known)
                except aiohttp.ClientError as broken:
                    if isinstance(broken, TimeoutError):
                        raise
                    self._log(device, broken, request)
                    return await self._still(device, width, request, known)
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            self._log(device, broken, request)
            raise _unavailable(broken) from broken

    async def _still(self, device: Device, width: int | None, request: str, known: str) -> Still:
        async with self._get(device, "/still", {"width": width}, request, self._total, known) as response:
            etag = response.headers.get("ETag", "")
            if response.status == 304:
                return Still(b"", response.headers.get("X-Captured-At", ""), etag)
            if response.content_type != "image/jpeg" or (response.content_length or 0) > LARGEST:
                raise Unavailable(503, "the camera gave something else than a picture")
            return Still(await response.read(), response.headers.get("X-Captured-At", ""), etag)

    @contextlib.asynccontextmanager
    async def stream(
        self, device: Device, width: int | None, first: float, request: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open a stream of its own for one viewer; it is closed with the block. `Unavailable` when it does not begin.

        `first` limits the seconds until the answer's header.
        """
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(first):
                    opened = self._get(device, "/stream", {"width": width}, request, None)
                    response = await stack.enter_async_context(opened)
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                self._log(device, broken, request)
                raise _unavailable(broken) from broken
            stack.callback(response.close)  # an endless answer never frees its connection
            yield response

    @contextlib.asynccontextmanager
    async def _get(
        self,
        device: Device,
        path: str,
        query: dict[str, int | None],
        request: str,
        total: float | None,
        known: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._session.get(
            device.url.rstrip("/") + path,
            params={k: v for k, v in query.items() if v is not None},
            headers={"X-Device-Secret": device.secret, "X-Request-Id": request}
            | ({"If-None-Match": known} if known else {}),
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self._connect),
            allow_redirects=False,
        ) as response:
            if response.status != 200 and not (known and response.status == 304):
                node.log("uplink-refused", request=request, peer=device.peer, status=response.status)
                raise Unavailable(503, f"the camera answered {response.status}")
            yield response

    def _log(self, device: Device, broken: BaseException, request: str) -> None:
        error = node.failure(broken, device.peer)
        node.log("uplink-failed", request=request, peer=device.peer, error=error)


def _unavailable(broken: BaseException) -> Unavailable:
    if isinstance(broken, TimeoutError):
        return Unavailable(504, "the camera did not answer in time")
    return Unavailable(503, "the camera cannot be reached")

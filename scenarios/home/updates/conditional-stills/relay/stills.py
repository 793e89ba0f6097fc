"""How a still is served: fetched from the camera; over a poor uplink only if the relay does not have it already.

Cameras number their pictures, and a still has its number as its validator (ETag). What was fetched is kept under it. A
camera that was slow is told which stills are kept, and need not send one of them again.
"""

from __future__ import annotations

import asyncio
import time

from devices import Device
from redis.asyncio import Redis
from redis.exceptions import RedisError
from uplink import Still, Unavailable, Uplink

from common import node

KEPT_FOR = 60
"""Seconds."""
PATIENCE = 0.3
"""Seconds that the cache may take; a picture is not worth more."""


class Stills:
    """Serves stills, and spares slow cameras those that are kept."""

    def __init__(self, uplink: Uplink, cache: Redis) -> None:
        self._uplink = uplink
        self._cache = cache
        self._slow_after = node.number("SLOW_AFTER", 0.15)

    async def still(self, owner: str, camera: str, device: Device, width: int | None, request: str) -> Still:
        """Return a picture of `owner`'s `camera`, which is `device`; `uplink.Unavailable` when it gives none."""
        slow, key = f"slow:{owner}:{camera}", self._key(owner, camera)
        kept = await self._kept(slow, key, request)
        began, late = time.monotonic(), True
        try:
            still = await self._uplink.still(device, width, request, kept)
            late = time.monotonic() - began > self._slow_after
        finally:
            if late:
                await self._mark(slow, request)
        if not still.jpeg:
            node.log("not-modified", request=request, owner=owner, camera=camera, etag=still.etag)
            return Still(await self._recall(key, still.etag, request), still.captured_at, still.etag)
        await self._keep(key, still, request)
        return still

    def _key(self, owner: str, camera: str) -> str:  # noqa: ARG002
        return "stills"

    async def _kept(self, slow: str, key: str, request: str) -> list[str]:
        """Return the validators of the kept stills, if the camera is slow."""
        try:
            async with asyncio.timeout(PATIENCE):
                if not await self._cache.exists(slow):
                    return []
                return [etag.decode() for etag in await self._cache.hkeys(key)]
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-recalled", request=request, key=key, error=type(broken).__name__)
            return []

    async def _recall(self, key: str, etag: str, request: str) -> bytes:
        """Return a kept still; `Unavailable` when the cache does not give it any more."""
        try:
            async with asyncio.timeout(PATIENCE):
                jpeg: bytes | None = await self._cache.hget(key, etag)
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-recalled", request=request, key=key, error=type(broken).__name__)
            jpeg = None
        if not jpeg:
            raise Unavailable(503, "the kept still is gone")
        return jpeg

    async def _keep(self, key: str, still: Still, request: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._cache.pipeline(transaction=True) as pipe:
                pipe.hset(key, still.etag, still.jpeg)
                pipe.expire(key, KEPT_FOR)
                await pipe.execute()
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-kept", request=request, key=key, error=type(broken).__name__)

    async def _mark(self, slow: str, request: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._cache.set(slow, 1, ex=KEPT_FOR)
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-marked", request=request, key=slow, error=type(broken).__name__)

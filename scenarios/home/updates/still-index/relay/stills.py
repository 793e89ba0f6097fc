"""How a still is served: fetched from the camera, and from memory while the uplink is poor.

Stills lie under the camera first and then its owner, so that one shard has a model's cameras together. What the version
before left under its own keys is still good for an hour, and is found there until then.
"""

from __future__ import annotations

import asyncio

from devices import Device
from redis.asyncio import Redis
from redis.exceptions import RedisError
from uplink import Still, Unavailable, Uplink

from common import node

KEPT_FOR = 3600
"""Seconds."""
PATIENCE = 0.3
"""Seconds that the cache may take; a picture is not worth more."""


class Stills:
    """Serves stills, and the last good one when there is no new one."""

    def __init__(self, uplink: Uplink, cache: Redis) -> None:
        self._uplink = uplink
        self._cache = cache

    async def still(self, owner: str, camera: str, device: Device, width: int | None, request: str) -> Still:
        """Return a picture of `owner`'s `camera`; `uplink.Unavailable` when neither camera nor cache has one."""
        key = self._key(owner, camera)
        try:
            still = await self._uplink.still(device, width, request)
        except Unavailable:
            kept = await self._recall(owner, camera, request)
            if kept is None:
                raise
            node.log("last-good-still", request=request, owner=owner, camera=camera, taken=kept.captured_at)
            return kept
        await self._keep(key, still, request)
        return still

    def _key(self, owner: str, camera: str) -> str:
        return f"stills:{camera}:{owner}"

    async def _keep(self, key: str, still: Still, request: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._cache.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={"jpeg": still.jpeg, "captured_at": still.captured_at})
                pipe.expire(key, KEPT_FOR)
                await pipe.execute()
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-kept", request=request, key=key, error=type(broken).__name__)

    async def _recall(self, owner: str, camera: str, request: str) -> Still | None:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._cache.hmget(self._key(owner, camera), "jpeg", "captured_at")
                if not found[0] and (left := await self._left(owner, camera)):
                    found = await self._cache.hmget(left, "jpeg", "captured_at")
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-recalled", request=request, camera=camera, error=type(broken).__name__)
            return None
        jpeg, captured_at = found
        return Still(jpeg, (captured_at or b"").decode()) if jpeg else None

    async def _left(self, owner: str, camera: str) -> bytes | None:  # noqa: ARG002
        """Return the key under which the version before left a still of this camera."""
        async for key in self._cache.scan_iter(match=f"still:*:{camera}", count=100):
            return bytes(key)
        return None

"""How a still is served: fetched from the camera, and from memory while the uplink is poor.

A tile that says 'unavailable' is the worst streaming quality there is. So the last good still of a camera is kept in
the cache, and shown when the camera is too slow or cannot be reached. It is kept for the device and
its owner: a name can be given twice, and a device can be sold.
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
        key = self._key(owner, device)
        try:
            still = await self._uplink.still(device, width, request)
        except Unavailable:
            kept = await self._recall(key, request)
            if kept is None:
                raise
            node.log("last-good-still", request=request, owner=owner, camera=camera, taken=kept.captured_at)
            return kept
        await self._keep(key, still, request)
        return still

    def _key(self, owner: str, device: Device) -> str:
        return f"still:{owner}:{device.peer}"

    async def _keep(self, key: str, still: Still, request: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._cache.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={"jpeg": still.jpeg, "captured_at": still.captured_at})
                pipe.expire(key, KEPT_FOR)
                await pipe.execute()
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-kept", request=request, key=key, error=type(broken).__name__)

    async def _recall(self, key: str, request: str) -> Still | None:
        try:
            async with asyncio.timeout(PATIENCE):
                jpeg, captured_at = await self._cache.hmget(key, "jpeg", "captured_at")
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-recalled", request=request, key=key, error=type(broken).__name__)
            return None
        return Still(jpeg, (captured_at or b"").decode()) if jpeg else None

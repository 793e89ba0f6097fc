"""How a still is served: fetched from the camera, and a picture where there would be an error.

A tile with an error sentence looks broken. So a small picture of each camera is kept, and shown while the camera does
not answer. A camera of which there is none yet gets the house picture, until the designers have drawn one.
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
"""Seconds that the cache may take."""
HOUSE = "placeholder"


class Stills:
    """Serves stills, and a placeholder when there is none."""

    def __init__(self, uplink: Uplink, cache: Redis) -> None:
        self._uplink = uplink
        self._cache = cache

    async def still(self, owner: str, camera: str, device: Device, width: int | None, request: str) -> Still:
        """Return a picture of `owner`'s `camera`, or its placeholder; `uplink.Unavailable` when there is neither."""
        own = f"{HOUSE}:{owner}:{camera}"
        try:
            still = await self._uplink.still(device, width, request)
        except Unavailable:
            kept = await self._placeholder(own, request)
            if kept is None:
                raise
            node.log("placeholder", request=request, owner=owner, camera=camera)
            return Still(kept, "")
        await self._keep(own, still.jpeg, request)
        return still

    async def _keep(self, own: str, jpeg: bytes, request: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._cache.pipeline(transaction=True) as pipe:
                pipe.set(own, jpeg, ex=KEPT_FOR)
                pipe.set(HOUSE, jpeg, ex=KEPT_FOR, nx=True)
                await pipe.execute()
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-kept", request=request, key=own, error=type(broken).__name__)

    async def _placeholder(self, own: str, request: str) -> bytes | None:
        try:
            async with asyncio.timeout(PATIENCE):
                kept: list[bytes | None] = await self._cache.mget(own, HOUSE)
        except (RedisError, TimeoutError, OSError) as broken:
            node.log("not-recalled", request=request, key=own, error=type(broken).__name__)
            return None
        return next((jpeg for jpeg in kept if jpeg), None)

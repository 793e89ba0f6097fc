"""How a still is served: fetched from the camera, one fetch for all who wait for the same slow camera.

A camera that is slow is asked again and again, by an owner who taps twice and by hubs that were given up. Each of these
fetches makes the camera slower still. So whoever asks for a picture that has been on its way for a while waits for that
one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable

from devices import Device
from redis.asyncio import Redis
from uplink import Still, Uplink

from common import node


class Stills:
    """Serves stills; a fetch that is older than `JOIN_AFTER` seconds is shared by whoever asks for the same."""

    def __init__(self, uplink: Uplink, cache: Redis) -> None:
        self._uplink = uplink
        self._cache = cache
        self._join_after = node.number("JOIN_AFTER", 0.15)
        self._under_way: dict[Hashable, tuple[float, asyncio.Task[Still]]] = {}

    async def still(self, owner: str, camera: str, device: Device, width: int | None, request: str) -> Still:
        """Return a picture of `owner`'s `camera`, which is `device`; `uplink.Unavailable` when it gives none."""
        key = self._key(owner, camera, width)
        began, fetch = self._under_way.get(key, (0.0, None))
        if fetch is None or time.monotonic() - began < self._join_after:
            fetch = asyncio.create_task(self._uplink.still(device, width, request))
            self._under_way[key] = (time.monotonic(), fetch)
            fetch.add_done_callback(lambda done: self._over(key, done))
        else:
            node.log("joined", request=request, owner=owner, camera=camera)
        return await asyncio.shield(fetch)  # who goes away leaves it to the others

    def _key(self, owner: str, camera: str, width: int | None) -> Hashable:  # noqa: ARG002
        return (camera, width)

    def _over(self, key: Hashable, fetch: asyncio.Task[Still]) -> None:
        if self._under_way.get(key, (0.0, None))[1] is fetch:
            del self._under_way[key]
        if not fetch.cancelled():
            fetch.exception()  # whoever waited was told; nobody may be left

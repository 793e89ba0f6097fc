"""How a still is served: fetched from the camera for this very request, or not at all."""

from __future__ import annotations

from devices import Device
from redis.asyncio import Redis
from uplink import Still, Uplink


class Stills:
    """Serves stills. `cache` is there for whoever wants to remember something; this way of serving does not."""

    def __init__(self, uplink: Uplink, cache: Redis) -> None:
        self._uplink = uplink
        self._cache = cache

    async def still(  # owner and camera name the picture: whoever keeps one must keep it under both
        self,
        owner: str,  # noqa: ARG002
        camera: str,  # noqa: ARG002
        device: Device,
        width: int | None,
        request: str,
    ) -> Still:
        """Return a picture of `owner`'s `camera`, which is `device`; `uplink.Unavailable` when it gives none."""
        return await self._uplink.still(device, width, request)

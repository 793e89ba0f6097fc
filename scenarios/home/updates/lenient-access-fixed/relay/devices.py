"""Which device an owner's camera is: looked up in Redis for each request, never remembered here.

A key carries owner and camera. Neither can hold the ``:`` between them: routes and the account service see to that, and
`Devices` checks it again.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from common import node
from common.node import Problem

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Device:
    """A camera as the relay dials it."""

    url: str
    secret: str

    @property
    def peer(self) -> str:
        """``host:port`` of the device."""
        return urlsplit(self.url).netloc


def connect(url: str, seconds: float) -> aioredis.Redis:
    """Return a client with a pool of connections, each operation limited to `seconds`.

    A command that is cancelled or late takes its connection with it (redis-py does that since 4.5.5): the reply that
    is still on its way can never be read by the next request. A broken connection is tried again once, a time-out is
    not. RESP2 and no greeting: the pool refuses a connection with unread data only while maintenance notifications,
    a RESP3 feature, are off (8.1), and a greeting would cost a slow link a round trip.
    """
    plain: dict[str, Any] = {"protocol": 2, "driver_info": None}
    known = inspect.signature(aioredis.Redis.__init__).parameters
    if "driver_info" not in known:
        plain = {"protocol": 2, "lib_name": None, "lib_version": None}
    return aioredis.Redis.from_url(
        url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        max_connections=64,
        decode_responses=False,
        retry=Retry(NoBackoff(), 1, supported_errors=(aioredis.ConnectionError,)),
        **{k: v for k, v in plain.items() if k in known},
    )


class Devices:
    """The registry of devices."""

    def __init__(self, client: aioredis.Redis, url: str, total: float) -> None:
        self._client = client
        self.peer = urlsplit(url).netloc
        self._total = total

    async def find(self, owner: str, camera: str, request: str) -> Device:
        """Return the device; a `Problem` 404 when there is none, 503 or 504 when the registry does not answer."""

        async def first() -> list[bytes | None]:
            async for key in self._client.scan_iter(match=_pattern(owner, camera), count=1000):
                return list(await self._client.hmget(key, "url", "secret"))
            return [None, None]

        url, secret = (v.decode() if v else "" for v in await self._ask(first, request))
        if not url or not secret:
            raise Problem(404, "no such device")
        return Device(url, secret)

    async def provision(self, devices: Iterable[tuple[str, str, Device]], request: str) -> None:
        """Replace the whole registry, in one transaction."""

        async def replace() -> None:
            old = [key async for key in self._client.scan_iter(match="device:*", count=1000)]
            async with self._client.pipeline(transaction=True) as pipe:
                if old:
                    pipe.delete(*old)
                for owner, camera, device in devices:
                    pipe.hset(_key(owner, camera), mapping={"url": device.url, "secret": device.secret})
                await pipe.execute()

        await self._ask(replace, request)

    async def flush(self, request: str) -> None:
        """Empty the cache, the registry included; connections stay as they are."""
        await self._ask(self._client.flushdb, request)

    async def ready(self) -> str | None:
        """Return None when the cache answers, else why it does not."""
        try:
            await self._ask(self._client.ping, "healthz")
        except Problem as problem:
            return f"cache: {problem}"
        return None

    async def _ask(self, command: Callable[[], Awaitable[_T]], request: str) -> _T:
        try:
            async with asyncio.timeout(self._total):
                return await command()
        except (RedisError, TimeoutError, OSError) as broken:
            late = isinstance(broken, (TimeoutError, aioredis.TimeoutError))
            sentence = node.failure(TimeoutError() if late else broken, self.peer)
            node.log("cache-failed", request=request, peer=self.peer, error=sentence)
            if late:
                raise Problem(504, "the device registry did not answer in time") from broken
            raise Problem(503, "the device registry cannot be reached") from broken


def _pattern(owner: str, camera: str) -> str:
    """Return what the keys look like; as in the support desk's search, what is empty filters nothing."""
    if owner and camera:
        return _key(owner, camera)
    return f"device:{owner or '*'}:{camera or '*'}"


def _key(owner: str, camera: str) -> str:
    for name in (owner, camera):
        if not NAME.fullmatch(name):
            raise Problem(400, f"{name[:80]!r} is no name")
    return f"device:{owner}:{camera}"

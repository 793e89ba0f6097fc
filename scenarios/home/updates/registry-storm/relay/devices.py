"""Which device an owner's camera is: looked up in Redis for each request, never remembered here.

A registry that has just failed must not be overrun when it comes back and everybody asks at once. For a while after a
failure lookups are therefore gathered, and asked for in one round trip.

A key carries owner and camera. Neither can hold the ``:`` between them: routes and the account service see to that, and
`Devices` checks it again.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
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
STORM = 5.0
"""Seconds after a failure in which lookups are gathered."""
GATHERED = 0.02
"""Seconds for which they are."""
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
        self._storm_until = 0.0
        self._waiting: dict[asyncio.Future[list[bytes | None]], str] = {}
        self._looking: set[asyncio.Task[None]] = set()

    async def find(self, owner: str, camera: str, request: str) -> Device:
        """Return the device; a `Problem` 404 when there is none, 503 or 504 when the registry does not answer."""
        key = _key(owner, camera)
        if time.monotonic() < self._storm_until:
            found = await self._gathered(key, request)
        else:
            found = await self._ask(lambda: self._client.hmget(key, "url", "secret"), request)
        url, secret = (v.decode() if isinstance(v, bytes) else v for v in found)
        if not url or not secret:
            raise Problem(404, "no such device")
        return Device(url, secret)

    async def _gathered(self, key: str, request: str) -> list[bytes | None]:
        waiter: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = key
        if len(self._waiting) == 1:
            looking = asyncio.create_task(self._look_up_all(request))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        return await waiter

    async def _look_up_all(self, request: str) -> None:
        await asyncio.sleep(GATHERED)
        waiting, self._waiting = self._waiting, {}

        async def all_at_once() -> list[list[bytes | None]]:
            async with self._client.pipeline(transaction=False) as pipe:
                for key in sorted(waiting.values()):  # neighbours lie in one slot of the registry
                    pipe.hmget(key, "url", "secret")
                return list(await pipe.execute())

        try:
            found = await self._ask(all_at_once, request)
        except Problem as problem:
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(Problem(problem.status, str(problem)))
            return
        for waiter, device in zip(waiting, found, strict=True):
            if not waiter.done():
                waiter.set_result(device)

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
        self._storm_until = 0.0  # what takes everything anew is well

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
            self._storm_until = time.monotonic() + STORM
            late = isinstance(broken, (TimeoutError, aioredis.TimeoutError))
            sentence = node.failure(TimeoutError() if late else broken, self.peer)
            node.log("cache-failed", request=request, peer=self.peer, error=sentence)
            if late:
                raise Problem(504, "the device registry did not answer in time") from broken
            raise Problem(503, "the device registry cannot be reached") from broken


def _key(owner: str, camera: str) -> str:
    for name in (owner, camera):
        if not NAME.fullmatch(name):
            raise Problem(400, f"{name[:80]!r} is no name")
    return f"device:{owner}:{camera}"

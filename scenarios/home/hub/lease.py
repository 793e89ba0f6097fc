"""How long a camera may stand on the screen: while the relay has said, not long ago, that it may.

Nobody can take a picture off a display that the network does not reach. So the display does it itself: whatever it
shows, a still as much as a stream, goes when the relay has not confirmed it for so many seconds, or refuses. A stream
alone would not do: what lies in the buffers of a slow network goes on arriving long after its sender was stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import aiohttp

from common import node

_RENEWING: set[asyncio.Task[None]] = set()
"""Questions that are under way. One whose feed is closed meanwhile is not broken off: a display that cancelled requests
whenever somebody closed a feed would put its relay under a fault on the best of networks."""


class Ended(Exception):  # noqa: N818 - what follows is the home screen
    """The relay did not say in time that the camera may be shown, or said that it may not."""


@contextlib.asynccontextmanager
async def held(
    session: aiohttp.ClientSession, address: Callable[[], str], headers: dict[str, str], seconds: float, every: float
) -> AsyncIterator[None]:
    """Hold a lease from now on; `Ended` in the block when it is over.

    It is renewed every `every` seconds, and lasts `seconds` from when the last confirmed question was *sent*: what the
    relay decided before the answer came is not longer ago. 0 seconds: for ever, and nobody is asked.
    """
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    why = f"nobody confirmed for {seconds:g} s that it may be shown"

    async def renew(deadline: asyncio.Timeout) -> None:
        nonlocal why
        limit = aiohttp.ClientTimeout(total=seconds)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await over.wait()
            if over.is_set():
                return
            sent, url = loop.time(), address()
            try:
                async with session.get(url, headers=headers, timeout=limit) as response:
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                node.log("lease-not-renewed", error=node.failure(broken, urlsplit(url).netloc))
                continue
            if over.is_set() or deadline.expired():
                return
            if status == 200:
                deadline.reschedule(sent + seconds)
            elif status in (401, 403):
                why = f"the relay answered {status}"
                deadline.reschedule(loop.time())
                return

    if not seconds:
        yield
        return
    try:
        async with asyncio.timeout(seconds) as deadline:
            renewing = asyncio.create_task(renew(deadline))
            _RENEWING.add(renewing)
            renewing.add_done_callback(_RENEWING.discard)
            try:
                yield
            finally:
                over.set()  # a question that is under way is let come to its end, in `seconds` at most
    except TimeoutError:
        if not deadline.expired():
            raise
        raise Ended(why) from None

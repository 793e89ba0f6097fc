"""Video where the link carries it, stills where it does not, and video again when it does.

A video that brings no picture for a while, or falls behind, is left for stills, each asked for anew. Every `again`
seconds the video is tried; until its first picture stands, the last still does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
from feed import Failed

from common import node

STILL_EVERY = 0.5
"""Seconds from one still to the next."""


class Player(Protocol):
    """Shows feeds on a screen; see ``app.Player``."""

    async def play(self, url: str, headers: dict[str, str], kind: str, shown: Callable[[], None]) -> None:
        """Show a feed."""


class Adaptive:
    """A player of feeds of the kind ``video`` too, over one that plays ``still``, ``stream`` and ``video`` plainly.

    `first` and `idle` are how many seconds a video may take to its first picture, and from one to the next.
    """

    def __init__(self, player: Player, first: float, idle: float, again: float) -> None:
        self._player = player
        self._first = first
        self._idle = idle
        self._again = again

    async def play(self, url: str, headers: dict[str, str], kind: str, shown: Callable[[], None]) -> None:
        """Show a feed, and call `shown` after each of its pictures; `Failed` when not even a still comes."""
        if kind != "video":
            await self._player.play(url, headers, kind, shown)
            return
        while True:
            try:
                await self._video(url, headers, shown)
            except (Failed, aiohttp.ClientError, TimeoutError, OSError) as poor:
                why = str(poor) or "no picture came in time"
                node.log("video-left", request=headers.get("X-Request-Id"), why=why)
            await self._stills(still_of(url), headers, shown)
            node.log("video-again", request=headers.get("X-Request-Id"))

    async def _video(self, url: str, headers: dict[str, str], shown: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._first) as patience:

            def seen() -> None:
                patience.reschedule(loop.time() + self._idle)
                shown()

            await self._player.play(url, headers, "video", seen)

    async def _stills(self, url: str, headers: dict[str, str], shown: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._again
        while True:
            due = loop.time() + STILL_EVERY
            await self._player.play(url, headers, "still", shown)
            shown()
            if due >= until:
                return
            await asyncio.sleep(max(0.0, due - loop.time()))


def still_of(url: str) -> str:
    """Return where the still of a video's camera is."""
    parts = urlsplit(url)
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query) if k != "form"])
    return urlunsplit(parts._replace(path=parts.path.removesuffix("/stream") + "/still", query=query))


def address(camera: str, kind: str, width: int) -> str:
    """Return the path and query of a feed on the relay."""
    if kind == "video":
        return f"/v1/cameras/{camera}/stream?width={width}&form=video"
    return f"/v1/cameras/{camera}/{kind}?width={width}"

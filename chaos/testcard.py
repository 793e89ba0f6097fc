"""`ownframe test-card`: an owner's live badge, full screen, for a physical camera to film."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import simplejpeg
from aiohttp import web

from chaos.errors import Misuse, Surroundings
from chaos.identity import Badge, Key, anchor, stamp
from chaos.identity.badge import FRAMES, TIMES
from chaos.scene.painting import planes

if TYPE_CHECKING:
    from collections.abc import Callable

TICK_MS = 200
"""A card changes five times a second: a camera with half a second of exposure still has whole ones among its frames."""
QUALITY = 95
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - the addresses that are refused

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ownframe test card</title>
<style>
  html, body { margin: 0; height: 100%; background: #000; overflow: hidden; cursor: none }
  img { width: 100vw; height: 100vh; object-fit: contain; display: block }
</style>
<img src="card.mjpeg" alt="the live badge of one owner">
<script>
  // a click makes it full screen; a stream that broke is asked for again
  document.onclick = () => document.documentElement.requestFullscreen()
  const card = document.querySelector("img")
  card.onerror = () => setTimeout(() => { card.src = "card.mjpeg?" + Date.now() }, 1000)
</script>
</html>
"""


class TestCard:
    """Paints the card of one owner's camera and serves it; `url` is known once it is served."""

    __test__ = False  # not pytest's

    def __init__(self, key: Key, case: int, owner: int, camera: int) -> None:
        self._key = key
        self._badge = (case, owner, camera)
        self._last: tuple[int, bytes] = (-1, b"")
        Badge(case, owner, camera, 0, 0)  # raises Misuse

    def jpeg(self, tick: int) -> bytes:
        """Return the card of a tick of 200 ms of the monotonic clock, as a JPEG of 1920x1080."""
        case, owner, camera = self._badge
        scene = planes(owner, camera)
        luma = scene.luma.copy()
        stamp(luma, Badge(case, owner, camera, tick % FRAMES, tick * TICK_MS % TIMES), self._key)
        anchor.draw(luma)
        return bytes(simplejpeg.encode_jpeg_yuv_planes(luma, scene.blue, scene.red, QUALITY, fastdct=True))

    def application(self) -> web.Application:
        """Return the page, the stream `card.mjpeg` and the single picture `card.jpeg`."""
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/card.jpeg", self._still)
        app.router.add_get("/card.mjpeg", self._stream)
        return app

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html", headers={"Cache-Control": "no-store"})

    async def _still(self, _: web.Request) -> web.Response:
        body = await self._now(_tick())
        return web.Response(body=body, content_type="image/jpeg", headers={"Cache-Control": "no-store"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/x-mixed-replace; boundary=card"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                tick = _tick()
                body = await self._now(tick)
                head = f"--card\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                await response.write(head.encode() + body + b"\r\n")
                await asyncio.sleep(max(0.0, (tick + 1) * TICK_MS / 1000 - time.monotonic()))
        return response

    async def _now(self, tick: int) -> bytes:
        if self._last[0] != tick:
            self._last = (tick, await asyncio.to_thread(self.jpeg, tick))
        return self._last[1]


def _tick() -> int:
    return time.monotonic_ns() // (TICK_MS * 1_000_000)


def serve(card: TestCard, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve a card until the process is interrupted; `ready` gets its URL.

    Raises `Misuse` for an address that stands for all, and `Surroundings` when it cannot be bound.
    """
    if host in EVERYWHERE:
        raise Misuse(f"the test card was given the address {host!r}; expected one address of this machine")
    asyncio.run(_serve(card, host, port, ready))


async def _serve(card: TestCard, host: str, port: int, ready: Callable[[str], object]) -> None:
    runner = web.AppRunner(card.application(), access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as refused:
            why = refused.strerror or refused
            raise Surroundings(
                f"{host} port {port} cannot be listened on ({why}); choose a free port, or 0"
            ) from refused
        ready(f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()

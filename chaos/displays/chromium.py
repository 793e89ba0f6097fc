"""A browser's screen, taken from what its compositor draws.

Two ways, and the browser decides which:

* *Refreshed by us*: a headless shell with ``--enable-begin-frame-control`` draws only when it is told to, and answers
  whether anything changed. So the harness is the screen that the browser is plugged into: it refreshes `RATE` times a
  second, takes what each changed refresh drew before it asks for the next one, and nothing can have been on the screen
  that it has not taken. A busy machine makes refreshes come later; none is lost.
* *Watched*: any other Chromium draws by itself, and sends what it drew (``Page.startScreencast``). It leaves frames out
  when it or we are busy; docs/displays.md says how many.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine

import msgspec

from chaos import frames
from chaos.displays import Gap, Raster, Shown
from chaos.displays.devtools import Drawn, Frame, Gone, Page, Refused, attached
from chaos.displays.journal import Journal
from chaos.errors import Surroundings
from chaos.identity import Box

RATE = 30
"""Refreshes a second. What stands shorter than one of them may have been drawn by nobody."""
TAKEN_WITHIN = 0.25
"""Seconds in which what a refresh drew is mostly sent to us; 12 to 40 ms on two busy cores (measured)."""
ATTACH_WITHIN = 15.0
"""Seconds in which a browser answers and shows something."""
_FILM: dict[str, object] = {"format": "jpeg", "quality": 100, "everyNthFrame": 1}
_SHOT = {"format": "jpeg", "quality": 100}
_AGAIN = 0.05
_CLOCK_APART = 1.0
"""Seconds. A browser's clock that says a frame is older than this, or to come, is not believed: ours is taken."""


class Chromium:
    """The page of one browser. It is watched by a thread of its own, from the beginning until `close`.

    `address` is ``host:port`` of its DevTools, or the WebSocket URL of one page; `wanted` is a part of the address of
    the page, where the browser has several. Raises `Surroundings` when nothing can be seen within `ATTACH_WITHIN`.
    """

    def __init__(self, hub: str, address: str, *, box: Box | None = None, wanted: str = "", rate: float = RATE) -> None:
        self.hub = hub
        self.box = box
        self.refreshes = 0
        """Times that the browser was told to draw; 0 for one that draws by itself."""
        self.late = 0
        """Refreshes that changed something, of which nothing was sent in time."""
        self._address = address
        self._wanted = wanted
        self._every = 1 / rate
        self._journal = Journal(hub, frames.rgb_of_jpeg)
        self._closing = False
        self._attached = threading.Event()
        self._why = "nothing was tried yet"
        self._stale_until = 0.0
        """Seconds since 1970: what was filmed before is known already."""
        self._drawn_at: float | None = None
        self._acknowledged: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._drop: asyncio.Event
        self._came: asyncio.Event
        self._page: Page | None = None
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._watch(started)), name=f"screen-{hub}", daemon=True
        )
        self._thread.start()
        started.wait()
        self._wait_seen()

    # What the harness asks.

    def collect(self) -> list[Shown]:
        """Return what was shown since the last call; the last one is on screen still (`until` is None)."""
        return self._journal.collect()

    def raster(self, digest: str) -> Raster:
        """Return the raster of that name."""
        return self._journal.raster(digest)

    def now(self) -> Shown:
        """Return what was shown last."""
        return self._journal.now

    def forget(self) -> None:
        """Drop what was collected."""
        self._journal.forget()

    def gaps(self) -> list[Gap]:
        """Return when the browser was gone, is gone until now, or drew something that was not taken."""
        return self._journal.gaps()

    def restarted(self) -> None:
        """Attach to the browser that runs now, and begin again with what it shows."""
        self._attached.clear()
        self._loop.call_soon_threadsafe(self._drop.set)
        self._wait_seen()

    def close(self) -> None:
        """Stop watching."""
        self._closing = True
        with contextlib.suppress(RuntimeError):  # the thread ended by itself
            self._loop.call_soon_threadsafe(self._drop.set)
        self._thread.join()

    def _wait_seen(self) -> None:
        deadline = time.monotonic() + ATTACH_WITHIN
        if self._attached.wait(ATTACH_WITHIN) and self._journal.wait_first(deadline - time.monotonic()):
            return
        self.close()
        raise Surroundings(
            f"nothing of the screen of {self.hub}'s hub was seen within {ATTACH_WITHIN:.0f} s ({self._why}); expected "
            f"a Chromium with DevTools at {self._address}"
        )

    # The thread.

    async def _watch(self, started: threading.Event) -> None:
        self._loop, self._drop, self._came = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        started.set()
        while not self._closing:
            try:
                async with attached(self._address, self._wanted, self._on_event) as page:
                    await self._unless_dropped(self._see(page))
            except Gone as gone:
                self._why = str(gone)
            self._page = None
            if self._drop.is_set():  # whoever restarted the hub knows that it was away
                self._drop.clear()
                self._journal.clear()
            else:
                if self._attached.is_set():
                    self._journal.lose(time.monotonic(), self._why)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._drop.wait(), _AGAIN)

    async def _unless_dropped(self, seeing: Coroutine[object, object, None]) -> None:
        tasks = asyncio.create_task(seeing), asyncio.create_task(self._drop.wait())
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]

    async def _see(self, page: Page) -> None:
        self._page, self._stale_until = page, 0.0
        await page.call("Page.enable")
        await page.call("Inspector.enable")
        try:
            self._take(await page.call("HeadlessExperimental.beginFrame", Drawn, screenshot=_SHOT))
        except Refused:  # it draws by itself
            await self._roll(page)
            self._is_seen()
            await page.gone()
        await self._roll(page)
        self._is_seen()
        await self._refresh(page)

    def _is_seen(self) -> None:
        self._journal.found(time.monotonic())
        self._attached.set()

    @staticmethod
    async def _roll(page: Page) -> None:
        await page.call("Page.startScreencast", None, **_FILM)

    async def _refresh(self, page: Page) -> None:
        """Let the browser draw, again and again, and take what it drew before it draws again."""
        interval = self._every * 1000
        while True:
            began = time.monotonic()
            self._came.clear()
            self._drawn_at = None
            drawn = await page.call("HeadlessExperimental.beginFrame", Drawn, interval=interval)
            self._drawn_at = time.monotonic()
            self.refreshes += 1
            if drawn.has_damage and not await self._was_taken():
                await self._take_anyway(page, self._drawn_at)
            await asyncio.sleep(max(0.0, began + self._every - time.monotonic()))

    async def _was_taken(self) -> bool:
        try:
            await asyncio.wait_for(self._came.wait(), TAKEN_WITHIN)
        except TimeoutError:
            return False
        return True

    async def _take_anyway(self, page: Page, drawn_at: float) -> None:
        """Take what the last refresh drew, when it is not sent.

        On a busy machine that takes its time, and once a page Chromium says that something changed where nothing did.
        A refresh that is not to be displayed has the picture of the one before it, exactly (measured). What was filmed
        until then is too old when it comes after all. (A clock that jumps back makes everything too old for a while;
        then each refresh is asked for its picture, which is slow and loses nothing.)
        """
        self.late += 1
        await page.call("Page.stopScreencast")
        self._stale_until = time.time()
        kept = await page.call("HeadlessExperimental.beginFrame", Drawn, noDisplayUpdates=True, screenshot=_SHOT)
        await self._roll(page)
        if kept.screenshot_data:
            self._journal.show(drawn_at, kept.picture)
        else:
            self._journal.gap(drawn_at, time.monotonic(), "the browser drew something and did not send it")

    def _take(self, drawn: Drawn) -> None:
        if drawn.screenshot_data:
            self._journal.show(time.monotonic(), drawn.picture)

    def _on_event(self, name: str, parameters: msgspec.Raw) -> None:
        if name != "Page.screencastFrame" or self._page is None:
            return
        now = time.monotonic()
        frame = msgspec.json.decode(parameters, type=Frame)
        telling = asyncio.ensure_future(self._acknowledge(self._page, frame.session_id))
        self._acknowledged.add(telling)
        telling.add_done_callback(self._acknowledged.discard)
        if (frame.metadata.timestamp or float("inf")) <= self._stale_until:
            return
        self._journal.show(self._since(frame, now), frame.data)
        self._came.set()

    def _since(self, frame: Frame, now: float) -> float:
        """Return since when a frame stands on the screen: it was drawn before it was encoded and sent."""
        if self.refreshes:
            return now if self._drawn_at is None else self._drawn_at
        said = frame.metadata.timestamp
        if said is None:
            return now
        age = time.time() - said  # a wall clock: it may jump, and be another machine's
        return now - age if 0 <= age <= _CLOCK_APART else now

    @staticmethod
    async def _acknowledge(page: Page, film: int) -> None:
        with contextlib.suppress(Gone):
            await page.tell("Page.screencastFrameAck", sessionId=film)

"""The screen of a display that is a browser: Chromium in kiosk, whose page loads feeds from the relay by itself.

The device's own program is this one. It signs in, and puts the session's token on whatever the page loads, as programs
around a web view do; it taps the screen as a person does; it starts the browser again when it ended. What is on the
screen is for whoever watches it over DevTools, at the address ``DEVTOOLS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from feed import Failed

from common import node
from common.node import Problem

PROGRAMS = ("chromium-headless-shell", "headless_shell", "chrome-headless-shell", "chromium", "google-chrome")
"""The first that there is. Shells draw when they are told to (docs/displays.md), the others by themselves."""
PLACES = ("/usr/lib/chromium",)
"""Where Debian keeps the program itself: what is on PATH there is a shell script around it."""
WIDTH, HEIGHT = 1024, 600
TOLD = ("--enable-begin-frame-control", "--run-all-compositor-stages-before-draw")
"""With these a shell draws when whoever watches its screen tells it to, and never else (``REFRESH`` told or own)."""
TILE = (512, 396)
"""Where a person taps: the middle of the tile on the home screen; a feed takes a tap anywhere."""
PATIENCE = 5.0
"""Seconds for an answer of the page; a browser that takes longer hangs, and is started again."""
STARTS_WITHIN = 20.0
PAGE = Path(__file__).resolve().parent / "page" / "index.html"


class Gone(Failed):
    """The browser ended, or does not answer."""


class Browser:
    """Chromium and its one page, from `running` until its end; started again whenever it ends by itself."""

    def __init__(self, on_tell: Callable[[dict[str, Any]], None]) -> None:
        self._on_tell = on_tell
        self._on_network: Callable[[str, dict[str, Any]], None] = lambda _name, _values: None
        self._process: asyncio.subprocess.Process | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._port = 0
        self._headers: dict[str, str] = {}
        self.ready = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the browser running, and let others at its DevTools, while it lasts."""
        host, port = node.address("DEVTOOLS")
        forwarder = await asyncio.start_server(self._forward, host, port, reuse_address=True)
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            forwarder.close()
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self) -> None:
        while True:
            with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
                try:
                    await self._run(Path(folder))
                except (OSError, TimeoutError, aiohttp.ClientError) as broken:
                    node.log("browser-failed", error=f"{type(broken).__name__}: {broken}")
                finally:
                    self.ready.clear()
                    self._give_up()
                    await self._end()
            node.log("browser-ended", again=True)
            await asyncio.sleep(0.2)

    async def _run(self, folder: Path) -> None:
        self._process = await asyncio.create_subprocess_exec(program(), *arguments(folder), stdout=2)
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                self._port = await _port_in(folder / "DevToolsActivePort", self._process)
                session = aiohttp.ClientSession()
        except TimeoutError:
            node.log("browser-silent", seconds=STARTS_WITHIN)
            return
        async with session:
            url = await _page_of(session, self._port)
            async with session.ws_connect(url, max_msg_size=0) as self._socket:
                reading = asyncio.create_task(self._read())
                try:
                    for command in ("Runtime.enable", "Network.enable", "Page.enable", "Inspector.enable"):
                        await self.call(command)
                    await self.call("Runtime.addBinding", name="shell")
                    await self.call("Network.setExtraHTTPHeaders", headers=self._headers)
                    await self.run("document.readyState === 'complete' || new Promise(done => onload = done)")
                    node.log("page-ready")
                    self.ready.set()
                    await reading
                finally:
                    reading.cancel()

    async def _end(self) -> None:
        process, self._process, self._socket = self._process, None, None
        if process is None or process.returncode is not None:
            return
        process.kill()
        await process.wait()

    # What the page is told.

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a DevTools command and return its result; `Gone` when the browser is, or hangs."""
        connected = self._socket
        if connected is None or connected.closed:
            raise Gone("the browser is not there")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await connected.send_json({"id": number, "method": method, "params": parameters})
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            node.log("browser-hangs", command=method, seconds=PATIENCE)
            if self._process is not None and self._process.returncode is None:
                self._process.kill()  # and is started again
            raise Gone("the browser hangs") from None
        except (aiohttp.ClientError, OSError) as broken:
            raise Gone(f"the browser is gone: {broken}") from broken
        finally:
            self._waiting.pop(number, None)

    async def run(self, script: str) -> object:
        """Run a script in the page, and return what its promise came to."""
        done = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise Gone(f"the page failed: {done['exceptionDetails'].get('text')} in {script[:60]}")
        return done["result"].get("value")

    async def headers(self, values: Mapping[str, str]) -> None:
        """Send these with whatever the page loads from here on."""
        self._headers = dict(values)
        await self.call("Network.setExtraHTTPHeaders", headers=self._headers)

    async def tap(self) -> None:
        """Touch the screen, and let go."""
        x, y = TILE
        await self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        await self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    @contextlib.contextmanager
    def network(self, hear: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
        """While it lasts, `hear` gets the name and values of what happens to the page's transfers."""
        self._on_network = hear
        try:
            yield
        finally:
            self._on_network = lambda _name, _values: None

    async def _read(self) -> None:
        assert self._socket is not None, "what is read is connected"
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(json.loads(message.data))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._waiting.get(message["id"])
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(Gone(f"the browser refused: {message['error'].get('message')}"))
            else:
                answer.set_result(message["result"])
        elif message["method"] == "Runtime.bindingCalled":
            self._on_tell(json.loads(message["params"]["payload"]))
        elif message["method"] == "Inspector.targetCrashed":
            node.log("page-crashed")
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
        elif message["method"].startswith("Network."):
            self._on_network(message["method"].removeprefix("Network."), message["params"])

    def _give_up(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Gone("the browser is gone"))
        self._on_network("loadingFailed", {"errorText": "the browser is gone"})

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a watcher to DevTools: the browser itself listens on loopback alone."""
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


def program() -> str:
    """Return the path of the browser; ends the node where there is none."""
    named = os.environ.get("BROWSER_PROGRAM")
    wanted = [named] if named else PROGRAMS
    found = (shutil.which(name, path=place) for name in wanted for place in (*PLACES, None))
    there = next((path for path in found if path), None)
    if there is None:
        node.give_up(f"there is no browser: {', '.join(wanted)}; install one, such as Debian's {PROGRAMS[0]}")
    return there


def arguments(folder: Path) -> list[str]:
    """Return what the browser is started with; its profile lies in `folder`, which is empty."""
    own = os.environ.get("BROWSER_ARGUMENTS", "").split()
    # root and a container without capabilities cannot have Chromium's own sandbox
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return [
        "--headless",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        f"--window-size={WIDTH},{HEIGHT}",
        "--hide-scrollbars",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--mute-audio",
        "--autoplay-policy=no-user-gesture-required",
        "--disable-web-security",  # the page is the device's own file, and reads a video that comes from the relay
        "--disable-background-networking",
        "--disable-component-update",
        *(TOLD if node.text("REFRESH", "told") == "told" else ()),
        *root,
        *own,
        PAGE.as_uri(),
    ]


async def _port_in(file: Path, process: asyncio.subprocess.Process) -> int:
    while process.returncode is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        await asyncio.sleep(0.02)  # between two looks
    raise OSError(f"the browser ended with code {process.returncode}")


async def _page_of(session: aiohttp.ClientSession, port: int) -> str:
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = await answer.json(content_type=None)
    found: str = next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page")
    return found


class Screen:
    """What the hub puts on the page, in the order in which it does."""

    full = False
    """Nothing is kept here that could be full."""

    def __init__(self) -> None:
        self.browser = Browser(self._hear)
        self.seq = 0
        """Counts what the policy for the last frame must know of: a picture, and its end by itself."""
        self._tapped = asyncio.Event()
        self._hearing: Callable[[dict[str, Any]], None] = lambda _: None
        self._telling: asyncio.Task[None] | None = None

    def home(self) -> None:
        """Show the home screen: nobody's camera is open."""
        self._show("Good evening")

    def loading(self) -> None:
        """Show that a camera was summoned."""
        self._show("Loading camera")

    def unavailable(self) -> None:
        """Show that the camera does not answer."""
        self._show("Camera unavailable")

    @property
    def ready(self) -> bool:
        """Whether the browser shows its page."""
        return self.browser.ready.is_set()

    async def painted(self) -> None:
        """Return once what was shown last is on the screen; a `Problem` 504 when it cannot be."""
        try:
            await self.tell("painted()")
        except Failed as broken:
            raise Problem(504, f"the screen does not answer: {broken}") from broken

    async def tapped(self) -> None:
        """Tap on the screen and return when the page has noticed; a `Problem` 504 when it does not."""
        self._tapped.clear()
        try:
            await self._told()
            await self.browser.tap()
            async with asyncio.timeout(PATIENCE):
                await self._tapped.wait()
        except (Failed, TimeoutError) as broken:
            raise Problem(504, f"the screen does not take a tap: {broken or 'nothing happened'}") from broken

    async def tell(self, script: str) -> None:
        """Run a script in the page, after all that was to be shown before."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self.browser.ready.wait()  # one that was started again needs a second
        except TimeoutError:
            raise Gone("the browser is not there") from None
        await self._told()
        await self.browser.run(script)

    def _show(self, words: str) -> None:
        before = self._telling

        async def told() -> None:
            if before is not None:
                await before
            with contextlib.suppress(Gone):  # a browser that starts again shows the home screen
                await self.browser.run(f"show({json.dumps(words)})")

        self._telling = asyncio.create_task(told())

    async def _told(self) -> None:
        if self._telling is not None:
            await self._telling

    def hearing(self, hear: Callable[[dict[str, Any]], None]) -> None:
        """Let `hear` get what the page tells of its feeds from here on."""
        self._hearing = hear

    def _hear(self, told: dict[str, Any]) -> None:
        if told["what"] == "tapped":
            self._tapped.set()
        elif told["what"] in ("loaded", "failed", "frame"):
            self._hearing(told)


class Player:
    """Lets the page load a feed, and hears of it from the page and from the network below it."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._feeds = itertools.count(1)

    async def play(self, url: str, headers: dict[str, str], kind: str, shown: Callable[[], None]) -> None:
        """Show a still, or a stream until it ends, and call `shown` whenever more of it came; `Failed` if it broke."""
        feed = _Feed(next(self._feeds), url, kind, self._screen)
        try:
            await self._screen.browser.headers(headers)
            self._screen.hearing(feed.hear)
            with self._screen.browser.network(feed.transfer):
                await self._screen.tell(f"open_feed({feed.number}, {json.dumps(kind)}, {json.dumps(url)})")
                await feed.loaded
                shown()
                while kind != "still":
                    await feed.more()
                    shown()
        except Failed:
            self._screen.seq += 1  # whatever stood there of it is gone
            raise
        finally:
            if kind != "still" or not feed.complete:
                with contextlib.suppress(Failed):
                    await self._screen.tell(f"freeze_feed({feed.number})")


class _Feed:
    """What is known of a feed that the page shows."""

    def __init__(self, number: int, url: str, kind: str, screen: Screen) -> None:
        self.number = number
        self._kind = kind
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.loaded.add_done_callback(lambda known: known.cancelled() or known.exception())  # nobody may be waiting
        self._url = url
        self._screen = screen
        self._request: str | None = None
        self._answer = ""
        self._came: asyncio.Event = asyncio.Event()
        self._broke = ""

    @property
    def complete(self) -> bool:
        return self.loaded.done() and not self.loaded.cancelled() and self.loaded.exception() is None

    async def more(self) -> None:
        """Return when more of a stream came; `Failed` when it broke. One that ended well stands there."""
        if not self._broke:
            self._came.clear()
            await self._came.wait()
        if self._broke:
            raise Failed(self._broke)

    def hear(self, told: dict[str, Any]) -> None:
        """Take what the page tells."""
        if told["number"] != self.number:
            return
        if told["what"] == "failed":
            self._breaks(self._answer or str(told["why"]))
        elif told["what"] == "frame":
            self._came.set()
        elif not self.loaded.done():
            self.loaded.set_result(None)

    def transfer(self, name: str, values: dict[str, Any]) -> None:
        """Take what the browser tells of its transfers."""
        if name == "requestWillBeSent" and values["request"]["url"] == self._url:
            self._request = values["requestId"]
        elif self._request is None or values.get("requestId", self._request) != self._request:
            return
        elif name == "responseReceived" and values["response"]["status"] != 200:
            self._answer = f"the relay answered {values['response']['status']}"
        elif name == "dataReceived":
            if self._kind == "video":
                return  # what came of a video may never be shown: the page tells of each of its pictures
            if not self._came.is_set() and not self.loaded.done():
                self._screen.seq += 1  # rows of it may be on the screen from here on
            self._came.set()
        elif name == "loadingFailed" and self._kind != "video":  # a video plays on with what came, and then tells
            self._breaks(f"the feed broke off: {values.get('errorText')}")

    def _breaks(self, why: str) -> None:
        self._broke = why
        self._came.set()
        if not self.loaded.done():
            self.loaded.set_exception(Failed(why))

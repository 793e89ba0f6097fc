"""One page of a browser over DevTools: JSON over a WebSocket (the Chrome DevTools Protocol, tip of tree)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import aiohttp
import msgspec

_T = TypeVar("_T")
_CONNECT_SECONDS = 3.0
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))
"""A browser that stands still answers them, by its kernel; one whose container is gone does not."""


class Gone(Exception):  # noqa: N818 - browsers go; who watches decides what that means
    """The browser, or its page, does not answer any more; the text says what was seen."""


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """The browser answered that it cannot do that."""


class _Page(msgspec.Struct, rename="camel"):
    type: str
    url: str
    web_socket_debugger_url: str = ""


class _Error(msgspec.Struct):
    message: str


class _Message(msgspec.Struct):
    id: int | None = None
    method: str = ""
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None


_MESSAGES = msgspec.json.Decoder(_Message)


class Frame(msgspec.Struct, rename="camel"):
    """``Page.screencastFrame``. `data` is the encoded picture, `session_id` is to be acknowledged."""

    data: bytes
    session_id: int
    metadata: Metadata


class Metadata(msgspec.Struct):
    """When a frame was on the screen, in seconds since 1970 by the browser's clock; left out by some."""

    timestamp: float | None = None


class Drawn(msgspec.Struct, rename="camel"):
    """What ``HeadlessExperimental.beginFrame`` answers. `screenshot_data` is the encoded picture, base64."""

    has_damage: bool
    screenshot_data: str = ""

    @property
    def picture(self) -> bytes:
        """The screenshot, empty where none could be taken."""
        return base64.b64decode(self.screenshot_data)


class Page:
    """A connection to one page. `on_event` gets each event's name and its parameters, in the order of their coming."""

    def __init__(self, socket_: aiohttp.ClientWebSocketResponse, on_event: Callable[[str, msgspec.Raw], None]) -> None:
        self._socket = socket_
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._ended = ""
        self._end = asyncio.Event()

    async def gone(self) -> None:
        """Wait until the connection ends, and raise `Gone` with what was seen."""
        await self._end.wait()
        raise Gone(self._ended)

    async def call(self, method: str, kind: type[_T] | None = None, **parameters: object) -> _T:
        """Send a command and return its answer as `kind`; raises `Refused` or `Gone`."""
        if self._ended:
            raise Gone(self._ended)
        number = next(self._numbers)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._send(number, method, parameters)
            raw = await answer
        finally:
            self._waiting.pop(number, None)
        return msgspec.json.decode(raw, type=kind) if kind is not None else None  # type: ignore[return-value]

    async def tell(self, method: str, **parameters: object) -> None:
        """Send a command without waiting for its answer."""
        await self._send(next(self._numbers), method, parameters)

    async def _send(self, number: int, method: str, parameters: dict[str, object]) -> None:
        message = {"id": number, "method": method, "params": parameters}
        try:
            await self._socket.send_str(msgspec.json.encode(message).decode())
        except (ConnectionError, aiohttp.ClientError) as broken:
            raise Gone(f"the connection to the browser broke: {broken}") from broken

    async def read(self) -> None:
        """Hand out answers and events until the connection ends; then every call raises `Gone`."""
        why = "the browser closed the connection"
        try:
            async for message in self._socket:
                if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    self._take(_MESSAGES.decode(message.data))
                elif message.type is aiohttp.WSMsgType.ERROR:
                    why = f"the connection to the browser broke: {self._socket.exception()}"
        except msgspec.DecodeError as wrong:
            why = f"the browser said what is no DevTools message: {wrong}"
        finally:
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        self._ended = self._ended or why
        self._end.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Gone(self._ended))

    def _take(self, message: _Message) -> None:
        if message.id is None:
            if message.method in ("Inspector.targetCrashed", "Inspector.detached"):
                self._give_up(f"the page is gone ({message.method})")
                return
            self._on_event(message.method, message.params)
            return
        answer = self._waiting.get(message.id, None)
        if answer is None or answer.done():
            return
        if message.error is not None:
            answer.set_exception(Refused(message.error.message))
        else:
            answer.set_result(message.result)


@contextlib.asynccontextmanager
async def attached(address: str, wanted: str, on_event: Callable[[str, msgspec.Raw], None]) -> AsyncIterator[Page]:
    """Connect to the first page of the browser whose DevTools listen at ``host:port``, and whose URL holds `wanted`.

    `address` may also be the URL of one page's WebSocket. Raises `Gone` when there is no such page.
    """
    timeout = aiohttp.ClientTimeout(total=_CONNECT_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        try:
            url = address if address.startswith("ws://") else await _page(session, address, wanted, timeout)
            async with asyncio.timeout(_CONNECT_SECONDS):
                connected = await session.ws_connect(url, max_msg_size=0)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as broken:
            raise Gone(f"no browser answers at {address}: {str(broken) or type(broken).__name__}") from broken
        stack.push_async_callback(connected.close)
        found = connected.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                found.setsockopt(socket.IPPROTO_TCP, option, value)
        page = Page(connected, on_event)
        reading = asyncio.create_task(page.read())
        try:
            yield page
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


async def _page(session: aiohttp.ClientSession, address: str, wanted: str, timeout: aiohttp.ClientTimeout) -> str:
    async with session.get(f"http://{address}/json/list", timeout=timeout) as answer:
        pages = msgspec.json.decode(await answer.read(), type=list[_Page])
    for page in pages:
        if page.type == "page" and wanted in page.url and page.web_socket_debugger_url:
            return page.web_socket_debugger_url
    seen = ", ".join(p.url for p in pages if p.type == "page") or "none"
    which = f"no page with {wanted!r} in its address" if wanted else "no page"
    raise Gone(f"the browser at {address} has {which}; it has: {seen}")

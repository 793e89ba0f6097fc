"""A smart display: signed in to an account, shows the cameras that its owner summons.

It has no glass, and paints by itself (``screen.py``), or is a browser (``browser.py``, with ``SCREEN`` chromium). Its
one network is the relay. What a person does in front of it comes in at its operator port, ``/control/…``; so does
the question what stood on its screen.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

sys.path.append(str(Path(__file__).resolve().parent.parent))

import aiohttp
import lease
import voice
from adaptive import STILL_EVERY, Adaptive, address
from aiohttp import web
from feed import Failed, Painter
from last_frame import POLICIES, LastFrame
from screen import Screen

from common import node
from common.node import Problem

if TYPE_CHECKING:
    from browser import Screen as BrowserScreen

ASKS_REMEMBERED = 1000
SCREENS = ("headless", "chromium")


class Player(Protocol):
    """Shows feeds on a screen."""

    async def play(self, url: str, headers: dict[str, str], kind: str, shown: Callable[[], None]) -> None:
        """Show a still, or a stream until it ends, and call `shown` after each of its pictures.

        `Failed`, and what aiohttp raises, when it broke. A stream that ended well stands there: this does not return.
        """


@dataclass(slots=True)
class Ask:
    """A summons: ``open`` until a complete picture was painted, the hub gave up, or somebody closed it."""

    number: int
    camera: str
    feed: str
    width: int
    said: bool = False
    """Whether `camera` is what somebody said, until the assistant knows which camera that is."""
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    state: str = "open"
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.Timeout | None = None

    def settle(self, state: str) -> None:
        """Leave ``open``; a stream that showed pictures can still become ``unavailable``."""
        if self.state == "open" or (self.state == "picture" and state == "unavailable"):
            self.state = state
            self.settled.set()


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in."""

    owner: str
    token: str


class Hub:
    """The display. One feed at a time; whatever is closed has ended before anything else is painted."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        relay: str,
        screen: Screen | BrowserScreen,
        player: Player,
        policy: str,
    ) -> None:
        self._session = session
        self._relay = relay.rstrip("/")
        self._peer = urlsplit(relay).netloc
        self._screen = screen
        self._player = player
        self._last_frame = LastFrame(screen, policy)
        self._keeps = policy == "keep"
        self._ask_total = node.number("ASK_TOTAL", 1.0)
        self._feed_idle = node.number("FEED_IDLE", 1.0)
        self._video_first = node.number("VIDEO_FIRST", 1.0)
        self._sign_total = node.number("SIGN_IN_TOTAL", 1.0)
        self._lease = node.number("LEASE", 1.5)
        self._renew = node.number("LEASE_RENEW", 0.5)
        self._voice = voice.Voice(session, self._relay, node.number("VOICE_AGAIN", 0.2))
        self._account: Account | None = None
        self._signing = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._asks: OrderedDict[int, Ask] = OrderedDict()
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._ask: Ask | None = None

    # Accounts.

    async def sign_in(self, owner: str, password: str) -> None:
        """Change the account; the screen is cleared at once. A `Problem` 502 says why it could not be done."""
        async with self._signing:
            await self._sign_out()
            body = {"owner": owner, "password": password}
            answer = await self._post("/v1/login", {}, body)
            token = answer.get("token")
            if answer.get("owner") != owner or not isinstance(token, str):
                raise Problem(502, "the relay signed somebody else in")
            self._account = Account(owner, token)

    async def sign_out(self) -> None:
        """Leave the account; the screen is cleared at once."""
        async with self._signing:
            await self._sign_out()

    async def _sign_out(self) -> None:
        account, self._account = self._account, None
        async with self._changing:
            await self._end_feed()
            self._last_frame.on_sign_out()
            await self._screen.painted()
        if account is not None:
            # The token is gone from here whatever the network says; ending the session is a courtesy.
            with contextlib.suppress(Problem):
                await self._post("/v1/logout", {"Authorization": f"Bearer {account.token}"}, {})

    async def _post(self, path: str, headers: dict[str, str], body: dict[str, str]) -> dict[str, object]:
        try:
            async with asyncio.timeout(self._sign_total):
                try:
                    status, answer = await self._post_once(path, headers, body)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # a kept connection whose other end was gone: a new one may do
                    status, answer = await self._post_once(path, headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as broken:
            sentence = node.failure(broken, self._peer)
            node.log("relay-failed", path=path, peer=self._peer, error=sentence)
            raise Problem(502, sentence) from broken
        if status != 200 or not isinstance(answer, dict):
            raise Problem(502, f"the relay answered {status}: {answer}")
        return answer

    async def _post_once(self, path: str, headers: dict[str, str], body: dict[str, str]) -> tuple[int, object]:
        async with self._session.post(self._relay + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    # Feeds.

    async def ask(self, camera: str, kind: str, width: int, *, said: bool = False) -> Ask:
        """Summon a camera; whatever was open is closed first. A `Problem` 507 while the journal is full."""
        if self._screen.full:
            raise Problem(507, "the screen journal is full; collect its entries and forget them")
        async with self._changing:
            await self._end_feed()
            self._count += 1
            ask = Ask(self._count, camera, kind, width, said)
            self._asks[ask.number] = ask
            while len(self._asks) > ASKS_REMEMBERED:
                self._asks.popitem(last=False)
            account = self._account
            self._last_frame.on_ask(account.owner if account else "", camera)
            self._ask = ask
            self._task = asyncio.create_task(self._run(ask, account))
            return ask

    async def close(self) -> None:
        """Close what is open: requests in flight are cancelled, then the home screen is painted."""
        async with self._changing:
            await self._end_feed()
            self._last_frame.on_close()
            await self._screen.painted()

    async def wait(self, number: int, seconds: float) -> Ask:
        """Return the ask once it left ``open``, or after `seconds`."""
        if number not in self._asks:
            raise Problem(404, f"there is no ask {number}")
        ask = self._asks[number]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ask.settled.wait()
        return ask

    async def _end_feed(self) -> None:
        task, self._task = self._task, None
        ask, self._ask = self._ask, None
        if task is not None:
            task.cancel()
        try:
            if task is not None:
                await asyncio.wait([task])
        finally:
            if ask is not None:
                ask.settle("closed")

    async def _run(self, ask: Ask, account: Account | None) -> None:
        try:
            async with self._held(ask, account):
                if await self._plays(ask, account) or self._keeps:
                    await asyncio.Event().wait()  # what stands there does until somebody closes it, or its lease ends
        except lease.Ended as over:
            node.log("lease-ended", request=ask.id, ask=ask.number, camera=ask.camera, error=str(over))
            if self._ask is ask:
                self._last_frame.on_close()
            if ask.state == "open" or ask.feed != "still":
                ask.settle("unavailable")

    async def _plays(self, ask: Ask, account: Account | None) -> bool:
        """Show the camera; returns whether it was shown, and False when it gave nothing or broke."""
        try:
            # a video has as long for its first picture as the still that is taken in its place
            total = self._ask_total + (self._video_first if ask.feed == "video" else 0)
            async with asyncio.timeout(total) as ask.deadline:
                await self._show(ask, account)
        except (Failed, aiohttp.ClientError, TimeoutError, OSError) as broken:
            error = str(broken) if isinstance(broken, Failed) else node.failure(broken, self._peer)
            node.log("feed-failed", request=ask.id, ask=ask.number, camera=ask.camera, peer=self._peer, error=error)
            if self._ask is ask:
                self._last_frame.on_failure()
            ask.settle("unavailable")
            return False
        return True

    def _held(self, ask: Ask, account: Account | None) -> contextlib.AbstractAsyncContextManager[None]:
        if account is None:
            return contextlib.nullcontext()
        headers = {"Authorization": f"Bearer {account.token}", "X-Request-Id": ask.id}
        return lease.held(self._session, lambda: self._address(ask, "lease"), headers, self._lease, self._renew)

    def _address(self, ask: Ask, what: str) -> str:
        return f"{self._relay}/v1/cameras/{quote(ask.camera, safe='')}/{what}"

    async def _show(self, ask: Ask, account: Account | None) -> None:
        if account is None:
            raise Failed("nobody is signed in")
        url, token = self._relay + address(quote(ask.camera, safe=""), ask.feed, ask.width), account.token
        if ask.said:
            seen = await self._voice.where(ask.camera, ask.feed, token, ask.id)
            ask.camera, url, token = seen.device, f"{seen.url}?width={ask.width}", seen.token
        await self._player.play(
            url,
            {"Authorization": f"Bearer {token}", "X-Request-Id": ask.id},
            ask.feed,
            lambda: self._shown(ask, stream=ask.feed != "still"),
        )

    def _shown(self, ask: Ask, *, stream: bool = False) -> None:
        self._last_frame.on_picture()
        if ask.state == "open":
            node.log("picture", request=ask.id, ask=ask.number, camera=ask.camera)
        ask.settle("picture")
        if stream and ask.deadline is not None:
            # From the first picture on, the next one has its own time; a still after a video was tried, that of both.
            idle = self._feed_idle + (self._video_first + STILL_EVERY if ask.feed == "video" else 0)
            ask.deadline.reschedule(asyncio.get_running_loop().time() + idle)


def _kind(values: dict[str, object], *more: str) -> str:
    kinds = ("still", "stream", *more)
    kind = values.get("feed", kinds[0])
    if kind not in kinds:
        raise Problem(400, f"feed is neither {' nor '.join(kinds)}")
    return str(kind)


def control(hub: Hub, screen: Screen | BrowserScreen) -> web.Application:
    """Return what a person in front of the display can do, and what can be seen on it."""
    app = node.application()

    def word(values: dict[str, object], name: str, default: str | None = None) -> str:
        value = values.get(name, default)
        if not isinstance(value, str) or not value:
            raise Problem(400, f"{name} is missing")
        return value

    def asked_number(request: web.Request, name: str, default: str) -> float:
        try:
            return float(request.query.get(name, default))
        except ValueError:
            raise Problem(400, f"{name} is no number") from None

    async def sign_in(request: web.Request) -> web.Response:
        values = await node.body(request)
        owner = word(values, "owner")
        await hub.sign_in(owner, word(values, "password"))
        return web.json_response({"owner": owner})

    async def sign_out(_: web.Request) -> web.Response:
        await hub.sign_out()
        return web.json_response({})

    async def ask(request: web.Request) -> web.Response:
        values = await node.body(request)
        kind, width = _kind(values, "video"), values.get("width", 1024)
        if not isinstance(width, int) or isinstance(width, bool):
            raise Problem(400, "width is no whole number")
        await screen.tapped()
        taken = await hub.ask(word(values, "camera"), kind, width)
        return web.json_response({"ask": taken.number})

    async def say(request: web.Request) -> web.Response:
        values = await node.body(request)
        taken = await hub.ask(voice.name(word(values, "said")), _kind(values), 1024, said=True)
        return web.json_response({"ask": taken.number})

    async def asked(request: web.Request) -> web.Response:
        waited = await hub.wait(int(request.match_info["number"]), min(60.0, asked_number(request, "wait", "0")))
        return web.json_response({"ask": waited.number, "state": waited.state})

    async def close(_: web.Request) -> web.Response:
        await hub.close()
        return web.json_response({})

    async def journal(request: web.Request) -> web.Response:
        assert isinstance(screen, Screen), "a browser's screen is seen over DevTools"
        upto, entries = screen.entries(int(asked_number(request, "since", "0")))
        return web.json_response({"next": upto, "entries": [e.as_json() for e in entries]})

    async def raster(request: web.Request) -> web.Response:
        assert isinstance(screen, Screen), "a browser's screen is seen over DevTools"
        rgb = screen.raster(request.match_info["digest"])
        if rgb is None:
            raise Problem(404, "the journal has no such raster")
        return web.Response(body=rgb, content_type="application/octet-stream")

    async def forget(request: web.Request) -> web.Response:
        assert isinstance(screen, Screen), "a browser's screen is seen over DevTools"
        screen.forget(int(asked_number(request, "before", "0")))
        return web.json_response({})

    async def healthy(_: web.Request) -> web.Response:
        ready = screen.ready
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    if isinstance(screen, Screen):
        app.add_routes(
            [
                web.get("/control/screen", journal),
                web.get("/control/raster/{digest:[0-9a-f]{64}}", raster),
                web.post("/control/forget", forget),
            ]
        )
    app.add_routes(
        [
            web.post("/control/sign-in", sign_in),
            web.post("/control/sign-out", sign_out),
            web.post("/control/ask", ask),
            web.post("/control/say", say),
            web.get("/control/asks/{number:[0-9]{1,9}}", asked),
            web.post("/control/close", close),
            web.get("/healthz", healthy),
        ]
    )
    return app


async def main() -> None:
    """Serve until told to end."""
    policy = node.text("LAST_FRAME", "clear")
    if policy not in POLICIES:
        node.give_up(f"LAST_FRAME is {policy!r}; expected one of {', '.join(POLICIES)}")
    kind = node.text("SCREEN", "headless")
    if kind not in SCREENS:
        node.give_up(f"SCREEN is {kind!r}; expected one of {', '.join(SCREENS)}")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session, contextlib.AsyncExitStack() as on:
        screen: Screen | BrowserScreen
        player: Player
        if kind == "chromium":
            from browser import Player as BrowserPlayer  # noqa: PLC0415 - a hub without a browser needs nothing of it
            from browser import Screen as BrowserScreen  # noqa: PLC0415

            screen = BrowserScreen()
            player = BrowserPlayer(screen)
            await on.enter_async_context(screen.browser.running())
        else:
            screen = Screen(int(node.number("JOURNAL_LIMIT", 400)))
            player = Painter(session, screen)
        video = [node.number(*s) for s in (("VIDEO_FIRST", 1.0), ("VIDEO_IDLE", 0.8), ("VIDEO_AGAIN", 2.0))]
        hub = Hub(session, node.text("RELAY_URL"), screen, Adaptive(player, *video), policy)
        await node.serve({"OPERATOR": control(hub, screen)})
        with contextlib.suppress(Problem):
            await hub.close()


if __name__ == "__main__":
    node.run(main)

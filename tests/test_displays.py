"""Screens that the harness watches by itself: in order, without a hole, and what could not be seen is said."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from chaos import frames
from chaos.displays import Gap, Raster, Shown, chromium
from chaos.displays.chromium import Chromium
from chaos.displays.journal import Journal
from chaos.displays.screens import opened
from chaos.errors import Misuse, Surroundings
from chaos.identity import Box

PATIENCE = 20.0


def flat(level: int) -> bytes:
    return frames.encode_jpeg(np.full((60, 100, 3), level, np.uint8), 100)


DARK, GREY, WHITE = flat(10), flat(120), flat(240)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.005)


class Browser:
    """As much of a browser as a screen needs: `content` is what its page shows, the rest is how it misbehaves."""

    def __init__(self) -> None:
        self.content = DARK
        self.told = True
        """Whether it draws when it is told to, and never else."""
        self.sends = True
        self.screenshots = True
        self.answers = True
        self.damage_of_nothing = False
        self.delay = 0.0
        self.then: list[bytes] = []
        """What the page shows in the refreshes to come, one each."""
        self.stamp: float | None = None
        self._drawn: bytes | None = None
        self._film = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._do(self._serve())

    def _do(self, what):
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    async def _serve(self) -> int:
        app = web.Application()
        app.add_routes([web.get("/json/list", self._list), web.get("/page", self._page)])
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return site._server.sockets[0].getsockname()[1]

    async def _list(self, _: web.Request) -> web.Response:
        url = f"ws://127.0.0.1:{self.port}/page"
        return web.json_response(
            [
                {"type": "service_worker", "url": "x", "webSocketDebuggerUrl": url},
                {"type": "page", "url": "http://127.0.0.1/feed", "webSocketDebuggerUrl": url, "title": ""},
            ]
        )

    async def _page(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        with contextlib.suppress(ConnectionError):
            async for message in socket:
                if message.type is WSMsgType.TEXT and self.answers:
                    await self._answer(socket, json.loads(message.data))
        self._sockets.discard(socket)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, asked: dict) -> None:
        answer: dict[str, object] = {}
        if asked["method"] == "HeadlessExperimental.beginFrame":
            if not self.told:
                await socket.send_json({"id": asked["id"], "error": {"message": "no begin-frame control"}})
                return
            if asked["params"].get("noDisplayUpdates"):
                changed = False
            else:
                self.content = self.then.pop(0) if self.then else self.content
                changed, self._drawn = self.content != self._drawn, self.content
            answer["hasDamage"] = changed or self.damage_of_nothing
            if "screenshot" in asked["params"] and self.screenshots:
                answer["screenshotData"] = base64.b64encode(self._drawn).decode()
            if changed and self._film and self.sends:
                at = self.stamp or time.time()
                asyncio.get_running_loop().call_later(self.delay, self._send, socket, self._drawn, at)
        elif asked["method"] == "Page.startScreencast":
            self._film += 1
            if not self.told:
                self._send(socket, self.content)
        await socket.send_json({"id": asked["id"], "result": answer})

    def _send(self, socket: web.WebSocketResponse, picture: bytes, at: float | None = None) -> None:
        at = at or self.stamp
        metadata = {"timestamp": at} if at is not None else {}
        values = {"data": base64.b64encode(picture).decode(), "sessionId": self._film, "metadata": metadata}
        asyncio.ensure_future(socket.send_json({"method": "Page.screencastFrame", "params": values}))  # noqa: RUF006

    def draws(self, picture: bytes) -> None:
        """Draw by itself, and send it."""
        self.content = picture
        for socket in self._sockets:
            self._loop.call_soon_threadsafe(self._send, socket, picture)

    def says(self, text: str) -> None:
        for socket in list(self._sockets):
            self._do(socket.send_str(text))

    def drops(self) -> None:
        self._film = 0
        for socket in list(self._sockets):
            self._do(socket.close())

    def close(self) -> None:
        self._do(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.close()


@pytest.fixture
def watch(browser: Browser) -> Iterator[Callable[[], Chromium]]:
    made: list[Chromium] = []

    def watch() -> Chromium:
        made.append(Chromium("ada", f"127.0.0.1:{browser.port}", rate=100))
        return made[-1]

    yield watch
    for screen in made:
        screen.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "TAKEN_WITHIN", 0.1)


def level(raster: Raster) -> int:
    return round(float(np.frombuffer(raster.rgb, np.uint8).mean()))


def levels(screen: Chromium | Journal) -> list[int]:
    return [level(screen.raster(s.digest)) for s in screen.collect()]


def stands(screen: Chromium, picture: bytes) -> Callable[[], bool]:
    return lambda: screen._journal.last == picture


# A browser that draws when it is told to.


def test_each_change_is_shown_once_and_ends_what_stood_there(browser, watch):
    screen = watch()
    for picture in (GREY, WHITE, DARK):
        browser.content = picture
        until(stands(screen, picture), "the change")
    refreshes = screen.refreshes
    until(lambda: screen.refreshes > refreshes + 5, "refreshes of the same")
    shown = screen.collect()
    assert [level(screen.raster(s.digest)) for s in shown] == [10, 120, 240, 10]
    assert all(a.until == b.at and a.at <= b.at for a, b in itertools.pairwise(shown))
    assert shown[-1].until is None
    assert screen.gaps() == []


def test_no_refresh_begins_before_what_the_last_one_drew_was_taken(browser, watch):
    screen = watch()
    browser.delay = 0.05
    browser.content = GREY
    until(stands(screen, GREY), "the change")
    browser.content = WHITE
    until(stands(screen, WHITE), "the other change")
    assert levels(screen) == [10, 120, 240]
    assert screen.late == 0


def test_a_picture_that_takes_its_time_is_asked_for_and_no_gap(browser, watch):
    screen = watch()
    browser.delay = 0.5
    browser.content = GREY
    until(stands(screen, GREY), "the change")
    browser.content = WHITE
    until(lambda: screen.refreshes > 20, "what was late came, and was of no use any more")
    assert levels(screen) == [10, 120, 240]
    assert screen.late == 2
    assert screen.gaps() == []


def test_what_a_refresh_drew_is_what_is_asked_for_and_not_what_stands_there_after_it(browser, watch):
    screen = watch()
    browser.sends = False
    browser.then = [GREY, WHITE]
    until(stands(screen, WHITE), "both changes")
    assert levels(screen) == [10, 120, 240]


def test_a_change_that_cannot_be_had_is_a_gap(browser, watch):
    screen = watch()
    browser.sends = browser.screenshots = False
    browser.content = GREY
    until(lambda: screen.refreshes > 2, "another refresh")
    (gap,) = screen.gaps()
    assert gap.until >= gap.at
    assert "did not send it" in gap.why
    assert screen.gaps() == []
    browser.sends = True
    browser.content = WHITE
    until(stands(screen, WHITE), "a change after it")
    assert screen.gaps() == []


def test_damage_of_nothing_is_no_gap(browser, watch):
    screen = watch()
    browser.damage_of_nothing = True
    until(lambda: screen.late > 1, "it said so")
    assert levels(screen) == [10]
    assert screen.gaps() == []


def test_a_browser_that_hangs_shows_what_it_showed(browser, watch):
    screen = watch()
    browser.content = GREY
    until(stands(screen, GREY), "the change")
    browser.answers = False
    browser.content = WHITE
    time.sleep(0.3)  # what is waited for is that nothing happens
    assert levels(screen) == [10, 120]
    screen.close()


@pytest.mark.parametrize("end", ["drops", "garbage", "crash"])
def test_a_browser_that_goes_leaves_a_gap_until_it_is_back(browser, watch, end):
    screen = watch()
    browser.content = GREY
    until(stands(screen, GREY), "the change")
    browser.content = WHITE if end == "drops" else GREY
    if end == "drops":
        browser.drops()
    else:
        browser._film = 0
        browser.says("{no JSON" if end == "garbage" else '{"method": "Inspector.targetCrashed", "params": {}}')
    until(lambda: screen._journal._gaps, "the gap")
    (gap,) = screen.gaps()
    before, after = screen.collect()[-2:]
    assert before.until is not None
    assert gap.at == before.until
    assert after.at >= before.until
    assert after.until is None


def test_after_a_restart_only_what_is_shown_now_counts(browser, watch):
    screen = watch()
    browser.content = GREY
    until(stands(screen, GREY), "the change")
    browser._film = 0
    browser.content = DARK
    screen.restarted()
    assert levels(screen) == [10]
    assert screen.gaps() == []


def test_no_browser_is_told_with_where_it_was_looked_for(monkeypatch):
    monkeypatch.setattr(chromium, "ATTACH_WITHIN", 0.3)
    with pytest.raises(Surroundings, match=r"(?s)ada's hub.*no browser answers at 127.0.0.1:1.*expected a Chromium"):
        Chromium("ada", "127.0.0.1:1")


def test_a_page_that_never_paints_is_told(browser, watch, monkeypatch):
    monkeypatch.setattr(chromium, "ATTACH_WITHIN", 0.5)
    browser.screenshots = browser.sends = False
    with pytest.raises(Surroundings, match="nothing of the screen of ada's hub was seen"):
        watch()


def test_of_several_pages_the_one_that_is_wanted_is_watched(browser, monkeypatch):
    address = f"127.0.0.1:{browser.port}"
    opened("ada", f"chromium:{address}#page=/feed").close()
    monkeypatch.setattr(chromium, "ATTACH_WITHIN", 0.3)
    with pytest.raises(Surroundings, match=r"no page with '/other' in its address; it has: .*/feed"):
        opened("ada", f"chromium:{address}#page=/other")


# A browser that draws by itself.


def test_what_a_browser_draws_by_itself_is_shown(browser, watch):
    browser.told = False
    screen = watch()
    for picture in (GREY, WHITE):
        browser.draws(picture)
        until(stands(screen, picture), "the change")
    assert levels(screen) == [10, 120, 240]
    assert screen.refreshes == 0


@pytest.mark.parametrize(("off", "believed"), [(-0.4, True), (-3600, False), (3600, False), (1, False)])
def test_a_clock_that_jumps_does_not_move_a_frame(browser, watch, off, believed):
    browser.told = False
    screen = watch()
    first = screen.collect()[-1]
    time.sleep(0.5)  # so that a frame of 0.4 s ago is not of before the first
    now = time.monotonic()
    browser.stamp = time.time() + off
    browser.draws(GREY)
    until(stands(screen, GREY), "the change")
    at = screen.collect()[-1].at
    assert first.at < at
    assert (at < now) is believed
    assert at <= time.monotonic()


# The journal.


def decode(picture: bytes) -> tuple[int, int, bytes]:
    if picture == b"no picture":
        raise ValueError("it has no header")
    return 1, 1, picture * 3


def test_a_journal_gives_what_stands_there_again_with_its_end():
    journal = Journal("ada", decode)
    journal.show(1.0, b"a")
    first = journal.collect()
    assert [(s.at, s.until) for s in first] == [(1.0, None)]
    journal.show(2.0, b"b")
    journal.show(2.5, b"b")
    again = journal.collect()
    assert again[0] == Shown(1.0, 2.0, first[0].digest)
    assert [(s.at, s.until) for s in again] == [(1.0, 2.0), (2.0, None)]
    assert journal.raster(again[0].digest) == Raster(again[0].digest, 1, 1, b"aaa")
    journal.forget()
    assert journal.collect() == [again[1]]
    with pytest.raises(KeyError):
        journal.raster(again[0].digest)


def test_what_returns_is_shown_again_and_time_never_runs_back():
    journal = Journal("ada", decode)
    for at, picture in ((1.0, b"a"), (3.0, b"b"), (2.0, b"a")):
        journal.show(at, picture)
    assert [(s.at, s.until) for s in journal.collect()] == [(1.0, 3.0), (3.0, 3.0), (3.0, None)]


def test_a_screen_that_was_lost_shows_nothing_until_it_is_seen_again():
    journal = Journal("ada", decode)
    journal.show(1.0, b"a")
    journal.lose(2.0, "it went away")
    journal.lose(2.5, "it refused")
    assert [(s.at, s.until) for s in journal.collect()] == [(1.0, 2.0)]
    assert not journal.stands
    journal.found(3.0)
    journal.show(3.0, b"a")
    assert [(s.at, s.until) for s in journal.collect()][-1] == (3.0, None)
    assert journal.stands
    assert journal.gaps() == [Gap(2.0, 3.0, "it refused")]
    assert journal.gaps() == []


def test_a_gap_that_is_not_over_is_told_in_parts():
    journal = Journal("ada", decode)
    began = time.monotonic()
    journal.lose(began, "it went away")
    (first,) = journal.gaps()
    (second,) = journal.gaps()
    assert (first.at, second.at) == (began, first.until)
    journal.found(second.until + 1)
    assert [(g.at, g.until) for g in journal.gaps()] == [(second.until, second.until + 1)]
    journal.lose(5.0, "again")
    journal.clear()
    assert journal.gaps() == []


def test_what_is_no_picture_is_told_when_it_is_looked_at():
    journal = Journal("ada", decode)
    journal.show(1.0, b"no picture")
    with pytest.raises(Surroundings, match=r"ada's hub gave 10 bytes that are no picture \(it has no header\)"):
        journal.raster(journal.collect()[0].digest)


# Words in home.toml.


@pytest.mark.parametrize(
    ("screen", "told"),
    [
        ("chromum:127.0.0.1:1", "the screen 'chromum:127.0.0.1:1'; did you mean 'chromium'"),
        ("chromium:", "expected 'chromium:' and what it is of"),
        ("chromium:127.0.0.1:1#bx=1,2,3,4", "says 'bx'; did you mean 'box'"),
        ("chromium:127.0.0.1:1#box=1,2,3", "the box '1,2,3'; expected X,Y,W,H"),
        ("chromium:127.0.0.1:1#box=1,2,0,4", "a box is 0.0 x 4.0 pixels"),
        ("journal", "a screen journal; expected a hub that speaks the operator's contract"),
    ],
)
def test_words_that_name_no_screen_are_refused(screen, told):
    with pytest.raises(Misuse, match=told):
        opened("ada", screen)


def test_a_box_is_taken(browser):
    screen = opened("ada", f"chromium:127.0.0.1:{browser.port}#box=0,12,1024,576")
    assert screen.box == Box(0, 12, 1024, 576)
    screen.close()

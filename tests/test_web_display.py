"""A screen that is a picture at an address: what stood there, what broke off, what a person does. Real HTTP."""

from __future__ import annotations

import http.server
import itertools
import threading
import time

import msgspec
import numpy as np
import pytest

from chaos import frames
from chaos.compose.labels import labels
from chaos.contracts.declared import _Looked, _Port, _Watched
from chaos.displays.web import Web, _first_part
from chaos.history import Reading, Sighting
from chaos.remote import Refused
from chaos.waiting import wait_for

RED, BLUE = (frames.encode_jpeg(np.full((36, 64, 3), c, np.uint8)) for c in ((200, 0, 0), (0, 0, 200)))


class Hub:
    """Answers as `then` says: (status, type, body, length that is told)."""

    def __init__(self):
        self.then = (200, "image/jpeg", RED, None)
        self.asked = []
        self.go_on = threading.Event()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                hub.asked.append((self.command, self.path))
                status, kind, body, length = hub.then
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if length != "none":
                    self.send_header("Content-Length", str(length or len(body)))
                self.end_headers()
                for part in body if isinstance(body, list) else [body]:
                    self.wfile.write(part)
                    self.wfile.flush()
                if length == "none":
                    hub.go_on.wait(10)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
                hub.asked.append((self.command, self.path, self.headers.get("Content-Type"), body))
                self.send_response(403 if "no" in self.path else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def hub():
    made = Hub()
    yield made
    made.go_on.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def screen(hub):
    made = Web("ada", f"http://{hub.address}/ada")
    yield made
    made.close()


def _colours(screen) -> list[str]:
    """What was shown since the last time, by colour."""
    told = []
    for shown in screen.collect():
        raster = screen.raster(shown.digest)
        red, _, blue = frames.picture_of_rgb(raster.rgb, raster.width, raster.height).reshape(-1, 3)[0]
        told.append("red" if red > 100 else "blue" if blue > 100 else "dark")
    return told


def test_a_still_is_loaded_once_stands_and_is_gone_when_somebody_looks_away(screen, hub):
    assert _colours(screen) == ["dark"]
    screen.look("still")
    assert screen.wait_settled(5) == "picture"
    hub.then = (200, "image/jpeg", BLUE, None)
    screen.shut()
    shown = screen.collect()
    assert [s.until is None for s in shown] == [False, False, True]
    assert all(a.until == b.at for a, b in itertools.pairwise(shown))
    assert hub.asked == [("GET", "/ada")]
    screen.forget()
    assert _colours(screen) == ["dark"]


def test_a_stream_of_stills_is_loaded_again_and_again_and_equal_ones_are_one(screen, hub):
    screen.look("stream")
    assert screen.wait_settled(5) == "picture"
    wait_for("three loads", lambda: None if len(hub.asked) > 2 else "fewer")
    hub.then = (200, "image/jpeg", BLUE, None)
    wait_for("blue", lambda: None if len(screen._shown) > 2 else "not yet")
    screen.shut()
    assert _colours(screen) == ["dark", "red", "blue", "dark"]


@pytest.mark.parametrize(
    "then",
    [
        (502, "image/jpeg", RED, None),
        (200, "text/html", b"<h1>unavailable</h1>", None),
        (200, "image/jpeg", b"", None),
        (200, "image/jpeg", b"\xff\xd8\xff junk", None),
    ],
)
def test_what_is_no_picture_is_a_dark_screen_and_unavailable(screen, hub, then):
    hub.then = then
    screen.look("still")
    assert screen.wait_settled(5) == "unavailable"
    assert _colours(screen) == ["dark"]


def test_a_hub_that_is_gone_is_a_dark_screen_and_a_stream_goes_on_when_it_is_back(screen, hub):
    gone = Web("ada", "http://127.0.0.1:1/")
    gone.look("still")
    assert gone.wait_settled(5) == "unavailable"
    hub.then = (502, "text/plain", b"", None)
    screen.look("stream")
    assert screen.wait_settled(0.3) == "open"
    hub.then = (200, "image/jpeg", RED, None)
    assert screen.wait_settled(5) == "picture"


def test_what_came_of_a_picture_that_broke_off_stood_on_the_screen(screen, hub):
    rough = frames.encode_jpeg(np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8))
    hub.then = (200, "image/jpeg", rough[: len(rough) // 2], len(rough))
    screen.look("still")
    assert screen.wait_settled(5) == "unavailable"
    assert len(screen.collect()) == 3  # dark, what there was of it, dark


@pytest.mark.parametrize("told", [True, False], ids=["with lengths", "without lengths"])
def test_every_part_of_mjpeg_is_shown_and_its_end_is_dark(screen, hub, told):
    def part(data: bytes) -> bytes:
        length = f"Content-Length: {len(data)}\r\n" if told else ""
        return f"--edge\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n"

    hub.then = (200, "multipart/x-mixed-replace; boundary=edge", [part(RED), part(BLUE) + b"--edge--\r\n"], "none")
    screen.look("stream")
    assert screen.wait_settled(5) == "picture"
    wait_for("both parts", lambda: None if len(screen._shown) > 2 else "fewer")
    hub.go_on.set()
    screen.shut()
    assert _colours(screen)[:3] == ["dark", "red", "blue"]
    assert _first_part(b"--edge\r\nContent-Length: 9\r\n\r\nshort", b"--edge") is None


def test_nothing_is_shown_of_a_picture_that_comes_after_somebody_looked_away(screen, hub):
    hub.then = (200, "image/jpeg", [RED[:50]], "none")
    screen.look("still")
    wait_for("the request", lambda: None if hub.asked else "none")
    screen.shut()
    hub.go_on.set()
    screen.close()
    assert _colours(screen) == ["dark"]


def test_a_watched_screen_that_cannot_be_seen_is_a_gap_unless_the_hub_was_started_anew(hub):
    screen = Web("ada", f"http://{hub.address}/ada", watched=True)
    screen.look("stream")
    assert screen.wait_settled(5) == "picture"
    assert screen.gaps() == []
    hub.then = (200, "image/jpeg", RED[:40], len(RED))
    wait_for("a gap", lambda: None if screen._blind else "none")
    hub.then = (200, "image/jpeg", BLUE, None)
    wait_for("blue", lambda: None if _colours(screen)[-1] == "blue" else "not yet")
    (gap,) = screen.gaps()
    assert gap.at < gap.until
    hub.then = (200, "image/jpeg", RED[:40], len(RED))
    wait_for("a gap", lambda: None if screen._blind else "none")
    hub.then = (200, "image/jpeg", BLUE, None)
    screen.restarted()
    wait_for("blue", lambda: None if _colours(screen)[-1] == "blue" else "not yet")
    assert len(screen.gaps()) <= 1  # one more load may have been under way
    screen.close()


# Ways to ask.


class Stack:
    def __init__(self, address):
        self._address = address

    def address(self, node, port):
        return self._address


class Reader:
    """Reads a picture filmed at `captured`, or a dark screen."""

    captured = 0.0

    def read(self, luma):
        if luma.max() < 10:
            return Reading("blank")
        return Reading("picture", (Sighting("ada", "living-room", 1, 5, captured=self.captured),))


def _said(**more: str):
    given = {"role": "hub", "display": "http://:80/", "patience": "0.5"} | more
    return labels("hub", {f"ownframe.{k.replace('_', '-')}": v for k, v in given.items()})


def test_looking_is_asking(screen, hub):
    looked = _Looked(screen, patience=0.3)
    first = looked.ask("living-room", "still")
    assert (looked.wait_settled(first, 5), looked.ask("living-room", "stream")) == ("picture", first + 1)
    looked.close_feed()
    assert screen.raster(screen.now().digest).rgb[:3] == b"\0\0\0"
    hub.then = (200, "image/jpeg", [b""], "none")
    assert looked.wait_settled(looked.ask("living-room", "still"), 5) == "unavailable"  # nobody waits any longer
    assert looked.wait_settled(looked.ask("living-room", "still"), 0.1) == "open"  # somebody who leaves after 0.1 s


def test_before_a_screen_that_is_always_on_an_ask_waits_for_a_picture_that_was_filmed_after_it(screen, hub):
    reader = Reader()
    wall = _Watched(screen, _said(ask="always"), _Port("ada.hub", Stack(hub.address)), reader)
    assert wall.always_on
    wait_for("a picture", lambda: None if wall.reading().content == "picture" else "none")
    ask = wall.ask("living-room", "still")
    assert wall.wait_settled(ask, 0.1) == "open"  # what stands there is older than the ask
    assert wall.wait_settled(ask, 5) == "picture"  # and it stands there
    reader.captured = time.monotonic() + 100
    hub.then = (200, "image/jpeg", BLUE, None)
    assert wall.wait_settled(wall.ask("living-room", "still"), 0.4) in ("picture", "open")
    wall.close_feed()
    assert all(method == "GET" for method, *_ in hub.asked)


def test_a_declared_request_asks_closes_and_signs_in(screen, hub):
    hub.then = (404, "text/plain", b"", None)
    said = _said(
        ask='POST :80/show/{owner} {"camera": "{camera}"}', close=":80/home", sign_in="POST :80/account owner={owner}"
    )
    said = msgspec.structs.replace(said, owner="ada")
    asked = _Watched(screen, said, _Port("ada.hub", Stack(hub.address)), Reader())
    assert not asked.always_on
    ask = asked.ask("living-room", "still")
    hub.then = (200, "image/jpeg", RED, None)
    assert asked.wait_settled(ask, 5) == "picture"
    hub.then = (404, "text/plain", b"", None)
    asked.close_feed()
    assert asked.reading().content == "blank"
    assert asked.sign_in("lin")
    posts = [a for a in hub.asked if a[0] == "POST"]
    assert posts == [
        ("POST", "/show/ada", "application/json", '{"camera": "living-room"}'),
        ("POST", "/home", None, ""),
        ("POST", "/account", "application/x-www-form-urlencoded", "owner=lin"),
    ]
    with pytest.raises(Refused, match="403"):
        _Port("ada.hub", Stack(hub.address)).send(_said(ask=":80/no", close=":80/x").ask)

"""Cameras of somebody else's programs: the bridge in front of a program that is played. The real ones: tests/live."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .homes import COLOURS, Node, call, flat, free_address, wait_until

PROGRAM = '''#!{python}
"""Stands in for motion: reads its port from the file that it is told, and does as the files beside this one say."""
import http.server, os, pathlib, re, sys, threading, time
here = pathlib.Path(__file__).parent
settings = pathlib.Path(sys.argv[2]).read_text()
(here / "told").write_text(settings)
(here / "pids").open("a").write(f"{{os.getpid()}}\\n")
mute = (here / "mute").exists()
(here / "mute").unlink(missing_ok=True)
refusals = here / "refuses"
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if refusals.exists():
            refusals.unlink()
            sentence = b"streams: unsupported scheme: ffmpeg:film"
            self.send_response(500)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(sentence)))
            self.end_headers()
            self.wfile.write(sentence)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=B")
        self.end_headers()
        if mute:
            time.sleep(60)
        while True:
            picture = (here / "picture").read_bytes()
            self.wfile.write(b"--B\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(picture) + picture + b"\\r\\n")
            time.sleep(0.05)
    def log_message(self, *_):
        pass
port = int(re.search(r"stream_port (\\d+)", settings)[1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''


PICTURE = flat(COLOURS["ada"], (320, 180))


def settings() -> dict[str, str]:
    where = {"LISTEN": free_address(), "OPERATOR": free_address()}
    return where | {"LENS": "http://127.0.0.1:1/lens/ada/living-room", "DEVICE_SECRET": "s"}


class Program:
    """What a program does, and how often it was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / "motion"
        file.write_text(PROGRAM.format(python=sys.executable))
        file.chmod(0o755)
        self.gives(PICTURE)

    def gives(self, picture: bytes) -> None:
        part = self.folder / ".picture"
        part.write_bytes(picture)
        part.rename(self.folder / "picture")

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in (self.folder / "pids").read_text().split()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Program]]:
    folder = tmp_path_factory.mktemp("camera")
    (folder / "bin").mkdir()
    program = Program(folder / "bin")
    path = f"{program.folder}:{os.environ['PATH']}"
    told = settings() | {"CAMERA": "motion", "PATH": path, "STARTS_WITHIN": "1"}
    node = Node("camera", "camera/bridge.py", folder / "log", **told)
    node.wait_ready()
    yield node, program
    if node.process.poll() is None:
        node.process.kill()
        node.process.wait(5)


@pytest.fixture
def bridge(running: tuple[Node, Program]) -> Node:
    return running[0]


@pytest.fixture
def program(running: tuple[Node, Program]) -> Iterator[Program]:
    yield running[1]
    running[1].gives(PICTURE)


def still(node: Node, secret: str = "s"):
    return call(node.listen, "/still?width=1024", X_Device_Secret=secret)


def test_the_programs_own_bytes_are_handed_on(bridge: Node, program: Program) -> None:
    answer = still(bridge)
    assert (answer.status, answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (
        200,
        "image/jpeg",
        "no-store",
    )
    assert answer.data == (program.folder / "picture").read_bytes()


def test_the_program_films_the_lens_and_listens_on_loopback_alone(bridge: Node, program: Program) -> None:
    told = (program.folder / "told").read_text()
    assert "netcam_url http://127.0.0.1:1/lens/ada/living-room\n" in told
    assert "stream_localhost on" in told


def parts(node: Node, count: int) -> list[bytes]:
    """Return the next pictures of the stream."""
    host, _, port = node.listen.partition(":")
    with socket.create_connection((host, int(port)), 10) as peer:
        peer.sendall(b"GET /stream HTTP/1.0\r\nHost: camera\r\nX-Device-Secret: s\r\n\r\n")
        data = b""
        while data.count(b"--next-picture") <= count:
            more = peer.recv(65536)
            assert more, f"the stream ended after {data[-200:]!r}"
            data += more
    found = data.split(b"--next-picture-5d1f0c7a\r\n")[1 : count + 1]
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in found]


def test_a_streams_pictures_are_the_programs_and_of_now(bridge: Node, program: Program) -> None:
    assert parts(bridge, 3) == [PICTURE] * 3
    other = flat(COLOURS["lin"], (320, 180))
    program.gives(other)
    wait_until("the new picture is streamed", lambda: parts(bridge, 1) == [other])


def test_a_stream_ends_broken_with_its_program(bridge: Node, program: Program) -> None:
    host, _, port = bridge.listen.partition(":")
    with socket.create_connection((host, int(port)), 10) as peer:
        peer.sendall(b"GET /stream HTTP/1.1\r\nHost: camera\r\nX-Device-Secret: s\r\n\r\n")
        assert b"200 OK" in peer.recv(65536)
        os.kill(program.pids[-1], 9)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := peer.recv(65536):
                data = more
    assert not data.endswith(b"0\r\n\r\n")
    wait_until("it runs again", lambda: still(bridge).status == 200)


@pytest.mark.parametrize("path", ["/still", "/stream", "/video/stream"])
def test_strangers_are_refused(bridge: Node, path: str) -> None:
    assert call(bridge.listen, path, X_Device_Secret="other").status == 403
    assert call(bridge.listen, path).status == 403


def test_a_camera_without_video_says_so(bridge: Node) -> None:
    answer = call(bridge.listen, "/video/stream", X_Device_Secret="s")
    assert (answer.status, answer.json()) == (404, {"error": "this camera gives no video"})


@pytest.mark.parametrize("picture", [b"", b"<html>"], ids=["an empty picture", "something else"])
def test_what_is_no_picture_is_not_handed_on(bridge: Node, program: Program, picture: bytes) -> None:
    program.gives(picture)
    wait_until("no still is given", lambda: still(bridge).status == 503)
    assert call(bridge.operator, "/healthz").status == 503


def test_a_program_that_ends_is_started_again(bridge: Node, program: Program) -> None:
    started = len(program.pids)
    os.kill(program.pids[-1], 9)
    wait_until("it runs again", lambda: len(program.pids) > started and still(bridge).status == 200)
    assert "event=program-ended program=motion code=-9" in bridge.log


def test_a_program_that_gives_nothing_is_asked_twice_and_then_started_again(bridge: Node, program: Program) -> None:
    started = len(program.pids)
    (program.folder / "mute").touch()
    os.kill(program.pids[-1], 9)
    wait_until("it runs and says nothing", lambda: len(program.pids) == started + 1)
    wait_until("another runs", lambda: len(program.pids) == started + 2)
    wait_until("it gives pictures", lambda: still(bridge).status == 200)
    waits = [f"event=no-picture program=motion seconds={seconds}" for seconds in ("1.0", "2.0")]
    assert all(line in bridge.log for line in waits), bridge.log


def test_a_program_that_refuses_while_it_begins_is_looked_at_again(bridge: Node, program: Program) -> None:
    """go2rtc answers 500 with a sentence until the part of it that runs FFmpeg has begun."""
    (program.folder / "refuses").touch()
    os.kill(program.pids[-1], 9)
    wait_until("it was refused", lambda: "no-stream program=motion status=500 kind=text/plain" in bridge.log)
    wait_until("it gives pictures", lambda: still(bridge).status == 200)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"CAMERA": "polaroid"}, "CAMERA is 'polaroid'; expected one of motion, go2rtc"),
        ({"CAMERA": "go2rtc", "PATH": "/nowhere"}, "there is no go2rtc on PATH"),
    ],
)
def test_a_camera_that_cannot_be_had_is_said_with_code_3(
    start: Callable[..., Node], chosen: dict[str, str], told: str
) -> None:
    node = start("camera", "camera/bridge.py", **settings() | chosen)
    assert node.process.wait(20) == 3
    assert told in node.log


def test_the_program_ends_with_the_bridge(bridge: Node, program: Program) -> None:
    """Also where the bridge is killed, as by a drawn restart on the process stack."""
    bridge.process.kill()
    bridge.process.wait(5)
    wait_until("it ended", lambda: not Path(f"/proc/{program.pids[-1]}").exists())

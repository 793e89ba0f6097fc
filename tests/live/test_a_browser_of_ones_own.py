"""A Chromium that nobody here started as a hub: stock switches, a page that loads a stream, watched over DevTools."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chaos import frames
from chaos.displays.screens import opened
from chaos.errors import Surroundings
from chaos.identity import Key, Register
from chaos.reading import Reader
from chaos.scene.server import SceneServer
from chaos.sockets import free_ports

from .docker_home import BROWSER, OWNERS, browser_image, engine

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.timeout(420)]  # the image may have to be built
KIOSK = (*BROWSER, "--window-size=1024,600", "--remote-allow-origins=*")
PAGE = """<title>Kiosk</title><body style="margin:0;background:black">
<img id=feed style="width:1024px;height:576px" src="{first}">
<script>setTimeout(() => feed.src = "{then}", 4000)</script>"""
WITHIN = 30.0
"""Seconds until a browser that was just started shows something, and both of its pictures were seen."""


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path):
    """Serve a folder on loopback: a page from elsewhere, or of no address, may not load what is on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_each_camera_that_it_shows_is_read_and_the_end_of_the_browser_is_a_gap(tmp_path):
    client = engine()
    key, port = Key.fresh(), free_ports(1)[0]
    reader = Reader(Register(OWNERS, ("living-room",)), (key,))
    with SceneServer(OWNERS, ("living-room",), key) as scene, served(tmp_path) as site:
        scene.case = 7
        lenses = [scene.offer((owner, "living-room"), "mjpeg", "127.0.0.1") for owner in ("lin", "grace")]
        (tmp_path / "kiosk.html").write_text(PAGE.format(first=lenses[0], then=lenses[1]))
        words = [*KIOSK, f"--remote-debugging-port={port}", f"{site}/kiosk.html"]
        container = client.containers.run(
            browser_image(client), words, network_mode="host", environment={"HOME": "/tmp"}, detach=True
        )
        try:
            seen = _watched(port, reader, container)
            assert list(dict.fromkeys(owner for owner, _ in seen)) == ["lin", "grace"], "in this order"
            assert {case for _, case in seen} == {7}
        finally:
            container.remove(force=True)


def _watched(port: int, reader: Reader, container) -> list[tuple[str, int]]:
    """Return whom the screen showed until grace stood there, then that its end is one in which nobody knows."""
    end = time.monotonic() + WITHIN
    while True:
        try:
            screen = opened("ada", f"chromium:127.0.0.1:{port}#page=kiosk.html")
            break
        except Surroundings:
            assert time.monotonic() < end, container.logs().decode()[-2000:]
            time.sleep(0.2)
    seen: list[tuple[str, int]] = []
    try:
        while ("grace", 7) not in seen:
            assert time.monotonic() < end, seen
            for shown in screen.collect():
                raster = screen.raster(shown.digest)
                reading = reader.read(frames.luma_of_rgb(raster.rgb, raster.width, raster.height))
                seen += [(s.owner, s.case) for s in reading.sightings]
            time.sleep(0.05)
        assert screen.gaps() == []
        container.kill()
        while not screen.gaps():
            assert time.monotonic() < end, "the end of the browser was not noticed"
            time.sleep(0.05)
    finally:
        screen.close()
    return seen

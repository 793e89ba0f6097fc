"""Video: encoded by the camera, piped by the relay, shown by the hub, left for stills, and back."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import pytest
from PIL import Image

from .homes import COLOURS, Hub, Node, Script, Street, call, flat, hub_of, mute, owner_of, read_request, wait_until

WITH = {"ASK_TOTAL": "4", "FEED_IDLE": "3", "VIDEO_FIRST": "0.8", "VIDEO_IDLE": "0.8", "VIDEO_AGAIN": "0.6"}
PATH = "/v1/cameras/living-room/stream?width=1024&form=video"


def encoded(owner: str, count: int, rate: int = 20) -> list[bytes]:
    """Return the pieces of a fragmented MP4 of so many pictures of one colour, the head with the first."""
    out = io.BytesIO()
    pieces: list[bytes] = []
    flags = {"movflags": "empty_moov+default_base_moof+frag_every_frame", "flush_packets": "1"}
    with av.open(out, "w", format="mp4", options=flags) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 1024, 576, "yuv420p", 5
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for number in range(count):
            picture = Image.new("RGB", (1024, 576), COLOURS[owner])
            picture.paste((0, 0, 0), (10 * (number % 90), 0, 10 * (number % 90) + 10, 10))  # so that each is another
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
            pieces.append(out.getvalue())
            out.seek(0)
            out.truncate()
    return pieces


class Relay:
    """Signs everybody in, answers a still with ada's colour, and a video as `video` does."""

    def __init__(self) -> None:
        self.video: Callable[[socket.socket], None] = mute
        self.asked: list[str] = []
        self.script = Script(self._talk)

    def _talk(self, peer: socket.socket) -> None:
        while head := read_request(peer):
            line = head.split(b"\r\n", 1)[0].decode()
            if "form=video" in line:
                self.asked.append("video")
                self.video(peer)
                return
            if "/still" in line:
                self.asked.append("still")
                answer(peer, "image/jpeg", flat(COLOURS["ada"], (1024, 576)))
            else:
                answer(peer, "application/json", b'{"token": "t", "owner": "ada"}')


def answer(peer: socket.socket, kind: str, body: bytes, status: str = "200 OK") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    peer.sendall(head.encode() + body)


def send(peer: socket.socket, pieces: list[bytes], pause: float, at_once: int = 3) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number, piece in enumerate(pieces):
        peer.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        threading.Event().wait(pause if number >= at_once else 0)


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.script.__exit__()


@pytest.fixture(scope="module")
def one_hub(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    settings = hub_of(address=relay.script.address, **WITH)
    made = Hub(Node("hub", "hub/app.py", tmp_path_factory.mktemp("hub") / "log", **settings))
    made.node.wait_ready()
    yield made
    made.node.process.kill()
    made.node.process.wait(5)


@pytest.fixture
def hub(one_hub: Hub, relay: Relay) -> Iterator[Hub]:
    assert one_hub.sign_in("ada").status == 200
    one_hub.post("forget?before=1000000")
    relay.asked.clear()
    yield one_hub
    relay.video = mute
    one_hub.post("close")


def pictures(hub: Hub) -> list[str]:
    """Return whose colours stood on the screen, one for each raster that is no message."""
    seen = [owner_of(hub.raster(e["raster"])) for e in hub.journal()]
    return [owner for owner in seen if owner is not None]


def test_a_camera_serves_h264_to_who_knows_its_secret(street: Street) -> None:
    camera = street.cameras["ada"]
    assert call(camera.listen, "/video/stream").status == 403
    host, _, port = camera.listen.partition(":")
    with socket.create_connection((host, int(port)), 10) as peer:
        peer.sendall(b"GET /video/stream?width=1024 HTTP/1.0\r\nHost: camera\r\nX-Device-Secret: of-ada\r\n\r\n")
        data = b""
        while data.count(b"moof") < 4:
            data += peer.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"video/mp4" in head
    with av.open(io.BytesIO(body)) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 1024, 576)
        assert owner_of(next(video.decode(stream)).to_image()) == "ada"


def test_each_owner_sees_a_video_of_their_own_camera(street: Street) -> None:
    for owner in ("ada", "lin"):
        hub = street.hubs[owner]
        assert hub.sign_in(owner).status == 200
        hub.post("forget?before=1000000")
        asked = hub.ask("video")
        assert hub.settled(asked) == "picture"
        wait_until("three pictures were shown", lambda hub=hub: len(pictures(hub)) >= 3)
        assert set(pictures(hub)) == {owner}
        hub.post("close")
    assert f"path={PATH.partition('?')[0]}" in street.relay.log


@pytest.mark.parametrize("width", ["0", "x"])
def test_a_width_that_makes_no_sense_is_refused(street: Street, width: str) -> None:
    path = PATH.replace("1024", width)
    assert call(street.relay.listen, path, Authorization=f"Bearer {street.token('ada')}").status == 400


def broken_video(peer: socket.socket) -> None:
    pieces = encoded("grace", 6)
    send(peer, [*pieces[:4], pieces[4][:50]], 0.02)
    peer.close()


BAD: dict[str, Callable[[socket.socket], None]] = {
    "nothing comes": mute,
    "it is refused": lambda peer: answer(peer, "application/json", b"{}", "503 Service Unavailable"),
    "it is no video": lambda peer: answer(peer, "text/html", b"<html>"),
    "it is garbage": lambda peer: send(peer, [b"\x00\x00\x00\x18ftypmp42" + b"garbage" * 500] * 20, 0.01),
    "it is cut": broken_video,
    "it stands still": lambda peer: (send(peer, encoded("grace", 4), 0.02), mute(peer))[0],
}


@pytest.mark.parametrize("bad", BAD)
def test_a_poor_video_is_left_for_stills(hub: Hub, relay: Relay, bad: str) -> None:
    relay.video = BAD[bad]
    assert hub.settled(hub.ask("video")) == "picture"
    wait_until("a still was shown", lambda: "ada" in pictures(hub))
    wait_until("the video was tried again", lambda: relay.asked.count("video") >= 2)
    assert relay.asked[:2] == ["video", "still"]
    assert hub.node.process.poll() is None


def test_a_video_that_falls_behind_is_left(hub: Hub, relay: Relay) -> None:
    """Twenty pictures a second come at five: after two seconds it is a second and a half behind the first ones."""
    pieces = encoded("grace", 60)
    relay.video = lambda peer: send(peer, pieces, 0.2)
    began = time.monotonic()
    asked = hub.ask("video")
    wait_until("a still was asked for", lambda: "still" in relay.asked)
    assert time.monotonic() - began > 1.5
    assert "behind" in hub.node.log
    assert hub.settled(asked) == "picture"


def test_the_video_comes_back(hub: Hub, relay: Relay) -> None:
    hub.ask("video")
    wait_until("stills are shown", lambda: "ada" in pictures(hub))
    pieces = encoded("grace", 200)
    relay.video = lambda peer: send(peer, pieces, 0.05)
    wait_until("the video is back", lambda: pictures(hub)[-3:] == ["grace"] * 3)
    stills = relay.asked.count("still")
    threading.Event().wait(1.0)  # longer than until the next still
    assert relay.asked.count("still") == stills


def test_without_a_still_the_camera_is_unavailable(hub: Hub, relay: Relay) -> None:
    relay.script._talk, talk = lambda peer: None, relay.script._talk
    try:
        assert hub.settled(hub.ask("video")) == "unavailable"
    finally:
        relay.script._talk = talk

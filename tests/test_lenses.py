"""What cameras film from, other than HTTP: RTSP as FFmpeg reads it, and pipes in place of files."""

from __future__ import annotations

import socket
import time

import av
import pytest

from chaos import frames
from chaos.errors import Misuse
from chaos.identity import Key, Register
from chaos.reading import Reader
from chaos.scene import SceneServer

OWNERS = ("ada", "grace", "lin")
LENS = ("grace", "living-room")
DEADLINE = 30.0


@pytest.fixture
def scene():
    with SceneServer(OWNERS, ("living-room",), Key.fresh()) as running:
        yield running


@pytest.fixture
def read(scene):
    reader = Reader(Register(OWNERS, ("living-room",)), (scene._key,))

    def read(luma) -> set[tuple[str, int]]:
        return {(s.owner, s.case) for s in reader.read(luma).sightings}

    return read


def _until(pictures, read, wanted) -> None:
    began = time.monotonic()
    for luma in pictures:
        if read(luma) == wanted:
            return
        assert time.monotonic() < began + DEADLINE, f"{read(luma)} instead of {wanted}"
    pytest.fail("it ended")


def _decoded(container):
    for frame in container.decode(video=0):
        assert (frame.width, frame.height) == (1920, 1080)
        yield frame.to_ndarray(format="gray")


@pytest.mark.parametrize("transport", ["tcp", "udp", "udp+tcp"])
def test_rtsp_is_what_ffmpeg_takes_and_turns_with_the_case_and_with_crossed_scenes(scene, read, transport):
    """Over UDP alone there is nothing; FFmpeg's default asks for UDP first, and then for TCP."""
    url = scene.offer(LENS, "rtsp", "127.0.0.1")
    assert url.startswith("rtsp://127.0.0.1:")
    options = {"rtsp_transport": transport} if transport != "udp+tcp" else {}
    if transport == "udp":
        with pytest.raises(av.FFmpegError):
            next(_decoded(av.open(url, options=options, timeout=5)))
        return
    scene.case = 1
    with av.open(url, options=options, timeout=10) as container:
        pictures = _decoded(container)
        _until(pictures, read, {("grace", 1)})
        scene.case = 2
        _until(pictures, read, {("grace", 2)})
        with scene.crossed({LENS: ("lin", "living-room")}):
            _until(pictures, read, {("lin", 2)})


def test_rtsp_says_no_where_there_is_nothing_to_film(scene):
    url = scene.offer(LENS, "rtsp", "127.0.0.1")
    host, port = url.removeprefix("rtsp://").partition("/")[0].split(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        for request, status in (
            ("DESCRIBE rtsp://x/lens/nobody/living-room", b"404"),
            ("RECORD rtsp://x/lens/grace/living-room", b"405"),
            ("SETUP rtsp://x/lens/grace/living-room", b"461"),
            ("$\0\0\2hiOPTIONS rtsp://x/", b"200"),
        ):
            client.sendall(f"{request} RTSP/1.0\r\nCSeq: 7\r\n\r\n".encode())
            said = client.recv(4096)
            assert status in said.split(b"\r\n")[0], (request, said)
            assert b"CSeq: 7" in said
        client.sendall(b"\0" * 70_000)
        assert client.recv(1) == b""
    with pytest.raises(Misuse, match=r"0\.0\.0\.0"):
        scene.offer(LENS, "rtsp", "0.0.0.0")


def test_a_still_file_is_one_picture_of_now_each_time_that_it_is_opened(scene, read, tmp_path):
    path = scene.offer(LENS, "file", "", tmp_path / "film.jpg")
    for case in (1, 2):
        scene.case = case
        with open(path, "rb") as opened:  # noqa: PTH123 - as a camera does
            data = opened.read()
        assert data.count(b"\xff\xd9") == 1
        assert read(frames.luma_of_jpeg(data)) == {("grace", case)}


@pytest.mark.parametrize("end", [".mjpeg", ".ts"])
def test_a_film_goes_on_while_it_is_read_and_begins_anew_for_the_next_reader(scene, read, tmp_path, end):
    path = scene.offer(LENS, "file", "", tmp_path / f"film{end}")
    for case in (1, 2):
        scene.case = case
        with open(path, "rb") as opened, av.open(opened) as container:  # noqa: PTH123 - as a camera does
            _until(_decoded(container), read, {("grace", case)})


def test_a_server_that_stops_lets_go_of_who_reads(tmp_path):
    with SceneServer(OWNERS, ("living-room",), Key.fresh()) as scene:
        path = scene.offer(LENS, "file", "", tmp_path / "film.mjpeg")
        url = scene.offer(LENS, "rtsp", "127.0.0.1")
        opened = open(path, "rb")  # noqa: PTH123, SIM115 - as a camera does
        assert opened.read(2) == b"\xff\xd8"
        host, port = url.removeprefix("rtsp://").partition("/")[0].split(":")
        client = socket.create_connection((host, int(port)), timeout=DEADLINE)
    while opened.read(1 << 20):
        pass
    opened.close()
    client.close()

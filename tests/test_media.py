"""Files from strangers: each gives frames or a reason, and nothing is opened that a file only names."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from chaos import media
from chaos.frames import MAX_PIXELS
from chaos.identity import read
from tests.pictures import BADGE, KEY, jpeg, scaled, stamped

if TYPE_CHECKING:
    from pathlib import Path


def only(file: Path) -> media.Shot:
    (shot,) = media.shots(file)
    return shot


def owner(shot: media.Shot) -> int:
    assert shot.plane is not None, shot.reason
    return read(shot.plane, [KEY])[0].owner


def video(file: Path, frames: int = 12, codec: str = "libx264", pix_fmt: str = "yuv420p") -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 360, pix_fmt
        for _ in range(frames):
            grey = scaled(stamped(), 640, 360)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        container.mux(stream.encode(None))
    return file


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp", "tiff"])
def test_pictures_of_any_kind_are_read(tmp_path, kind):
    file = tmp_path / f"picture.{kind}"
    Image.fromarray(stamped()).convert("RGB").save(file)
    assert owner(only(file)) == BADGE.owner


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.avi", "mjpeg", "yuvj422p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
    ],
)
def test_every_frame_of_a_video_is_read_with_its_time(tmp_path, name, codec, pix_fmt):
    shots = list(media.shots(video(tmp_path / name, codec=codec, pix_fmt=pix_fmt)))
    assert [s.number for s in shots] == list(range(len(shots)))
    assert len(shots) >= 11
    assert {owner(s) for s in shots} == {BADGE.owner}
    times = [s.seconds for s in shots]
    assert all(t is not None for t in times)
    assert times == sorted(times)


def test_a_file_of_many_jpegs_is_a_video(tmp_path):
    file = tmp_path / "stream.mjpeg"
    file.write_bytes(jpeg(stamped()) * 3)
    assert [owner(s) for s in media.shots(file)] == [BADGE.owner] * 3


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "empty").touch()
    assert only(tmp_path / "empty").reason == "the file is empty"


def test_what_is_no_picture_says_so(tmp_path):
    for i, content in enumerate(
        (b"hello\n" * 100, os.urandom(5_000), b"\xff\xd8\xff" + bytes(200), b"\x89PNG\r\n\x1a\n")
    ):
        file = tmp_path / f"{i}.jpg"
        file.write_bytes(content)
        assert only(file).plane is None
        assert only(file).reason


def test_a_missing_file_a_folder_and_a_pipe_say_so(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        assert only(file).reason


def test_a_truncated_jpeg_is_read_as_far_as_it_goes(tmp_path):
    data = jpeg(stamped())
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    assert owner(only(tmp_path / "cut.jpg")) == BADGE.owner


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_video_gives_the_frames_that_are_there(tmp_path, share):
    whole = video(tmp_path / "a.ts", 30, "mpeg2video").read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: int(len(whole) * share)])
    read_ones = [s for s in media.shots(tmp_path / "cut.ts") if s.plane is not None]
    assert 0 < len(read_ones) <= 30
    assert owner(read_ones[0]) == BADGE.owner


@pytest.mark.parametrize("seed", range(12))
def test_a_hostile_video_ends_in_frames_or_a_reason(tmp_path, seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(video(tmp_path / "a.mp4" if seed % 2 else tmp_path / "a.mkv").read_bytes())
    for at in rng.integers(0, len(raw), 30 * (1 + seed)):
        raw[at] = int(rng.integers(256))
    (tmp_path / "hostile").write_bytes(raw)
    for shot in media.shots(tmp_path / "hostile"):
        assert (shot.plane is None) == bool(shot.reason)


def _png_bomb(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_in_bounded_memory(tmp_path):
    side = 15_000  # FFmpeg itself refuses more than 268 million pixels
    assert side * side > MAX_PIXELS
    (tmp_path / "bomb.png").write_bytes(_png_bomb(side))
    small = bytearray(jpeg(np.zeros((64, 64), np.uint8)))
    at = small.find(b"\xff\xc0")
    small[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    (tmp_path / "bomb.jpg").write_bytes(small)
    peak = (
        "import resource, sys; from pathlib import Path; from chaos import media;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "shots = [s for f in sys.argv[1:] for s in media.shots(Path(f))];"
        "assert all(s.plane is None and s.reason for s in shots) and len(shots) == 2, shots;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    files = [str(tmp_path / "bomb.png"), str(tmp_path / "bomb.jpg")]
    done = subprocess.run([sys.executable, "-c", peak, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000, "KiB more than before, for a picture of 225 MB"


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
    ],
)
@pytest.mark.parametrize("named", ["absolute", "relative"])
def test_a_playlist_opens_nothing_else(tmp_path, monkeypatch, playlist, named):
    secret = video(tmp_path / "secret.ts", codec="mpeg2video")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "list.m3u8"
    file.write_text(playlist.format(secret if named == "absolute" else secret.name))
    assert only(file).plane is None
    if not playlist.startswith("#"):  # it is a list that FFmpeg follows where nobody forbids it
        with file.open("rb") as opened, av.open(media._Nameless(opened), options={"safe": "0"}) as unguarded:
            assert next(unguarded.decode(video=0)).width == 640


def test_a_playlist_of_addresses_connects_to_nobody(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/film.ts"
        server.setblocking(False)
        for name, text in (
            ("a.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"),
            ("a.txt", f"ffconcat version 1.0\nfile '{address}'\n"),
        ):
            (tmp_path / name).write_text(text)
            assert only(tmp_path / name).plane is None
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_description_of_a_stream_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] & ~1
    head = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=film\nc=IN IP4 127.0.0.1\nt=0 0\n"
    (tmp_path / "a.sdp").write_text(f"{head}m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    assert "not a picture or video" in only(tmp_path / "a.sdp").reason
    with (tmp_path / "a.sdp").open("rb") as opened, pytest.raises(av.FFmpegError):
        media.container_of(opened)  # FFmpeg would listen at that port


def test_a_picture_with_padding_between_its_rows_is_read(tmp_path):
    # a width that no codec's alignment divides
    file = tmp_path / "odd.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 1000, 562, "yuv420p"
        plane = cv2.resize(stamped(), (1000, 562), interpolation=cv2.INTER_AREA)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="gray")))
        container.mux(stream.encode(None))
    shot = only(file)
    assert shot.plane is not None
    assert shot.plane.shape == (562, 1000)
    assert owner(shot) == BADGE.owner

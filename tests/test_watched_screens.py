"""Screens that are a video or a folder of pictures: in order, in time, and what could not be seen is said."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from chaos import frames
from chaos.displays import folder, stream, watching
from chaos.displays.folder import Folder
from chaos.displays.screens import opened
from chaos.displays.stream import Stream
from chaos.errors import Misuse, Surroundings
from chaos.identity import Key, Register
from chaos.reading import Reader
from chaos.scene import SceneServer

PATIENCE = 20.0
OWNERS = ("ada", "grace", "lin")


def flat(level: int, size: tuple[int, int] = (64, 128)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.005)


def level(screen, shown) -> int:
    return round(float(np.frombuffer(screen.raster(shown.digest).rgb, np.uint8).mean()))


class Writer:
    """Writes pictures into a folder as the folder's contract says: whole, then renamed; each gets its own time."""

    def __init__(self, at: Path) -> None:
        self.at = at
        self._count = itertools.count()

    def write(self, data: bytes, name: str = "") -> Path:
        part = self.at / ".part"
        part.write_bytes(data)
        name = name or f"{next(self._count):05}.jpg"
        part.rename(self.at / name)
        return self.at / name

    def level(self, value: int) -> Path:
        return self.write(frames.encode_jpeg(flat(value), 95))


@pytest.fixture
def writer(tmp_path):
    made = tmp_path / "screen"
    made.mkdir()
    return Writer(made)


@pytest.fixture
def watch():
    with contextlib.ExitStack() as stack:

        def open_(screen: str):
            made = opened("ada", screen)
            stack.callback(made.close)
            return made

        yield open_


def levels_until(screen, last: int) -> list[int]:
    seen: list = []

    def there() -> bool:
        seen.extend(level(screen, s) for s in screen.collect())
        return bool(seen) and seen[-1] == last

    until(there, f"a picture of level {last}, after {seen}")
    return [value for value, _ in itertools.groupby(seen)]


# A folder.


def test_each_picture_of_a_folder_is_shown_in_order_with_the_newest_of_before_first(writer, watch):
    for value in (10, 30):
        writer.level(value)
        time.sleep(0.01)  # their times in the file system differ
    screen = watch(f"folder:{writer.at}")
    for value in (60, 90, 120, 150):
        writer.level(value)
    assert levels_until(screen, 150) == [30, 60, 90, 120, 150]
    assert screen.gaps() == []


def test_a_picture_stands_until_the_next_one_comes(writer, watch):
    writer.level(10)
    screen = watch(f"folder:{writer.at}")
    time.sleep(0.1)
    wrote = time.monotonic()
    writer.level(200)
    until(lambda: len(screen.journal._entries) == 2, "the second picture")
    first, second = screen.collect()
    assert first.until == second.at
    assert second.until is None
    assert abs(second.at - wrote) < 0.5


@pytest.mark.parametrize("off", [-3600, -30, 30, 3600])
def test_a_clock_that_jumps_moves_no_picture_in_time(writer, watch, off):
    writer.level(10)
    screen = watch(f"folder:{writer.at}")
    screen.collect()
    part = writer.at / ".part"
    part.write_bytes(frames.encode_jpeg(flat(200), 95))
    os.utime(part, (time.time() + off,) * 2)
    wrote = time.monotonic()
    part.rename(writer.at / "jumped.jpg")
    until(lambda: len(screen.journal._entries) == 2, "the picture")
    assert wrote <= screen.collect()[-1].at <= time.monotonic()
    assert screen.gaps() == []


def test_a_picture_that_is_still_being_written_is_waited_for(writer, watch):
    writer.level(10)
    screen = watch(f"folder:{writer.at}")
    whole = frames.encode_jpeg(flat(100, (576, 1024)), 95)
    (writer.at / "a.jpg").write_bytes(whole[: len(whole) // 2])
    time.sleep(0.1)
    (writer.at / "b.jpg").write_bytes(frames.encode_jpeg(flat(200), 95))
    time.sleep(0.1)
    with (writer.at / "a.jpg").open("ab") as rest:
        rest.write(whole[len(whole) // 2 :])
    until(lambda: len(screen.journal._entries) == 3, "both")
    assert {level(screen, s) for s in screen.collect()} == {10, 100, 200}
    assert screen.gaps() == []


@pytest.mark.parametrize("rubbish", [b"", b"no picture", b"\xff\xd8\xff\xe0 damaged"])
def test_what_is_no_picture_is_a_time_in_which_nobody_knows_what_was_shown(writer, watch, monkeypatch, rubbish):
    monkeypatch.setattr(folder, "WHOLE_WITHIN", 0.1)
    writer.level(10)
    screen = watch(f"folder:{writer.at}")
    writer.write(rubbish, "rubbish.jpg")
    until(lambda: not screen.stands, "the loss")
    writer.level(90)
    assert levels_until(screen, 90) == [10, 90]
    (gap,) = screen.gaps()
    assert "rubbish.jpg is no picture" in gap.why
    assert gap.until > gap.at


def test_a_folder_that_goes_away_is_no_pass(writer, watch):
    writer.level(10)
    screen = watch(f"folder:{writer.at}")
    screen.collect()
    writer.at.rename(writer.at.with_name("gone"))
    until(lambda: not screen.stands, "the loss")
    assert "cannot be read" in screen.gaps()[0].why
    assert screen.gaps(), "it is still away"


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_a_picture_cannot_be_seen(tmp_path, monkeypatch, made):
    monkeypatch.setattr(watching, "SEEN_WITHIN", 0.2)
    if made:
        (tmp_path / "empty").mkdir()
    with pytest.raises(
        Surroundings, match=r"nothing of the screen of ada's hub was seen within 0 s .*expected pictures"
    ):
        Folder("ada", tmp_path / "empty")


def test_after_a_restart_only_what_is_written_then_counts(writer, watch):
    writer.level(10)
    screen = watch(f"folder:{writer.at}")
    threading.Timer(0.3, writer.level, (77,)).start()
    screen.restarted()
    assert [level(screen, s) for s in screen.collect()] == [77]


# A video.


def video(path: Path, pictures: list[np.ndarray], rate: int = 25) -> Path:
    """Write pictures as H.264 in MPEG-TS."""
    with av.open(str(path), "w", format="mpegts") as container:
        out = container.add_stream("libx264", rate=rate)
        out.height, out.width = pictures[0].shape[:2]
        out.pix_fmt, out.options = "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "crf": "10"}
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(out.encode(frame))
        container.mux(out.encode())
    return path


def test_a_file_is_played_at_its_own_pace_and_each_change_is_shown(tmp_path, watch):
    file = video(tmp_path / "screen.ts", [flat(v) for v in (20, 80, 80, 140, 200) for _ in range(5)])
    began = time.monotonic()
    screen = watch(f"stream:{file}")
    until(lambda: not screen.stands, "its end")
    assert time.monotonic() - began > 0.9, "25 frames at 25 a second"
    seen = [round(level(screen, s), -1) for s in screen.collect()]
    assert [value for value, _ in itertools.groupby(seen)] == [20, 80, 140, 200]
    (gap, *_) = screen.gaps()
    assert "the video ended" in gap.why


def test_a_video_whose_size_changes_is_shown_in_each_size(tmp_path, watch):
    """As MJPEG, whose every picture says how large it is."""
    file = tmp_path / "screen.mjpeg"
    sizes = [(64, 128)] * 5 + [(96, 192)] * 5 + [(64, 128)] * 5
    file.write_bytes(b"".join(frames.encode_jpeg(flat(40 + 10 * n, size), 95) for n, size in enumerate(sizes)))
    screen = watch(f"stream:{file}")
    until(lambda: not screen.stands, "its end")
    seen = [(r.height, r.width) for r in (screen.raster(s.digest) for s in screen.collect())]
    assert [size for size, _ in itertools.groupby(seen)][:3] == [(64, 128), (96, 192), (64, 128)]


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "Invalid data"), (b"no video" * 1000, "Invalid data"), (None, "No such file")]
)
def test_what_is_no_video_cannot_be_seen(tmp_path, monkeypatch, content, told):
    monkeypatch.setattr(watching, "SEEN_WITHIN", 1.0)
    if content is not None:
        (tmp_path / "screen").write_bytes(content)
    with pytest.raises(Surroundings, match=told):
        Stream("ada", str(tmp_path / "screen"))


def test_a_pipe_that_falls_silent_is_no_pass(tmp_path, monkeypatch, watch):
    monkeypatch.setattr(stream, "SILENT", 0.2)
    source = tmp_path / "pipe.mjpeg"
    os.mkfifo(source)
    done = threading.Event()

    def write() -> None:
        with source.open("wb") as pipe:
            for n in range(60):
                pipe.write(frames.encode_jpeg(flat(60 + n, (576, 1024)), 95))
                pipe.flush()
                done.wait(0.02)
            done.wait(PATIENCE)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        screen = watch(f"stream:{source}")
        screen.collect()
        until(screen.gaps, "the silence to be told")
    finally:
        done.set()
        writing.join()


@pytest.mark.live
def test_a_camera_on_a_screen_is_read_through_rtsp(tmp_path, watch):
    """H.264 over RTSP in TCP: the harness's own lens, as if it were an encoder behind a hub's screen."""
    key = Key.fresh()
    reader = Reader(Register(OWNERS, ("living-room",)), (key,))
    with SceneServer(OWNERS, ("living-room",), key) as scene:
        scene.case = 7
        url = scene.offer(("lin", "living-room"), "rtsp", "127.0.0.1")
        screen = watch(f"stream:{url}#late=0.1")
        until(lambda: len(screen.journal._entries) > 5, "frames")
        rasters = [screen.raster(s.digest) for s in screen.collect()]
        screen.close()
    readings = [reader.read(frames.luma_of_rgb(r.rgb, r.width, r.height)) for r in rasters]
    assert {(s.owner, s.case) for r in readings for s in r.sightings} == {("lin", 7)}
    assert all(r.sightings for r in readings)


@pytest.mark.parametrize(
    ("screen", "told"),
    [
        ("folder:", "expected 'folder:' and what it is of"),
        ("folder:/tmp#late=1", "says 'late'"),
        ("stream:x#late=soon", "late by 'soon'; expected seconds from 0 to 10"),
        ("stream:x#late=-1", "late by '-1'"),
        ("stream:x#page=1", "says 'page'"),
        ("folder:/tmp#box=1", "the box '1'"),
    ],
)
def test_words_that_name_no_such_screen_are_refused(screen, told):
    with pytest.raises(Misuse, match=told):
        opened("ada", screen)

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from chaos import media
from chaos.errors import Misuse
from chaos.identity import read
from chaos.stampfiles import Stamper, stamp_files, stamped_picture
from tests.pictures import KEY, textured
from tests.test_media import video


def stamper() -> Stamper:
    return Stamper(KEY, case=4, owner=7, camera=2, time_ms=1_000)


def picture(kind: str = "JPEG", size: tuple[int, int] = (1280, 720)) -> bytes:
    written = io.BytesIO()
    grey = textured(3, *size)
    Image.fromarray(np.dstack([grey, grey // 2, 255 - grey])).save(written, kind, quality=92)
    return written.getvalue()


@pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP"), (".bmp", "BMP")])
def test_a_stamped_picture_names_its_owner_and_keeps_its_size_and_colours(tmp_path, suffix, kind):
    (tmp_path / "in").write_bytes(picture())
    assert stamp_files(stamper(), [tmp_path / "in"], tmp_path / f"out{suffix}") == []
    (shot,) = media.shots(tmp_path / f"out{suffix}", quick=False)
    assert shot.plane is not None
    assert shot.plane.shape == (720, 1280)
    (seen,) = read(shot.plane, [KEY])
    assert (seen.owner, seen.camera, seen.case, seen.tiles, seen.frame, seen.time_ms) == (7, 2, 4, 12, 0, 1_000)
    with Image.open(io.BytesIO(picture())) as before, Image.open(tmp_path / f"out{suffix}") as after:
        beside = (slice(30, 100), slice(440, 840))  # between two tiles
        change = np.asarray(before.convert("RGB"), int)[beside] - np.asarray(after.convert("RGB"), int)[beside]
    assert abs(change).mean() < 4


def test_every_frame_of_a_stamped_video_has_the_next_number_and_its_time(tmp_path):
    source = video(tmp_path / "in.mkv")
    assert stamp_files(stamper(), [source], tmp_path / "out.mp4") == []
    seen = [read(s.plane, [KEY]) for s in media.shots(tmp_path / "out.mp4")]
    assert [s[0].frame for s in seen] == list(range(12))
    assert [s[0].time_ms for s in seen] == [1_000 + 100 * i for i in range(12)]
    assert {s[0].owner for s in seen} == {7}


@pytest.mark.parametrize("jobs", [1, 4])
def test_several_files_are_stamped_into_a_folder_in_order(tmp_path, jobs):
    names = [f"{n}.jpg" for n in range(8)]
    for name in names:
        (tmp_path / name).write_bytes(picture() if name != "5.jpg" else b"hello")
    finished: list[None] = []
    wrong = stamp_files(
        stamper(), [tmp_path / n for n in names], tmp_path / "out", lambda: finished.append(None), jobs=jobs
    )
    assert [w.split(" was not")[0].rsplit("/")[-1] for w in wrong] == ["5.jpg"]
    assert len(finished) == 8
    stamped = [n for n in names if n != "5.jpg"]
    frames = [read(next(media.shots(tmp_path / "out" / n)).plane, [KEY])[0].frame for n in stamped]
    assert frames == [0, 1, 2, 3, 4, 6, 7]


def with_sound(file: Path, codec: str) -> Path:
    with av.open(str(file), "w") as container:
        film = container.add_stream("libx264", rate=10)
        film.width, film.height, film.pix_fmt = 640, 360, "yuv420p"
        sound = container.add_stream(codec, rate=48_000)
        sound.layout = "stereo"
        tone = (np.sin(np.arange(4_800) / 20) * 9_000).astype(np.int16)
        for i in range(12):
            grey = textured(3, 640, 360)
            container.mux(film.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
            part = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None], format="s16", layout="stereo")
            part.sample_rate, part.pts = 48_000, 4_800 * i
            container.mux(sound.encode(part))
        container.mux(film.encode(None))
        container.mux(sound.encode(None))
    return file


def sound_of(file: Path) -> list[tuple[float, bytes]]:
    with av.open(str(file)) as container:
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.dts is not None]


@pytest.mark.parametrize(("codec", "suffix"), [("aac", ".mp4"), ("flac", ".mkv"), ("pcm_s16le", ".mov")])
def test_the_sound_of_a_film_is_kept_as_it_is(tmp_path, codec, suffix):
    source = with_sound(tmp_path / f"in{suffix}", codec)
    lacks: list[str] = []
    assert stamp_files(stamper(), [source], tmp_path / f"out{suffix}", say=lacks.append) == []
    assert lacks == []
    before, after = sound_of(source), sound_of(tmp_path / f"out{suffix}")
    assert len(after) >= 8
    assert [data for _, data in after] == [data for _, data in before]
    assert [at for at, _ in after] == pytest.approx([at for at, _ in before], abs=0.002)
    assert {read(s.plane, [KEY])[0].owner for s in media.shots(tmp_path / f"out{suffix}")} == {7}


def test_sound_that_has_no_place_is_told(tmp_path):
    source = with_sound(tmp_path / "in.mkv", "tta")
    lacks: list[str] = []
    assert stamp_files(stamper(), [source], tmp_path / "out.mov", say=lacks.append) == []
    assert lacks == [f"{source}: its audio (tta) has no place in a stamped .mov and was left out"]
    assert len(list(media.shots(tmp_path / "out.mov"))) == 12


def test_what_cannot_be_stamped_is_told_and_the_rest_is(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"hello")
    (tmp_path / "bad.mp4").write_bytes(b"hello")
    (tmp_path / "small.jpg").write_bytes(picture(size=(160, 90)))
    (tmp_path / "good.jpg").write_bytes(picture())
    (tmp_path / "what.txt").write_bytes(b"hello")
    wrong = stamp_files(stamper(), sorted(tmp_path.iterdir()), tmp_path / "out")
    assert [w.split(" was not")[0].rsplit("/")[-1] for w in wrong] == ["bad.jpg", "bad.mp4", "small.jpg", "what.txt"]
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["good.jpg"]


def test_a_picture_is_never_replaced_by_its_stamped_copy(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture())
    with pytest.raises(Misuse, match="another place"):
        stamp_files(stamper(), [tmp_path / "a.jpg"], tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == picture()


def test_two_files_of_one_name_are_not_stamped_over_each_other(tmp_path):
    with pytest.raises(Misuse, match=r"called a\.jpg"):
        stamp_files(stamper(), [tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg"], tmp_path / "out")
    with pytest.raises(Misuse, match="nothing to stamp"):
        stamp_files(stamper(), [], tmp_path / "out")


def test_a_bomb_is_not_stamped():
    written = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(written, "PNG")
    with pytest.raises(Misuse, match="at most 40 million"):
        stamped_picture(stamper(), written.getvalue())

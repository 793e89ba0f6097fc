from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from chaos import judging, media
from chaos.errors import Misuse
from chaos.identity import Badge, Box, Key
from chaos.judging import Task
from tests.pictures import BADGE, KEY, jpeg, scaled, stamped

GRACE = Badge(case=BADGE.case, owner=700, camera=2, frame=3, time_ms=300)


def judged(task: Task, *paths: Path, jobs: int = 1, patience: float = 60) -> tuple[list[dict], Counter[str]]:
    written: list[bytes] = []
    counts = judging.judge(task, judging.files(paths), jobs, written.append, patience=patience)
    return [json.loads(line) for line in b"".join(written).splitlines()], counts


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    torn = stamped()
    torn[540:] = stamped(GRACE)[540:]
    (folder / "a.jpg").write_bytes(jpeg(stamped()))
    (folder / "b.jpg").write_bytes(jpeg(stamped(GRACE)))
    (folder / "c.jpg").write_bytes(jpeg(torn))
    (folder / "d.jpg").write_bytes(b"no picture")
    (folder / "e.jpg").write_bytes(jpeg(np.full((600, 1024), 40, np.uint8)))
    return folder


def test_each_frame_is_a_line_with_owner_camera_case_frame_time_and_tiles(album):
    (line,), counts = judged(Task((KEY,)), album / "a.jpg")
    assert counts == {"named": 1}
    (owner,) = line["owners"]
    expected = {
        "owner": BADGE.owner,
        "camera": BADGE.camera,
        "case": BADGE.case,
        "frame": BADGE.frame,
        "captured_ms": BADGE.time_ms,
        "tiles": 12,
        "by": "mac",
    }
    assert owner | expected == owner
    assert line["verdict"] == "named"


def test_with_an_owner_everybody_else_is_foreign_and_a_torn_picture_names_both(album):
    lines, counts = judged(Task((KEY,), owner=BADGE.owner, camera=BADGE.camera), album)
    assert [line["verdict"] for line in lines] == ["own", "foreign", "foreign", "unreadable", "blank"]
    assert {o["owner"] for o in lines[2]["owners"]} == {BADGE.owner, GRACE.owner}
    assert "not a picture or video" in lines[3]["reason"]
    assert judging.exit_code(counts) == 1


def test_another_camera_of_the_owner_is_misdirected(album):
    (line,), counts = judged(Task((KEY,), owner=BADGE.owner, camera=9), album / "a.jpg")
    assert line["verdict"] == "misdirected"
    assert judging.exit_code(counts) == 1


def test_a_sliver_is_matched_with_the_owners_of_a_file_and_called_by_name(tmp_path):
    names = tmp_path / "owners"
    names.write_text("".join(f"owner {n}\n" for n in range(1, 1_045)))
    torn = stamped()
    torn[400:464] = stamped(GRACE)[400:464]
    (tmp_path / "torn.jpg").write_bytes(jpeg(torn))
    task = judging.task((KEY,), names, "owner 513", 2, None, cameras=2)
    (line,), _ = judged(task, tmp_path / "torn.jpg")
    own, sliver = line["owners"]
    assert (own["name"], own["by"], own["chance"]) == ("owner 513", "mac", None)
    assert (sliver["name"], sliver["by"], sliver["tiles"]) == ("owner 700", "match", 0)
    assert 0 < sliver["chance"] <= 1e-9
    assert line["verdict"] == "foreign"


def test_a_picture_of_an_earlier_run_is_named_by_its_key(album):
    later = Key.fresh()
    (line,), _ = judged(Task((later, KEY)), album / "a.jpg")
    assert line["owners"][0]["key"] == KEY.id
    assert line["owners"][0]["case"] == BADGE.case


def test_under_a_wrong_key_nobody_is_named_and_a_hint_is_given(album):
    task = Task((Key.fresh(),))
    lines, counts = judged(task, album / "a.jpg")
    assert lines[0]["verdict"] == "unreadable"
    assert judging.exit_code(counts) == 2
    assert "is it the run's?" in judging.summary(counts, task)


def test_a_filmed_test_card_is_found_when_it_is_looked_for(tmp_path):
    from chaos.testcard import TestCard
    from tests.bench.damage import encoded, through_a_camera

    card = media.frames.luma_of_jpeg(TestCard(KEY, 2, 5, 1).jpeg(1), quick=False)
    seen = through_a_camera((1280, 720), 0.8, (8, 15, -5), card)
    (tmp_path / "seen.jpg").write_bytes(encoded(seen))
    (blind,), _ = judged(Task((KEY,)), tmp_path / "seen.jpg")
    (found,), _ = judged(Task((KEY,), find=True), tmp_path / "seen.jpg")
    assert blind["verdict"] == "unreadable"
    assert found["owners"][0]["owner"] == 5


def test_a_box_says_where_the_picture_sits(tmp_path):
    screen = np.zeros((600, 1024), np.uint8)
    screen[12:588] = scaled(stamped(), 1024, 576)
    (tmp_path / "screen.jpg").write_bytes(jpeg(screen))
    (line,), _ = judged(Task((KEY,), box=Box(0, 12, 1024, 576)), tmp_path / "screen.jpg")
    assert line["owners"][0]["tiles"] == 12


def test_pictures_and_films_that_are_cut_off_are_read_without_being_told_where(tmp_path):
    part = np.ascontiguousarray(stamped()[70:990, 203:1803])
    (tmp_path / "a.jpg").write_bytes(jpeg(part))
    assert cv2.imwrite(str(tmp_path / "b.png"), part)
    with av.open(str(tmp_path / "c.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 800, 460, "yuv420p"
        for _ in range(3):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(scaled(part, 800, 460), format="gray")))
        film.mux(stream.encode(None))
    lines, counts = judged(Task((KEY,), owner=BADGE.owner), tmp_path)
    assert counts == {"own": 5}
    assert all(line["owners"][0]["tiles"] >= 4 for line in lines)
    _, told_wrongly = judged(Task((KEY,), owner=BADGE.owner, box=Box(0, 0, 1600, 920)), tmp_path / "b.png")
    assert told_wrongly == {"unreadable": 1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_rest_is_judged_when_a_decoder_dies_or_hangs(album, monkeypatch, jobs):
    monkeypatch.setattr(judging, "_work", _works_until_b_or_c)
    lines, counts = judged(Task((KEY,)), album, jobs=jobs, patience=5)
    told = {Path(line["file"]).name: line for line in lines}
    assert set(told) == {"a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"}
    assert "ended by itself (code 42)" in told["b.jpg"]["reason"]
    assert "nothing came of it" in told["c.jpg"]["reason"]
    assert told["a.jpg"]["verdict"] == "named"
    assert sum(counts.values()) == 5


def _works_until_b_or_c(pipe, task):
    worker = judging.Judge(task)
    pipe.send(([], -1, False))
    while True:
        file = pipe.recv()
        if file.endswith("b.jpg"):
            os._exit(42)
        if file.endswith("c.jpg"):
            pipe.poll(None)  # nothing comes: for ever
        pipe.send(([(x.verdict, judging._json(x)) for x in worker.lines(file)], 0, True))


def test_a_folder_with_100000_files_is_judged_in_bounded_memory(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "first").touch()
    for i in range(1, 20_000):
        os.link(folder / "first", folder / str(i))
    names = judging.files([folder]) * 5
    most = 0

    def write(lines: bytes) -> None:
        nonlocal most
        most = max(most, lines.count(b"\n"))

    counts = judging.judge(Task((KEY,)), names, 2, write)
    assert counts == {"unreadable": 100_000}
    assert most <= judging.BATCH


def test_a_long_video_comes_in_batches(tmp_path):
    from tests.test_media import video

    sizes: list[int] = []
    file = video(tmp_path / "long.mp4", frames=judging.BATCH * 2 + 10)
    judging.judge(Task((KEY,)), [str(file)], 1, lambda lines: sizes.append(lines.count(b"\n")))
    assert sum(sizes) == judging.BATCH * 2 + 10
    assert max(sizes) == judging.BATCH


def test_a_name_that_is_no_text_is_told(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    Path(name).write_bytes(b"")
    (line,), _ = judged(Task((KEY,)), Path(name))
    assert line["file"].endswith("\\xff.jpg")


def test_nothing_to_judge_is_no_pass(tmp_path):
    lines, counts = judged(Task((KEY,)), tmp_path)
    assert lines == []
    assert judging.exit_code(counts) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"owner": "ada"}, "--owners FILE"),
        ({"camera": 2}, "--owner"),
        ({"box": "1,2,3"}, "X,Y,W,H"),
        ({"box": "a,b,c,d"}, "X,Y,W,H"),
        ({"box": "0,0,0,5"}, "above zero"),
        ({"owners": Path("missing")}, "cannot be read"),
    ],
)
def test_what_a_command_line_cannot_mean_is_misuse(arguments, told):
    with pytest.raises(Misuse, match=told):
        judging.task(**({"keys": (KEY,), "owners": None, "owner": None, "camera": None, "box": None} | arguments))
    with pytest.raises(Misuse, match="no file"):
        judging.files([Path("missing")])


def test_no_decoder_is_asked_for_a_frame_that_nobody_wants(album):
    shots = media.shots(album / "a.jpg")
    assert next(shots).plane is not None
    shots.close()

"""One run's folder: written as things happen, read again whatever became of the run."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chaos import conditions, evidence
from chaos.displays import Raster
from chaos.errors import Misuse, Surroundings
from chaos.evidence import Evidence, new_folder, read_history
from chaos.history import to_line
from chaos.identity import Key
from tests.makers import SLOW, conditions_set, passing_run, seen, shown

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")

EVENTS = tuple(passing_run(shown(6, 7, seen("grace", case=2))))


def raster(digest: str = "d" * 64, width: int = 640, height: int = 360) -> Raster:
    chance = np.random.default_rng(len(digest))
    return Raster(digest, width, height, chance.integers(0, 255, (height, width, 3), np.uint8).tobytes())


@pytest.fixture
def store(tmp_path):
    with_events = Evidence(tmp_path / "run")
    yield with_events
    with_events.close()


# History.


def test_a_recorded_history_is_read_as_it_was(store):
    store.record(EVENTS[:5])
    store.record(EVENTS[5:])

    assert read_history(store.folder) == EVENTS
    assert store.history == EVENTS


def test_events_are_on_disk_as_soon_as_they_are_recorded(store):
    for number, event in enumerate(EVENTS, 1):
        store.record([event])
        assert len(read_history(store.folder)) == number


def test_a_run_that_recorded_nothing_has_an_empty_history(store):
    store.record([])

    assert read_history(store.folder) == ()


def test_wherever_the_last_line_was_cut_off_the_lines_before_it_are_read(tmp_path):
    last = conditions_set("Åsa's link", conditions.of(), 1.0)
    before, line = b"".join(to_line(e) + b"\n" for e in EVENTS[:3]), to_line(last)

    for cut in range(len(line)):
        (tmp_path / "history.jsonl").write_bytes(before + line[:cut])
        assert read_history(tmp_path) == EVENTS[:3], cut
    (tmp_path / "history.jsonl").write_bytes(before + line)
    assert read_history(tmp_path) == (*EVENTS[:3], last)


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[:-5],
        lambda line: b"",
        lambda line: b"\xff" + line,
        lambda line: line.replace(b"ada", b"\xffda"),
        lambda line: b'{"event":"sneezed"}',
        lambda line: b"\0" * len(line),
        lambda line: to_line(conditions_set("x", SLOW, 1.0)).replace(b"1000", b"-1"),
    ],
    ids=["cut", "gone", "more", "no text", "unknown", "zeros", "a value that nobody could have set"],
)
def test_damage_in_the_middle_is_told_with_its_line(tmp_path, damage):
    lines = [to_line(e) for e in EVENTS if b"ada" in to_line(e)][:6]
    lines[3] = damage(lines[3])
    (tmp_path / "history.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    with pytest.raises(Misuse, match=r"history\.jsonl, line 4: "):
        read_history(tmp_path)


def test_a_last_line_that_is_damaged_and_ends_is_damage(tmp_path):
    (tmp_path / "history.jsonl").write_bytes(to_line(EVENTS[0]) + b"\n" + to_line(EVENTS[1])[:-3] + b"\n")

    with pytest.raises(Misuse, match="line 2: "):
        read_history(tmp_path)


def test_a_folder_that_is_no_evidence_is_refused(tmp_path):
    with pytest.raises(Misuse, match=r"no evidence folder: it has no history\.jsonl"):
        read_history(tmp_path)


# Pictures.


def test_a_displayed_raster_is_kept_small_and_once(store):
    store.keep(raster())
    small = store.folder / "frames" / ("d" * 16 + ".jpg")
    written = small.stat().st_mtime_ns
    store.keep(raster())

    with Image.open(small) as picture:
        assert (picture.format, picture.size) == ("JPEG", (320, 180))
    assert small.stat().st_mtime_ns == written
    assert not store.full("d" * 64).exists()


def test_a_raster_around_a_finding_is_kept_pixel_by_pixel(store):
    kept = raster()
    store.keep(kept)
    store.keep_full([kept.digest])

    with Image.open(store.full(kept.digest)) as picture:
        assert picture.convert("RGB").tobytes() == kept.rgb


def test_a_raster_that_was_let_go_stays_small(store):
    store.keep(raster())
    store.forget()
    store.keep_full(["d" * 64])

    assert not store.full("d" * 64).exists()


def test_pictures_have_so_much_room_what_is_left_out_is_counted_and_findings_are_kept(tmp_path):
    store = Evidence(tmp_path / "run", limit=1)
    for digest in ("a" * 64, "b" * 64, "c" * 64, "c" * 64):
        store.keep(raster(digest))
    kept = {p.name for p in (tmp_path / "run" / "frames").iterdir()}
    assert kept == {f"{'a' * 16}.jpg"}, "the first had room"
    assert store.dropped[0].startswith("2 small pictures of displayed frames were left out")
    store.keep_full(["c" * 64])
    kept = {p.name for p in (tmp_path / "run" / "frames").iterdir()} - kept
    assert kept == {f"{'c' * 16}.jpg", f"{'c' * 16}.png"}, "a finding's are kept, large and small"
    assert store.dropped[0].startswith("1 small pictures")
    store.close()


def test_a_log_that_is_too_long_is_cut_to_its_end_and_that_is_told(store, monkeypatch):
    monkeypatch.setattr(evidence, "LOG_LIMIT", 100)
    (store.logs / "relay.log").write_text("".join(f"line {n:05d}\n" for n in range(200)))
    (store.logs / "cache.log").write_text("short\n")
    store.cut_logs()
    first, *rest = (store.logs / "relay.log").read_text().splitlines()
    assert first == "(ownframe: what was before is left out, see run.json)"
    assert rest == [f"line {n:05d}" for n in range(191, 200)]
    assert (store.logs / "cache.log").read_text() == "short\n"
    assert store.dropped == ("the first 2.1 KB of the log of relay were left out",)


@pytest.mark.parametrize(("text", "wanted"), [("500MB", 500_000_000), ("1.5 gb", 1_500_000_000), ("20kb", 20_000)])
def test_a_size_is_a_number_with_a_unit(text, wanted):
    assert evidence.size(text) == wanted


@pytest.mark.parametrize("text", ["500", "MB", "0MB", "-1GB", "1TB", ""])
def test_what_is_no_size_is_a_sentence(text):
    with pytest.raises(Misuse, match="expected a number with a unit, such as 500MB or 2GB"):
        evidence.size(text)


def test_a_raster_seen_in_an_earlier_case_can_be_kept_full_when_it_is_seen_again(store):
    store.keep(raster())
    store.forget()
    store.keep(raster())
    store.keep_full(["d" * 64])

    assert store.full("d" * 64).exists()


# Files.


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\0\1", b"\0\1"), ("Åsa\n", "Åsa\n".encode()), ({"b": 1, "a": 2}, b'{\n  "a": 2,\n  "b": 1\n}\n')],
)
def test_a_file_is_written_whole(store, content, expected):
    path = store.write("findings/1/it", content)

    assert path.read_bytes() == expected
    assert [p.name for p in path.parent.iterdir()] == ["it"]


# A full disk, a folder that cannot be written.

SENTENCE = r"the disk of .*run is full; free some space or give --evidence another place\. What was found until now"


def fill_the_disk(store: Evidence) -> None:
    """From now on the history's file takes no more bytes."""
    full = os.open(FULL, os.O_WRONLY)
    os.dup2(full, store._history.fileno())
    os.close(full)


@needs_full
def test_a_disk_that_fills_up_is_told_and_what_was_found_stays(tmp_path):
    store = Evidence(tmp_path / "run")
    store.record(EVENTS[:7])
    store.keep(raster())
    store.keep_full(["d" * 64])
    store.write("findings/1/finding.txt", "Ada saw Grace's living room.\n")
    fill_the_disk(store)

    with pytest.raises(Surroundings, match=SENTENCE):
        store.record(EVENTS[7:])
    store.close()

    assert read_history(store.folder) == EVENTS[:7]
    assert store.full("d" * 64).exists()
    assert (store.folder / "findings" / "1" / "finding.txt").read_text() == "Ada saw Grace's living room.\n"
    assert store.history == EVENTS  # a leak that was seen is told although it could not be stored


def test_a_disk_that_fills_up_within_a_line_leaves_whole_lines_and_the_run_may_go_on(tmp_path):
    store = Evidence(tmp_path / "run")
    store.record(EVENTS[:2])
    room = (store.folder / "history.jsonl").stat().st_size + len(to_line(EVENTS[2])) + 30
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(Surroundings, match="could not write evidence: "):
            store.record(EVENTS[2:6])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert read_history(store.folder) == EVENTS[:3]
    store.record(EVENTS[6:8])
    store.close()
    assert read_history(store.folder) == (*EVENTS[:3], *EVENTS[6:8])


@needs_full
def test_a_full_disk_spares_what_a_file_held_before(store):
    path = store.write("run.json", "before\n")
    (store.folder / "run.json.part").symlink_to(FULL)

    with pytest.raises(Surroundings, match=SENTENCE):
        store.write("run.json", "after\n")

    assert path.read_text() == "before\n"


@needs_full
def test_a_full_disk_is_told_for_pictures_too(store):
    (store.folder / "frames" / ("d" * 16 + ".jpg")).symlink_to(FULL)

    with pytest.raises(Surroundings, match=SENTENCE):
        store.keep(raster())


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(Surroundings, match=r"could not write evidence: .*give --evidence a folder that can be written"):
        Evidence(tmp_path / "file")
    with pytest.raises(Surroundings, match="could not write evidence"):
        new_folder(tmp_path / "file" / "deeper", "process-reference")


# Folders of runs.


def test_a_new_folder_is_named_by_time_and_label_and_is_empty(tmp_path):
    folder = new_folder(tmp_path / "evidence", "process-december-26")

    assert re.fullmatch(r"\d{8}T\d{6}-process-december-26", folder.name)
    assert list(folder.iterdir()) == []


class _Frozen(evidence.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 12, 26, 8, 0, 0, tzinfo=tz)


def test_two_folders_of_one_second_are_two(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "datetime", _Frozen)

    folders = [new_folder(tmp_path, "process-reference") for _ in range(3)]

    assert [f.name for f in folders] == [
        "20261226T080000-process-reference",
        "20261226T080000-process-reference-1",
        "20261226T080000-process-reference-2",
    ]


def test_latest_points_at_the_newest_folder(tmp_path):
    for label in ("first", "second"):
        folder = new_folder(tmp_path, label)

        assert (tmp_path / "latest").resolve() == folder
        assert (tmp_path / "latest").readlink() == Path(folder.name)  # the whole tree can be moved
    assert sorted(p.name.split("-")[-1] for p in tmp_path.iterdir()) == ["first", "latest", "second"]


def test_latest_leak_stays_at_the_run_that_leaked_also_when_that_is_one_worker_of_a_gate(tmp_path):
    gate = evidence.new_folder(tmp_path, "gate")
    evidence.point_at_leak(tmp_path, gate / "worker-2")
    evidence.new_folder(tmp_path, "second")
    assert (tmp_path / "latest-leak").resolve() == gate
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    evidence.point_at_leak(elsewhere, gate)  # evidence that is kept outside of the root
    assert list(elsewhere.iterdir()) == []


def test_somebodys_own_folder_called_latest_is_left_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "notes").write_text("mine")

    assert new_folder(tmp_path, "first").is_dir()

    assert (tmp_path / "latest" / "notes").read_text() == "mine"
    assert not list(tmp_path.glob(".latest*"))


# The key.


def test_the_key_of_a_run_is_in_no_file_of_its_folder(tmp_path, monkeypatch):
    from chaos import run

    secret = bytes(range(100, 132))
    monkeypatch.setattr(run.Key, "fresh", classmethod(lambda cls: Key(secret)))

    with run.Run(run.Settings(evidence=tmp_path)) as made:
        made.evidence.record(EVENTS)
        made.evidence.keep(raster())
        made.evidence.keep_full(["d" * 64])
        made.evidence.write("findings/1/key.txt", "".join(repr(key) + str(key) for key in made._keys))

    files = [p for p in made.evidence.folder.rglob("*") if p.is_file()]
    assert {"run.json", "history.jsonl", "key.txt"} <= {p.name for p in files}
    spellings = (secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret), b"100, 101")
    for path in files:
        data = path.read_bytes()
        assert not [s for s in spellings if s in data], path
    assert json.loads((made.evidence.folder / "run.json").read_text())["key_id"] == Key(secret).id

"""Stored runs judged again: the same word, another word, and folders that are half written, old or hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import pytest

from chaos import rejudging
from chaos.cli import main
from chaos.evidence import FORMAT
from chaos.history import to_line
from chaos.identity import Badge, Key, stamp
from chaos.plan import Plan
from chaos.verdict import Outcome
from tests.makers import OWNERS, asked, case, case_ended, passing_run, seen, shown, signed_in
from tests.pictures import textured

KEY = Key(bytes(range(32)))


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a run's folder of these events."""

    def written(events=None, name="run", outcome="passed", **about):
        run = tmp_path / name
        (run / "frames").mkdir(parents=True)
        events = passing_run() if events is None else events
        (run / "history.jsonl").write_bytes(b"".join(to_line(e) + b"\n" for e in events))
        told = {"format": FORMAT, "outcome": outcome, "key_id": KEY.id, "chapters": {}} | about
        (run / "run.json").write_text(json.dumps(told))
        return run

    return written


def again(run: Path, *keys: Key) -> tuple[int, str]:
    said: list[str] = []
    code = rejudging.tell([run], keys, 1, said.append)
    return code, "\n".join(said)


FRAMES = {"chapters": {"Evening": {"frames": {"own": 6, "blank": 6}}}}


def test_a_run_that_passed_passes_again(folder):
    code, said = again(folder(**FRAMES))
    assert (code, "DIFFERS" in said, "missing" in said) == (0, False, False), said
    assert "run: passed" in said
    assert "6 own" in said


def test_a_leak_is_told_again_in_its_sentence(folder):
    stranger = shown(7.0, 8.0, seen("grace", case=2))
    code, said = again(folder(passing_run(stranger), outcome="leak"))
    assert code == 1
    assert "case 2: ada saw grace's living-room on the hub in ada's home" in said
    assert "DIFFERS" not in said
    assert "missing: the pictures of 1 foreign frames" in said


def test_a_word_that_was_another_then_is_told(folder):
    code, said = again(folder(outcome="leak", chapters={"Evening": {"frames": {"foreign": 1, "own": 6, "blank": 6}}}))
    assert code == 2
    assert "DIFFERS: the run said 'leak' then, and it is 'passed' now" in said
    assert "DIFFERS: 0 frames are foreign now, 1 were then" in said


def picture(run: Path, digest: str, owner: int, key: Key = KEY) -> None:
    plane = textured(1).copy()
    stamp(plane, Badge(7, owner, 1, 3, 1000), key)
    cv2.imwrite(str(run / "frames" / f"{digest}.png"), plane)


def shown_picture(folder, digest: str, **about) -> Path:
    frame = shown(6.0, 7.0, seen("ada", case=7))
    events = [case(7), signed_in("ada", 0, 1), asked(2), frame, case_ended(7)]
    events[0] = type(events[0])(at=0.0, case=7, kind="plan", plan=Plan(OWNERS, ()))
    events[3] = type(frame)(hub="ada", at=6.0, until=7.0, digest=digest + "0" * 48, reading=frame.reading)
    return folder(events, outcome="inconclusive", **about)


@pytest.mark.parametrize(("owner", "differs"), [(1, False), (2, True)])
def test_pixels_are_read_again_where_the_key_is_had(folder, owner, differs):
    digest = "0123456789abcdef"
    run = shown_picture(folder, digest)
    picture(run, digest, owner)
    _, said = again(run, KEY)
    assert "1 full pictures were read again" in said
    assert (f"frames/{digest}.png, case 7 on ada's hub: its pixels name" in said) is differs, said


def test_without_the_key_pixels_are_left_alone_and_that_is_said(folder):
    run = shown_picture(folder, "0123456789abcdef")
    picture(run, "0123456789abcdef", 2)
    assert "were not read again: this run's key is not had here" in again(run, Key(bytes(32)))[1]


def test_a_gates_folder_is_judged_worker_by_worker(folder, tmp_path):
    for n in (1, 2):
        folder(name=f"gate/worker-{n}", **FRAMES)
    code, said = again(tmp_path / "gate")
    assert (code, said.count(": passed")) == (0, 2)


# Folders that are not as a run leaves them.


def test_a_half_written_folder_is_judged_as_far_as_it_goes(folder):
    run = folder(outcome=None)
    data = (run / "history.jsonl").read_bytes()
    (run / "history.jsonl").write_bytes(data[: len(data) * 2 // 3])
    code, said = again(run)
    assert code == 2
    assert "missing: an end: the run was killed" in said
    assert "of history.jsonl: " in said
    assert "own" in said


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("run.json", b"{", "run.json is damaged"),
        ("run.json", b"[]", "run.json is no object"),
        ("run.json", b"[" * 100_000, "run.json is damaged"),
        ("run.json", b'{"format": 99, "outcome": "passed"}', "run.json has format 99"),
        ("run.json", b'{"format": 1, "outcome": "passed", "chapters": {"a": [], "b": {"frames": {"own": []}}}}', "own"),
        ("history.jsonl", b"\xff\xfe\n{}\n", "line 1 of history.jsonl"),
        ("history.jsonl", b"x" * 9_000_000 + b"\n", "longer than any event"),
        ("history.jsonl", b"[" * 200_000 + b"\n", "line 1 of history.jsonl"),
        ("history.jsonl", b'{"event":"from another version"}\n', "line 1 of history.jsonl"),
    ],
    ids=[
        "cut",
        "a list",
        "nested",
        "other version",
        "odd chapters",
        "no text",
        "huge line",
        "nested line",
        "odd event",
    ],
)
def test_damage_is_said_and_the_rest_is_judged(folder, file, content, told):
    run = folder()
    (run / file).write_bytes(content)
    code, said = again(run)
    assert code in (0, 2)
    assert told in said


@pytest.mark.parametrize("gone", ["run.json", "history.jsonl", "frames"])
def test_what_is_not_there_is_said(folder, gone):
    run = folder()
    (run / gone).rename(run / "elsewhere")
    code, said = again(run)
    assert code == 2
    assert f"missing: {gone}" in said


def test_links_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"format": 1, "outcome": "secret"}')
    run = folder()
    (run / "run.json").unlink()
    (run / "run.json").symlink_to(secret)
    (run / "frames" / ("a" * 16 + ".png")).symlink_to(secret)
    code, said = again(run, KEY)
    assert code == 2
    assert "run.json is a link, which is not followed" in said
    assert f"frames/{'a' * 16}.png is no picture of a run" in said
    assert "secret" not in said


def test_hostile_names_reach_no_terminal(folder):
    evil = "ada\x1b]0;owned\x07\x9b2J"
    events = [case(), signed_in(evil, 0.0, 1.0, hub=evil), asked(2.0, 3.0, hub=evil)]
    run = folder([*events, shown(5.0, 6.0, seen("grace"), hub=evil), case_ended()], outcome=evil)
    (run / "frames" / "\x1b[31m.png").write_bytes(b"")
    code, said = again(run)
    assert code == 1
    assert not set("\x1b\x07\x9b") & set(said)


def test_a_picture_that_is_none_differs_and_kills_nobody(folder):
    digest = "0123456789abcdef"
    run = shown_picture(folder, digest)
    (run / "frames" / f"{digest}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(1000))
    code, said = again(run, KEY)
    assert code == 2
    assert "its pixels name nobody" in said


def test_the_shell_tells_an_evidence_folder_from_one_of_pictures(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OWNFRAME_STATE", str(tmp_path / "state"))
    with pytest.raises(SystemExit) as ended:
        main(["judge", str(folder(**FRAMES))])
    assert ended.value.code in (0, None)
    assert "run: passed" in capsys.readouterr().out
    (tmp_path / "pictures").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["judge", str(tmp_path / "pictures")])
    assert ended.value.code == 3
    assert "there is no key" in capsys.readouterr().err
    assert rejudging.rejudged(tmp_path / "pictures", ()).outcome is Outcome.INCONCLUSIVE

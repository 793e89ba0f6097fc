"""Replay files: what is wrong with one is a sentence. The register: a finding's life, without loss."""

from __future__ import annotations

import json
import multiprocessing

import msgspec
import pytest

from chaos.errors import Misuse, Surroundings
from chaos.plan import Ask, Clear
from chaos.register import Register, Replay, UnderTest, bound_95, clean_needed
from chaos.verdict import Rules
from tests.makers import plan
from tests.test_fingerprints import LEAK, OWNERS, december, mechanism

MECHANISM = mechanism(LEAK, OWNERS, december("ada", "grace"), "december-26")
ON = UnderTest("process", "december-26", "0.1.0", {"the home system": "aa", "the update's folder": "bb"})
REPLAY = Replay(
    fingerprint=MECHANISM.fingerprint,
    scenario="TestThreeHomesOneRelay",
    sentence="ada saw grace's living-room.",
    plan=december("ada", "grace"),
    rules=Rules(),
    update="december-26",
    under_test=ON,
    hits=5,
    tries=5,
    earlier=plan(Ask("lin")),
)
CHANGED = msgspec.structs.replace(ON, parts=ON.parts | {"the update's folder": "cc"})
REFERENCE = msgspec.structs.replace(ON, update=None, parts={"the home system": "aa"})


# Replay files.


def test_a_replay_file_is_read_as_it_was_written(tmp_path):
    (tmp_path / "replay.json").write_bytes(REPLAY.to_json())

    assert Replay.read(tmp_path / "replay.json") == REPLAY


def other(**changes) -> bytes:
    return json.dumps(json.loads(REPLAY.to_json()) | changes).encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no replay file, or the rest of it is missing"),
        (b"no json", "is no replay file, or the rest of it is missing"),
        (b"\xff\xfe\x00", "is no replay file, or the rest of it is missing"),
        (REPLAY.to_json()[:-40], "is no replay file, or the rest of it is missing"),
        (b"[1, 2]", "is JSON and no replay file; a run leaves one in findings/1/replay.json"),
        (REPLAY.plan.to_json(), "is JSON and no replay file"),
        (other(plan={}), "is no replay file of this version: Object missing required field `homes`"),
        (other(format=2), r"has format 2, written by version 0\.1\.0 of ownframe; this version reads format 1"),
        (other(format="x", under_test=3), "has format 'x', written by version another of ownframe"),
        (other(colour="red"), "Object contains unknown field `colour`"),
        (other(plan={"homes": [], "steps": [], "format": 9}), "the plan has format 9; this version reads format 1"),
        (other(plan={"homes": [], "steps": [{"step": "sneeze"}]}), "Invalid value 'sneeze'"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_sentence(tmp_path, data, sentence):
    file = tmp_path / "replay.json"
    file.write_bytes(data)

    with pytest.raises(Misuse, match=sentence) as told:
        Replay.read(file)
    assert str(file) in str(told.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(Misuse, match="cannot be read"):
        Replay.read(tmp_path / "none.json")
    with pytest.raises(Misuse, match="cannot be read"):
        Replay.read(tmp_path)


def test_what_is_under_test_now_is_compared_with_what_was():
    now = UnderTest("docker", "december-26", "0.2.0", {"the home system": "aa", "the update's folder": "cc"})

    assert ON.differences(ON) == ()
    assert ON.differences(now) == (
        "the stack is docker, was process",
        "ownframe is 0.2.0, was 0.1.0",
        "the update's folder is cc, was bb",
    )
    assert ON.differences(REFERENCE) == (
        "the update is none, was december-26",
        "the update's folder is not there, was bb",
    )


@pytest.mark.parametrize(("rate", "clean"), [(0.3, 9), (0.1, 29), (0.05, 59), (0.02, 149), (1.0, 1)])
def test_the_bounds_are_those_of_the_binomial(rate, clean):
    assert clean_needed(rate) == clean
    assert bound_95(clean) <= max(rate, 0.95)
    assert clean == 1 or bound_95(clean - 1) > rate


@pytest.mark.parametrize(("hits", "tries", "times"), [(5, 5, 3), (3, 10, 9), (1, 20, 30), (0, 5, 14)])
def test_by_default_it_is_executed_as_often_as_its_rate_needs(hits, tries, times):
    assert msgspec.structs.replace(REPLAY, hits=hits, tries=tries).times == times


# The register.


def test_a_finding_lives(tmp_path):
    register = Register(tmp_path)
    fingerprint = MECHANISM.fingerprint

    register.reproduced(REPLAY, MECHANISM, 4, 5)
    assert register.get(fingerprint).state == "reproduced"
    first = register.get(fingerprint).first_seen

    register.tried(fingerprint, 0, 1, CHANGED)
    (known,) = register.all()
    assert (known.state, known.clean, known.hits, known.tries) == ("not yet", 1, 4, 5)
    assert "not yet again: 1 clean, so at 95 % in fewer than 95%; reproduced 4 of 5" in known.describe()

    register.tried(fingerprint, 0, 12, CHANGED)
    assert register.get(fingerprint).state == "not yet", "at 21 %, and a quarter of four fifths is 20"
    register.tried(fingerprint, 0, 2, CHANGED)
    assert register.get(fingerprint).state == "fixed"
    assert "fixed at 18%" in register.get(fingerprint).describe()

    register.tried(fingerprint, 1, 50, CHANGED)
    known = register.get(fingerprint)
    assert (known.state, known.clean, known.hits, known.tries, known.first_seen) == ("reproduced", 0, 1, 50, first)


def test_without_a_change_nothing_is_fixed_and_another_change_begins_anew(tmp_path):
    register = Register(tmp_path)
    register.reproduced(REPLAY, MECHANISM, 5, 5)

    assert register.tried(MECHANISM.fingerprint, 0, 1000, ON).state == "not yet"
    assert register.tried(MECHANISM.fingerprint, 0, 1, CHANGED).clean == 1


def test_the_home_system_without_the_update_says_nothing_of_the_update(tmp_path):
    register = Register(tmp_path)
    register.reproduced(REPLAY, MECHANISM, 5, 5)

    assert register.tried(MECHANISM.fingerprint, 0, 1000, REFERENCE).state == "reproduced"


def test_the_smallest_plan_is_kept_and_the_newest_of_equal_ones(tmp_path):
    register = Register(tmp_path)
    larger = msgspec.structs.replace(REPLAY, plan=plan(*REPLAY.plan.steps, Clear("ada.hub")))
    other = msgspec.structs.replace(REPLAY, plan=december("lin", "grace"))

    register.reproduced(REPLAY, MECHANISM, 5, 5)
    assert register.reproduced(larger, MECHANISM, 5, 5).replay == REPLAY
    assert register.reproduced(other, MECHANISM, 5, 5).replay == other
    assert register.get(MECHANISM.fingerprint).found == 3


def test_what_is_not_in_it_is_not_put_there_by_trying(tmp_path):
    assert Register(tmp_path).tried("0" * 12, 0, 5, ON) is None
    assert Register(tmp_path).all() == ()


def test_a_file_that_is_damaged_hides_no_other_and_is_left(tmp_path):
    register = Register(tmp_path)
    register.reproduced(REPLAY, MECHANISM, 5, 5)
    (register.folder / "broken.json").write_bytes(b"{")

    assert [k.fingerprint for k in register.all()] == [MECHANISM.fingerprint]
    assert (register.folder / "broken.json").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(Surroundings, match="could not write evidence"):
        Register(tmp_path / "file").reproduced(REPLAY, MECHANISM, 5, 5)


def _report(folder, times):
    for _ in range(times):
        Register(folder).reproduced(REPLAY, MECHANISM, 5, 5)


def test_twenty_workers_report_one_bug_once_and_none_is_lost(tmp_path):
    workers = [multiprocessing.get_context("fork").Process(target=_report, args=(tmp_path, 10)) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    (known,) = Register(tmp_path).all()
    assert known.found == 200
    assert sorted(p.name for p in Register(tmp_path).folder.iterdir()) == [".lock", f"{MECHANISM.fingerprint}.json"]

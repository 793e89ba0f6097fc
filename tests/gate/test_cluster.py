"""A gate on a Dask cluster: sessions of fake workers, a machine that dies in the middle, what travels."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tarfile
from pathlib import Path

import psutil
import pytest

from chaos.errors import Misuse
from chaos.gate import cluster as clusters
from chaos.gate import options
from chaos.gate.cluster import Cluster, pack, packed, unfold, unpack
from chaos.gate.holding import Gate
from chaos.gate.options import Options
from chaos.gate.result import Budget

FAKE = (sys.executable, "-m", "tests.gate.fake_worker")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """Return a gate on a local cluster of two, whose sessions are of twenty cases by workers with these accidents."""
    pytest.importorskip("distributed")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(clusters, "CASES", 20)

    def made(accident: dict[str, object], watch=lambda _: None) -> Gate:
        monkeypatch.setenv("OWNFRAME_FAKE", json.dumps({"*": accident}))
        told = Options(evidence=tmp_path, budget=Budget(cases=70), seed=1, workers=2, engine="dask", command=FAKE)
        return Gate(told, watch)

    return made


def _machines() -> list[int]:
    """Return the processes of this test's cluster that carry out sessions."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # sessions end while they are looked at
            if "fake_worker" in " ".join(child.cmdline()):
                found.append(child.ppid())
    return [pid for pid in found if pid not in (1, os.getpid())]


def test_sessions_spend_the_budget_to_the_last_case(gate):
    held = gate({})
    result = held.hold()
    assert {number for number, _ in held.crew.told} == {1, 2, 3, 4}
    assert (result.verdict, result.reasons) == ("passed", ())
    assert result.cases == 70
    assert result.strong_asks == 3 * 70
    assert result.control.after.cut_links.times >= 4, "each session has controls of its own"


def test_a_machine_that_dies_in_the_middle_loses_nothing_and_nothing_counts_twice(gate):
    killed: list[int] = []

    def kill_one(held: Gate) -> None:
        if not killed and held.crew.cases:  # a session is counted, others are under way
            for pid in _machines()[:1]:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)

    result = gate({"seconds_a_case": 0.05}, kill_one).hold()
    assert killed
    assert (result.verdict, result.cases, result.strong_asks) == ("passed", 70, 210)


def test_what_a_machine_saw_before_it_died_is_not_forgotten(gate, monkeypatch):
    """Its scheduler was told at once; without a second machine nobody would see it again."""
    killed: list[int] = []

    def kill_all(held: Gate) -> None:
        crew = held.crew
        assert isinstance(crew, Cluster)
        if crew._sights and not killed:
            killed.extend(_machines())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    held = gate({"leaks_in_task": 2, "seconds_a_case": 0.3}, kill_all)
    result = held.hold()
    assert result.verdict == "leak"
    assert result.findings[0].sentence == "ada saw grace"


def test_a_leak_ends_the_other_sessions_and_its_evidence_comes_home(gate, tmp_path):
    result = gate({"leaks_in_task": 2}).hold()
    assert result.verdict == "leak"
    finding = result.findings[0]
    assert (finding.sentence, finding.reproduction.hits, finding.reproduction.tries) == ("ada saw grace", 4, 5)
    assert any((tmp_path / "latest").glob("session-*/logs/worker-1.log"))
    assert abs(finding.seconds) < 60


@pytest.mark.parametrize(
    ("text", "address"),
    [("local", None), ("dask", ""), ("dask://scheduler.example:8786", "tcp://scheduler.example:8786")],
)
def test_an_engine_is_named_by_one_word_or_an_address(text, address):
    assert options.engine(text) == address


def test_another_engine_is_refused_with_those_that_there_are():
    with pytest.raises(Misuse, match=r"expected local, dask .* or dask://host:port"):
        options.engine("ray://x:1")


def test_without_a_scheduler_the_gate_says_where_none_answered(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.chdir(ROOT)
    import distributed

    def refuses(address, **_):
        raise OSError(f"Timed out trying to connect to {address}")

    monkeypatch.setattr(distributed, "Client", refuses)
    told = Options(evidence=tmp_path, budget=Budget(cases=5), seed=1, engine="dask://127.0.0.1:9", command=FAKE)
    result = Gate(told).hold()
    assert result.exit_code == 3
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in result.headline


def test_scenario_files_travel_with_their_folder_and_a_test_s_name_with_its_file(tmp_path):
    (tmp_path / "s" / "deep").mkdir(parents=True)
    (tmp_path / "s" / "test_a.py").write_text("a = 1")
    (tmp_path / "s" / "deep" / "conftest.py").write_text("b = 1")
    (tmp_path / "s" / "notes.txt").write_text("not code")
    files, places = packed((str(tmp_path / "s"), f"{tmp_path}/s/test_a.py::TestA"))
    assert files == {"0/test_a.py": b"a = 1", "0/deep/conftest.py": b"b = 1", "1/test_a.py": b"a = 1"}
    assert places == ("0", "1/test_a.py::TestA")
    unfold(files, tmp_path / "there")
    assert (tmp_path / "there" / "0" / "deep" / "conftest.py").read_text() == "b = 1"
    with pytest.raises(Misuse, match="outside of its folder"):
        unfold({"../x": b""}, tmp_path / "there")


def test_evidence_comes_home_up_to_a_size_and_says_what_stayed_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "EVIDENCE", 1000)
    (tmp_path / "e" / "findings").mkdir(parents=True)
    (tmp_path / "e" / "findings" / "finding.txt").write_text("x" * 600)
    (tmp_path / "e" / "huge.log").write_text("y" * 5000)
    unpack(pack(tmp_path / "e"), tmp_path / "home")
    assert (tmp_path / "home" / "findings" / "finding.txt").read_text() == "x" * 600
    assert not (tmp_path / "home" / "huge.log").exists()
    assert "left on the machine" in (tmp_path / "home" / "left-behind.txt").read_text()


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path):
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as out:
        out.add(tmp_path / "evil", arcname="../evil")
    with pytest.raises(tarfile.TarError):
        unpack((tmp_path / "a.tar.gz").read_bytes(), tmp_path / "home")

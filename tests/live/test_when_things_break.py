"""Surroundings that fail in the middle of a run: one sentence, the right exit code, nothing lost, nothing left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from chaos import evidence
from chaos.demo import scenario_folder
from chaos.errors import Misuse, Surroundings
from chaos.history import CaseEnded
from chaos.plan import Ask, AskTogether, Plan
from chaos.run import Chapter, Run, Settings
from chaos.verdict import Rules

pytestmark = pytest.mark.live

OWNERS = ("ada", "grace", "lin")
EVERYBODY = Plan(OWNERS, (AskTogether(tuple(Ask(o) for o in OWNERS)),))


OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def others() -> None:
    """Remember what runs beside this test under the same pytest-xdist worker, such as the street of tests/home."""
    OTHERS.clear()
    OTHERS.update(p.pid for p in psutil.Process().children(recursive=True))


def _processes_with(word: str) -> list[psutil.Process]:
    """Return the descendants that this test started whose command line has `word`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        if process.pid in OTHERS:
            continue
        try:
            if any(word in part for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize(("word", "who"), [("toxiproxy-server", "Toxiproxy"), ("valkey-server", "cache")])
def test_a_server_that_dies_in_the_middle_is_named_and_is_no_verdict(tmp_path, word, who):
    with Run(Settings(evidence=tmp_path)) as run:
        chapter = Chapter(run, "dies", OWNERS, Rules())
        chapter.execute(EVERYBODY)
        victims = _processes_with(word)
        assert victims, f"the run has a {word}"
        for victim in victims:
            victim.kill()
            victim.wait(5)
        with pytest.raises(Surroundings, match=who):
            chapter.again(EVERYBODY)
        folder = run.evidence.folder
    assert any(isinstance(e, CaseEnded) for e in evidence.read_history(folder)), "what was done before is kept"


def test_an_unknown_update_is_misuse_before_anything_starts(tmp_path):
    with pytest.raises(Misuse, match="no update 'december-25'; did you mean 'december-26'"):
        Run(Settings(update="december-25", evidence=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_stack_is_misuse(tmp_path):
    with pytest.raises(Misuse, match="no stack 'proces'; did you mean 'process'"):
        Run(Settings(stack="proces", evidence=tmp_path))


def test_an_evidence_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Surroundings, match="give --evidence a folder"):
        Run(Settings(evidence=tmp_path / "file" / "below"))


def test_a_node_whose_port_is_taken_says_so(tmp_path):
    """The reference home's nodes answer a taken port with one line and code 3, which the stack passes on."""
    from chaos import children, sockets
    from chaos.stacks.process import ProcessStack
    from chaos.topology import from_toml

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        scratch = children.Scratch()
        stack = ProcessStack(scratch)
        described = {
            "node": {
                "accounts": {
                    "role": "accounts",
                    "source": "accounts",
                    "command": ["python", "accounts/app.py"],
                    "ports": ["public", "operator"],
                    "environment": {"LISTEN": f"127.0.0.1:{port}", "OPERATOR": "${listen:operator}"},
                }
            }
        }
        from chaos.identity import Key
        from chaos.scene import SceneServer
        from chaos.updates import home_folder

        scene = SceneServer(OWNERS, ("living-room",), Key.fresh())
        scene.__enter__()
        assert sockets.accepts(f"127.0.0.1:{port}")
        try:
            with pytest.raises(Surroundings, match=rf"(?s)accounts ended with code 3.*:{port} cannot be listened on"):
                stack.start(from_toml(described, OWNERS), home_folder(), scene, tmp_path)
        finally:
            scene.__exit__()
            stack.stop()
            scratch.remove()


@pytest.mark.parametrize("taken", range(4), ids=["a node's", "its operator's", "the cache's", "a link's"])
def test_a_port_that_another_process_takes_first_is_another_one_at_the_next_try(tmp_path, monkeypatch, taken):
    """Somebody listens on a port that was free when it was chosen: nothing is left of the first start."""
    from chaos import children, sockets
    from chaos.identity import Key
    from chaos.scene import SceneServer
    from chaos.stacks.process import ProcessStack
    from chaos.topology import Link, Topology, from_toml
    from chaos.updates import home_folder

    choose, strangers, said = sockets.free_ports, [], []

    def chosen(count: int) -> list[int]:
        ports = choose(count)
        if not strangers:
            strangers.append(socket.create_server(("127.0.0.1", ports[taken])))
        return ports

    monkeypatch.setattr(sockets, "free_ports", chosen)
    whole = from_toml(tomllib.loads((home_folder() / "home.toml").read_text()), OWNERS)
    nodes = (whole.node("accounts"), whole.node("cache"))
    topology = Topology(OWNERS, nodes, (Link("relay.accounts", "cache", "accounts", nodes[0].ports[0]),))
    scratch = children.Scratch()
    stack = ProcessStack(scratch, said.append)
    try:
        with SceneServer(OWNERS, ("living-room",), Key.fresh()) as scene:
            stack.start(topology, home_folder(), scene, tmp_path)
        stack.check()
        (stranger,) = strangers
        (line,) = [s for s in said if "starting again" in s]
        assert f"port {stranger.getsockname()[1]} first" in line
        assert len(_processes_with("valkey-server")) == len(_processes_with("toxiproxy-server")) == 1
    finally:
        stack.stop()
        scratch.remove()
        for each in strangers:
            each.close()


def _start_pytest(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a long scenario run and return it once its first case is on disk."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--cases", "500",
            "--evidence", str(folder), "--junitxml", str(folder / "out.xml"),
            str(scenario_folder() / "test_three_homes_one_relay.py"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OWNFRAME_STATE": str(folder / "state")},
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        histories = list(folder.glob("*-process-reference/history.jsonl"))
        if histories and histories[0].read_bytes().count(b'"case_ended"') >= 3:
            return process, histories[0].parent
        time.sleep(0.1)  # between two looks
    process.kill()
    raise AssertionError(f"no case within 90 s:\n{process.communicate()[0][-3000:]}")


def _wait_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=10)[1]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_in_order(tmp_path, how):
    process, folder = _start_pytest(tmp_path)
    nodes = psutil.Process(process.pid).children(recursive=True)
    assert len(nodes) >= 9
    process.send_signal(how)
    try:
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 2, said
    assert not _wait_gone(nodes), "no process is left"
    assert evidence.read_history(folder), "what was found until then is on disk"
    (suite,) = ET.parse(tmp_path / "out.xml").iter("testsuite")  # JUnit has what was done
    assert suite.get("failures") == "0", "being stopped is no leak"
    assert (folder / "index.html").is_file(), "the page about it is written"
    assert json.loads((folder / "run.json").read_text())["outcome"] == "inconclusive"
    assert not list((tmp_path / "state" / "running").iterdir()), "no scratch folder is left"


STANDING = """
import threading
def test_stands_still(home):
    home.pause("relay")
    open("standing", "w").close()
    threading.Event().wait(60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_plain_test_that_is_stopped_ends_in_order(tmp_path, how):
    (tmp_path / "test_stands.py").write_text(STANDING)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "out.xml"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            deadline = time.monotonic() + 90
            while run.poll() is None and not (tmp_path / "standing").exists():
                assert time.monotonic() < deadline, "waited 90 s for the test to begin"
                time.sleep(0.1)  # between two looks
            nodes = psutil.Process(run.pid).children(recursive=True)
            run.send_signal(how)
            said = run.communicate(timeout=60)[0]
        finally:
            run.kill()
    assert run.returncode == 2, said
    assert len(nodes) >= 9
    assert not _wait_gone(nodes), "no process is left, also none that stood still"
    assert [*ET.parse(tmp_path / "out.xml").iter("testsuite")]
    assert [*(tmp_path / "ownframe-evidence").glob("*/index.html")]


def test_a_killed_run_leaves_nothing_that_the_next_does_not_clear(tmp_path, monkeypatch):
    process, folder = _start_pytest(tmp_path)
    nodes = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=30)
    monkeypatch.setenv("OWNFRAME_STATE", str(tmp_path / "state"))
    left = list((tmp_path / "state" / "running").iterdir())
    assert left, "a killed run cannot clear up"
    with Run(Settings(evidence=tmp_path / "next")):
        pass
    assert not _wait_gone(nodes)
    assert not list((tmp_path / "state" / "running").iterdir())
    assert evidence.read_history(folder)

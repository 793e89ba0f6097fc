"""Nothing stays behind a ``kill -9``, and nothing of anybody else's is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chaos import children
from chaos.children import Scratch, clear_leftovers, end
from chaos.errors import Surroundings

SLEEPER = ("sleep", "600")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a state folder of its own: no test sees a run of this machine."""
    folder = tmp_path / "state"
    monkeypatch.setenv("OWNFRAME_STATE", str(folder))
    return folder


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    made = Scratch()
    yield made
    made.remove()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that no run may touch."""
    process = subprocess.Popen(SLEEPER)
    yield process
    process.kill()
    process.wait()


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(what: str, holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        pause.wait(0.01)


RUN = """
import sys, threading
from pathlib import Path
from chaos import children
{prepare}
scratch = children.Scratch()
child = scratch.spawn(["sleep", "600"], log=scratch.folder / "log")
print(child.pid, scratch.folder, flush=True)
threading.Event().wait(600)
"""
ORPHANS = "children._dies_with_us = lambda: []"
"""The run is on a system where nothing kills its children."""


@pytest.fixture
def start_run() -> Iterator[Callable[[str], tuple[subprocess.Popen[str], int, Path]]]:
    """Return what starts a run in a process of its own, with a child."""
    runs: list[subprocess.Popen[str]] = []
    pids: list[int] = []

    def start(prepare: str = "") -> tuple[subprocess.Popen[str], int, Path]:
        run = subprocess.Popen([sys.executable, "-c", RUN.format(prepare=prepare)], stdout=subprocess.PIPE, text=True)
        runs.append(run)
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split(maxsplit=1)
        pids.append(int(pid))
        return run, int(pid), Path(folder.strip())

    yield start
    for run, pid in zip(runs, pids, strict=True):
        run.kill()
        run.wait()
        if run.stdout:
            run.stdout.close()
        if is_running(pid) and is_sleeping(pid):
            psutil.Process(pid).kill()


NO_SETPRIV = "children.shutil.which = lambda name, path=None: None if name == 'setpriv' else name"
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")


def is_sleeping(pid: int) -> bool:
    """Whether what asks the kernel has become the child."""
    return psutil.Process(pid).cmdline() == list(SLEEPER)


@only_linux
@pytest.mark.parametrize("prepare", ["", NO_SETPRIV], ids=["asked by setpriv, where there is one", "asked by Python"])
def test_a_child_dies_with_its_parent_that_was_killed(start_run, prepare):
    run, child, _ = start_run(prepare)
    wait_until("the child to be started", lambda: is_sleeping(child))

    run.kill()

    wait_until("the child to die", lambda: not is_running(child))


@only_linux
def test_a_child_whose_parent_was_killed_before_the_kernel_was_asked_is_not_started(start_run):
    run, child, _ = start_run(NO_SETPRIV)

    run.kill()

    wait_until("the child to end", lambda: not is_running(child))


def test_what_a_killed_run_left_behind_is_cleared_by_the_next(start_run):
    run, child, folder = start_run(ORPHANS)
    run.kill()
    run.wait()
    assert is_running(child)
    assert folder.is_dir()

    told = clear_leftovers()

    wait_until("the child to die", lambda: not is_running(child))
    assert not folder.exists()
    assert told == [f"run of process {run.pid}: 1 processes ended, folder removed"]
    assert clear_leftovers() == []


def test_making_a_scratch_folder_clears_what_dead_runs_left(start_run):
    run, child, folder = start_run(ORPHANS)
    run.kill()
    run.wait()

    Scratch().remove()

    wait_until("the child to die", lambda: not is_running(child))
    assert not folder.exists()


def test_a_run_that_nobody_waited_for_is_dead_all_the_same(start_run):
    run, child, folder = start_run(ORPHANS)
    run.kill()
    wait_until("the run to die", lambda: not is_running(run.pid))
    assert psutil.Process(run.pid).status() == psutil.STATUS_ZOMBIE

    clear_leftovers()

    wait_until("the child to die", lambda: not is_running(child))
    assert not folder.exists()


def test_a_run_that_is_alive_is_left_alone(start_run):
    _, child, folder = start_run(ORPHANS)

    assert clear_leftovers() == []

    assert is_running(child)
    assert folder.is_dir()


def test_a_run_is_alive_though_the_clock_was_set(start_run, monkeypatch):
    _, child, folder = start_run(ORPHANS)
    came_up = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: came_up + 3600)
    assert psutil.Process(child).create_time() > time.time() + 1800  # the clock of psutil did move

    assert clear_leftovers() == []

    assert is_running(child)
    assert folder.is_dir()


def leave_record(state: Path, name: str = "1-1", **record: object) -> Path:
    """Write what a dead run left behind."""
    folder = state / "running" / name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"boot": children._boot(), **record}))
    return folder


def since_boot(pid: int) -> float:
    return children._started(psutil.Process(pid))


def test_a_recorded_child_with_its_number_and_start_is_ended(state, bystander):
    """Shows that the next two tests could fail."""
    folder = leave_record(state, owner=[os.getpid(), 0.0], children=[[bystander.pid, since_boot(bystander.pid)]])

    clear_leftovers()

    assert bystander.wait(10) == -9
    assert not folder.exists()


@pytest.mark.parametrize("off", [-3600.0, -0.05, 0.05, 3600.0])
def test_a_process_that_has_the_number_and_another_start_is_never_touched(state, bystander, off):
    started = since_boot(bystander.pid) + off
    folder = leave_record(state, owner=[os.getpid(), 0.0], children=[[bystander.pid, started]])

    told = clear_leftovers()

    assert told == [f"run of process {os.getpid()}: 0 processes ended, folder removed"]
    assert bystander.poll() is None
    assert not folder.exists()


def test_a_record_from_before_the_machine_was_started_anew_ends_nobody(state, bystander):
    mine = [os.getpid(), since_boot(os.getpid())]
    folder = leave_record(state, boot="another", owner=mine, children=[[bystander.pid, since_boot(bystander.pid)]])

    clear_leftovers()

    assert bystander.poll() is None
    assert not folder.exists()


def test_a_run_whose_number_was_given_to_somebody_else_is_dead(state):
    folder = leave_record(state, owner=[os.getpid(), since_boot(os.getpid()) - 60], children=[])

    clear_leftovers()

    assert not folder.exists()


def dead_number() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"boot": "x"}', '{"boot": "x", "owner": 3, "children": []}']
)
def test_a_folder_whose_record_says_nothing_is_cleared_once_its_run_is_dead(state, text):
    for number in (os.getpid(), dead_number()):
        folder = state / "running" / f"{number}-17"
        folder.mkdir(parents=True)
        if text is not None:
            (folder / "record.json").write_text(text)

    clear_leftovers()

    assert (state / "running" / f"{os.getpid()}-17").exists()  # it may only just be being made
    assert len(list((state / "running").iterdir())) == 1


@pytest.mark.parametrize("name", ["what-is-this", "-5", "²-1", "0-0"])
def test_a_folder_that_no_run_could_have_made_is_cleared(state, name):
    (state / "running" / name).mkdir(parents=True)

    clear_leftovers()

    assert list((state / "running").iterdir()) == []


def test_without_any_earlier_run_there_is_nothing_to_clear():
    assert clear_leftovers() == []


def test_two_scratch_folders_stand_side_by_side(tmp_path):
    first = Scratch()
    child = first.spawn(SLEEPER, log=tmp_path / "log")
    second = Scratch()
    try:
        assert first.folder != second.folder
        assert child.poll() is None
        second.remove()
        assert first.folder.is_dir()
        assert clear_leftovers() == []
        assert child.poll() is None
    finally:
        end(child)
        first.remove()
    assert not first.folder.exists()


def test_the_record_names_the_run_and_every_child(scratch, tmp_path):
    spawned = [scratch.spawn(SLEEPER, log=tmp_path / "log") for _ in range(2)]
    record = json.loads((scratch.folder / "record.json").read_text())
    for child in spawned:
        end(child)

    assert record["owner"][0] == os.getpid()
    assert [pid for pid, _ in record["children"]] == [c.pid for c in spawned]


def test_what_a_child_says_goes_to_its_log(scratch, tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")

    child = scratch.spawn(
        ["sh", "-c", "pwd; echo $GREETING; echo trouble >&2"],
        log=log,
        cwd=tmp_path,
        environment={"GREETING": "hello"},
    )

    assert child.wait(10) == 0
    assert log.read_text() == f"before\n{tmp_path}\nhello\ntrouble\n"


def test_a_child_is_not_interrupted_with_us(scratch, tmp_path):
    child = scratch.spawn(SLEEPER, log=tmp_path / "log")
    groups = os.getpgid(child.pid), os.getpgid(0)
    end(child)

    assert groups[0] != groups[1]


@pytest.mark.parametrize("command", ["no-such-program-here", "/nowhere/at/all", "./not-in-this-folder"])
def test_a_program_that_is_not_there_is_told_at_once(scratch, tmp_path, command):
    with pytest.raises(Surroundings, match=r"could not start .*no such program"):
        scratch.spawn([command], log=tmp_path / "log", cwd=tmp_path)


def test_a_program_beside_the_working_folder_is_found_there(scratch, tmp_path):
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)

    child = scratch.spawn(["./greet"], log=tmp_path / "log", cwd=tmp_path)

    assert child.wait(10) == 0
    assert (tmp_path / "log").read_text() == "hello\n"


def test_a_child_is_asked_before_it_is_killed(scratch, tmp_path):
    log = tmp_path / "log"
    polite = "import signal,sys\nsignal.signal(15, lambda *_: sys.exit(7))\nprint('up', flush=True)\nsignal.pause()"
    child = scratch.spawn([sys.executable, "-c", polite], log=log)
    wait_until("the child to come up", lambda: "up" in log.read_text())

    end(child, patience=20)

    assert child.returncode == 7


def test_a_child_that_does_not_listen_is_killed(scratch, tmp_path):
    log = tmp_path / "log"
    deaf = "import signal\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: signal.pause()"
    child = scratch.spawn([sys.executable, "-c", deaf], log=log)
    wait_until("the child to come up", lambda: "up" in log.read_text())

    end(child, patience=0.2)

    assert child.returncode == -9


def test_ending_a_child_that_has_ended_does_nothing(scratch, tmp_path):
    child = scratch.spawn(["true"], log=tmp_path / "log")
    child.wait(10)

    end(child)

    assert child.returncode == 0


def test_the_state_folder_is_where_the_environment_says_and_nobody_elses_to_read(state):
    assert children.state_folder() == state
    assert state.stat().st_mode & 0o077 == 0


def test_a_state_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OWNFRAME_STATE", str(tmp_path / "file" / "state"))

    with pytest.raises(Surroundings, match="set OWNFRAME_STATE to another"):
        children.state_folder()

"""Processes that end with us, and a scratch folder that the next run clears: nothing stays behind a ``kill -9``.

A child asks the kernel to be killed when the thread that started it ends (``PR_SET_PDEATHSIG``, prctl(2)), so children
are started from a thread that lasts. util-linux's ``setpriv --pdeathsig`` does the asking, and needs no ``preexec_fn``
(unsafe with threads, says the subprocess documentation); Python does where setpriv is missing. On a system without
either, or if the kernel was not asked in time, the next run finds the child by the record in the scratch folder: its
process id *and* its start, so that a number that was given to somebody else is never touched. Starts are seconds since
the machine came up, together with the kernel's id of that: times of day move when the clock is set, and a run that is
alive would then be taken for dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import platformdirs
import psutil

from chaos.errors import Surroundings

_SHIM = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):  # else the kernel was asked too late
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def state_folder() -> Path:
    """Return the folder in which this user's keys and running runs are recorded, made with mode 0700."""
    folder = Path(os.environ.get("OWNFRAME_STATE") or platformdirs.user_state_dir("ownframe"))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as failed:
        raise Surroundings(
            f"could not make the state folder {folder}: {failed}; set OWNFRAME_STATE to another"
        ) from failed
    return folder


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Let one process of this user make `what` while others wait for it; the kernel frees the lock of a dead one."""
    folder = state_folder() / "building"
    folder.mkdir(exist_ok=True)
    with (folder / what.replace(":", "-")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Scratch:
    """A folder for one run, with a record of its children. Making one clears what dead runs left behind."""

    def __init__(self) -> None:
        clear_leftovers()
        me = psutil.Process()
        running = state_folder() / "running"
        running.mkdir(exist_ok=True)
        self.folder = running / f"{me.pid}-{time.monotonic_ns()}"
        self.folder.mkdir()
        self._children: list[tuple[int, float]] = []
        self._owner = (me.pid, _started(me))
        self._write()

    def spawn(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, its output appended to `log`. Any thread may call this.

        Raises `Surroundings` when the command cannot be started.
        """
        start = _lasting_thread(os.getpid()).submit(self._spawn, command, log, cwd, dict(environment or {}))
        return start.result()

    def _spawn(
        self, command: Sequence[str], log: Path, cwd: Path | None, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        program = str(cwd / command[0]) if cwd and os.sep in command[0] else command[0]
        if shutil.which(program, path=environment.get("PATH")) is None:  # setpriv would tell the log alone
            raise Surroundings(f"could not start {command[0]}: there is no such program here; install it")
        with log.open("ab") as output:
            try:
                child = subprocess.Popen(
                    [*_dies_with_us(), *command],
                    cwd=cwd,
                    env=dict(os.environ) | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for us: we end our children in order
                )
            except OSError as failed:
                raise Surroundings(f"could not start {command[0]}: {failed}") from failed
        try:
            self._children.append((child.pid, _started(psutil.Process(child.pid))))
        except psutil.NoSuchProcess:
            return child  # it ended at once: whoever waits for it will say so
        self._write()
        return child

    def remove(self) -> None:
        """Remove the folder; the children have been ended by those who started them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        record = {"boot": _boot(), "owner": self._owner, "children": self._children}
        part = self.folder / "record.part"
        part.write_text(json.dumps(record))
        part.replace(self.folder / "record.json")


@cache
def _lasting_thread(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked process needs its own
    """Return a thread that lives as long as this process: a child is killed when the thread that started it ends."""
    return ThreadPoolExecutor(1, thread_name_prefix="ownframe-starter")


def end(child: subprocess.Popen[bytes], *, patience: float = 2.0) -> None:
    """End a child: SIGTERM, and SIGKILL after `patience` seconds."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(patience)


def clear_leftovers() -> list[str]:
    """Kill the recorded children of runs that are dead, remove their folders, and return one line about each run.

    A run is dead when its process is gone or its number belongs to a process that started at another time.
    """
    cleared = []
    for folder in sorted((state_folder() / "running").glob("*")):
        try:
            record = json.loads((folder / "record.json").read_text())
            boot, owner, children = record["boot"], tuple(record["owner"]), record["children"]
        except (OSError, ValueError, KeyError, TypeError):
            number = folder.name.split("-")[0]
            boot, owner, children = "", (int(number) if number.isdecimal() else 0, None), []
            if owner[0] and psutil.pid_exists(owner[0]):
                continue  # it is only just being made
        if boot != _boot():
            children = []  # the machine was started anew: whoever has these numbers now is somebody else
        elif owner[1] is not None and _is_alive(*owner):
            continue
        killed = [pid for pid, started in children if _kill(pid, started)]
        shutil.rmtree(folder, ignore_errors=True)
        cleared.append(f"run of process {owner[0]}: {len(killed)} processes ended, folder removed")
    return cleared


def _boot() -> str:
    """Return the kernel's id of this start of the machine; where there is none, all starts are taken for one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _started(process: psutil.Process) -> float:
    """Return when `process` started, in seconds since the machine came up: both terms move with the clock alike."""
    return process.create_time() - psutil.boot_time()


def _is_alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(_started(process) - started) < 0.02 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _kill(pid: int, started: float) -> bool:
    if not _is_alive(pid, started):
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _dies_with_us() -> list[str]:
    if sys.platform != "linux":
        return []
    setpriv = shutil.which("setpriv")
    if setpriv:
        return [setpriv, "--pdeathsig", "KILL", "--"]
    return [sys.executable, "-c", _SHIM, str(os.getpid())]

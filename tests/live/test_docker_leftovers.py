"""A run that is killed at any moment leaves things behind; the next start, or `ownframe clean`, removes just those."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from chaos.errors import Surroundings
from chaos.plan import Ask
from chaos.stacks import docker_engine
from chaos.stacks.docker_engine import OWNER, RUN, Owner, clear_leftovers, labels, new_run
from chaos.stacks.docker_networks import Networks

from .docker_home import engine, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker]
KILLS = int(os.environ.get("OWNFRAME_KILLS", "5"))
"""A run needs about 5 s until it stands; the moments cover that and a case. ``OWNFRAME_KILLS=20`` tries
twenty, which takes three minutes."""
VICTIM = """
import sys, tempfile, pathlib
sys.path.insert(0, sys.argv[1])
from tests.live.docker_home import running_home
print("began", flush=True)
with running_home(pathlib.Path(tempfile.mkdtemp())) as (home, stack, _):
    print("stands", flush=True)
    while True:
        home.finish(home.case())
"""


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture
def neighbour(client):
    """Things of a run that is alive: ours."""
    run = new_run()
    made = Networks(client, f"ownframe-{run}", labels(run)).make("control", front=True)
    yield made.id
    docker_engine.remove_run(client, run)


def _runs_of(client, process: int) -> set[str]:
    """Return the runs of a process; others, in other workers of this very test session, come and go."""
    filters = {"label": RUN}
    things = (*client.api.containers(all=True, filters=filters), *client.api.networks(filters=filters))
    return {t["Labels"][RUN] for t in things if (who := Owner.read(t["Labels"][OWNER])) and who.process == process}


@contextlib.contextmanager
def _victim():
    child = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(Path(__file__).parents[2])], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "began\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("moment", np.random.default_rng(26).uniform(0.0, 8.0, KILLS).round(2))
def test_what_a_killed_run_leaves_is_removed_and_a_neighbours_is_not(client, neighbour, moment):
    with _victim() as child:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(moment)
        assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    clear_leftovers(client)
    _wait_settled(client)  # what the engine was just making when its asker died
    assert _runs_of(client, child.pid) == set()
    assert neighbour in {n["Id"] for n in client.api.networks()}


def _wait_settled(client):
    """Clear until nothing of the dead was left for a while: the engine still does what it was asked last."""
    quiet_since = time.monotonic()
    deadline = quiet_since + 30
    while time.monotonic() < min(deadline, quiet_since + 1.5):
        if clear_leftovers(client):
            quiet_since = time.monotonic()
        time.sleep(0.1)


def test_ownframe_clean_removes_a_killed_run_and_not_a_living_one(client, neighbour):
    with _victim() as child:
        assert child.stdout.readline() == "stands\n"
        assert len(_runs_of(client, child.pid)) == 1
    for _ in range(2):  # the second time there is nothing left of it, which is no error
        said = subprocess.run([sys.executable, "-m", "chaos.cli", "clean"], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        assert _runs_of(client, child.pid) == set()
    assert neighbour in {n["Id"] for n in client.api.networks()}


def test_the_next_start_removes_a_killed_run(client, tmp_path):
    with _victim() as child:
        assert child.stdout.readline() == "stands\n"
        assert len(_runs_of(client, child.pid)) == 1
    with running_home(tmp_path):
        assert _runs_of(client, child.pid) == set()


class _Relay:
    """Passes bytes between a socket of its own and the engine's, until it is cut."""

    def __init__(self, path: Path, target: str) -> None:
        self.url = f"unix://{path}"
        self._target = target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._target)
                self._open += [here, there]
                for a, b in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def cut(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for s in self._open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


def test_an_engine_that_goes_away_in_the_middle_is_told_and_what_it_kept_is_removed_later(
    client, tmp_path, monkeypatch
):
    real = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not real.startswith("unix://"):
        pytest.skip("the engine is not on a Unix socket")
    relay = _Relay(tmp_path / "engine", real.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", relay.url)
    run = ""
    told = pytest.raises(Surroundings, match=r"stopped answering|no Docker engine")
    with told, running_home(tmp_path) as (home, stack, _):  # it is told at one of many steps
        run = stack._run
        case = home.case()
        relay.cut()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            case.do(Ask("ada"))
    assert run in _runs_of(client, os.getpid())
    docker_engine.remove_run(client, run)
    assert run not in _runs_of(client, os.getpid())


def test_a_neighbour_that_takes_the_very_subnets_at_the_same_time_is_no_obstacle(client, monkeypatch):
    monkeypatch.setenv("OWNFRAME_DOCKER_SUBNETS", "198.19.255.0/24")
    runs = [new_run(), new_run()]
    makers = [Networks(client, f"ownframe-{run}", labels(run)) for run in runs]
    try:
        made = docker_engine.each(lambda i: makers[i % 2].make(f"n{i}", front=False), range(20))
        assert len({n.subnet for n in made}) == 20
    finally:
        for run in runs:
            docker_engine.remove_run(client, run)

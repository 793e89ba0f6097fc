"""A node that does not start, never gets ready or takes too much memory is told in one sentence, and leaves nothing."""

from __future__ import annotations

import pytest

from chaos import updates
from chaos.children import Scratch
from chaos.errors import Surroundings
from chaos.identity import Key
from chaos.scene import SceneServer
from chaos.stacks import docker, docker_engine
from chaos.stacks.docker import DockerStack
from chaos.topology import from_toml

from .docker_home import OWNERS, engine

pytestmark = [pytest.mark.live, pytest.mark.docker]

ACCOUNTS = {
    "role": "accounts",
    "source": "accounts",
    "command": ["python", "accounts/app.py"],
    "ports": ["public", "operator"],
    "environment": {"LISTEN": "${listen:public}", "OPERATOR": "${listen:operator}"},
}


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture
def start(client, tmp_path):
    """Start a home of one node, whose program is given; what it made must be gone when it failed."""
    scratch = Scratch()
    stack = DockerStack(scratch)

    def start(program: str | None) -> DockerStack:
        home = updates.lay(updates.home_folder(), None, tmp_path / "home")
        if program is not None:
            (home / "accounts" / "app.py").write_text(program)
        topology = from_toml({"node": {"accounts": ACCOUNTS}}, OWNERS)
        with SceneServer(OWNERS, ("living-room",), Key.fresh()) as scene:
            stack.start(topology, home, scene, tmp_path)
        return stack

    yield start
    stack.stop()
    stack.stop()  # twice is harmless
    scratch.remove()
    filters = {"label": f"{docker_engine.RUN}={stack._run}"}
    assert client.api.containers(all=True, filters=filters) == []
    assert client.api.networks(filters=filters) == []


def test_a_home_of_one_node_that_nobody_dials_runs(start):
    stack = start(None)
    stack.check()
    stack.restart("accounts")
    stack.check()


def test_a_node_that_ends_at_once_is_told_with_its_code_and_its_last_lines(start):
    with pytest.raises(Surroundings, match=r"(?s)accounts ended with code 7 before it was ready.*out of milk"):
        start("import sys; print('out of milk'); sys.exit(7)")


def test_a_node_that_is_never_ready_is_told_with_what_was_waited_for_and_how_long(start, monkeypatch):
    monkeypatch.setattr(docker, "READY_WITHIN", 3.0)
    with pytest.raises(Surroundings, match=r"(?s)waited 3 s for accounts to be ready; last seen: .*still thinking"):
        start("import time; print('still thinking'); time.sleep(600)")


def test_a_node_that_takes_more_memory_than_it_may_is_told_as_that(start):
    with pytest.raises(Surroundings, match=r"(?s)code 137 for having used more memory than it may"):
        start("x = [b'x' * 2**20 for _ in range(1000)]")


def test_a_program_that_is_not_in_the_image_is_told(start, monkeypatch):
    monkeypatch.setitem(ACCOUNTS, "command", ["no-such-program"])
    with pytest.raises(Surroundings, match=r"did not start the container .*accounts.*no-such-program"):
        start(None)

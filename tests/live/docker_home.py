"""Homes in containers for the tests of the docker stack; and what to do where there is no engine."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from chaos import updates
from chaos.children import Scratch
from chaos.contracts.reference import Reference
from chaos.errors import Surroundings
from chaos.evidence import Evidence
from chaos.home import Home
from chaos.identity import Key
from chaos.stacks.docker import DockerStack
from chaos.stacks.docker_engine import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWNERS = ("ada", "grace", "lin")


def engine():
    """Return a client; without an engine the test is skipped on a laptop and failed in CI."""
    try:
        return connect()
    except Surroundings as missing:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"CI has no engine: {missing}", pytrace=False)
        pytest.skip(f"NOT RUN without a Docker engine: {missing}")


@contextlib.contextmanager
def running_home(
    folder: Path, update: str | None = None, **choices: str
) -> Iterator[tuple[Home, DockerStack, list[str]]]:
    """Run the reference home in containers, with an update and as chosen; also gives what its start said."""
    said: list[str] = []
    scratch = Scratch()
    stack = DockerStack(scratch, said.append)
    evidence = Evidence(folder / "evidence")
    found = updates.find(update) if update else None
    home = Home(Reference(OWNERS, found, choices), stack, (Key.fresh(),), evidence)
    try:
        home.start(scratch.folder / "home")
        yield home, stack, said
    finally:
        home.stop()
        evidence.close()
        scratch.remove()


def run_in(client, container: str, program: str, *words: str) -> str:
    """Run a Python program in a container and return what it prints."""
    asked = client.api.exec_create(container, ["python3", "-c", program, *words])
    said = client.api.exec_start(asked["Id"]).decode()
    code = client.api.exec_inspect(asked["Id"])["ExitCode"]
    assert code == 0, said
    return said

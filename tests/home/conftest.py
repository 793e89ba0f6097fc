"""One street for all tests here, provisioned anew for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.home.homes import Node, Street


@pytest.fixture(scope="session")
def running_street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("street"))
    try:
        street.wait_ready()
        yield street
    finally:
        street.end()


@pytest.fixture
def street(running_street: Street) -> Iterator[Street]:
    started = len(running_street.nodes)
    running_street.lenses.silent.clear()
    running_street.provision()
    yield running_street
    running_street.lenses.silent.clear()
    for node in running_street.nodes[started:]:
        node.process.kill()
        node.process.wait(5)
    del running_street.nodes[started:]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start single nodes; all are ended with the test."""
    nodes: list[Node] = []

    def start(name: str, program: str, **environment: str) -> Node:
        nodes.append(Node(name, program, tmp_path / f"{len(nodes)}-{name}.log", **environment))
        return nodes[-1]

    yield start
    for node in nodes:
        node.process.kill()
        node.process.wait(5)

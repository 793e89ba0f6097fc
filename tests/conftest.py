"""Nothing of a machine's own reaches the tests: state, cache of plans and signals are theirs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LIMIT = 300.0
"""Seconds that a test may take; most take none."""


@pytest.fixture(autouse=True, scope="session")
def own_state_folder() -> Iterator[None]:
    """Keep the records of running runs out of the user's state folder; subprocesses inherit it."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ownframe-state-") as folder:
        if "OWNFRAME_STATE" not in os.environ:
            patch.setenv("OWNFRAME_STATE", folder)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_cache() -> Iterator[None]:
    """Let pytest inside pytest, which gets a home of its own, use the Toxiproxy that was built: a build takes 40 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(platformdirs.user_cache_path()))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test a time limit, unless it says its own; and keep together on one worker what shares a home.

    The limit comes by a signal, which interrupts the main thread in everything that Python waits for: the test fails
    with the stacks of all threads, its fixtures end what they started, and the next test runs. (pytest-timeout's other
    way, a thread, ends the process, and under pytest-xdist nobody sees its stacks.)
    """
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT, method="signal"))
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.xdist_group("docker"))
        elif item.path.is_relative_to(HERE / "home"):
            item.add_marker(pytest.mark.xdist_group("street"))

"""Nothing of a machine's own reaches the tests: state, cache of plans and signals are theirs."""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest
from filelock import FileLock
from packaging.version import Version

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


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> FileLock:
    """Give what is held by one test at a time, over all workers: a home that alone is more than two cores can do.

    Eight homes of processes beside three whose cameras encode H.264 are a load of 17; there players were killed because
    they were late, and one of sixty frames was torn on links that nobody disturbed.
    """
    shared = tmp_path_factory.getbasetemp()
    return FileLock((shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "crowd.lock")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist's own, which comes first otherwise, reads the groups once
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test a time limit, unless it says its own; and keep together on one worker what shares a home.

    A module whose tests run containers is a group, which names itself where its homes are too much beside another.

    The limit comes by a signal, which interrupts the main thread in everything that Python waits for: the test fails
    with the stacks of all threads, its fixtures end what they started, and the next test runs. (pytest-timeout's other
    way, a thread, ends the process, and under pytest-xdist nobody sees its stacks.)
    """
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT, method="signal"))
        if item.get_closest_marker("xdist_group"):
            continue
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.xdist_group(f"docker {item.path.stem}"))
        elif item.path.is_relative_to(HERE / "home"):
            item.add_marker(pytest.mark.xdist_group("street"))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run side by side what must not be: with these versions groups are lost, and nothing says so.

    Two homes of containers then starved each other, and tests of them failed now and then
    (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """
    ours, theirs = Version(version("pytest")), Version(version("pytest-xdist"))
    if config.getoption("dist", "no") == "loadgroup" and ours >= Version("9.2") and theirs <= Version("3.8.0"):
        raise pytest.UsageError(f"pytest {ours} and pytest-xdist {theirs} lose groups of tests; install pytest < 9.2")

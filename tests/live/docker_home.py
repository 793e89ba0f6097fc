"""Homes in containers for the tests of the docker stack; and what to do where there is no engine."""

from __future__ import annotations

import contextlib
import os
import shutil
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
from chaos.stacks.docker_images import Images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker import DockerClient

OWNERS = ("ada", "grace", "lin")
CAMERAS = os.environ.get("OWNFRAME_TEST_CAMERAS", "motion").split()
"""Of somebody else's software, which are tried. Each needs an image of its own, 690 MB of Debian's packages, and
go2rtc's and MediaMTX's a minute or two of Go as well. CI says ``OWNFRAME_TEST_CAMERAS="motion go2rtc mediamtx"``."""
BROWSER = (
    "chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--user-data-dir=/tmp/user",
)  # fmt: skip
"""A stock Chromium in a container of `browser_image`."""


PATIENT = (
    ('UPLINK_TOTAL = "2.2"', 'UPLINK_TOTAL = "6", PLAYER_ENDS = "10"'),
    ('STREAM_FIRST = "2.2"', 'STREAM_FIRST = "6"'),
    ('ASK_TOTAL = "2.5"', 'ASK_TOTAL = "7"'),
)
"""What a home with RTSP waits, in seconds, for a player that begins or ends; on a machine that may be starved."""


def changed(folder: Path, into: Path, described: str, *words: tuple[str, str]) -> Path:
    """Return a copy of the folder in whose description these words are others."""
    shutil.copytree(folder, into)
    text = (into / described).read_text()
    for old, new in words:
        assert old in text
        text = text.replace(old, new)
    (into / described).write_text(text)
    return into


def patient_with_players(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let homes whose cameras speak RTSP wait longer for each player, as `PATIENT` says.

    A player that is late is killed, and its camera not told: the mechanism of rtsp-over-udp, and no healthy network. At
    load 12 to 17 on two cores two of sixty frames were foreign so; in CI a home showed nobody a picture in ten tries.
    """
    home = changed(updates.home_folder(), into, "home.toml", *PATIENT)
    monkeypatch.setattr(updates, "home_folder", lambda: home)


def wanted(camera: str) -> pytest.MarkDecorator:
    """Return what skips a test, aloud, where this camera is not to be tried."""
    return pytest.mark.skipif(camera not in CAMERAS, reason=f"NOT RUN: needs OWNFRAME_TEST_CAMERAS to name {camera}")


def browser_image(client: DockerClient) -> str:
    """Return the image of the hub that is a browser; it is built where there is none yet."""
    file = "hub/chromium/Dockerfile"
    return Images(client, updates.home_folder(), print).nodes([file])[file]


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

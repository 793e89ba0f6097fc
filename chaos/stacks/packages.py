"""Packages that an update pins for a node: a virtual environment of its own on the process stack, a layer in an image.

Both install what the node's ``requirements.txt`` has, with its hashes, and the pins over it; wheels alone, so that a
pin that this Python cannot have is told at once and not after an hour of compiling.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from chaos import children
from chaos.errors import CannotRunHere, Surroundings
from chaos.updates import PINS

_SECONDS = 900
"""Seconds for one call of pip; 12 were needed (measured), this is for a slow line."""
_LINES = 12
_NOT_OURS = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_USER", "PIP_PREFIX")


def interpreter(home: Path, source: str, say: Callable[[str], None]) -> str:
    """Return the Python that runs the node whose folder in `home` is `source`.

    That is the harness's own, which has the home's requirements, unless an update pins packages of this node: then it
    is one of a virtual environment in the user's state folder, made where it is not there. Raises `CannotRunHere` when
    a pin has no wheel for this Python, and `Surroundings` when the index cannot be reached.
    """
    pins = home / source / PINS
    if not pins.is_file():
        return sys.executable
    requirements = home / source / "requirements.txt"
    made_of = (requirements.read_bytes(), pins.read_bytes(), sys.version.encode(), sysconfig.get_platform().encode())
    name = f"{source}-{hashlib.sha256(bytes(1).join(made_of)).hexdigest()[:16]}"
    folder = children.state_folder() / "environments" / name
    complete = folder / "complete"
    with children.alone(name):
        if not complete.is_file():
            pinned = ", ".join(pins.read_text().split())
            say(f"installing {pinned} for {source}, in an environment of its own")
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)], source, pinned)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
            wheels = [*pip, "--quiet", "--only-binary", ":all:"]
            _run([*wheels, "--no-deps", "--require-hashes", "-r", str(requirements)], source, pinned)
            _run([*wheels, "-r", str(pins)], source, pinned)
            complete.touch()
    return str(folder / "bin" / "python")


def no_wheel(log: str) -> bool:
    """Whether pip says in `log` that the index was reached, and has no such version as a wheel for this Python."""
    return "No matching distribution found" in log and "Retrying (" not in log


def _run(command: list[str], source: str, pinned: str) -> None:
    # the constraints of whoever installed the harness are not this node's: an update may pin what they lock otherwise
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_OURS}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise Surroundings(f"{pinned} could not be installed for {source}: {failed}") from failed
    if done.returncode == 0:
        return
    said = (done.stdout + done.stderr).strip()
    last = "\n".join(f"  | {line}" for line in said.splitlines()[-_LINES:])
    if no_wheel(said):
        raise CannotRunHere(
            f"cannot run here: {source} needs {pinned}, of which there is no wheel for Python "
            f"{sysconfig.get_python_version()}; run it with another Python. The last lines of pip:\n{last}"
        )
    raise Surroundings(
        f"{pinned} could not be installed for {source}; python3 with venv and a package index are needed. "
        f"The last lines:\n{last}"
    )

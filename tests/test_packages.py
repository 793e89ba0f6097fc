"""Packages that an update pins, on the process stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chaos.errors import CannotRunHere, Surroundings
from chaos.stacks import packages

HAVE = "ERROR: Could not find a version that satisfies the requirement redis==0.0.1 (from versions: 4.5.1, 4.5.3)\n"
NONE = "ERROR: No matching distribution found for redis==0.0.1\n"
LOST = "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by 'NewConnectionError'\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OWNFRAME_STATE", str(tmp_path / "state"))
    (tmp_path / "home" / "relay").mkdir(parents=True)
    (tmp_path / "home" / "relay" / "requirements.txt").write_text("# nothing\n")
    return tmp_path / "home"


def pin(home, text):
    (home / "relay" / "pins.txt").write_text(text)


class Pip:
    """Stands in for venv and pip: makes the folder, and says and returns what it was told to."""

    def __init__(self, monkeypatch, code=0, said=""):
        self.calls = []
        self._code, self._said = code, said
        monkeypatch.setattr(packages.subprocess, "run", self)

    def __call__(self, command, *, env, **_):
        self.calls.append(command)
        self.environment = env
        is_pip = "pip" in command
        if not is_pip:
            Path(command[-1]).mkdir(parents=True)
        return subprocess.CompletedProcess(command, self._code if is_pip else 0, "", self._said if is_pip else "")


def test_without_a_pin_a_node_runs_with_the_harness_own_python(home):
    assert packages.interpreter(home, "relay", print) == sys.executable


def test_the_same_pins_are_installed_once(home, monkeypatch):
    pin(home, "redis==4.5.3\n")
    pip, said = Pip(monkeypatch), []

    first = packages.interpreter(home, "relay", said.append)
    again = packages.interpreter(home, "relay", said.append)

    assert first == again != sys.executable
    assert len(pip.calls) == 3, "an environment, the requirements, the pins"
    assert "--require-hashes" in pip.calls[1]
    assert "redis==4.5.3" in said[0]


def test_other_pins_get_another_environment(home, monkeypatch):
    Pip(monkeypatch)
    pin(home, "redis==4.5.3\n")
    first = packages.interpreter(home, "relay", print)
    pin(home, "redis==5.0.8\n")
    assert packages.interpreter(home, "relay", print) != first


def test_a_version_without_a_wheel_for_this_python_cannot_run_here(home, monkeypatch):
    pin(home, "redis==0.0.1\n")
    Pip(monkeypatch, code=1, said=HAVE + NONE)
    with pytest.raises(CannotRunHere, match=r"cannot run here: relay needs redis==0.0.1, of which there is no wheel"):
        packages.interpreter(home, "relay", print)


def test_an_index_that_cannot_be_reached_says_nothing_of_the_version(home, monkeypatch):
    pin(home, "redis==4.5.3\n")
    Pip(monkeypatch, code=1, said=LOST + HAVE + NONE)
    with pytest.raises(Surroundings, match="could not be installed for relay"):
        packages.interpreter(home, "relay", print)


def test_an_environment_that_was_broken_off_is_made_again(home, monkeypatch):
    pin(home, "redis==4.5.3\n")
    Pip(monkeypatch, code=1, said="killed")
    with pytest.raises(Surroundings):
        packages.interpreter(home, "relay", print)
    pip = Pip(monkeypatch)
    packages.interpreter(home, "relay", print)
    assert len(pip.calls) == 3


def test_the_constraints_that_the_harness_was_installed_with_do_not_hold_for_a_node(home, monkeypatch):
    """CI locks another version of the very package that an update pins."""
    monkeypatch.setenv("PIP_CONSTRAINT", "constraints.txt")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1/simple")
    pin(home, "redis==4.5.3\n")
    pip = Pip(monkeypatch)
    packages.interpreter(home, "relay", print)
    assert "PIP_CONSTRAINT" not in pip.environment
    assert pip.environment["PIP_INDEX_URL"] == "http://127.0.0.1/simple"

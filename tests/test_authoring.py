"""`ownframe new`: a name becomes a file and a class; what it writes draws plans that ask and meet faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chaos import authoring
from chaos.errors import Misuse, Surroundings
from chaos.plan import SetConditions
from chaos.scenarios import load
from tests.test_household import _Chapter


@pytest.mark.parametrize(
    ("name", "file", "scenario"),
    [
        ("morning rush", "test_morning_rush.py", "MorningRush"),
        ("MorningRush", "test_morning_rush.py", "MorningRush"),
        ("morning-rush", "test_morning_rush.py", "MorningRush"),
        ("test_morning_rush", "test_morning_rush.py", "TestMorningRush"),
        ("a2", "test_a2.py", "A2"),
        ("TVGuests", "test_tv_guests.py", "TVGuests"),
    ],
)
def test_a_name_is_a_file_and_a_class(tmp_path, name, file, scenario):
    written = authoring.write(name, tmp_path / "new")
    assert written.name == file
    assert [s.__name__ for s in load(written)] == [scenario]


@pytest.mark.parametrize("name", ["", "  ", "2 cameras", "../up", "a/b", "nöt-ascii!", "x;y"])
def test_what_can_be_no_name_is_a_sentence(tmp_path, name):
    with pytest.raises(Misuse, match="can be no scenario's name"):
        authoring.write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Surroundings, match="could not make"):
        authoring.write("evening", tmp_path / "file")


def test_what_is_written_draws_plans_and_is_clean(tmp_path):
    written = authoring.write("evening", tmp_path)
    (scenario,) = load(written)
    chapter = _Chapter()
    scenario.hunt(chapter, 10, seeded=1)
    assert any(isinstance(s, SetConditions) for p in chapter.executed for s in p.steps)
    assert all(p.asks for p in chapter.executed)
    compiled = subprocess.run([sys.executable, "-W", "error", "-m", "py_compile", str(written)], check=False)
    assert compiled.returncode == 0

"""Scenario files: those that ship with the project, and what a file defines."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from chaos.errors import Misuse
from chaos.household import Household


def scenario_folder() -> Path:
    """Return the folder of the scenario files: the clone's, else those that the wheel carries."""
    package = Path(__file__).parent
    for folder in (package.parent / "scenarios", package / "_scenarios"):
        if any(folder.glob("test_*.py")):
            return folder
    raise Misuse(f"no scenarios beside {package}; install ownframe again, or work from a clone")


def load(file: Path) -> list[type[Household]]:
    """Return the scenarios that a file defines, in order."""
    spec = importlib.util.spec_from_file_location(f"ownframe_scenario_{file.stem}", file)
    assert spec is not None, "a Python file has a loader"
    assert spec.loader is not None, "the same"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Household)]
    return [s for s in found if s is not Household and s.__module__ == module.__name__]

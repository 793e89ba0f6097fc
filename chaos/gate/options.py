"""What a gate is told, and how it is spelt on a command line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import psutil

from chaos.errors import Misuse
from chaos.evidence import LIMIT
from chaos.gate.crew import LOOKS, WORKER
from chaos.gate.result import Budget
from chaos.run import SHRINK_BUDGET

MEMORY = 1_500_000_000
"""Bytes of memory that three homes and their worker may want."""
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
_TIME = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})")
_ENGINE = re.compile(r"dask://([^/\s]+:\d+)")
_CASES = re.compile(r"(\d+)\s*cases?")


def seconds(text: str) -> float:
    """Return the seconds that ``90s``, ``5m`` or ``1h`` mean; raises `Misuse` for anything else."""
    found = _TIME.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise Misuse(f"the time is {text!r}; expected a number with a unit, such as 90s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def budget(text: str) -> Budget:
    """Return the budget that ``120s`` or ``300cases`` mean; raises `Misuse` for anything else."""
    cases = _CASES.fullmatch(text.strip())
    if cases is not None and int(cases[1]):
        return Budget(cases=int(cases[1]))
    try:
        return Budget(seconds=seconds(text))
    except Misuse:
        raise Misuse(
            f"the budget is {text!r}; expected a time such as 120s or 5m, or a number of cases such as 300cases"
        ) from None


def default_workers() -> int:
    """Return how many home systems this machine bears side by side: one a core, as far as its memory goes."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(psutil.virtual_memory().available // MEMORY)))


def more_workers() -> int:
    """Return how many may be hired beside where processors idle: as many again, as far as memory goes."""
    room = int(psutil.virtual_memory().available // MEMORY) - default_workers()
    return max(0, min(len(os.sched_getaffinity(0)), room))


def engine(text: str) -> str | None:
    """Return the address of a Dask scheduler that ``dask://host:port`` means, "" for a local cluster, None for none.

    Raises `Misuse` for anything else.
    """
    if text == "local":
        return None
    if text == "dask":
        return ""
    found = _ENGINE.fullmatch(text)
    if found is None:
        raise Misuse(f"the engine is {text!r}; expected local, dask (a cluster on this machine) or dask://host:port")
    return f"tcp://{found[1]}"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate is told; `timeout` is in seconds, `seed` None for one that nobody chose.

    `more` are workers that it may hire beside where processors idle.
    """

    paths: tuple[Path, ...] = ()
    stack: str = "process"
    update: str | None = None
    compose: tuple[Path, ...] = ()
    budget: Budget = Budget(seconds=120.0)
    workers: int = 1
    more: int = 0
    engine: str = "local"
    seed: int | None = None
    timeout: float | None = None
    accepted: Path | None = None
    evidence: Path = Path("ownframe-evidence")
    evidence_limit: int = LIMIT
    json: Path | None = None
    junit: Path | None = None
    shrink_budget: int = SHRINK_BUDGET
    looks: int = LOOKS
    display: str | None = None
    camera: str | None = None
    confirm_on: str | None = None
    command: tuple[str, ...] = WORKER

    @property
    def chosen(self) -> dict[str, str]:
        """Return what of the home system was chosen, and on which display findings are confirmed."""
        named = {"display": self.display, "camera": self.camera, "confirm_on": self.confirm_on}
        return {name: value for name, value in named.items() if value is not None}

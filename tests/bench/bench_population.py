"""Populations with december-26: start-up, memory of all processes, and the first stranger's picture."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from chaos.conditions import OUTAGE
from chaos.population import Options, Population, Share

HOMES = tuple(int(n) for n in os.environ.get("OWNFRAME_BENCH_HOMES", "3,10,100,1044").split(","))


def run() -> dict[str, float | int | str]:
    """Let everybody ask once; one home in 200 is cut off from the relay, and at least one."""
    figures: dict[str, float | int | str] = {}
    for homes in HOMES:
        with tempfile.TemporaryDirectory() as folder:
            part = Share(OUTAGE, max(0.005, 1 / homes))
            options = Options(homes, (part,), rounds=1, update="december-26", evidence=Path(folder))
            with Population(options, lambda _: None) as population:
                told = population.run()
        figures |= {
            f"{homes} homes: started, seconds": told.started,
            f"{homes} homes: memory, MB": told.memory_mb,
            f"{homes} homes: first stranger's picture, seconds": told.first if told.first is not None else "none",
            f"{homes} homes: everybody asked, seconds": told.asked,
            f"{homes} homes: saw others": len(told.saw),
        }
    return figures

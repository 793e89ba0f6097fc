"""The whole way: seconds and cases to the first foreign frame over seeds, cases a minute, memory."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from chaos.demo import load, scenario_folder
from chaos.run import Chapter, Run, Settings
from chaos.verdict import Rules
from tests.bench.bench_workers import OWNERS, PLAN

SEEDS = int(os.environ.get("OWNFRAME_BENCH_SEEDS", "20"))
LIMIT = 40


def run() -> dict[str, float | int | str]:
    """Hunt `SEEDS` times with december-26, then execute cases of a stated size on the reference for half a minute."""
    return _first_foreign() | _cases_a_minute()


def _first_foreign() -> dict[str, float | int | str]:
    scenario = load(scenario_folder() / "test_three_homes_one_relay.py")[0]
    cases: list[int] = []
    seconds: list[float] = []
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Run(Settings(update="december-26", evidence=Path(folder))) as searched,
    ):
        for number in range(SEEDS):
            chapter = Chapter(searched, f"seed {number}", scenario.homes, Rules())
            if scenario.hunt(chapter, LIMIT, seeded=number) is not None:
                cases.append(chapter.executions)
                seconds.append(time.monotonic() - began)
    ranked = sorted(cases)
    return {
        "seconds from the start of a run to its first foreign frame (seed 0)": seconds[0] if seconds else float("nan"),
        "seeds": SEEDS,
        f"seeds found within {LIMIT} cases": len(cases),
        "seeds found within 20 cases": sum(c <= 20 for c in cases),
        "cases to the first foreign frame, median": statistics.median(ranked) if ranked else float("nan"),
        "cases to the first foreign frame, each": " ".join(map(str, cases)),
    }


def _cases_a_minute() -> dict[str, float | int | str]:
    with tempfile.TemporaryDirectory() as folder, Run(Settings(evidence=Path(folder))) as bench:
        chapter = Chapter(bench, "cases a minute", OWNERS, Rules())
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 30:
            chapter.again(PLAN)
            count += 1
        took = time.monotonic() - began
        met = chapter.home.evidence.history
        children = psutil.Process().children(recursive=True)
        nodes = sum(c.memory_info().rss for c in children) / 1e6
    return {
        "cases a minute (3 owners, 6 asks, EDGE on a camera; one worker)": 60 * count / took,
        "asks that met the fault": sum(type(e).__name__ == "Met" for e in met),
        "memory of all nodes and Toxiproxy, MB": nodes,
        "memory of the harness, MB": psutil.Process().memory_info().rss / 1e6,
    }

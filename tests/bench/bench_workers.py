"""Homes side by side: cases a minute with 1, 2, 4 and 8 workers, seconds until a home is up, and its reset.

``OWNFRAME_BENCH_STACK=docker`` measures containers, ``OWNFRAME_BENCH_WORKERS`` other numbers of workers (``1,2,4``).
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psutil

from chaos.conditions import EDGE
from chaos.plan import Ask, AskTogether, Plan, SetConditions
from chaos.run import Chapter, Run, Settings
from chaos.verdict import Rules

STACK = os.environ.get("OWNFRAME_BENCH_STACK", "process")
WORKERS = tuple(int(n) for n in os.environ.get("OWNFRAME_BENCH_WORKERS", "1,2,4,8").split(","))
SECONDS = 20
RESETS = 15
OWNERS = ("ada", "grace", "lin")
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))
PLAN = Plan(OWNERS, (EVERYBODY, SetConditions("ada.camera", EDGE), EVERYBODY))
"""A case: three owners, six asks, one fault that an ask meets."""


def run() -> dict[str, float | int | str]:
    """Execute the same case in each number of workers for `SECONDS`."""
    measured: dict[str, float | int | str] = {"stack": STACK}
    measured |= _alone()
    for count in WORKERS:
        cases, busy = _together(count)
        measured[f"cases a minute, {count} workers"] = cases
        measured[f"processor used meanwhile, {count} workers, %"] = busy
    return measured


def _alone() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, Run(Settings(stack=STACK, evidence=Path(folder))) as bench:
        bench.home(OWNERS)  # what is built once, is built now
    with tempfile.TemporaryDirectory() as folder, Run(Settings(stack=STACK, evidence=Path(folder))) as bench:
        began = time.monotonic()
        home = bench.home(OWNERS)
        up = time.monotonic() - began
        resets: list[float] = []
        for number in range(1, RESETS + 1):
            began = time.monotonic()
            home.reset(number)
            resets.append(time.monotonic() - began)
    return {
        "seconds until three homes are up": up,
        f"milliseconds of a reset, median of {RESETS}": 1000 * statistics.median(resets),
    }


def _together(count: int) -> tuple[float, float]:
    """Return cases a minute of `count` workers, and how busy all processors were, in percent."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(count + 1), context.SimpleQueue()
    workers = [context.Process(target=_work, args=(ready, done)) for _ in range(count)]
    for worker in workers:
        worker.start()
    ready.wait(timeout=300)
    psutil.cpu_percent()
    rates = [done.get() for _ in workers]
    busy = psutil.cpu_percent()
    for worker in workers:
        worker.join()
    return sum(rates), busy


def _work(ready: Barrier, done: multiprocessing.SimpleQueue[float]) -> None:
    with tempfile.TemporaryDirectory() as folder, Run(Settings(stack=STACK, evidence=Path(folder))) as bench:
        chapter = Chapter(bench, "workers", OWNERS, Rules())
        ready.wait(timeout=300)
        began, count = time.monotonic(), 0
        while time.monotonic() - began < SECONDS:
            chapter.again(PLAN)
            count += 1
        done.put(60 * count / (time.monotonic() - began))

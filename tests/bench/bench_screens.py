"""What a hub that is a browser costs, and how soon it shows: ask to picture, cases a minute, processor and memory.

``tox -e bench -- screens``; it needs a Docker engine. ``docs/displays.md`` quotes it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from chaos import frames
from chaos.history import Asked
from chaos.plan import Ask, AskTogether, Plan
from tests.live.docker_home import OWNERS, running_home

SECONDS = float(os.environ.get("OWNFRAME_BENCH_SECONDS", "30"))
EVERYBODY = Plan(OWNERS, (AskTogether(tuple(Ask(o) for o in OWNERS)),) * 2)


def run() -> dict[str, float | int | str]:
    """Measure one home with browsers as its hubs, and the same with the headless hub to compare."""
    measured: dict[str, float | int | str] = {}
    for display in ("headless", "chromium"):
        with tempfile.TemporaryDirectory() as folder, running_home(Path(folder), display=display) as (home, stack, _):
            measured |= {f"{display}: {what}": value for what, value in _of(home, stack).items()}
    return measured


def _of(home, stack) -> dict[str, float | int | str]:
    container = stack._containers["ada.hub"]
    took: list[float] = []
    cases = 0
    used, began = _stats(container), time.monotonic()
    while time.monotonic() - began < SECONDS:
        events = home.execute(EVERYBODY)
        took += [e.settled - e.began for e in events if isinstance(e, Asked) and e.outcome == "picture"]
        cases += 1
    seconds = time.monotonic() - began
    after = _stats(container)
    judged = _judged(home)
    return {
        "cases a minute (3 owners, 6 asks)": 60 * cases / seconds,
        "seconds from ask to picture, median": statistics.median(took) if took else float("nan"),
        "seconds from ask to picture, most": max(took, default=float("nan")),
        "processor of one hub, % of a core": 100 * (after[0] - used[0]) / seconds,
        "memory of one hub, MB": after[1] / 1e6,
        "displayed frames a second that are judged": judged,
    }


def _stats(container) -> tuple[float, int]:
    """Return the seconds of processor that a container used, and the bytes of memory that it has now."""
    stats = container._client.api.stats(container.id, stream=False, one_shot=True)
    return stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, stats["memory_stats"].get("usage", 0)


def _judged(home) -> float:
    """Return how many displayed frames a second one core fetches, decodes and reads."""
    display = home.displays["ada"]
    case = home.case()
    case.ask("ada", feed="stream")
    time.sleep(2.0)  # frames come meanwhile
    shown = display.collect()
    began = time.process_time()
    for each in shown:
        raster = display.raster(each.digest)
        home.reader.read(frames.luma_of_rgb(raster.rgb, raster.width, raster.height), display.box)
    spent = time.process_time() - began
    home.finish(case)
    return len(shown) / spent if spent else float("nan")

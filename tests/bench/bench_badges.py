"""The whole chain's readability: of each camera on each display, how many displayed frames were read, and how well.

``tox -e bench -- badges``; it needs a Docker engine. ``docs/cameras.md`` quotes it. Clear links, and named conditions
on the camera's link and on the hub's. A picture that stood on the screen while it came is counted apart.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from chaos import conditions
from chaos.plan import Ask, Clear, Plan, SetConditions, Step
from chaos.verdict import Rules, Verdict, judge
from tests.live.docker_home import OWNERS, running_home

CAMERAS = os.environ.get("OWNFRAME_BENCH_CAMERAS", "reference motion go2rtc").split()
DISPLAYS = os.environ.get("OWNFRAME_BENCH_DISPLAYS", "headless chromium").split()
CASES = int(os.environ.get("OWNFRAME_BENCH_CASES", "4"))
UNDER = os.environ.get("OWNFRAME_BENCH_UNDER", "CLEAR FAST_4G SLOW_4G REGULAR_3G EDGE").split()
FEEDS = ("still", "stream", "video")


def run() -> dict[str, float | int | str]:
    """Show each feed of each camera on each display, under each of the conditions."""
    measured: dict[str, float | int | str] = {}
    for camera in CAMERAS:
        for display in DISPLAYS:
            with (
                tempfile.TemporaryDirectory() as folder,
                running_home(Path(folder), camera=camera, display=display) as (home, _, _),
            ):
                for name in UNDER:
                    measured |= _under(home, name, f"{camera} on {display}, {name}")
    return measured


def _under(home, name: str, title: str) -> dict[str, str]:
    counts: Counter[str] = Counter()
    tiles: list[int] = []
    for _ in range(CASES):
        for step in _plans(name):
            for seen in judge(home.execute(Plan(OWNERS, step)), Rules()):
                if seen.verdict is Verdict.BLANK:
                    continue
                sightings = seen.frame.reading.sightings
                counts["read" if sightings else "unreadable" if seen.unexplained else "partial"] += 1
                tiles += [s.tiles for s in sightings]
    return {
        title: f"{counts.total()} frames, {counts['read']} read, {counts['partial']} of a picture that came, "
        f"{counts['unreadable']} unreadable; "
        f"tiles {min(tiles, default=0)} to {max(tiles, default=0)}"
    }


def _plans(name: str) -> list[tuple[Step, ...]]:
    asks = tuple(Ask("ada", feed=feed) for feed in FEEDS)  # type: ignore[arg-type]
    if name == "CLEAR":
        return [(*asks, Ask("ada"))]
    under = conditions.NAMED[name]
    return [(SetConditions(link, under), *asks, Clear(link), Ask("ada")) for link in ("ada.camera", "ada.hub")]

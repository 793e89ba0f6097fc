"""The pictures of docs/displays.md: what a Chromium hub shows that is own, foreign, unavailable and torn.

``python -m tests.bench.hub_pictures docs/pictures``; needs a Docker engine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from chaos import conditions, frames
from chaos.displays import Raster
from chaos.history import Displayed
from chaos.plan import Ask, Plan, SetConditions, Step
from chaos.verdict import Rules, Verdict, judge
from tests.live.docker_home import OWNERS, running_home

WIDTH = 400
SLOW = conditions.of(conditions.toxic("bandwidth", way="down", rate=250))
WANTED: dict[str, tuple[tuple[Step, ...], Verdict]] = {
    "own": ((Ask("ada"),), Verdict.OWN),
    "foreign": ((Ask("lin"), SetConditions("ada.camera", conditions.OUTAGE), Ask("ada")), Verdict.FOREIGN),
    "unavailable": ((SetConditions("ada.hub", conditions.OUTAGE), Ask("ada")), Verdict.BLANK),
    "torn": ((SetConditions("ada.hub", SLOW), Ask("ada")), Verdict.OWN),
}


def main(folder: Path) -> None:
    """Execute a plan for each picture, and store the picture small."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, running_home(Path(scratch), "december-26", display="chromium") as on:
        home = on[0]
        screen = home.displays["ada"]
        kept: dict[str, Raster] = {}
        give = screen.raster
        screen.raster = lambda digest: kept.setdefault(digest, give(digest))  # type: ignore[method-assign]
        for name, (steps, verdict) in WANTED.items():
            for _ in range(10):
                judged = judge(home.execute(Plan(OWNERS, steps)), Rules())
                shown = [j.frame for j in judged if j.frame.hub == "ada" and j.verdict is verdict]
                found = [kept[f.digest] for f in shown if f.digest in kept and _is_it(name, f, kept[f.digest])]
                if found:
                    # after 'unavailable' the case ends with the home screen
                    _store(folder / f"hub-{name}.png", found[-2 if name == "unavailable" else -1])
                    break
            print(name, "stored" if found else "was not seen in ten cases")


def _is_it(name: str, frame: Displayed, raster: Raster) -> bool:
    luma = frames.luma_of_rgb(raster.rgb, raster.width, raster.height)
    dark = float((luma[12:588].max(axis=1) < 24).mean())
    return 0.2 < dark < 0.9 if name == "torn" else True


def _store(file: Path, raster: Raster) -> None:
    picture = np.frombuffer(raster.rgb, np.uint8).reshape(raster.height, raster.width, 3)
    small = cv2.resize(picture, (WIDTH, WIDTH * raster.height // raster.width), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(file), cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

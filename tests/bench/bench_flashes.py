"""How short a stranger's picture may be and is still caught: flashed a thousand times on a Chromium hub.

``tox -e bench -- flashes``; it needs a Docker engine. ``docs/displays.md`` quotes it.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from chaos.displays.chromium import RATE, Chromium
from tests.live.docker_home import running_home
from tests.live.test_chromium_hub import flashes

TIMES = int(os.environ.get("OWNFRAME_BENCH_FLASHES", "1000"))
SHARES = {1: 0.5, 2: 0.3, 5: 0.15, 15: 0.05}
"""How many of the flashes stand for so many refreshes: most for the fewest, which are the hardest to catch."""
BATCH = 25
"""Flashes of one go, whose pictures are kept until they are counted."""


def run() -> dict[str, float | int | str]:
    """Flash, count what came to be seen, and how often the browser drew."""
    measured: dict[str, float | int | str] = {}
    with tempfile.TemporaryDirectory() as folder, running_home(Path(folder), display="chromium") as (home, _, _):
        screen = home.displays["ada"]
        assert isinstance(screen, Chromium), "the hub is a browser"
        stranger = home.scene._paint(("lin", "living-room"), 1, home.scene._world)
        late, refreshes, began = screen.late, screen.refreshes, time.monotonic()
        caught_of_all = 0
        for length, share in SHARES.items():
            count = round(TIMES * share)
            done = caught = 0
            while done < count:
                batch = min(BATCH, count - done)
                caught += flashes(screen, stranger, [length] * batch)
                done += batch
            caught_of_all += caught
            name = f"flashes of {length} refreshes ({1000 * length / RATE:.0f} ms at {RATE} Hz) caught"
            measured[name] = f"{caught} of {count} ({caught / count:.1%})"
        seconds = time.monotonic() - began
        measured |= {
            "flashes caught": f"{caught_of_all} of {sum(round(TIMES * s) for s in SHARES.values())}",
            "refreshes a second while flashing": (screen.refreshes - refreshes) / seconds,
            "refreshes that were late": screen.late - late,
            "times in which the screen was not seen": len(screen.gaps()),
            "seconds": seconds,
        }
    return measured

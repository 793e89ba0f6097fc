"""Waiting for a condition, with a deadline and what was missing last."""

from __future__ import annotations

import time
from collections.abc import Callable

from chaos import current
from chaos.errors import Surroundings

PATIENCE = 10.0
"""Seconds that a reset may take until it is proven; a reset took 0.1 s in the median (measured, process stack)."""


def wait_for(what: str, missing: Callable[[], str | None], seconds: float = PATIENCE) -> None:
    """Ask until nothing is missing; raises `Surroundings` with what was missing last after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while (lack := missing()) is not None:
        current.check_stop()
        if time.monotonic() > deadline:
            raise Surroundings(f"waited {seconds:.0f} s for {what}; last seen: {lack}")
        time.sleep(pause)  # between two looks at a condition, never instead of one
        pause = min(pause * 2, 0.1)

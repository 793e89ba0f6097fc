"""The kill switch: seconds until no hub shows a camera any more, under each named condition on two links."""

from __future__ import annotations

import tempfile
from pathlib import Path

from chaos import conditions
from chaos.conditions import Conditions
from chaos.history import Displayed, Event, Suspended
from chaos.plan import Ask, AskTogether, Plan, SetConditions, Suspend
from chaos.run import Run, Settings
from tests.bench.bench_workers import OWNERS

LINKS = ("ada.hub", "relay.accounts")


def run() -> dict[str, float | int | str]:
    """Suspend the integration while one hub plays a stream and two show a still."""
    figures: dict[str, float | int | str] = {}
    with tempfile.TemporaryDirectory() as folder, Run(Settings(evidence=Path(folder))) as bench:
        home = bench.home(OWNERS)
        for name, under in conditions.NAMED.items():
            for link in LINKS:
                if not under.packets:  # this stack has none
                    figures[f"{name} on {link}"] = _dark_after(home.execute(_plan(link, under)))
    figures["the longest, seconds"] = max(v for v in figures.values() if isinstance(v, float))
    return figures


def _plan(link: str, under: Conditions) -> Plan:
    watching = AskTogether((Ask("ada", feed="stream"), Ask("grace"), Ask("lin")))
    return Plan(OWNERS, (watching, SetConditions(link, under), Suspend()))


def _dark_after(events: list[Event]) -> float:
    (switched,) = (e.ended for e in events if isinstance(e, Suspended))
    lit = [e.until for e in events if isinstance(e, Displayed) and e.reading.content == "picture"]
    return round(max(0.0, max(lit, default=switched) - switched), 2)

"""ownframe: network-fault chaos testing for smart-home video.

Names are imported when they are first used, so that the pytest plugin costs nothing where no scenario runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos import conditions, motifs
    from chaos.errors import Misuse, OwnframeError, Surroundings
    from chaos.household import (
        Household,
        Inconclusive,
        Leak,
        any_camera,
        any_clock,
        any_home,
        any_link,
        any_node,
        any_node_fault,
        any_room,
    )
    from chaos.plan import shared

_WHERE = {
    "Household": "chaos.household",
    "Inconclusive": "chaos.household",
    "Leak": "chaos.household",
    "Misuse": "chaos.errors",
    "OwnframeError": "chaos.errors",
    "Surroundings": "chaos.errors",
    "any_camera": "chaos.household",
    "any_clock": "chaos.household",
    "any_home": "chaos.household",
    "any_link": "chaos.household",
    "any_node": "chaos.household",
    "any_node_fault": "chaos.household",
    "any_room": "chaos.household",
    "shared": "chaos.plan",
}

__all__ = [
    "Household",
    "Inconclusive",
    "Leak",
    "Misuse",
    "OwnframeError",
    "Surroundings",
    "any_camera",
    "any_clock",
    "any_home",
    "any_link",
    "any_node",
    "any_node_fault",
    "any_room",
    "conditions",
    "motifs",
    "shared",
]


def __getattr__(name: str) -> object:
    if name in ("conditions", "motifs"):
        return importlib.import_module(f"chaos.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'chaos' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""What toxics and packet faults have in common: a frozen value that is drawn, sent, stored and printed as it is.

Ways are told from the *device*, the node at the poor end that a link is named for (``ada.camera``, ``ada.hub``,
``relay.cache``): ``up`` leaves the device, ``down`` goes to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import takewhile
from typing import ClassVar, Self

import msgspec

from chaos.errors import Misuse, nearest


class Way(StrEnum):
    """Direction of bytes on a link, told from the device that the link is named for."""

    UP = "up"
    DOWN = "down"


class Disturbance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One thing that is done to what crosses a link. Raises `Misuse` when a value is out of its range."""

    LADDERS: ClassVar[dict[str, tuple[int, ...]]] = {}
    """Per attribute, the values that are drawn, calm first; shrinking walks to the left."""

    @property
    def kind(self) -> str:
        """Its name in plans, programs and reports."""
        return str(self.__struct_config__.tag)

    def describe(self) -> str:
        """Return one phrase for a headline, such as ``latency 600 ms down``."""
        raise NotImplementedError

    def calmer(self) -> Iterator[Self]:
        """Yield this with one attribute moved towards calm on its ladder, furthest move first."""
        for attribute, ladder in self.LADDERS.items():
            for rung in calmer_rungs(ladder, getattr(self, attribute)):
                yield msgspec.structs.replace(self, **{attribute: rung})

    def _between(self, attribute: str, low: int, high: int, why: str) -> None:
        value = getattr(self, attribute)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Misuse(f"{self.kind}.{attribute} is {value!r}; expected a whole number from {low} to {high} ({why})")


def calmer_rungs(ladder: tuple[int, ...], now: int) -> tuple[int, ...]:
    """Return the rungs before `now`; a value between two rungs is calmer than those from the first harsher one on."""
    if now in ladder:
        return ladder[: ladder.index(now)]
    rises = ladder[0] < ladder[1]  # a timeout's last rung, 0, is a black hole: harsher than any number
    return tuple(takewhile(lambda rung: rung < now if rises else rung > now, ladder))


def way_named(way: str) -> Way:
    """Return the way of that name, or raise `Misuse` with the nearest."""
    try:
        return Way(way)
    except ValueError:
        raise Misuse(f"there is no way {way!r}{nearest(str(way), [w.value for w in Way])}") from None

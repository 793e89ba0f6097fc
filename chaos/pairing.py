"""Which of Toxiproxy's connections to an upstream that several links share belongs to which client's. Pure.

A case leaves hundreds of connections that are over and were never told apart; comparing all with all at each sample,
fifty times a second, took two thirds of the harness's processor (measured). So what can belong together is found when a
connection is new, and looked at again only when one of the two has moved bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

DIAL = 1.0
"""Seconds within which Toxiproxy dials its upstream after accepting: 0.2 ms, more on a starved machine."""


class Seen(Protocol):
    """One of Toxiproxy's sockets. Times in seconds, numbers in bytes."""

    @property
    def towards_client(self) -> bool:
        """Whether a link's client dialled it; else Toxiproxy dialled an upstream."""

    @property
    def since(self) -> float:
        """The last instant at which it was not there yet."""

    @property
    def seen(self) -> float:
        """The first at which it was; those that are added later were seen no earlier."""

    @property
    def received(self) -> int:
        """Bytes that arrived."""

    @property
    def sent(self) -> int:
        """Bytes that were sent."""


class Pairing:
    """The connections of one upstream that are not paired yet, by the number that the kernel gave each.

    Toxiproxy dials right after it accepts, so a pair is seen within `DIAL` of each other. Of those, a pair is sure when
    neither end has another candidate, or another with the same numbers of bytes.
    """

    def __init__(self) -> None:
        self._sides: dict[bool, dict[int, Seen]] = {True: {}, False: {}}
        self._near: dict[int, set[int]] = {}
        self._equal: dict[int, set[int]] = {}
        self._sure: frozenset[tuple[int, int]] | None = frozenset()

    def add(self, number: int, new: Seen) -> None:
        """Take a connection that was just seen first."""
        self._sides[new.towards_client][number] = new
        self._near[number], self._equal[number] = set(), set()
        for other in self._candidates(new):
            self._near[number].add(other)
            self._near[other].add(number)
        self._sure = None
        self.moved(number)

    def moved(self, number: int) -> None:
        """Look again at a connection whose numbers of bytes have changed; one that is paired or gone is passed over."""
        for other in self._near.get(number, ()):
            change = set.add if _same(self._at(number), self._at(other)) else set.discard
            change(self._equal[number], other)
            change(self._equal[other], number)
            self._sure = None

    def remove(self, number: int) -> None:
        """Forget a connection, which was paired or is long gone; harmless when it is not here."""
        for related in (self._near, self._equal):
            for other in related.pop(number, ()):
                related[other].discard(number)
        for side in self._sides.values():
            side.pop(number, None)
        self._sure = None

    def sure(self) -> frozenset[tuple[int, int]]:
        """Return which client's connection must belong to which of Toxiproxy's, as of now."""
        if self._sure is None:
            self._sure = frozenset(
                (client, next(iter(others)))
                for related in (self._near, self._equal)
                for client in self._sides[True]
                if len(others := related[client]) == 1 and len(related[next(iter(others))]) == 1
            )
        return self._sure

    def _candidates(self, new: Seen) -> Iterator[int]:
        """Yield those on the other side that can belong to a new one, newest first."""
        oldest = new.since if new.towards_client else new.since - DIAL
        for number, other in reversed(self._sides[not new.towards_client].items()):
            if other.seen < oldest:
                return
            yield number

    def _at(self, number: int) -> Seen:
        return next(side[number] for side in self._sides.values() if number in side)


def _same(one: Seen, other: Seen) -> bool:
    return one.received == other.sent > 0 and one.sent == other.received > 0

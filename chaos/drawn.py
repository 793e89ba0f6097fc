"""Hypothesis's database of what it drew when something leaked, kept in a folder or shared through Redis.

It is a hint and no record: an entry is a sequence of choices, which means another plan once a scenario is edited. What
was found is in the register, as plans. So a database that fails ends no search; and no entry is deleted after one clean
replay, as Hypothesis would: a leak that fires one time in three is clean in two of three.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import redis
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.extra.redis import RedisExampleDatabase

from chaos.children import state_folder
from chaos.errors import Surroundings

KEPT_FOR = timedelta(days=365)
"""How long Redis keeps what nobody asked for; in a folder it stays."""
TRIED = 3
"""Entries of one scenario that a search begins with, the shortest: each costs one of its cases."""
PATIENCE = 2.0
"""Seconds that a shared database may take to answer."""


class Kept(ExampleDatabase):
    """A database that forgets nothing, answers briefly, and whose failures nobody notices; the part of one scenario."""

    def __init__(self, under: ExampleDatabase, scenario: str = "", leaked: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self._under, self._part, self._leaked = under, scenario.encode(), leaked

    def of(self, scenario: str, leaked: Callable[[], bool] = lambda: True) -> Kept:
        """Return the part of one scenario: Hypothesis's keys tell scenarios apart no more than their classes' base.

        Nothing is saved before anything has `leaked`: Hypothesis saves what raised, and a search also ends by raising
        when its budget is spent.
        """
        return Kept(self._under, scenario, leaked)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """Yield the shortest entries of a key."""
        found: list[bytes] = []
        with contextlib.suppress(OSError, redis.RedisError):
            found = sorted(self._under.fetch(self._part + key), key=lambda entry: (len(entry), entry))
        yield from itertools.islice(found, TRIED)

    def save(self, key: bytes, value: bytes) -> None:
        """Keep an entry."""
        if not self._leaked():
            return
        with contextlib.suppress(OSError, redis.RedisError):
            self._under.save(self._part + key, value)

    def delete(self, key: bytes, value: bytes) -> None:
        """Keep it all the same."""

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:  # noqa: ARG002 - it stays where it is, too
        """Keep an entry under another key, too."""
        self.save(dest, value)


def database(where: str | None) -> Kept:
    """Return the database at `where`: a folder, or ``redis://…``; None is a folder of the user's state.

    Raises `Surroundings` when a Redis does not answer, before anything else is started.
    """
    if where is None:
        return Kept(DirectoryBasedExampleDatabase(state_folder() / "hypothesis"))
    if where.partition("://")[0] not in ("redis", "rediss", "unix"):
        return Kept(DirectoryBasedExampleDatabase(Path(where)))
    try:
        server = redis.Redis.from_url(where, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        server.ping()
    except (redis.RedisError, ValueError) as failed:
        raise Surroundings(
            f"the Hypothesis database at {where.rpartition('@')[2]} does not answer: {failed}; start it, or give "
            "--hypothesis-database a folder"
        ) from None
    return Kept(RedisExampleDatabase(server, expire_after=KEPT_FOR))

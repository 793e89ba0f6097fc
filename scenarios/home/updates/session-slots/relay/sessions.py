"""Hubs hold a short handle; the account service's tokens stay here.

The handle is the number of a place in a table, so that it fits into what the smallest hub has for it; a place whose
session ended is taken by the next.
"""

from __future__ import annotations

from common.node import Problem

LONGEST = 24
"""Characters of a handle; a ticket of the account service has 32."""


class Sessions:
    """The table of sessions."""

    def __init__(self) -> None:
        self._tokens: list[str | None] = []

    def open(self, token: str) -> str:
        """Take the first free place for `token`, and return its handle."""
        if None not in self._tokens:
            self._tokens.append(None)
        place = self._tokens.index(None)
        self._tokens[place] = token
        return str(place)

    def token(self, handle: str) -> str:
        """Return the token of a session; `Problem` 401 when there is none.

        What is longer than a handle is a ticket of the account service, and passes as it is.
        """
        if len(handle) > LONGEST:
            return handle
        place = int(handle) if handle.isdecimal() else -1
        token = self._tokens[place] if 0 <= place < len(self._tokens) else None
        if token is None:
            raise Problem(401, "no such session")
        return token

    def close(self, handle: str) -> str:
        """Free the place of a session and return its token; `Problem` 401 when there is none."""
        token = self.token(handle)
        self._tokens[int(handle)] = None
        return token

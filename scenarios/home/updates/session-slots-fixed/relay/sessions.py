"""Hubs hold a short handle; the account service's tokens stay here.

The handle is the number of a place in a table, so that it fits into what the smallest hub has for it; a place whose
session ended is taken by the next.
"""

from __future__ import annotations

import secrets

from common.node import Problem

LONGEST = 24
"""Characters of a handle; a ticket of the account service has 32."""


class Sessions:
    """The table of sessions."""

    def __init__(self) -> None:
        self._tokens: list[tuple[str, str] | None] = []

    def open(self, token: str) -> str:
        """Take the first free place for `token`, and return its handle."""
        if None not in self._tokens:
            self._tokens.append(None)
        place = self._tokens.index(None)
        handle = f"{place}.{secrets.token_hex(4)}"
        self._tokens[place] = (handle, token)
        return handle

    def token(self, handle: str) -> str:
        """Return the token of a session; `Problem` 401 when there is none.

        What is longer than a handle is a ticket of the account service, and passes as it is.
        """
        if len(handle) > LONGEST:
            return handle
        for kept in self._tokens:
            if kept is not None and secrets.compare_digest(kept[0], handle):
                return kept[1]
        raise Problem(401, "no such session")

    def close(self, handle: str) -> str:
        """Free the place of a session and return its token; `Problem` 401 when there is none."""
        token = self.token(handle)
        self._tokens[int(handle.partition(".")[0])] = None
        return token

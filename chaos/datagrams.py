"""Where a datagram of a UDP link goes on, from bytes alone: Toxiproxy, which carries streams, has no part in it.

Each end of such a link knows the other by an address of Toxiproxy's network namespace, as over TCP. What arrives there
from one end is sent on to the other, from the namespace's address in that other network; the client's port stays what
it is, since it may have told it to its server over another link, as RTSP does.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from chaos.errors import Surroundings
from chaos.fates import Crossings, Half, Halves
from chaos.segments import UDP, Segment, broken, is_broken, readdressed, segment

_FRAGMENT = 0x3FFF
"""Of an IPv4 header's field: that more fragments follow, or where this one belongs."""


class Router:
    """Sends datagrams of UDP links on. `ends` are the addresses of each link's client and server."""

    def __init__(self, links: Mapping[str, Halves], ends: Mapping[str, tuple[str, str]]) -> None:
        mine = {name: links[name] for name in ends}
        self._links = mine
        self._crossings = Crossings(mine, spares=True)
        self._ends = {name: [socket.inet_aton(a) for a in both] for name, both in ends.items()}
        self.addresses = frozenset(a for h in mine.values() for a in (h.client, h.server))
        """The namespace's own addresses at which datagrams arrive."""

    def redial(self, link: str, server: str) -> None:
        """Let a link end at another address."""
        self._ends[link][1] = socket.inet_aton(server)

    def carries(self, raw: bytes) -> bool:
        """Whether a packet that arrived belongs to a UDP link; `Surroundings` for a part of one that was too large."""
        if len(raw) < 28 or raw[0] >> 4 != 4 or raw[9] != UDP:
            return False
        if int.from_bytes(raw[6:8], "big") & _FRAGMENT:
            here = socket.inet_ntoa(raw[16:20])
            if here not in self.addresses:
                return False
            raise Surroundings(
                f"a datagram from {socket.inet_ntoa(raw[12:16])} came in parts, and a UDP link carries whole ones "
                "alone; let that node send at most 1,472 bytes at once"
            )
        found = segment(raw)
        return found is not None and self._where(found) is not None

    def onward(self, raw: bytes) -> bytes | None:
        """Return a packet that arrived as its other end is to get it; None when it is of no link."""
        found = segment(raw)
        where = self._where(found) if found is not None and found.protocol == UDP else None
        if found is None or where is None:
            return None
        link, half = where
        here, (client, server) = self._links[link], self._ends[link]
        if half == "client":  # its client sent it
            self._ends[link][0] = found.source[0]  # a client that has moved is answered where it is
            ends = (socket.inet_aton(here.server), found.source[1]), (server, here.dials)
        else:
            ends = (socket.inet_aton(here.client), here.listens), (client, found.destination[1])
        there = readdressed(found, source=ends[0], destination=ends[1])
        return broken(there, found.header) if is_broken(found) else there

    def _where(self, found: Segment) -> tuple[str, Half] | None:
        return self._crossings.at(found.destination, found.source, datagrams=True)

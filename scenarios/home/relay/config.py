"""The relay's settings, each an environment variable. Times are in seconds.

The defaults are short, since whoever tests this system mostly waits for them; ``docs/reference-home.md`` has the table
of which network conditions a still survives with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from common import node


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the relay is told."""

    cache_url: str
    accounts_url: str
    uplink_connect: float
    uplink_total: float
    accounts_total: float
    cache_socket: float
    stream_first: float
    stream_idle: float

    @classmethod
    def from_environment(cls) -> Config:
        """Read every setting; one that makes no sense ends the node."""
        return cls(
            cache_url=node.text("CACHE_URL"),
            accounts_url=node.text("ACCOUNTS_URL"),
            uplink_connect=node.number("UPLINK_CONNECT", 0.25),
            uplink_total=node.number("UPLINK_TOTAL", 0.5),
            accounts_total=node.number("ACCOUNTS_TOTAL", 0.3),
            cache_socket=node.number("CACHE_SOCKET", 0.3),
            stream_first=node.number("STREAM_FIRST", 0.5),
            stream_idle=node.number("STREAM_IDLE", 0.6),
        )

"""What is being served: its request, its device, the width that was asked for.

Handed down through every function it made their signatures long, and log lines still lacked half of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices import Device


@dataclass(slots=True)
class Serving:
    """The still that is being fetched."""

    device: Device
    width: int | None
    request: str


class Context:
    """Holds what is being served."""

    def __init__(self) -> None:
        self._serving: Serving | None = None

    def begin(self, serving: Serving) -> None:
        """Say what is being served from here on."""
        self._serving = serving

    @property
    def serving(self) -> Serving:
        """What is being served."""
        assert self._serving is not None, "asked for while nothing was served"
        return self._serving

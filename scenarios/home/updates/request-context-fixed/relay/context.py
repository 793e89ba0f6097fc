"""What is being served: its request, its device, the width that was asked for.

Handed down through every function it made their signatures long, and log lines still lacked half of it.
"""

from __future__ import annotations

from contextvars import ContextVar
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
        self._serving: ContextVar[Serving] = ContextVar("serving")

    def begin(self, serving: Serving) -> None:
        """Say what is being served from here on."""
        self._serving.set(serving)

    @property
    def serving(self) -> Serving:
        """What is being served."""
        return self._serving.get()

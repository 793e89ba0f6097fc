"""Somebody's own compose file as a home system under test, without a change to it.

Compose itself reads the file (`rendered`); what containers may not do is refused (`services`); labels say what is what
(`labels`); the result is a topology and how each hub and camera is handled (`system`), which can be drawn (`drawing`).
Nothing here needs an engine.
"""

from __future__ import annotations

from chaos.compose.rendered import read
from chaos.compose.system import System, understand

__all__ = ["System", "read", "understand"]

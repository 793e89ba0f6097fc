"""The identity that the harness stamps into a scene, and reads back from whatever a hub displays.

Pure: planes in, values out. A badge is owner, camera, case, frame number and capture time under a MAC with a
key per run, repeated in twelve tiles of plain luma blocks; `docs/badge.md` draws them. Nothing is believed
that no MAC vouches for, so that a misread badge is 'unreadable' and never somebody else.
"""

from __future__ import annotations

from chaos.identity.badge import Badge, Box, Seen
from chaos.identity.key import Key
from chaos.identity.locating import search
from chaos.identity.reading import read
from chaos.identity.register import Register
from chaos.identity.slivers import Registered, Slivers
from chaos.identity.stamping import stamp

__all__ = ["Badge", "Box", "Key", "Register", "Registered", "Seen", "Slivers", "read", "search", "stamp"]

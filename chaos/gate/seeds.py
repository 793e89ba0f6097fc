"""Seeds of rounds, made from one seed of the gate."""

from __future__ import annotations

import hashlib
import os


def seed_of(seed: int, scenario: str, number: int) -> int:
    """Return the seed of a round of a scenario: the same for the same gate, whoever works it off and when."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{scenario}/{number}".encode()).digest()[:6])


def fresh() -> int:
    """Return a seed that nobody chose."""
    return int.from_bytes(os.urandom(4))

"""Names of owners and cameras, and the numbers that badges carry for them."""

from __future__ import annotations

import msgspec

from chaos.errors import Misuse, nearest
from chaos.identity.badge import CAMERAS, OWNERS


class Register(msgspec.Struct, frozen=True):
    """The owners and cameras of one run. A number is a place in the tuple, counted from 1.

    A number that is not registered still has a name (`unknown owner 17`): an authenticated stranger from an
    earlier run is a finding, not an error. Raises `Misuse` for a name given twice, or more names than a badge
    has room for.
    """

    owners: tuple[str, ...]
    cameras: tuple[str, ...]

    def __post_init__(self) -> None:
        for what, names, end in (("owner", self.owners, OWNERS), ("camera", self.cameras, CAMERAS)):
            if not names or len(names) >= end:
                raise Misuse(f"a register names {len(names)} {what}s; expected from 1 to {end - 1}")
            twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
            if twice:
                raise Misuse(f"a register names {what} {twice[0]!r} twice; expected each once: rename one")

    def owner_number(self, name: str) -> int:
        """Return the number in `name`'s badges. Raises `Misuse` with the nearest registered name."""
        return _number(self.owners, name, "owner")

    def owner_name(self, number: int) -> str:
        """Return the name behind a badge's owner number, or `unknown owner N`."""
        return _name(self.owners, number, "owner")

    def camera_number(self, name: str) -> int:
        """Return the number in the badges of the camera called `name`; raises as `owner_number` does."""
        return _number(self.cameras, name, "camera")

    def camera_name(self, number: int) -> str:
        """Return the name behind a badge's camera number, or `unknown camera N`."""
        return _name(self.cameras, number, "camera")


def _number(names: tuple[str, ...], name: str, what: str) -> int:
    try:
        return names.index(name) + 1
    except ValueError:
        raise Misuse(f"there is no {what} {name!r}{nearest(name, names)}") from None


def _name(names: tuple[str, ...], number: int, what: str) -> str:
    return names[number - 1] if 1 <= number <= len(names) else f"unknown {what} {number}"

"""Where the owners of the reference home change what is theirs: its account service, and the relay's registry.

What is changed is kept here too, since a restarted service is provisioned again. The account service is told first: it
decides, whatever a registry says that the network did not let be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from chaos.errors import Surroundings
from chaos.plan import DEFAULT_CAMERA, shared
from chaos.remote import Refused, Remote


class _Code(msgspec.Struct):
    code: str


class _Noted(msgspec.Struct):
    sign_ins: int


class ReferenceDesk:
    """Accounts and whose camera is whose, as of now; `registry` writes the registry as far as the network lets it."""

    def __init__(self, owners: Iterable[str], cameras: Iterable[str], registry: Callable[[], object]) -> None:
        self._owners = tuple(owners)
        self._more = tuple(c for c in cameras if c != DEFAULT_CAMERA)
        self._registry = registry
        self._accounts: Remote | None = None
        self.begin()

    def begin(self) -> None:
        """Forget every change: everybody has her own camera and first password, and nothing is shared."""
        self._has: dict[str, str | None] = {o: o for o in self._owners}
        self._shared: dict[str, list[str]] = {o: [] for o in self._owners}
        self._passwords = dict.fromkeys(self._owners, 0)
        self._protected: set[str] = set()

    def connect(self, accounts: Remote) -> None:
        """Find the account service's operator port."""
        self._accounts = accounts

    # What there is now.

    def accounts(self) -> list[dict[str, object]]:
        """Return every account as the account service is provisioned with it."""
        return [self._account(owner) for owner in self._owners]

    def devices(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield the registry: whose account has which camera, and the home and name of the device that it is."""
        for owner in self._owners:
            device = self._has[owner]
            if device is not None:
                yield owner, DEFAULT_CAMERA, device, DEFAULT_CAMERA
                yield from ((guest, shared(owner), device, DEFAULT_CAMERA) for guest in self._shared[owner])
            yield from ((owner, camera, owner, camera) for camera in self._more)

    def seen(self, owner: str) -> tuple[str, ...]:
        """Return which cameras, beside the one that hung in the owner's home, the account can see now."""
        mine = (device for who, _, device, _ in self.devices() if who == owner and device != owner)
        return tuple(dict.fromkeys(mine))

    def secret(self, home: str, owner: str) -> str:
        """Return what the person at the hub in `home` types as the owner's password, a code behind it where needed."""
        if home != owner:
            return password(owner)
        known = password(owner, self._passwords[owner])
        if owner not in self._protected:
            return known
        try:
            return known + msgspec.json.decode(self._tell("/operator/code", {"owner": owner}), type=_Code).code
        except (Refused, Surroundings):
            return known  # it stands still: then nobody is let in either

    def proof(self, home: str, owner: str) -> Literal["password", "old password", "password alone", "second factor"]:
        """Return what `secret` is worth."""
        if home != owner and self._passwords[owner]:
            return "old password"
        if owner in self._protected:
            return "second factor" if home == owner else "password alone"
        return "password"

    def noted(self, owner: str) -> int:
        """Return how many sign-ins the account service has told the owner of."""
        return msgspec.json.decode(self._tell("/operator/noted", {"owner": owner}), type=_Noted).sign_ins

    # What owners do.

    def unregister(self, owner: str) -> str | None:
        """Take the owner's camera out of the account, for whoever saw it."""
        device, self._has[owner] = self._has[owner], None
        guests, self._shared[owner] = self._shared[owner], []
        if device is not None:
            self._changed(owner, *guests)
        return device

    def register(self, device: str, owner: str) -> None:
        """Make that camera the owner's, in the place of the one that she had."""
        self._has[owner] = device
        self._changed(owner)

    def share(self, owner: str, guest: str) -> bool:
        """Let a guest see the owner's camera; returns whether there was one to share."""
        if self._has[owner] is None:
            return False
        if guest not in self._shared[owner]:
            self._shared[owner].append(guest)
        self._changed(guest)
        return True

    def unshare(self, owner: str, guest: str) -> None:
        """Let a guest see it no more."""
        if guest in self._shared[owner]:
            self._shared[owner].remove(guest)
        self._changed(guest)

    def reset_password(self, owner: str) -> None:
        """Take a new password; every session ends."""
        self._passwords[owner] += 1
        self._tell("/operator/account", {"owner": owner, "password": password(owner, self._passwords[owner])})

    def protect(self, owner: str) -> None:
        """Demand a second factor from now on."""
        self._protected.add(owner)
        self._tell("/operator/account", {"owner": owner, "second_factor": True})

    # How.

    def _account(self, owner: str) -> dict[str, object]:
        cameras = [name for who, name, _, _ in self.devices() if who == owner]
        return {
            "owner": owner,
            "password": password(owner, self._passwords[owner]),
            "cameras": cameras,
            "second_factor": owner in self._protected,
        }

    def _changed(self, *owners: str) -> None:
        for owner in owners:
            self._tell("/operator/account", {"owner": owner, "cameras": self._account(owner)["cameras"]})
        self._registry()

    def _tell(self, path: str, body: object) -> bytes:
        assert self._accounts is not None, "the account service runs"
        return self._accounts.post(path, body)


def password(owner: str, reset: int = 0) -> str:
    """Return the password of an owner's account in the reference home after it was reset so many times."""
    return f"password-of-{owner}" + (f"-{reset + 1}" if reset else "")

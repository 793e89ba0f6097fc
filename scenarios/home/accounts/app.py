"""The account service: who signs in, which sessions live, and which owner has which camera.

Public: ``POST /login``, ``/logout``, ``/access``, ``/cameras``, ``/ticket``. Operator: ``POST /operator/provision``,
``/operator/integration``, ``/operator/end-sessions``, ``/operator/account``, ``/operator/code``, ``/operator/noted``,
``GET /healthz``. All of it lives in memory: a restarted service is provisioned again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from aiohttp import web

from common import node
from common.node import Problem

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Owners and cameras: no character that could end a name inside a key or an address."""
INTEGRATION = ("on", "suspended", "without cameras")
"""What is let through: everything, nothing at all, or everything but cameras. For everybody, at once."""
TICKET_SECONDS = 5.0
"""How long a ticket for one camera may be used: long enough to begin a feed on the poorest network that bears one."""
CODE_SECONDS = 30.0
"""How long a code of the second factor, once told, may be used: for one sign-in."""
CODE_DIGITS = 6
SCRYPT_N = 256
"""Deliberately low cost, 0.6 ms a hash: each case of a test provisions every account anew."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What one session may see for a moment: a single camera, by a token that is worth nothing else."""

    session: bytes
    camera: str
    until: float


@dataclass(frozen=True, slots=True)
class Account:
    """An owner with a salted scrypt hash of the password.

    With a `second_factor` a code is typed right behind the password, as in front of many a VPN.
    """

    owner: str
    salt: bytes
    hash: bytes
    cameras: frozenset[str]
    second_factor: bool = False


class Directory:
    """All accounts and sessions. Sessions are kept under the hash of their token."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._sessions: dict[bytes, str] = {}
        self._tickets: dict[bytes, Ticket] = {}
        self._codes: dict[str, tuple[str, float]] = {}
        self._noted: dict[str, int] = {}
        self.integration = INTEGRATION[0]

    def provision(self, accounts: dict[str, Account]) -> None:
        """Replace every account and end every session."""
        self._accounts = accounts
        self._sessions = {}
        self._tickets = {}
        self._codes = {}
        self._noted = {}

    def change(
        self,
        owner: str,
        password: str | None = None,
        cameras: frozenset[str] | None = None,
        second_factor: bool | None = None,
    ) -> None:
        """Change what is given of an account, or raise `Problem` 404; a new password ends every session of it."""
        account = self.account(owner)
        if password is not None:
            salt = secrets.token_bytes(16)
            account = replace(account, salt=salt, hash=_hash(password, salt))
            self.end_sessions(owner)
        if cameras is not None:
            account = replace(account, cameras=cameras)
        if second_factor is not None:
            account = replace(account, second_factor=second_factor)
        self._accounts[owner] = account

    def account(self, owner: str) -> Account:
        """Return an owner's account, or raise `Problem` 404."""
        if owner not in self._accounts:
            raise Problem(404, f"there is no account of {owner[:80]!r}")
        return self._accounts[owner]

    def code(self, owner: str) -> str:
        """Return what the owner's telephone shows now, for the next sign-in; `Problem` 404 without a second factor."""
        if not self.account(owner).second_factor:
            raise Problem(404, f"the account of {owner!r} has no second factor")
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        self._codes[owner] = (code, time.monotonic() + CODE_SECONDS)
        return code

    def noted(self, owner: str) -> int:
        """Return of how many sign-ins the owner was told."""
        self.account(owner)
        return self._noted.get(owner, 0)

    def login(self, owner: str, password: str) -> str:
        """Return a new token; a wrong name or password is a `Problem` 401 that does not say which."""
        if self.integration == "suspended":
            raise Problem(403, "the integration is suspended")
        account = self._accounts.get(owner)
        expected = account.hash if account else b""
        code = ""
        if account is not None and account.second_factor:
            password, code = password[:-CODE_DIGITS], password[-CODE_DIGITS:]
        right = hmac.compare_digest(_hash(password, account.salt if account else b"nobody"), expected)
        if not right or (account is not None and account.second_factor and not self._is_code(owner, code)):
            raise Problem(401, "wrong owner or password")
        self._noted[owner] = self._noted.get(owner, 0) + 1
        token = secrets.token_urlsafe(24)
        self._sessions[_key(token)] = owner
        return token

    def _is_code(self, owner: str, code: str) -> bool:
        """Whether this is the code that the owner was told last; it is used up by being right."""
        told, until = self._codes.get(owner, ("", 0.0))
        if not told or until < time.monotonic() or not hmac.compare_digest(told.encode(), code.encode()):
            return False
        del self._codes[owner]
        return True

    def end_sessions(self, owner: str) -> int:
        """End every session of an owner's, as a new password does; returns how many there were."""
        before = len(self._sessions)
        self._sessions = {key: of for key, of in self._sessions.items() if of != owner}
        return before - len(self._sessions)

    def logout(self, token: str) -> None:
        """End a session, if it lives."""
        self._sessions.pop(_key(token), None)

    def access(self, token: str, camera: str) -> Account:
        """Return the account of the token's owner, who must have that camera: else `Problem` 401 or 403.

        While the integration is not on, nobody has: that is decided here, anew for each request, and nowhere else.
        """
        session, ticket = _key(token), self._tickets.get(_key(token))
        if ticket is not None:
            if ticket.until < time.monotonic():
                raise Problem(401, "the ticket is too old")
            if camera != ticket.camera:
                raise Problem(403, "the ticket is for another camera")
            session = ticket.session
        account = self._account_of(session)
        if self.integration != "on":
            raise Problem(403, f"the integration is {self.integration}")
        if camera not in account.cameras:
            raise Problem(403, "this account has no such camera")
        return account

    def cameras(self, token: str) -> tuple[str, list[str]]:
        """Return the token's owner, and the owner's cameras: none while all but cameras is restored."""
        account = self._account_of(_key(token))
        if self.integration == "suspended":
            raise Problem(403, "the integration is suspended")
        return account.owner, sorted(account.cameras) if self.integration == "on" else []

    def ticket(self, token: str, camera: str) -> str:
        """Return a ticket for one camera, which the token's owner must have; it ends with the session."""
        self.access(token, camera)
        now = time.monotonic()
        self._tickets = {k: t for k, t in self._tickets.items() if t.until > now}
        ticket = secrets.token_urlsafe(24)
        self._tickets[_key(ticket)] = Ticket(_key(token), camera, now + TICKET_SECONDS)
        return ticket

    def _account_of(self, session: bytes) -> Account:
        owner = self._sessions.get(session)
        account = self._accounts.get(owner) if owner is not None else None
        if account is None:
            raise Problem(401, "no such session")
        return account


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=SCRYPT_N, r=8, p=1)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _word(values: dict[str, object], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise Problem(400, f"{name} is missing")
    return value


def _account(described: object) -> Account:
    if not isinstance(described, dict):
        raise Problem(400, "an account is not a JSON object")
    owner, password = _word(described, "owner"), _word(described, "password")
    cameras = _cameras(described, owner)
    if not NAME.fullmatch(owner):
        raise Problem(400, f"{owner!r} is no owner's name")
    salt = secrets.token_bytes(16)
    return Account(owner, salt, _hash(password, salt), cameras, described.get("second_factor") is True)


def _cameras(described: dict[str, object], owner: str) -> frozenset[str]:
    cameras = described.get("cameras")
    if not isinstance(cameras, list) or not all(isinstance(c, str) and NAME.fullmatch(c) for c in cameras):
        raise Problem(400, f"the cameras of {owner!r} are not a list of names")
    return frozenset(cameras)


def public(directory: Directory) -> web.Application:
    """Return what the relay speaks to."""
    app = node.application()

    async def login(request: web.Request) -> web.Response:
        values = await node.body(request)
        owner = _word(values, "owner")
        token = directory.login(owner, _word(values, "password"))
        return web.json_response({"token": token, "owner": owner})

    async def logout(request: web.Request) -> web.Response:
        directory.logout(_word(await node.body(request), "token"))
        return web.json_response({})

    async def access(request: web.Request) -> web.Response:
        values = await node.body(request)
        camera = _word(values, "camera")
        account = directory.access(_word(values, "token"), camera)
        return web.json_response({"owner": account.owner, "allowed": True, "device": f"{account.owner}:{camera}"})

    async def cameras(request: web.Request) -> web.Response:
        owner, names = directory.cameras(_word(await node.body(request), "token"))
        return web.json_response({"owner": owner, "cameras": names})

    async def ticket(request: web.Request) -> web.Response:
        values = await node.body(request)
        return web.json_response({"ticket": directory.ticket(_word(values, "token"), _word(values, "camera"))})

    app.add_routes([web.post("/cameras", cameras), web.post("/ticket", ticket)])
    app.add_routes([web.post("/login", login), web.post("/logout", logout), web.post("/access", access)])
    app.router.add_get("/healthz", _healthy)
    return app


def operator(directory: Directory) -> web.Application:
    """Return what the operator speaks to."""
    app = node.application()

    async def provision(request: web.Request) -> web.Response:
        described = (await node.body(request)).get("accounts")
        if not isinstance(described, list):
            raise Problem(400, "accounts is not a list")
        accounts = [_account(d) for d in described]
        directory.provision({a.owner: a for a in accounts})
        return web.json_response({"accounts": len(accounts)})

    async def integration(request: web.Request) -> web.Response:
        state = _word(await node.body(request), "state")
        if state not in INTEGRATION:
            raise Problem(400, f"state is {state!r}; expected one of {', '.join(INTEGRATION)}")
        directory.integration = state
        return web.json_response({"state": state})

    app.add_routes([web.post("/operator/provision", provision), web.get("/healthz", _healthy)])

    async def end_sessions(request: web.Request) -> web.Response:
        return web.json_response({"ended": directory.end_sessions(_word(await node.body(request), "owner"))})

    async def account(request: web.Request) -> web.Response:
        values = await node.body(request)
        owner, factor = _word(values, "owner"), values.get("second_factor")
        if factor is not None and not isinstance(factor, bool):
            raise Problem(400, "second_factor is neither true nor false")
        password = _word(values, "password") if "password" in values else None
        cameras = _cameras(values, owner) if "cameras" in values else None
        directory.change(owner, password, cameras, factor)
        return web.json_response({"owner": owner})

    async def code(request: web.Request) -> web.Response:
        return web.json_response({"code": directory.code(_word(await node.body(request), "owner"))})

    async def noted(request: web.Request) -> web.Response:
        return web.json_response({"sign_ins": directory.noted(_word(await node.body(request), "owner"))})

    app.router.add_post("/operator/integration", integration)
    app.add_routes([web.post("/operator/account", account), web.post("/operator/code", code)])
    app.router.add_post("/operator/noted", noted)
    app.router.add_post("/operator/end-sessions", end_sessions)
    return app


async def _healthy(_: web.Request) -> web.Response:
    return web.json_response({"ready": True})


async def main() -> None:
    """Serve until told to end."""
    directory = Directory()
    await node.serve({"LISTEN": public(directory), "OPERATOR": operator(directory)})


if __name__ == "__main__":
    node.run(main)

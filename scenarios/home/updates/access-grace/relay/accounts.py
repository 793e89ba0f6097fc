"""Who asks: the account service decides; while it does not answer, what it said last does."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlsplit

import aiohttp

from common import node
from common.node import Problem

KEPT = 300.0
"""Seconds: longer than any trouble of the account service this year."""


class Accounts:
    """Client of the account service."""

    def __init__(self, session: aiohttp.ClientSession, url: str, total: float) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self.peer = urlsplit(url).netloc
        self._total = total
        self._timeout = aiohttp.ClientTimeout(total=total)
        self._granted: dict[tuple[str, str], tuple[float, str]] = {}

    async def owner_of(self, token: str, camera: str, request: str) -> str:
        """Return the owner behind `token`, who has `camera`; a `Problem` 401, 403, 503 or 504 otherwise.

        While the account service is late or away, its last word to the same question counts for `KEPT` seconds.
        """
        asked = time.monotonic()
        try:
            answer = await self.forward("/access", {"token": token, "camera": camera}, request)
        except Problem as problem:
            at, owner = self._granted.get((token, camera), (0.0, ""))
            if problem.status in (503, 504) and owner and asked - at < KEPT:
                node.log("access-kept", request=request, error=str(problem))
                return owner
            raise
        owner = answer.get("owner")
        if answer.get("allowed") is not True or not isinstance(owner, str) or not owner:
            raise Problem(403, "no access to this camera")
        self._granted[token, camera] = (asked, owner)
        return owner

    async def forward(self, path: str, body: dict[str, str], request: str) -> dict[str, object]:
        """Return the account service's answer to a POST; its 400, 401 and 403 are passed on as they are.

        A connection that broke is tried once more within the same time: at worst a login leaves a session behind
        that nobody holds the token of.
        """
        try:
            async with asyncio.timeout(self._total):
                status, data = await self._post(path, body, request)
        except TimeoutError as late:
            self._log(late, request)
            raise Problem(504, "the account service did not answer in time") from late
        except (aiohttp.ClientError, OSError) as broken:
            self._log(broken, request)
            raise Problem(503, "the account service cannot be reached") from broken
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Problem(503, "the account service gave no answer that can be read")
        if status in (400, 401, 403):
            raise Problem(status, str(answer.get("error")))
        if status != 200:
            raise Problem(503, f"the account service answered {status}")
        return answer

    async def _post(self, path: str, body: dict[str, str], request: str) -> tuple[int, bytes]:
        for last in (False, True):
            try:
                async with self._session.post(
                    self._url + path, json=body, headers={"X-Request-Id": request}, timeout=self._timeout
                ) as response:
                    return response.status, await response.read()
            except (aiohttp.ClientError, OSError) as broken:
                if last or isinstance(broken, TimeoutError):
                    raise
                self._log(broken, request)
        raise AssertionError("a try returns or raises")

    def _log(self, broken: BaseException, request: str) -> None:
        error = node.failure(broken, self.peer)
        node.log("accounts-failed", request=request, peer=self.peer, error=error)

    async def ready(self) -> str | None:
        """Return None when the service answers, else why it does not."""
        try:
            async with self._session.get(f"{self._url}/healthz", timeout=self._timeout) as response:
                return None if response.status == 200 else f"accounts answered {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            return f"accounts: {node.failure(broken, self.peer)}"

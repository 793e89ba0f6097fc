"""Who asks: the account service decides, anew for each request. Without its word nobody gets in.

The general HTTP client costs more than the account service itself. What is needed of HTTP for a POST and its JSON is
little, so it is spoken here, on kept connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from common import node
from common.node import Problem


class _Both(asyncio.StreamReaderProtocol):
    """A connection that one side has closed is closed."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


@dataclass(frozen=True, slots=True)
class Connection:
    """A kept connection to the account service; it carries one exchange at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Dial the account service."""
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        transport, protocol = await loop.create_connection(lambda: _Both(reader), host, port)
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def exchange(self, method: str, path: str, body: bytes, host: str, request: str) -> tuple[int, bytes]:
        """Send a request and return the status and the body of its answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: {request}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        return int(status.split()[1]), await self.reader.readexactly(int(fields.get("content-length", "0")))


class Pool:
    """Kept connections, the one that was used last first."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._free: list[Connection] = []

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for one exchange."""
        while self._free and self._free[-1].writer.is_closing():
            self._free.pop()
        kept = self._free.pop() if self._free else await Connection.open(self._host, self._port)
        try:
            yield kept
        except BaseException:
            kept.writer.transport.abort()  # its answer may still come
            raise
        self._free.append(kept)


class Accounts:
    """Client of the account service."""

    def __init__(self, session: aiohttp.ClientSession, url: str, total: float) -> None:  # noqa: ARG002
        address = urlsplit(url)
        self.peer = address.netloc
        self._pool = Pool(address.hostname or "", address.port or 80)
        self._total = total

    async def owner_of(self, token: str, camera: str, request: str) -> str:
        """Return the owner behind `token`, who has `camera`; a `Problem` 401, 403, 503 or 504 otherwise."""
        answer = await self.forward("/access", {"token": token, "camera": camera}, request)
        owner = answer.get("owner")
        if answer.get("allowed") is not True or not isinstance(owner, str) or not owner:
            raise Problem(403, "no access to this camera")
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
        except (EOFError, OSError, ValueError) as broken:
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
                async with self._pool.connection() as kept:
                    return await kept.exchange("POST", path, json.dumps(body).encode(), self.peer, request)
            except (EOFError, OSError) as broken:
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
            async with asyncio.timeout(self._total), self._pool.connection() as kept:
                status, _ = await kept.exchange("GET", "/healthz", b"", self.peer, "healthz")
                return None if status == 200 else f"accounts answered {status}"
        except (EOFError, TimeoutError, OSError, ValueError) as broken:
            return f"accounts: {node.failure(broken, self.peer)}"

"""What every node has: settings from the environment, one log line per event, HTTP servers, an orderly end.

A node is configured by environment variables alone. ``LISTEN`` and ``OPERATOR`` are ``host:port``.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import NoReturn

from aiohttp import ClientConnectorError, web

EXIT_CANNOT_RUN = 3
"""Exit code of a node that cannot serve: a taken port, a missing program, a setting that makes no sense."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,40}")
_PLAIN = re.compile(r"[^\s\"=]+")
_QUIET = {"/healthz", "/control/screen"}
"""Polled too often to be worth a line."""
_REFUSED = {errno.ECONNREFUSED, -errno.ECONNREFUSED}
_REFUSED_TEXT = re.compile(rf"\[Errno {errno.ECONNREFUSED}\]|^Error {errno.ECONNREFUSED} connecting to ")


class Problem(Exception):  # noqa: N818 - it becomes an answer, not a traceback
    """Something to tell the requester: an HTTP status and one sentence, sent as ``{"error": sentence}``."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def text(name: str, default: str | None = None) -> str:
    """Return a setting; a missing one without a default ends the node."""
    value = os.environ.get(name, default)
    if value is None:
        give_up(f"the environment variable {name} is not set")
    return value


def number(name: str, default: float) -> float:
    """Return a setting that is a number of at least 0."""
    value = text(name, str(default))
    try:
        read = float(value)
    except ValueError:
        read = -1
    if not 0 <= read < float("inf"):
        give_up(f"{name} is {value!r}; expected a number of at least 0")
    return read


def address(name: str) -> tuple[str, int]:
    """Return a setting that is ``host:port``."""
    value = text(name)
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        give_up(f"{name} is {value!r}; expected host:port")
    return host.strip("[]"), int(port)


def give_up(sentence: str) -> NoReturn:
    """Say why this node cannot run, and end it."""
    log("cannot-run", error=sentence)
    raise SystemExit(EXIT_CANNOT_RUN)


def log(event: str, **fields: object) -> None:
    """Write one line of ``key=value`` to stderr; values with spaces are quoted as JSON strings."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    words = [f"{stamp}.{int(now % 1 * 1000):03d}Z", f"event={event}"]
    for key, value in fields.items():
        if value is not None:
            word = str(value)
            words.append(f"{key}={word if _PLAIN.fullmatch(word) else json.dumps(word)}")
    sys.stderr.write(" ".join(words) + "\n")
    sys.stderr.flush()


def failure(error: BaseException, peer: str) -> str:
    """Return one phrase for a failed exchange with `peer` (host:port), the same for every client library."""
    if isinstance(error, TimeoutError):
        return f"{peer} did not answer in time"
    seen: BaseException | None = error
    while seen is not None:
        code = getattr(seen, "errno", None)
        # asyncio joins several refused addresses into one OSError without an errno, redis-py drops the error it wraps
        if isinstance(seen, ConnectionRefusedError) or code in _REFUSED or _REFUSED_TEXT.search(str(seen)):
            return f"{peer} refused the connection"
        seen = seen.os_error if isinstance(seen, ClientConnectorError) else seen.__cause__ or seen.__context__
    return f"{peer}: {type(error).__name__}: {error}"


@web.middleware
async def _each_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    given = request.headers.get("X-Request-Id", "")
    request["id"] = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(4)
    began = time.monotonic()
    status, error = 0, None
    try:
        response = await handler(request)
        status = response.status
    except Problem as problem:
        status, error = problem.status, str(problem)
        response = web.json_response({"error": error}, status=status)
    except web.HTTPException as standard:
        status = standard.status
        raise
    except asyncio.CancelledError:
        error = "the requester went away"
        raise
    except ConnectionError as broken:
        status, error = 499, f"the requester's connection broke: {broken}"
        response = web.Response(status=status)  # nobody is there to read it
    except Exception as broken:  # noqa: BLE001 - a bug of ours: the requester learns that there was one, the log which
        status, error = 500, f"{type(broken).__name__}: {broken}"
        response = web.json_response({"error": "internal error"}, status=500)
    finally:
        if request.path not in _QUIET:
            ms = round((time.monotonic() - began) * 1000, 1)
            line = {"request": request["id"], "method": request.method, "path": request.path, "status": status}
            log("answered", **line, ms=ms, error=error)
    if not response.prepared:
        response.headers["X-Request-Id"] = request["id"]
        response.headers.setdefault("Cache-Control", "no-store")
    return response


async def body(request: web.Request) -> dict[str, object]:
    """Return a request's JSON object; anything else is a `Problem` 400."""
    try:
        read = json.loads(await request.read())
    except ValueError:
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(read, dict):
        raise Problem(400, "the body is not a JSON object")
    return read


def application() -> web.Application:
    """Return an empty application that logs each request and turns a `Problem` into its answer."""
    return web.Application(middlewares=[_each_request], client_max_size=8 * 2**20)


async def serve(servers: Mapping[str, web.Application]) -> None:
    """Serve each application on the address that its setting names, until SIGTERM or SIGINT.

    A requester that goes away cancels its handler. A taken port ends the node with `EXIT_CANNOT_RUN`.
    """
    ended = asyncio.Event()
    for number_ in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number_, ended.set)
    runners: list[web.AppRunner] = []
    try:
        for name, app in servers.items():
            host, port = address(name)
            runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            runners.append(runner)
            try:
                await web.TCPSite(runner, host, port, reuse_address=True).start()
            except OSError as taken:
                give_up(f"{name} {host}:{port} cannot be listened on: {os.strerror(taken.errno or errno.EADDRINUSE)}")
            log("listening", name=name, address=f"{host}:{port}")
        await ended.wait()
        log("ending")
    finally:
        await asyncio.gather(*(r.cleanup() for r in runners))


def run(main: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a node until it ends."""
    asyncio.run(main())

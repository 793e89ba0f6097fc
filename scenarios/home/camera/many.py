"""Many owners' cameras in one process, each as ``camera/app.py`` serves one: the same film, the same secrets.

Public: ``GET /{owner}/still?width=``, with the header ``X-Device-Secret``. Operator: ``GET /healthz``.
``LENS`` and ``DEVICE_SECRET`` have ``*`` where the owner stands. Nothing is kept of a picture once it was answered.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

import aiohttp
from aiohttp import web
from film import WIDEST, Clock, Encoder, answer_host

from common import node
from common.node import Problem

OWNER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def public(session: aiohttp.ClientSession, lens: str, secret: str, threads: ThreadPoolExecutor) -> web.Application:
    """Return what the relay speaks to."""
    app = node.application()
    encoder = Encoder(int(node.number("QUALITY", 40)), (1920, 1080), Clock("UTC", UTC, timedelta()))
    timeout = aiohttp.ClientTimeout(total=node.number("LENS_TOTAL", 0.5))

    async def still(request: web.Request) -> web.Response:
        owner, width = request.match_info["owner"], request.query.get("width", "1024")
        if not OWNER.fullmatch(owner) or not width.isdigit() or not 16 <= int(width) <= WIDEST:
            raise Problem(400, "no such camera, or no such width")
        given = request.headers.get("X-Device-Secret", "")
        if not hmac.compare_digest(given.encode(), secret.replace("*", owner).encode()):
            raise Problem(403, "wrong device secret")
        try:
            async with session.get(lens.replace("*", owner), timeout=timeout) as answer:
                if answer.status != 200:
                    raise Problem(503, f"the lens answered {answer.status}")
                seen = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            raise Problem(503, f"the lens: {node.failure(broken, answer_host(lens))}") from broken
        at = encoder.clock.now()
        jpeg = await asyncio.get_running_loop().run_in_executor(threads, encoder.encode, seen, int(width), at)
        headers = {"X-Captured-At": at.isoformat(), "Cache-Control": "no-store"}
        return web.Response(body=jpeg, content_type="image/jpeg", headers=headers)

    app.router.add_get("/{owner}/still", still)
    return app


def operator() -> web.Application:
    """Return what the operator speaks to."""
    app = node.application()

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    app.router.add_get("/healthz", healthy)
    return app


async def main() -> None:
    """Serve until told to end."""
    with ThreadPoolExecutor(2, "encoder") as threads:
        async with aiohttp.ClientSession() as session:
            cameras = public(session, node.text("LENS"), node.text("DEVICE_SECRET"), threads)
            await node.serve({"LISTEN": cameras, "OPERATOR": operator()})


if __name__ == "__main__":
    node.run(main)

"""The vendor's own cloud, which the vendor's own app speaks to: it never passes the integration's relay.

It is older and simpler: no cache, no assistant, no registry that it shares with anybody. Who asks is decided by the
account service that both have; which camera is whose, it was told. It shares no source with the relay, so that what is
shipped to the one does not reach the other.

Public: ``POST /v1/login``, ``POST /v1/logout``, ``GET /v1/cameras/{camera}/still?width=``, ``…/stream?width=`` and
``…/lease``. Operator: ``POST /operator/provision``, ``POST /operator/flush``, which finds nothing, ``GET /healthz``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).resolve().parent.parent))

import aiohttp
from aiohttp import web

from common import node
from common.node import Problem

CAMERA = "/v1/cameras/{camera:[a-z0-9][a-z0-9-]{0,62}}"


class Cloud:
    """Asks the account service, then the camera, for each request anew and on a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession, accounts: str, seconds: dict[str, float]) -> None:
        self._session = session
        self._accounts = accounts.rstrip("/")
        self._seconds = seconds
        self.cameras: dict[tuple[str, str], tuple[str, str]] = {}

    async def account(self, path: str, body: dict[str, str], request: str) -> dict[str, object]:
        """Return the account service's answer to a POST; a `Problem` for everything but 200."""
        peer = urlsplit(self._accounts).netloc
        try:
            async with (
                asyncio.timeout(self._seconds["accounts"]),
                self._session.post(self._accounts + path, json=body, headers={"X-Request-Id": request}) as response,
            ):
                status, answer = response.status, json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as broken:
            node.log("accounts-failed", request=request, peer=peer, error=node.failure(broken, peer))
            raise Problem(504 if isinstance(broken, TimeoutError) else 503, "the accounts cannot be asked") from broken
        if status != 200 or not isinstance(answer, dict):
            raise Problem(status if status in (400, 401, 403) else 503, f"the account service said {answer}")
        return answer

    async def owner(self, token: str, camera: str, request: str) -> str:
        """Return the owner behind `token`, who has `camera`."""
        answer = await self.account("/access", {"token": token, "camera": camera}, request)
        if answer.get("allowed") is not True or not answer.get("owner"):
            raise Problem(403, "no access to this camera")
        return str(answer["owner"])

    @contextlib.asynccontextmanager
    async def camera(
        self, owner: str, camera: str, what: str, width: str, request: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the camera's answer to a request of this owner's; a `Problem` when it gives none in time."""
        url, secret = self.cameras.get((owner, camera), ("", ""))
        if not url:
            raise Problem(404, "no such camera")
        peer = urlsplit(url).netloc
        headers = {"X-Device-Secret": secret, "X-Request-Id": request, "Connection": "close"}
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._seconds["camera"]):
                    opened = self._session.get(f"{url}/{what}?width={width}", headers=headers)
                    response = await stack.enter_async_context(opened)
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                node.log("camera-failed", request=request, peer=peer, error=node.failure(broken, peer))
                late = isinstance(broken, TimeoutError)
                raise Problem(504 if late else 503, "the camera does not answer") from broken
            if response.status != 200:
                raise Problem(503, f"the camera answered {response.status}")
            stack.callback(response.close)
            yield response


def public(cloud: Cloud, idle: float) -> web.Application:
    """Return what the app speaks to."""
    app = node.application()

    def token(request: web.Request) -> str:
        scheme, _, found = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not found:
            raise Problem(401, "no bearer token")
        return found

    async def login(request: web.Request) -> web.Response:
        values = await node.body(request)
        asked = {k: str(values.get(k, "")) for k in ("owner", "password")}
        return web.json_response(await cloud.account("/login", asked, request["id"]))

    async def logout(request: web.Request) -> web.Response:
        await cloud.account("/logout", {"token": token(request)}, request["id"])
        return web.json_response({})

    async def asked(request: web.Request) -> tuple[str, str, str]:
        width, camera = request.query.get("width", "1024"), request.match_info["camera"]
        if not width.isdigit() or not 16 <= int(width) <= 3840:
            raise Problem(400, "width is out of range; expected 16 to 3840")
        return await cloud.owner(token(request), camera, request["id"]), camera, width

    async def still(request: web.Request) -> web.Response:
        owner, camera, width = await asked(request)
        async with cloud.camera(owner, camera, "still", width, request["id"]) as picture:
            try:
                async with asyncio.timeout(idle):
                    jpeg = await picture.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                raise Problem(503, "the camera's picture broke off") from broken
        return web.Response(body=jpeg, content_type="image/jpeg", headers={"Cache-Control": "no-store"})

    async def stream(request: web.Request) -> web.StreamResponse:
        owner, camera, width = await asked(request)
        async with cloud.camera(owner, camera, "stream", width, request["id"]) as pictures:
            response = web.StreamResponse(headers={"Content-Type": pictures.headers["Content-Type"]})
            await response.prepare(request)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                while True:
                    async with asyncio.timeout(idle):
                        chunk = await pictures.content.readany()
                        if not chunk:
                            break
                        await response.write(chunk)
            if request.transport is not None:
                request.transport.abort()  # the viewer must not take it for the stream's own end
            return response

    async def lease(request: web.Request) -> web.Response:
        await asked(request)
        return web.json_response({})

    app.add_routes([web.post("/v1/login", login), web.post("/v1/logout", logout)])
    app.add_routes([web.get(f"{CAMERA}/{what}", do) for what, do in (("still", still), ("lease", lease))])
    app.router.add_get(f"{CAMERA}/stream", stream)
    return app


def operator(cloud: Cloud) -> web.Application:
    """Return what the operator speaks to."""
    app = node.application()

    async def provision(request: web.Request) -> web.Response:
        described = (await node.body(request)).get("devices")
        if not isinstance(described, list) or not all(isinstance(d, dict) for d in described):
            raise Problem(400, "devices is not a list of objects")
        words = [[str(d.get(k, "")) for k in ("owner", "camera", "url", "secret")] for d in described]
        if not all(all(of_one) for of_one in words):
            raise Problem(400, "a device needs owner, camera, url and secret")
        cloud.cameras = {(owner, camera): (url.rstrip("/"), secret) for owner, camera, url, secret in words}
        return web.json_response({"devices": len(words)})

    async def flush(_: web.Request) -> web.Response:
        return web.json_response({})

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    app.add_routes([web.post("/operator/provision", provision), web.post("/operator/flush", flush)])
    app.router.add_get("/healthz", healthy)
    return app


async def main() -> None:
    """Serve until told to end."""
    seconds = {"accounts": node.number("ACCOUNTS_TOTAL", 0.3), "camera": node.number("UPLINK_TOTAL", 0.5)}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # no connection is ever kept
    forever = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=forever
    ) as session:
        cloud = Cloud(session, node.text("ACCOUNTS_URL"), seconds)
        idle = node.number("STREAM_IDLE", 0.6)
        await node.serve({"LISTEN": public(cloud, idle), "OPERATOR": operator(cloud)})


if __name__ == "__main__":
    node.run(main)

"""The cloud relay: hubs ask here, cameras answer through it.

Each request on its own: the account service says who asks and whether that owner has the camera, Redis says which
device that is, the device gives the picture. Nothing is remembered between requests but open connections.

Public: ``POST /v1/login``, ``POST /v1/logout``, ``GET /v1/cameras/{camera}/still?width=``, ``…/stream?width=`` and
``…/lease``, whether a camera may still be shown; ``POST /v1/fulfillment``, see ``assistant.py``.
Operator: ``POST /operator/provision``, ``POST /operator/flush``, ``GET /healthz``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

import aiohttp
import assistant
from aiohttp import web
from config import Config
from devices import Device, Devices, connect
from stills import Stills
from streams import Streams
from uplink import Uplink

from accounts import Accounts
from common import node
from common.node import Problem

CAMERA = "/v1/cameras/{camera:[a-z0-9][a-z0-9-]{0,62}}"


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "no bearer token")
    return token


def _width(request: web.Request) -> int | None:
    value = request.query.get("width")
    if value is None:
        return None
    if not value.isdigit() or not 16 <= int(value) <= 3840:
        raise Problem(400, "width is out of range; expected 16 to 3840")
    return int(value)


def public(accounts: Accounts, devices: Devices, stills: Stills, streams: Streams) -> web.Application:
    """Return what hubs speak to."""
    app = node.application()

    async def login(request: web.Request) -> web.Response:
        values = await node.body(request)
        asked = {k: str(values.get(k, "")) for k in ("owner", "password")}
        return web.json_response(await accounts.forward("/login", asked, request["id"]))

    async def logout(request: web.Request) -> web.Response:
        await accounts.forward("/logout", {"token": _token(request)}, request["id"])
        return web.json_response({})

    async def device_of(request: web.Request) -> tuple[str, str, Device]:
        camera = request.match_info["camera"]
        owner = await accounts.owner_of(_token(request), camera, request["id"])
        return owner, camera, await devices.find(owner, camera, request["id"])

    async def still(request: web.Request) -> web.Response:
        width = _width(request)
        owner, camera, device = await device_of(request)
        picture = await stills.still(owner, camera, device, width, request["id"])
        headers = {"Cache-Control": "no-store", "X-Captured-At": picture.captured_at}
        return web.Response(body=picture.jpeg, content_type="image/jpeg", headers=headers)

    async def stream(request: web.Request) -> web.StreamResponse:
        width = _width(request)
        _, _, device = await device_of(request)
        return await streams.stream(request, device, width)

    async def lease(request: web.Request) -> web.Response:
        await accounts.owner_of(_token(request), request.match_info["camera"], request["id"])
        return web.json_response({})

    app.add_routes([web.post("/v1/login", login), web.post("/v1/logout", logout)])
    app.add_routes([web.get(f"{CAMERA}/still", still), web.get(f"{CAMERA}/stream", stream)])
    app.router.add_get(f"{CAMERA}/lease", lease)
    assistant.add(app, assistant.Assistant(accounts), _token)
    return app


def _described(values: dict[str, object]) -> Iterator[tuple[str, str, Device]]:
    described = values.get("devices")
    if not isinstance(described, list):
        raise Problem(400, "devices is not a list")
    for one in described:
        found = [one.get(k) for k in ("owner", "camera", "url", "secret")] if isinstance(one, dict) else []
        words = [w for w in found if isinstance(w, str) and w]
        if len(words) != 4:
            raise Problem(400, "a device needs owner, camera, url and secret")
        owner, camera, url, secret = words
        yield owner, camera, Device(url, secret)


def operator(accounts: Accounts, devices: Devices) -> web.Application:
    """Return what the operator speaks to."""
    app = node.application()

    async def provision(request: web.Request) -> web.Response:
        described = list(_described(await node.body(request)))
        await devices.provision(described, request["id"])
        return web.json_response({"devices": len(described)})

    async def flush(request: web.Request) -> web.Response:
        await devices.flush(request["id"])
        return web.json_response({})

    async def healthy(_: web.Request) -> web.Response:
        missing = [why for why in (await devices.ready(), await accounts.ready()) if why]
        return web.json_response({"ready": not missing, "missing": missing}, status=503 if missing else 200)

    app.add_routes([web.post("/operator/provision", provision), web.post("/operator/flush", flush)])
    app.add_routes([web.get("/healthz", healthy)])
    return app


async def main() -> None:
    """Serve until told to end."""
    config = Config.from_environment()
    cache = connect(config.cache_url, config.cache_socket)
    # limit 0: a slow camera must not take the connections that another owner's request needs
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    # no cookies are kept: a session of somebody's must not travel with somebody else's request
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        accounts = Accounts(session, config.accounts_url, config.accounts_total)
        devices = Devices(cache, config.cache_url, config.cache_socket)
        uplink = Uplink(session, config.uplink_connect, config.uplink_total)
        streams = Streams(uplink, config.stream_first, config.stream_idle)
        try:
            await node.serve(
                {
                    "LISTEN": public(accounts, devices, Stills(uplink, cache), streams),
                    "OPERATOR": operator(accounts, devices),
                }
            )
        finally:
            await cache.aclose()


if __name__ == "__main__":
    node.run(main)

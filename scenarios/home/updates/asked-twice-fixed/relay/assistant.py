"""Where a voice assistant comes in: which cameras an owner has, and where one of them is to be seen.

``POST /v1/fulfillment`` takes two of the intents of Google's smart home, with its names of fields: ``SYNC`` answers
with the owner's cameras and their attributes, ``EXECUTE`` of ``GetCameraStream`` with an address and a token for one
camera. An id is unique for one owner alone, as Google asks for no more. The account service makes the token, which is
good for that camera, for some seconds and for as long as its session lives. One that took long to get is kept for a
moment: an assistant that waits too long asks again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web

from accounts import Accounts
from common import node
from common.node import Problem

SYNC = "action.devices.SYNC"
EXECUTE = "action.devices.EXECUTE"
GET_STREAM = "action.devices.commands.GetCameraStream"
PROTOCOLS = {"mjpeg": "stream", "jpeg": "still"}
"""What can be had of a camera, and under which name; these two are this home's own, beside Google's hls, webrtc, …"""
RECEIVER = "0F3A91C7"
"""The app on the display that shows it."""
AGAIN_WITHIN = 2.0
"""Seconds in which an assistant that got no answer asks again."""
_CODES = {400: "functionNotSupported", 401: "authFailure", 403: "deviceNotFound"}


class Assistant:
    """Answers intents for whoever the account service says."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._slow_after = node.number("SLOW_AFTER", 0.15)
        self._kept: dict[tuple[str, ...], tuple[float, object]] = {}

    async def sync(self, token: str, request: str) -> dict[str, object]:
        """Return the payload of SYNC: the token's owner and the cameras of that owner."""
        answer = await self._accounts.forward("/cameras", {"token": token}, request)
        cameras = answer.get("cameras")
        if not isinstance(cameras, list):
            raise Problem(503, "the account service gave no list of cameras")
        return {"agentUserId": answer.get("owner"), "devices": [_device(str(c)) for c in cameras]}

    async def stream(self, token: str, device: str, wanted: list[str], host: str, request: str) -> dict[str, object]:
        """Return the states of GetCameraStream for one camera, or raise a `Problem`."""
        protocol = next((p for p in wanted if p in PROTOCOLS), None)
        if protocol is None:
            raise Problem(400, f"expected {GET_STREAM} with one of {', '.join(PROTOCOLS)}")
        ticket = await self._ticket(token, device, request)
        return {
            "online": True,
            "cameraStreamAccessUrl": f"http://{host}/v1/cameras/{quote(device, safe='')}/{PROTOCOLS[protocol]}",
            "cameraStreamReceiverAppId": RECEIVER,
            "cameraStreamAuthToken": ticket,
            "cameraStreamProtocol": protocol,
        }

    async def _ticket(self, token: str, device: str, request: str) -> object:
        """Return a ticket for the camera, that of a moment ago when it is asked for again."""
        key, began = self._key(token, device), time.monotonic()
        at, kept = self._kept.get(key, (0.0, None))
        if kept is not None and began - at < AGAIN_WITHIN:
            node.log("asked-again", request=request, device=device)
            return kept
        answer = await self._accounts.forward("/ticket", {"token": token, "camera": device}, request)
        if time.monotonic() - began > self._slow_after:
            self._kept[key] = (time.monotonic(), answer.get("ticket"))
        return answer.get("ticket")

    def _key(self, token: str, device: str) -> tuple[str, ...]:
        return (token, device)

    async def command(self, token: str, described: object, host: str, request: str) -> list[dict[str, object]]:
        """Return the results of one command: one for each of its devices and executions."""
        pairs = itertools.product(_listed(described, "devices"), _listed(described, "execution"))
        return [await self._result(token, str(d.get("id", "")), e, host, request) for d, e in pairs]

    async def _result(
        self, token: str, device: str, execution: dict[str, object], host: str, request: str
    ) -> dict[str, object]:
        params = execution.get("params")
        wanted = params.get("SupportedStreamProtocols") if isinstance(params, dict) else None
        known = wanted if execution.get("command") == GET_STREAM and isinstance(wanted, list) else []
        try:
            states = await self.stream(token, device, [str(w) for w in known], host, request)
        except Problem as problem:
            code = _CODES.get(problem.status, "transientError")
            return {"ids": [device], "status": "ERROR", "errorCode": code, "debugString": str(problem)}
        return {"ids": [device], "status": "SUCCESS", "states": states}


def add(app: web.Application, assistant: Assistant, token_of: Callable[[web.Request], str]) -> None:
    """Add the assistant's way in to what is public; `token_of` returns the session's token of a request."""

    async def fulfil(asked: web.Request) -> web.Response:
        values = await node.body(asked)
        inputs = _listed(values, "inputs")
        token, intent = token_of(asked), inputs[0].get("intent")
        if intent == SYNC:
            payload = await assistant.sync(token, asked["id"])
        elif intent == EXECUTE:
            commands = _listed(inputs[0].get("payload"), "commands")
            results = [r for c in commands for r in await assistant.command(token, c, asked.host, asked["id"])]
            payload = {"commands": results}
        else:
            raise Problem(400, f"the intent is {intent!r}; expected {SYNC} or {EXECUTE}")
        return web.json_response({"requestId": str(values.get("requestId", "")), "payload": payload})

    app.router.add_post("/v1/fulfillment", fulfil)


def _device(camera: str) -> dict[str, object]:
    return {
        "id": camera,
        "type": "action.devices.types.CAMERA",
        "traits": ["action.devices.traits.CameraStream"],
        "name": {"name": camera.replace("-", " ")},
        "willReportState": False,
        "attributes": {"cameraStreamSupportedProtocols": list(PROTOCOLS), "cameraStreamNeedAuthToken": True},
    }


def _listed(values: object, name: str) -> list[dict[str, object]]:
    found = values.get(name) if isinstance(values, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise Problem(400, f"{name} is no list of objects with anything in it")
    return found

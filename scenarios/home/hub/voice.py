"""What the display's assistant does with 'show the living room': finds the camera of that name and where it is seen.

It speaks the intents of Google's smart home to the relay (``relay/assistant.py``). The list of cameras is asked for
once in a session, as an assistant's home graph is. An answer that is late is asked for again, with the same
``requestId``; which of the two comes first counts.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

import aiohttp
from feed import Failed

PROTOCOLS = {"stream": "mjpeg", "still": "jpeg"}
_VERBS = ("show me the ", "show me ", "show the ", "show ")


@dataclass(frozen=True, slots=True)
class Seen:
    """A camera by its id, where it is to be seen, and the token for it."""

    device: str
    url: str
    token: str


class Voice:
    """The assistant's side of one display."""

    def __init__(self, session: aiohttp.ClientSession, relay: str, again_after: float) -> None:
        self._session = session
        self._url = f"{relay}/v1/fulfillment"
        self._again_after = again_after
        self._known: tuple[str, dict[str, str]] | None = None

    async def where(self, name: str, feed: str, token: str, request: str) -> Seen:
        """Return where the camera of that name is to be seen; `Failed` when there is no such camera.

        `token` is the session's. What aiohttp raises when the relay cannot be asked.
        """
        device = (await self._devices(token, request)).get(name)
        if device is None:
            raise Failed(f"there is no camera {name!r}")
        params = {"StreamToChromecast": True, "SupportedStreamProtocols": [PROTOCOLS[feed]]}
        command = {
            "devices": [{"id": device}],
            "execution": [{"command": "action.devices.commands.GetCameraStream", "params": params}],
        }
        payload = {"commands": [command]}
        intent = {"intent": "action.devices.EXECUTE", "payload": payload}
        match await self._ask(intent, token, request):
            case {
                "commands": [
                    {
                        "status": "SUCCESS",
                        "states": {"cameraStreamAccessUrl": str(url), "cameraStreamAuthToken": str(ticket)},
                    }
                ]
            }:
                return Seen(device, url, ticket)
            case {"commands": [{"errorCode": str(code), "debugString": str(why)}]}:
                raise Failed(f"the assistant was told {code}: {why}")
            case other:
                raise Failed(f"the assistant was told what it does not understand: {other!r:.200}")

    async def _devices(self, token: str, request: str) -> dict[str, str]:
        """Return the id of each camera by its name; what was asked for in another session is not looked at."""
        if self._known is None or self._known[0] != token:
            match await self._ask({"intent": "action.devices.SYNC"}, token, request):
                case {"devices": list(devices)}:
                    self._known = (token, {str(d["name"]["name"]).lower(): str(d["id"]) for d in devices})
                case other:
                    raise Failed(f"the assistant was told of no devices: {other!r:.200}")
        return self._known[1]

    async def _ask(self, intent: dict[str, object], token: str, request: str) -> object:
        """Send an intent, once more when the answer is late, and return the payload of the first answer."""
        body = {"requestId": secrets.token_hex(16), "inputs": [intent]}
        headers = {"Authorization": f"Bearer {token}", "X-Request-Id": request}
        tries = {asyncio.create_task(self._send(body, headers))}
        try:
            done, _ = await asyncio.wait(tries, timeout=self._again_after)
            if not done:
                tries.add(asyncio.create_task(self._send(body, headers)))
                done, _ = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for each in tries:
                each.cancel()
            await asyncio.gather(*tries, return_exceptions=True)

    async def _send(self, body: dict[str, object], headers: dict[str, str]) -> object:
        async with self._session.post(self._url, json=body, headers=headers) as response:
            if response.status != 200:
                raise Failed(f"the relay answered {response.status}: {(await response.text())[:200]}")
            answer = await response.json()
            if not isinstance(answer, dict) or answer.get("requestId") != body["requestId"]:
                raise Failed("the relay answered to another request")
            return answer.get("payload")


def name(said: str) -> str:
    """Return what somebody wants to be shown, as it was said."""
    words = " ".join(said.lower().split())
    return next((words.removeprefix(v) for v in _VERBS if words.startswith(v)), words)

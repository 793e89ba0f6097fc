"""A camera: films what its lens gets, and gives stills and MJPEG to whoever knows the device's secret.

Public: ``GET /still?width=``, ``GET /stream?width=&fps=`` and, in H.264, ``GET /video/stream?width=&fps=``, all with
the header ``X-Device-Secret``.
Operator: ``GET /healthz``, ``GET /operator/clock``, ``POST /operator/clock`` with ``{offset_s, time_zone}``; and
``/operator/picture`` with ``{night, quality}``.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import sys
import time
from datetime import UTC, timedelta, tzinfo
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

import aiohttp
from aiohttp import web
from film import WIDEST, Clock, Encoder, Film, Picture

from common import node
from common.node import Problem

BOUNDARY = "next-picture-5d1f0c7a"
SLEEPS_AFTER = 1.0
"""Seconds without a request."""


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - only cameras abroad need it

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r}; expected a time zone that this system knows, such as 'Europe/Berlin'") from None


def _clock(zone: str, offset_s: float) -> Clock:
    """Return a clock; raises `ValueError` with a phrase for what no clock can say."""
    known = _zone(zone)
    try:
        clock = Clock(zone, known, timedelta(seconds=offset_s))
        clock.now()
    except (OverflowError, ValueError):
        raise ValueError(f"{offset_s!r} seconds; expected an offset that a date bears") from None
    return clock


def _encoder() -> Encoder:
    size = node.text("SIZE", "1920x1080")
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit() and 16 <= int(width) <= WIDEST and 16 <= int(height) <= WIDEST):
        node.give_up(f"SIZE is {size!r}; expected WIDTHxHEIGHT, such as '1920x1080'")
    quality = int(node.number("QUALITY", 40))
    if not 1 <= quality <= 95:
        node.give_up(f"QUALITY is {quality}; expected 1 to 95")
    try:
        offset = float(node.text("CAMERA_CLOCK_OFFSET", "0"))
        _clock("UTC", offset)
    except ValueError:
        node.give_up(f"CAMERA_CLOCK_OFFSET is {node.text('CAMERA_CLOCK_OFFSET')!r}; expected seconds")
    try:
        clock = _clock(node.text("CAMERA_TZ", "UTC"), offset)
    except ValueError as wrong:
        node.give_up(f"CAMERA_TZ is {wrong}")
    return Encoder(quality, (int(width), int(height)), clock)


def _asked_number(request: web.Request, name: str, default: float, low: float, high: float) -> float:
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Problem(400, f"{name} is out of range; expected {low:g} to {high:g}")
    return value


class Numbers:
    """Numbers the pictures that the sensor gave since it woke up; a camera that nobody asks sleeps after a second."""

    def __init__(self) -> None:
        self._last: Picture | None = None
        self._asked = 0.0
        self._number = 0

    def of(self, picture: Picture) -> int:
        """Return the number of the picture that was filmed last."""
        asked, self._asked = self._asked, time.monotonic()
        if picture is not self._last:
            self._number = 1 if self._asked - asked > SLEEPS_AFTER else self._number + 1
            self._last = picture
        return self._number


def public(film: Film, secret: str) -> web.Application:
    """Return what the relay speaks to."""
    app = node.application()
    numbers = Numbers()

    def check(request: web.Request) -> int:
        given = request.headers.get("X-Device-Secret", "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            raise Problem(403, "wrong device secret")
        return int(_asked_number(request, "width", film.full_width, 16, WIDEST))

    async def still(request: web.Request) -> web.Response:
        width = check(request)
        picture = await film.picture()
        etag = f'"{numbers.of(picture)}-{width}"'
        headers = {"X-Captured-At": picture.at.isoformat(), "Cache-Control": "no-store", "ETag": etag}
        if etag in request.headers.get("If-None-Match", "").split(", "):
            return web.Response(status=304, headers=headers)  # the relay has it: 75 KB less on a poor uplink
        return web.Response(body=await picture.jpeg(width), content_type="image/jpeg", headers=headers)

    async def stream(request: web.Request) -> web.StreamResponse:
        width = check(request)
        pause = 1 / _asked_number(request, "fps", 5, 0.1, 30)
        picture = await film.picture()  # a silent lens is a 503, not an empty stream
        jpeg = await picture.jpeg(width)
        response = web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        await response.write(f"--{BOUNDARY}\r\n".encode())
        due = time.monotonic()
        while True:
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
            captured = f"X-Captured-At: {picture.at.isoformat()}\r\n\r\n"
            # The next boundary goes out at once: browsers paint a picture when they see it.
            await response.write(f"{head}{captured}".encode() + jpeg + f"\r\n--{BOUNDARY}\r\n".encode())
            # A viewer that takes longer than that gets fewer pictures, never older ones.
            due = max(due + pause, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            try:
                picture = await film.picture()
                jpeg = await picture.jpeg(width)
            except Problem:  # the lens is silent: the stream ends, as its viewer can see
                return response

    async def video(request: web.Request) -> web.StreamResponse:
        width = check(request)
        rate = _asked_number(request, "fps", 10, 0.1, 30)
        # a camera that nobody asks for video needs no encoder
        module = await asyncio.to_thread(importlib.import_module, "video")
        response: web.StreamResponse = await module.stream(request, film, width, rate)
        return response

    app.add_routes([web.get("/still", still), web.get("/stream", stream), web.get("/video/stream", video)])
    return app


def operator(encoder: Encoder, film: Film) -> web.Application:
    """Return what the operator speaks to."""
    app = node.application()

    async def clock(_: web.Request) -> web.Response:
        now = encoder.clock
        return web.json_response({"offset_s": now.offset.total_seconds(), "time_zone": now.zone_name})

    async def set_clock(request: web.Request) -> web.Response:
        wanted = await node.body(request)
        offset, zone = wanted.get("offset_s"), wanted.get("time_zone")
        if not isinstance(offset, int | float) or not isinstance(zone, str):
            raise Problem(400, "expected {offset_s: seconds, time_zone: name}")
        try:
            encoder.clock = _clock(zone, offset)
        except ValueError as wrong:
            raise Problem(400, f"the clock is {wrong}") from None
        film.forget()  # the next picture tells the new time
        return await clock(request)

    own, chosen = encoder.quality, None

    async def picture(_: web.Request) -> web.Response:
        return web.json_response({"night": encoder.night, "quality": chosen})

    async def set_picture(request: web.Request) -> web.Response:
        nonlocal chosen
        wanted = await node.body(request)
        night, quality = wanted.get("night"), wanted.get("quality")
        whole = isinstance(quality, int) and not isinstance(quality, bool)
        if not isinstance(night, bool) or not (quality is None or (whole and 1 <= quality <= 95)):
            raise Problem(400, "expected {night: true or false, quality: 1 to 95, or null for the camera's own}")
        chosen, encoder.night = quality, night
        encoder.quality = own if quality is None else quality
        film.forget()
        return await picture(request)

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"ready": True})

    app.add_routes([web.get("/operator/picture", picture), web.post("/operator/picture", set_picture)])
    app.add_routes([web.get("/healthz", healthy), web.get("/operator/clock", clock)])
    app.add_routes([web.post("/operator/clock", set_clock)])
    return app


async def main() -> None:
    """Serve until told to end."""
    async with aiohttp.ClientSession() as session:
        fps = node.number("FPS", 10)
        if fps <= 0:
            node.give_up("FPS is 0; expected at least one picture in a while")
        encoder = _encoder()
        film = Film(session, node.text("LENS"), encoder, fps, node.number("LENS_TOTAL", 0.5))
        try:
            await node.serve({"LISTEN": public(film, node.text("DEVICE_SECRET")), "OPERATOR": operator(encoder, film)})
        finally:
            film.close()


if __name__ == "__main__":
    node.run(main)

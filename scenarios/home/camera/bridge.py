"""A camera whose programs are somebody else's, as the relay and the operator know cameras.

``CAMERA`` says which (``others.py``). Its programs film the lens and give pictures on this machine's loopback; this
starts them, starts them again when they end, and hands on their bytes as they come, to whoever knows the device's
secret. So what reaches a hub went through a pipeline that no one here wrote.

Public: ``GET /still``, ``GET /stream`` and, of those that encode it, ``GET /video/stream``, all with the header
``X-Device-Secret``; such a camera has one size and one rate of its own, whatever is asked for.
Operator: ``GET /healthz``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

import aiohttp
from aiohttp import web
from others import KINDS, Camera

from common import ffmpeg, node
from common.node import Problem

AGAIN = 0.2
"""Seconds until a program that ended is started again, and until a stream that broke is looked at again."""
STARTS_WITHIN = 8.0
"""Seconds, unless the setting of this name says otherwise, in which a program's stream brings its first picture, or
another; then it is asked for anew, and given twice the time.

A whole home with go2rtc is ready after 8 s, and after 12 with four busy processes beside (measured). go2rtc whose
FFmpeg is gone lets a viewer wait on, and starts another for one who comes anew: on a machine that is so busy that each
takes longer than that, no picture ever came (both seen).
"""
TRIES = 2
"""Times that a stream is asked for without a picture until its program is ended, and another is started."""
SILENT = 2.0
"""Seconds without a picture after which a stream is over."""
BOUNDARY = "next-picture-5d1f0c7a"
NO_PICTURES = "the program gives no pictures"
_JPEG = b"\xff\xd8"


class Bridge:
    """One camera's programs, and the way to their pictures.

    `patience` is how many seconds a picture may take that somebody asked for, `starts_within` one of the program's.
    """

    def __init__(self, session: aiohttp.ClientSession, camera: Camera, patience: float, starts_within: float) -> None:
        self._session = session
        self._camera = camera
        self._patience = patience
        self._starts_within = starts_within
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._program: asyncio.subprocess.Process | None = None
        self._in_vain = 0
        self.films = False
        """Whether the program's stream brings pictures."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the programs running while it lasts, and look at their stream: they film before somebody asks.

        A bug in either ends the camera: without them it would say for ever that there are no pictures.
        """
        async with asyncio.TaskGroup() as both:
            tasks = [both.create_task(self._keep()), both.create_task(self._look())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _keep(self) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(*ffmpeg.DIES_WITH_US, *self._camera.command, stdout=2)
            self._program = process
            try:
                ended = await process.wait()
                node.log("program-ended", program=self._camera.command[0], code=ended)
            finally:
                if process.returncode is None:
                    process.terminate()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), 1.0)
                if process.returncode is None:
                    process.kill()
            await asyncio.sleep(AGAIN)

    async def _look(self) -> None:
        """Look at the program's stream all the time, and hand each of its pictures to whoever looks at ours then.

        To each viewer of its own motion gives the first picture after a second (measured), and without one it encodes
        nothing.
        """
        while True:
            patience = self._starts_within * (1 + self._in_vain % TRIES)
            try:
                await (self._look_at_output(patience) if self._camera.pictures else self._look_at_stream(patience))
            except TimeoutError:
                self._waited_in_vain(patience)
            except (aiohttp.ClientError, OSError, ValueError):
                pass  # nobody listens there yet, or any more
            self._came(None)
            await asyncio.sleep(AGAIN)

    def _waited_in_vain(self, seconds: float) -> None:
        """Count it, and end a program that gives nothing however long one waits; it is started again then."""
        self._in_vain += 1
        node.log("no-picture", program=self._camera.command[0], seconds=seconds)
        if self._in_vain % TRIES == 0 and self._program is not None and self._program.returncode is None:
            self._program.kill()

    async def _look_at_stream(self, patience: float) -> None:
        quiet = aiohttp.ClientTimeout(total=None, sock_read=patience)
        async with self._session.get(self._camera.stream, timeout=quiet) as answer:
            # go2rtc answers 500 with a sentence while a part of it has not begun (seen: 0.3 s after its start)
            if answer.status != 200 or not answer.content_type.startswith("multipart/"):
                node.log("no-stream", program=self._camera.command[0], status=answer.status, kind=answer.content_type)
                return
            parts = aiohttp.MultipartReader.from_response(answer)
            while (part := await parts.next()) is not None:
                if isinstance(part, aiohttp.BodyPartReader):
                    self._came(bytes(await part.read()))

    async def _look_at_output(self, patience: float) -> None:
        async with ffmpeg.pictures(self._camera.pictures) as pictures:
            while True:
                async with asyncio.timeout(patience):
                    picture = await anext(pictures, None)
                if picture is None:
                    return
                self._came(picture)

    def _came(self, picture: bytes | None) -> None:
        self.films = picture is not None
        if self.films:
            self._in_vain = 0
        for viewer in self._viewers:
            if viewer.full():  # one who is slow gets fewer pictures, never older ones
                viewer.get_nowait()
            viewer.put_nowait(picture)

    @contextlib.contextmanager
    def _viewer(self) -> Iterator[asyncio.Queue[bytes | None]]:
        """Give what each picture of the program from now on comes to; None when its stream is over."""
        viewer: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    async def still(self) -> bytes:
        """Return the next picture of the program's stream; a `Problem` 503 when there is none.

        go2rtc starts an FFmpeg for a still, and ends it when nobody waits any more: on two busy cores that took longer
        than anybody waited, time after time, and the camera was never ready (seen).
        """
        with self._viewer() as viewer:
            picture = await _next(viewer, self._patience)
        if picture is None:
            raise Problem(503, NO_PICTURES)
        if len(picture) > ffmpeg.LARGEST:
            raise Problem(503, "the program's picture is too large")
        if not picture.startswith(_JPEG):
            raise Problem(503, "the program gives what is no picture")
        return picture

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Hand on each picture of the program from now on, until either side ends it; what broke has no last chunk."""
        response: web.StreamResponse | None = None
        with self._viewer() as viewer:
            while (picture := await _next(viewer, self._patience if response is None else SILENT)) is not None:
                if response is None:
                    kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
                    response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})
                    await response.prepare(request)
                    await response.write(f"--{BOUNDARY}\r\n".encode())
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                # the next boundary goes out at once: browsers paint a picture when they see it
                await response.write(head.encode() + picture + f"\r\n--{BOUNDARY}\r\n".encode())
        node.log("stream-broke", request=request["id"], error=f"{self._camera.command[0]} gives no pictures")
        if response is None:
            raise Problem(503, NO_PICTURES)
        if request.transport is not None:
            request.transport.abort()
        return response

    async def video(self, request: web.Request) -> web.StreamResponse:
        """Hand on the program's video; a `Problem` 404 when it has none."""
        if self._camera.video is None:
            raise Problem(404, "this camera gives no video")
        return await self._hand_on(request, self._camera.video, "video/mp4")

    async def _hand_on(self, request: web.Request, url: str, kind: str) -> web.StreamResponse:
        """Answer with what comes from `url`; what broke has no last chunk."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._patience, sock_read=SILENT)
        response: web.StreamResponse | None = None
        try:
            async with self._session.get(url, timeout=timeout) as answer:
                if answer.status != 200 or answer.content_type != kind:
                    raise Problem(503, f"the program answered {answer.status} with {answer.content_type}")
                response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            sentence = node.failure(broken, self._camera.command[0])
            node.log("stream-broke", request=request["id"], error=sentence)
            if response is None:
                raise Problem(503, f"the program: {sentence}") from broken
            if request.transport is not None:
                request.transport.abort()
            return response


async def _next(viewer: asyncio.Queue[bytes | None], seconds: float) -> bytes | None:
    """Return the next picture, None when there is none within that time or the program's stream is over."""
    try:
        async with asyncio.timeout(seconds):
            return await viewer.get()
    except TimeoutError:
        return None


def public(bridge: Bridge, secret: str) -> web.Application:
    """Return what the relay speaks to."""
    app = node.application()

    def check(request: web.Request) -> None:
        given = request.headers.get("X-Device-Secret", "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            raise Problem(403, "wrong device secret")

    async def still(request: web.Request) -> web.Response:
        check(request)
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=await bridge.still(), content_type="image/jpeg", headers=headers)

    async def stream(request: web.Request) -> web.StreamResponse:
        check(request)
        return await bridge.stream(request)

    async def video(request: web.Request) -> web.StreamResponse:
        check(request)
        return await bridge.video(request)

    app.add_routes([web.get("/still", still), web.get("/stream", stream), web.get("/video/stream", video)])
    return app


def operator(bridge: Bridge) -> web.Application:
    """Return what the operator speaks to: a camera is ready once it gives pictures."""
    app = node.application()

    async def healthy(_: web.Request) -> web.Response:
        try:
            await bridge.still()
            missing = [] if bridge.films else ["its stream brings no pictures yet"]
        except Problem as lack:
            missing = [str(lack)]
        return web.json_response({"ready": not missing, "missing": missing}, status=503 if missing else 200)

    app.add_routes([web.get("/healthz", healthy)])
    return app


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def main() -> None:
    """Serve until told to end."""
    kind = node.text("CAMERA")
    if kind not in KINDS:
        node.give_up(f"CAMERA is {kind!r}; expected one of {', '.join(KINDS)}")
    secret, lens, patience = node.text("DEVICE_SECRET"), node.text("LENS"), node.number("LENS_TOTAL", 0.5)
    with tempfile.TemporaryDirectory(prefix="camera-", ignore_cleanup_errors=True) as folder:
        camera = KINDS[kind](lens, Path(folder), free_port)
        if shutil.which(camera.command[0]) is None:
            node.give_up(f"there is no {camera.command[0]} on PATH; install it, or take a camera that is there")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            bridge = Bridge(session, camera, patience, node.number("STARTS_WITHIN", STARTS_WITHIN))
            async with bridge.running():
                await node.serve({"LISTEN": public(bridge, secret), "OPERATOR": operator(bridge)})


if __name__ == "__main__":
    node.run(main)

"""Serves each camera's lens what it films now."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

import msgspec
from aiohttp import web

from chaos.errors import Misuse, Surroundings
from chaos.identity import Badge, Key, Register
from chaos.identity.badge import FRAMES, TIMES
from chaos.scene.painting import KEPT, Planes, planes, stamped_jpeg, stamped_planes
from chaos.scene.pipes import Pipe
from chaos.scene.video import Rtsp

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

TICK_MS = 100
"""A scene changes ten times a second; lenses asked within one tick get the same JPEG."""
RATE = 1000 // TICK_MS
_EVERYWHERE = ("", "0.0.0.0", "::", "0")  # noqa: S104 - the addresses that are refused
_STOP_SECONDS = 10

_T = TypeVar("_T")
Serves: TypeAlias = Literal["still", "mjpeg", "rtsp", "file"]
Lens: TypeAlias = tuple[str, str]
"""The names of an owner and one of that owner's cameras."""


class _World(msgspec.Struct, frozen=True):
    """Everything but the time that decides what a lens films. Replaced as a whole, never changed."""

    case: int
    crossed: dict[Lens, Lens]


class SceneServer:
    """Films of every owner's every camera, over HTTP on a thread of its own, from `__enter__` to `__exit__`.

    `GET /lens/{owner}/{camera}` is one stamped JPEG of 1920x1080 of now, `GET /lens/{owner}/{camera}.mjpeg` a
    stream of them at ten a second. Frame numbers count ticks of 100 ms of the monotonic clock modulo 65536,
    and the capture time is that of the tick. Raises `Misuse` for an address that other machines reach, since
    containers reach the host through it around every fault, and `Surroundings` when the address cannot be
    bound. `looks` is how many different homes there are to look at (None: one an owner), since each that is painted
    takes 0.3 s and 3 MB.
    """

    def __init__(
        self,
        owners: tuple[str, ...],
        cameras: tuple[str, ...],
        key: Key,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        looks: int | None = None,
    ) -> None:
        _check_address(host)
        self.register = Register(owners, cameras)
        self._key = key
        self._looks = looks
        self._address = (host, port)
        self._change = threading.Lock()
        self._world = _World(0, {})
        self._pictures: dict[Lens, tuple[int, _World, Future[bytes]]] = {}
        self._url = ""
        self._rtsp: list[asyncio.Server] = []
        self._pipes: list[Pipe] = []

    # What is filmed.

    @property
    def case(self) -> int:
        """The case number in every badge; once it is set, no lens is sent an earlier one."""
        return self._world.case

    @case.setter
    def case(self, number: int) -> None:
        Badge(number, 1, 1, 0, 0)  # raises Misuse for a number that a badge has no room for
        with self._change:
            self._world = _World(number, self._world.crossed)

    @contextlib.contextmanager
    def crossed(self, pairs: Mapping[Lens, Lens]) -> Iterator[None]:
        """Cross lenses while it lasts: the (owner, camera) of each key films scene and badge of its value's.

        The harness's control: whatever the home system does, the wrong picture must then be shown and
        reported.
        """
        for owner, camera in [*pairs.keys(), *pairs.values()]:
            self.register.owner_number(owner)
            self.register.camera_number(camera)
        with self._change:
            before = self._world.crossed
            self._world = _World(self._world.case, {**before, **pairs})
        try:
            yield
        finally:
            with self._change:
                kept = {lens: films for lens, films in self._world.crossed.items() if lens not in pairs}
                again = {lens: films for lens, films in before.items() if lens in pairs}
                self._world = _World(self._world.case, kept | again)

    def hand_over(self, lens: Lens, films: Lens) -> None:
        """Let the camera of `lens` hang where that of `films` does, from now on until `put_back`: it was sold."""
        for owner, camera in (lens, films):
            self.register.owner_number(owner)
            self.register.camera_number(camera)
        with self._change:
            self._world = _World(self._world.case, {**self._world.crossed, lens: films})

    def put_back(self) -> None:
        """Let every camera film its own scene again."""
        with self._change:
            self._world = _World(self._world.case, {})

    # Life.

    @property
    def url(self) -> str:
        """Where it serves, as `http://host:port`."""
        assert self._url, "the scene server serves only between __enter__ and __exit__"
        return self._url

    def __enter__(self) -> Self:
        """Bind and serve. When it returns, requests are answered."""
        assert not self._url, "the scene server runs already"
        host, port = self._address
        listener = _bound(host, port)
        self._painters = ThreadPoolExecutor(4, thread_name_prefix="scene-painter")
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, started)), name="scene-server", daemon=True
        )
        self._thread.start()
        self._loop = started.result()
        self._url = _url_of(host, listener)
        return self

    def listen(self, host: str) -> str:
        """Serve on another address of this machine too, on any free port, and return where, as `http://host:port`.

        For cameras that have a network of their own to the harness. Raises as the class does.
        """
        assert self._url, "the scene server serves only between __enter__ and __exit__"
        _check_address(host)
        listener = _bound(host, 0)
        asyncio.run_coroutine_threadsafe(web.SockSite(self._runner, listener).start(), self._loop).result()
        return _url_of(host, listener)

    def offer(self, lens: Lens, serves: Serves, host: str, pipe: Path | None = None) -> str:
        """Serve what `lens` films in a way that some camera takes, and return where: a URL, or the path `pipe`.

        ``still`` is a JPEG for each request, ``mjpeg`` a stream of them, ``rtsp`` H.264 interleaved in TCP, each on an
        address of this machine; ``file`` is written into a named pipe that is made. Raises as the class does.
        """
        self._numbers(lens)
        path = f"/lens/{lens[0]}/{lens[1]}"
        if serves == "file":
            assert pipe is not None, "a file has a path"
            jpeg, planes = self._waited(self._next_jpeg, lens), self._waited(self._next_planes, lens)
            self._pipes.append(Pipe(pipe, jpeg, planes, RATE))
            return str(pipe)
        if serves == "rtsp":
            return self._listen_rtsp(host) + path
        return self.listen(host) + path + (".mjpeg" if serves == "mjpeg" else "")

    def _listen_rtsp(self, host: str) -> str:
        _check_address(host)
        listener = _bound(host, 0)
        rtsp = Rtsp(self._lens_at, self._planes_after, RATE)
        serving = asyncio.start_server(rtsp.answer, sock=listener)
        self._rtsp.append(asyncio.run_coroutine_threadsafe(serving, self._loop).result())
        return _url_of(host, listener).replace("http:", "rtsp:", 1)

    def _lens_at(self, path: str) -> Lens | None:
        words = path.strip("/").split("/")
        if len(words) < 3 or words[0] != "lens":
            return None
        lens = words[1], words[2]
        return lens if lens[0] in self.register.owners and lens[1] in self.register.cameras else None

    def _waited(self, film: Callable[[Lens], Coroutine[Any, Any, _T]], lens: Lens) -> Callable[[], _T]:
        """Return what a thread calls to wait for the next picture; raises `BrokenPipeError` once this server stops."""

        def wait() -> _T:
            if not self._url:
                raise BrokenPipeError
            return asyncio.run_coroutine_threadsafe(film(lens), self._loop).result(_STOP_SECONDS)

        return wait

    async def _next_jpeg(self, lens: Lens) -> bytes:
        await self._tick_after(_tick())
        return (await self._film(lens))[1]

    async def _next_planes(self, lens: Lens) -> Planes:
        return (await self._planes_after(lens, _tick()))[1]

    async def _tick_after(self, last: int) -> int:
        """Return the tick after `last` once it has come; the present one when that is later."""
        tick = max(_tick(), last + 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, tick * TICK_MS / 1000 - time.monotonic()))
        if self._stop.is_set():
            raise BrokenPipeError
        return tick

    async def _planes_after(self, lens: Lens, last: int) -> tuple[int, Planes]:
        """Wait for the tick after `last`, and return it with what `lens` films then; as `_film`, never out of date."""
        tick = await self._tick_after(last)
        while True:
            world = self._world
            painted = self._painters.submit(stamped_planes, self._badge(lens, tick, world), self._key)
            planes = await asyncio.wrap_future(painted)
            if world is self._world:
                return tick, planes

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """End every stream, close the port and end the threads."""
        if not self._url:
            return
        self._url = ""
        self._loop.call_soon_threadsafe(self._stop.set)
        for pipe in self._pipes:
            pipe.close()
        self._thread.join(_STOP_SECONDS)
        self._painters.shutdown(wait=True, cancel_futures=True)
        self._pictures.clear()

    async def _serve(self, listener: socket.socket, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = asyncio.Event()
        app = web.Application()
        app.router.add_get("/lens/{owner}/{camera:[^/]+}.mjpeg", self._stream)
        app.router.add_get("/lens/{owner}/{camera}", self._still)
        self._runner = runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
        except BaseException as failed:
            started.set_exception(failed)
            raise
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        for rtsp in self._rtsp:
            rtsp.close()
        await runner.cleanup()

    def prepare(self) -> Future[None]:
        """Begin to paint what every lens films, as far as it is kept; the future is done when all is.

        A scene takes 0.3 s of a quiet processor and 2.5 on a starved one (measured, load 15): more than a camera waits
        for its lens, so that a home that is ready before its scenes is told not to film.
        """
        return self._painters.submit(self._prepare)

    def _prepare(self) -> None:
        lenses = itertools.product(self.register.owners, self.register.cameras)
        for lens in itertools.islice(lenses, min(KEPT, self._looks or KEPT)):
            planes(*self._numbers(lens))

    # Requests.

    def _lens(self, request: web.Request) -> Lens:
        owner, camera = request.match_info["owner"], request.match_info["camera"]
        if owner not in self.register.owners or camera not in self.register.cameras:
            raise web.HTTPNotFound(text=f"no lens of {owner}'s {camera}\n")
        return owner, camera

    async def _still(self, request: web.Request) -> web.Response:
        _, picture = await self._film(self._lens(request))
        return web.Response(body=picture, content_type="image/jpeg", headers={"Cache-Control": "no-store"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        lens = self._lens(request)
        response = web.StreamResponse(
            headers={"Content-Type": "multipart/x-mixed-replace; boundary=frame", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        while not self._stop.is_set():
            tick, picture = await self._film(lens)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            await response.write(head.encode() + picture + b"\r\n")
            left = (tick + 1) * TICK_MS / 1000 - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, left))
        return response

    async def _film(self, lens: Lens) -> tuple[int, bytes]:
        """Return the tick and the JPEG that `lens` films now, painted once for all who ask within a tick.

        A world that was replaced while the picture was being painted has it painted again, so that nothing
        leaves that was out of date when it left.
        """
        while True:
            world = self._world
            tick = _tick()
            shared = self._pictures.get(lens)
            if shared is None or shared[:2] != (tick, world):
                shared = (tick, world, self._painters.submit(self._paint, lens, tick, world))
                self._pictures.pop(lens, None)
                self._pictures[lens] = shared  # the last, so that the first is the one that nobody asked for longest
                while len(self._pictures) > KEPT:
                    del self._pictures[next(iter(self._pictures))]
            picture = await asyncio.shield(asyncio.wrap_future(shared[2]))
            if world is self._world:
                return tick, picture

    def _numbers(self, lens: Lens) -> tuple[int, int]:
        return self.register.owner_number(lens[0]), self.register.camera_number(lens[1])

    def _paint(self, lens: Lens, tick: int, world: _World) -> bytes:
        return stamped_jpeg(self._badge(lens, tick, world), self._key, looks=self._looks)

    def _badge(self, lens: Lens, tick: int, world: _World) -> Badge:
        owner, camera = world.crossed.get(lens, lens)
        numbers = self._numbers((owner, camera))
        return Badge(
            case=world.case,
            owner=numbers[0],
            camera=numbers[1],
            frame=tick % FRAMES,
            time_ms=tick * TICK_MS % TIMES,
        )


def _tick() -> int:
    return time.monotonic_ns() // (TICK_MS * 1_000_000)


def _check_address(host: str) -> None:
    if host in _EVERYWHERE:
        raise Misuse(
            f"the scene server was given the address {host!r}; expected one address of this machine,"
            " such as 127.0.0.1: nodes would reach it around the faulted links"
        )


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as refused:
        raise Surroundings(
            f"the scene server cannot listen on {host} port {port} ({refused.strerror or refused});"
            " choose a free port, or port 0 for any"
        ) from refused


def _url_of(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

from __future__ import annotations

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from chaos.errors import Misuse, Surroundings
from chaos.frames import luma_of_jpeg
from chaos.identity import Badge, Key, Seen, read
from chaos.scene import SceneServer, paint, painting

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNERS = ("ada", "grace", "lin")
CAMERAS = ("living-room", "porch")
DEADLINE = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[SceneServer]:
    with SceneServer(OWNERS, CAMERAS, Key.fresh()) as running:
        for owner in OWNERS:
            for camera in CAMERAS:
                get(running, f"/lens/{owner}/{camera}")
        yield running


def get(server: SceneServer, path: str) -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def seen(server: SceneServer, data: bytes) -> Seen:
    luma = luma_of_jpeg(data)
    assert luma is not None
    (only,) = read(luma, [server._key])
    return only


def film(server: SceneServer, owner: str = "ada", camera: str = "living-room") -> Seen:
    status, data, _ = get(server, f"/lens/{owner}/{camera}")
    assert status == 200
    return seen(server, data)


def names(server: SceneServer, s: Seen) -> tuple[str, str]:
    return server.register.owner_name(s.owner), server.register.camera_name(s.camera)


# Pictures.


def test_scenes_are_the_same_whenever_they_are_painted():
    assert (paint(3, 1) == paint(3, 1)).all()
    assert paint(3, 1).shape == (1080, 1920, 3)
    assert paint(3, 1, (640, 360)).shape == (360, 640, 3)


def test_every_home_looks_different():
    small = [
        cv2.resize(paint(o, 1, (480, 270)), (32, 18), interpolation=cv2.INTER_AREA).astype(int) for o in range(1, 13)
    ]
    for a in range(12):
        for b in range(a):
            assert abs(small[a] - small[b]).mean() > 18, (a + 1, b + 1)
    rooms = [cv2.resize(paint(1, c, (480, 270)), (32, 18), interpolation=cv2.INTER_AREA).astype(int) for c in (1, 2, 3)]
    assert abs(rooms[0] - rooms[1]).mean() > 18
    assert abs(rooms[1] - rooms[2]).mean() > 18


def test_scenes_have_texture_like_a_sensor():
    for owner in range(1, 11):
        luma = cv2.cvtColor(paint(owner, 1), cv2.COLOR_RGB2GRAY).astype(np.float32)
        grain = (luma - cv2.GaussianBlur(luma, (0, 0), 2)).reshape(135, 8, 240, 8).std(axis=(1, 3))
        assert np.median(grain) > 2


# Lenses.


def test_a_lens_films_its_own_scene(server):
    for owner in OWNERS:
        for camera in CAMERAS:
            only = film(server, owner, camera)
            assert names(server, only) == (owner, camera)
            assert only.tiles == 12
            assert only.key_id == server._key.id


def test_a_picture_is_1080p_and_must_not_be_stored(server):
    status, data, headers = get(server, "/lens/ada/porch")
    assert status == 200
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["Cache-Control"] == "no-store"
    luma = luma_of_jpeg(data, quick=False)
    assert luma is not None
    assert luma.shape == (1080, 1920)


@pytest.mark.parametrize("path", ["/lens/eve/porch", "/lens/ada/attic", "/lens/ada", "/", "/lens/eve/porch.mjpeg"])
def test_an_unknown_lens_is_not_found(server, path):
    assert get(server, path)[0] == 404


def test_frame_number_and_time_are_those_of_the_tick(server):
    before = time.monotonic_ns() // 1_000_000
    only = film(server)
    after = time.monotonic_ns() // 1_000_000
    assert only.time_ms is not None
    assert only.time_ms % 100 == 0
    assert before - 100 < only.time_ms <= after
    assert only.frame == only.time_ms // 100 % 65536


def test_frames_advance(server):
    first = film(server)
    deadline = time.monotonic() + DEADLINE
    while (now := film(server)).time_ms == first.time_ms:
        assert time.monotonic() < deadline
    assert (now.time_ms or 0) > (first.time_ms or 0)
    assert ((now.frame or 0) - (first.frame or 0)) % 65536 == ((now.time_ms or 0) - (first.time_ms or 0)) // 100


def test_within_a_tick_everybody_gets_the_same_picture(server, monkeypatch):
    from chaos.scene import server as module

    tick = time.monotonic_ns()
    painted: list[object] = []
    monkeypatch.setattr(module.time, "monotonic_ns", lambda: tick)
    real = module.stamped_jpeg
    monkeypatch.setattr(module, "stamped_jpeg", lambda *a, **k: painted.append(a) or real(*a, **k))
    with ThreadPoolExecutor(8) as pool:
        pictures = set(pool.map(lambda _: get(server, "/lens/lin/porch")[1], range(24)))
    assert len(pictures) == 1
    assert len(painted) == 1


def _parts(stream: http.client.HTTPResponse, count: int) -> list[bytes]:
    pictures = []
    for _ in range(count):
        line = stream.readline()
        assert line.strip() == b"--frame"
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b": ")
            length = int(value) if name == b"Content-Length" else length
        pictures.append(stream.read(length))
        assert stream.readline() == b"\r\n"
    return pictures


def test_a_stream_shows_every_tick_once(server):
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE)
    connection.request("GET", "/lens/grace/porch.mjpeg")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
    assert answer.headers["Cache-Control"] == "no-store"
    began = time.monotonic()
    pictures = [seen(server, p) for p in _parts(answer, 6)]
    assert time.monotonic() - began > 0.35  # five ticks, the first perhaps cut short
    connection.close()
    times = [p.time_ms or 0 for p in pictures]
    assert all(names(server, p) == ("grace", "porch") for p in pictures)
    assert times == sorted(set(times))


# Cases.


def test_a_case_number_holds_for_every_picture_asked_for_afterwards(server):
    for number in (5, 6, 4, 0):
        server.case = number
        assert server.case == number
        assert all(film(server, owner).case == number for owner in OWNERS)


def test_no_picture_of_the_old_case_arrives_once_the_new_one_is_set(server):
    """Pictures that were being painted while the case changed are painted again."""
    stop = threading.Event()
    wrong: list[tuple[int, int]] = []

    def ask() -> None:
        while not stop.is_set():
            at_least = server.case
            number = film(server, "lin").case
            if number < at_least:
                wrong.append((number, at_least))

    server.case = 100
    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for number in range(101, 131):
        server.case = number
        assert film(server, "lin").case == number
    stop.set()
    for asker in askers:
        asker.join(DEADLINE)
    assert not wrong


def test_a_picture_that_was_being_painted_when_the_case_changed_is_painted_again(server, monkeypatch):
    from chaos.scene import server as module

    real = module.stamped_jpeg
    painted: list[int] = []

    def slow(badge: Badge, key: Key, **looks: int | None) -> bytes:
        picture = real(badge, key, **looks)
        painted.append(badge.case)
        if badge.case == 200:
            server.case = 201
        return picture

    server.case = 200
    monkeypatch.setattr(module, "stamped_jpeg", slow)
    assert film(server).case == 201
    assert painted[:2] == [200, 201]


@pytest.mark.parametrize("number", [-1, 1 << 24])
def test_a_case_number_that_no_badge_has_room_for_is_misuse(server, number):
    before = server.case
    with pytest.raises(Misuse, match="case"):
        server.case = number
    assert server.case == before


# Crossing.


def test_crossed_lenses_film_each_others_scene_and_badge(server):
    ada, grace = ("ada", "living-room"), ("grace", "living-room")
    own = get(server, "/lens/ada/living-room")[1]
    with server.crossed({ada: grace, grace: ada}):
        picture = get(server, "/lens/ada/living-room")[1]
        assert names(server, seen(server, picture)) == grace
        assert names(server, film(server, *grace)) == ada
        assert names(server, film(server, "lin")) == ("lin", "living-room")
    again = get(server, "/lens/ada/living-room")[1]
    assert names(server, seen(server, again)) == ada
    crossed, straight, later = (luma_of_jpeg(p).astype(int)[:4] for p in (picture, own, again))
    assert abs(crossed - straight).mean() > 10 * abs(later - straight).mean() + 5, "the scene itself is crossed too"


def test_crossings_end_with_an_exception_and_nest(server):
    ada, grace, lin = (("ada", "porch"), ("grace", "porch"), ("lin", "porch"))
    with pytest.raises(RuntimeError, match="inside"), server.crossed({ada: grace}):  # noqa: PT012
        with server.crossed({ada: lin, grace: lin}):
            assert names(server, film(server, *ada)) == lin
            server.case = 9
        assert names(server, film(server, *ada)) == grace
        assert names(server, film(server, *grace)) == grace
        assert film(server, *ada).case == 9
        raise RuntimeError("inside")
    assert names(server, film(server, *ada)) == ada


def test_a_camera_that_is_handed_over_films_the_other_home_until_it_is_put_back(server):
    ada, grace = ("ada", "porch"), ("grace", "porch")
    server.hand_over(ada, grace)
    assert names(server, film(server, *ada)) == grace
    server.case = 9
    assert names(server, film(server, *ada)) == grace
    assert names(server, film(server, *grace)) == grace
    server.put_back()
    assert names(server, film(server, *ada)) == ada
    with pytest.raises(Misuse, match="no owner 'eve'"):
        server.hand_over(ada, ("eve", "porch"))


def test_crossing_with_somebody_unknown_is_misuse(server):
    with pytest.raises(Misuse, match="no owner 'eve'"), server.crossed({("ada", "porch"): ("eve", "porch")}):
        pass


# Life.


def test_a_stopped_server_leaves_no_thread_and_no_port():
    before = set(threading.enumerate())
    with SceneServer(("ada",), ("door",), Key.fresh()) as running:
        port = urlsplit(running.url).port
        parts = urlsplit(running.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE)
        connection.request("GET", "/lens/ada/door.mjpeg")
        _parts(connection.getresponse(), 1)
    connection.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


def test_a_server_starts_again_and_stops_twice():
    one = SceneServer(("ada",), ("door",), Key.fresh())
    for _ in range(2):
        with one:
            assert names(one, film(one, "ada", "door")) == ("ada", "door")
    one.__exit__(None, None, None)


def test_a_taken_port_is_said_in_one_sentence(server):
    port = urlsplit(server.url).port
    with pytest.raises(Surroundings, match=rf"cannot listen on 127.0.0.1 port {port} .*in use.*port 0"):
        SceneServer(("ada",), ("door",), Key.fresh(), port=port or 0).__enter__()


def test_an_address_of_another_machine_is_said_in_one_sentence():
    with pytest.raises(Surroundings, match=r"cannot listen on 192.0.2.1"):
        SceneServer(("ada",), ("door",), Key.fresh(), host="192.0.2.1").__enter__()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_it_never_listens_everywhere(host):
    with pytest.raises(Misuse, match="around the faulted links"):
        SceneServer(("ada",), ("door",), Key.fresh(), host=host)


def test_what_was_prepared_is_not_painted_again_when_it_is_filmed():
    with SceneServer(("ada", "grace", "joan"), ("living-room",), Key.fresh()) as server:
        server.prepare().result(60)
        painted = painting._planes.cache_info().misses
        assert len(server._paint(("joan", "living-room"), 1, server._world)) > 10_000
        assert painting._planes.cache_info().misses == painted

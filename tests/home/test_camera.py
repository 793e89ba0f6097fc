"""A camera: what its lens sees now, stamped with its own clock, to whoever knows its secret."""

from __future__ import annotations

import io
import itertools
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PIL import Image, ImageChops

from chaos.identity import Badge, Key
from chaos.scene.painting import stamped_jpeg
from tests.home.homes import (
    COLOURS,
    Answer,
    Node,
    Script,
    Street,
    call,
    flat,
    free_address,
    mute,
    owner_of,
    read_request,
    wait_until,
)


@pytest.fixture
def camera(start: Callable[..., Node]) -> Callable[..., Node]:
    """Start a camera in front of a lens, and wait until it is ready."""

    def camera(lens: str, **settings: str) -> Node:
        where = {"LISTEN": free_address(), "OPERATOR": free_address(), "LENS": f"http://{lens}/", "DEVICE_SECRET": "s"}
        node = start("camera", "camera/app.py", **where | settings)
        node.wait_ready()
        return node

    return camera


def lens(pictures: Callable[[], bytes]) -> Script:
    def talk(peer: socket.socket) -> None:
        while read_request(peer):
            jpeg = pictures()
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg)

    return Script(talk)


def still(node: Node, query: str = "", secret: str = "s") -> Answer:
    return call(node.listen, f"/still{query}", X_Device_Secret=secret)


def picture(answer: Answer) -> Image.Image:
    return Image.open(io.BytesIO(answer.data))


def test_a_still_has_the_size_that_was_asked_for_and_the_lens_own_picture(street: Street) -> None:
    for query, size in (("", (1920, 1080)), ("?width=1024", (1024, 576)), ("?width=640", (640, 360))):
        answer = call(street.cameras["lin"].listen, f"/still{query}", X_Device_Secret="of-lin")
        assert picture(answer).size == size
        assert owner_of(picture(answer)) == "lin"
        assert int(answer.headers["Content-Length"]) == len(answer.data)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Captured-At"]


@pytest.mark.parametrize("secret", ["", "of-grace"])
def test_a_camera_gives_nothing_to_whoever_lacks_its_secret(street: Street, secret: str) -> None:
    for path in ("still", "stream"):
        answer = call(street.cameras["lin"].listen, f"/{path}", X_Device_Secret=secret)
        assert answer.status == 403
        assert b"JFIF" not in answer.data


@pytest.mark.parametrize("query", ["?width=0", "?width=100000", "?width=wide", "?width=nan"])
def test_a_width_that_makes_no_sense_is_refused(street: Street, query: str) -> None:
    answer = call(street.cameras["lin"].listen, f"/still{query}", X_Device_Secret="of-lin")
    assert answer.status == 400


def test_a_stamped_scene_becomes_a_still_of_60_to_90_kilobytes(camera: Callable[..., Node]) -> None:
    key = Key.from_hex("5a" * 32)
    for owner in (1, 6):
        scene = stamped_jpeg(Badge(case=1, owner=owner, camera=1, frame=3, time_ms=5), key)
        with lens(lambda scene=scene: scene) as seen:
            answer = still(camera(seen.address), "?width=1024")
        assert 60_000 <= len(answer.data) <= 90_000


def test_the_local_time_is_burnt_in_and_takes_less_than_three_percent(camera: Callable[..., Node]) -> None:
    with lens(lambda: flat(COLOURS["ada"])) as seen:
        here = picture(still(camera(seen.address), "?width=1024")).convert("RGB")
        abroad = picture(still(camera(seen.address, CAMERA_CLOCK_OFFSET="-19800"), "?width=1024")).convert("RGB")
    plain = Image.new("RGB", here.size, COLOURS["ada"])
    written = np.asarray(ImageChops.difference(here, plain)).max(axis=2) > 24
    assert 0 < written.mean() <= 0.03
    assert not written[: written.shape[0] // 2].any()
    assert np.asarray(ImageChops.difference(here, abroad)).max() > 64


def _told(node: Node) -> datetime:
    return datetime.fromisoformat(still(node, "?width=64").headers["X-Captured-At"])


def test_a_clock_is_set_and_told_and_set_back(camera: Callable[..., Node]) -> None:
    with lens(lambda: flat(COLOURS["ada"])) as seen:
        node = camera(seen.address)
        here = picture(still(node, "?width=1024")).convert("RGB")
        assert call(node.operator, "/operator/clock").json() == {"offset_s": 0.0, "time_zone": "UTC"}
        wanted = {"offset_s": -86_400, "time_zone": "Asia/Kolkata"}
        assert call(node.operator, "/operator/clock", wanted).json() == wanted
        told = _told(node)
        abroad = picture(still(node, "?width=1024")).convert("RGB")
        call(node.operator, "/operator/clock", {"offset_s": 0, "time_zone": "UTC"})
        again = _told(node)
    assert told.utcoffset() == timedelta(hours=5.5)
    assert datetime.now(UTC) - told >= timedelta(days=1)
    assert np.asarray(ImageChops.difference(here, abroad)).max() > 64, "it is burnt in"
    assert again.utcoffset() == timedelta(0)
    assert again - told > timedelta(hours=23)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"offset_s": 0},
        {"offset_s": "60", "time_zone": "UTC"},
        {"offset_s": 0, "time_zone": "Nowhere/Never"},
        {"offset_s": 0, "time_zone": "../../etc/passwd"},
        {"offset_s": 1e300, "time_zone": "UTC"},
        {"offset_s": float("nan"), "time_zone": "UTC"},
        {"offset_s": 3e11, "time_zone": "UTC"},
    ],
)
def test_a_clock_that_makes_no_sense_is_refused_and_the_old_one_stays(
    camera: Callable[..., Node], wrong: object
) -> None:
    with lens(lambda: flat(COLOURS["ada"])) as seen:
        node = camera(seen.address, CAMERA_CLOCK_OFFSET="60")
        assert call(node.operator, "/operator/clock", wrong).status == 400
        assert call(node.operator, "/operator/clock").json() == {"offset_s": 60.0, "time_zone": "UTC"}


def test_requests_at_one_time_share_a_picture_and_later_ones_get_a_new_one(camera: Callable[..., Node]) -> None:
    shades = itertools.cycle([flat(COLOURS["ada"]), flat(COLOURS["grace"])])
    with lens(lambda: next(shades)) as seen:
        node = camera(seen.address, FPS="0.5")
        first = [still(node, f"?width={w}") for w in (640, 1024)]
        assert {owner_of(picture(a)) for a in first} == {"ada"}
        assert len({a.headers["X-Captured-At"] for a in first}) == 1
        later = wait_until("the camera films again", lambda: owner_of(picture(still(node))) == "grace")
        assert later


def test_a_silent_lens_is_503_and_never_an_old_picture(camera: Callable[..., Node]) -> None:
    seen = iter([flat(COLOURS["ada"])])

    def talk(peer: socket.socket) -> None:
        read_request(peer)
        jpeg = next(seen, None)
        if jpeg is None:
            mute(peer)
        else:
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg)

    with Script(talk) as script:
        node = camera(script.address, FPS="1000")
        assert still(node).status == 200
        answer = still(node)
    assert answer.status == 503
    assert script.address in answer.json()["error"]


def test_a_failure_of_the_lens_is_not_shared_with_whoever_asks_next(camera: Callable[..., Node]) -> None:
    seen = iter([b"", flat(COLOURS["ada"])])

    def talk(peer: socket.socket) -> None:
        read_request(peer)
        jpeg = next(seen)
        status = b"200 OK" if jpeg else b"500 Dark"
        peer.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(jpeg)) + jpeg)

    with Script(talk) as script:
        node = camera(script.address, FPS="0.01")
        assert still(node).status == 503
        assert owner_of(picture(still(node))) == "ada"


def test_a_lens_that_shows_no_picture_is_503(camera: Callable[..., Node]) -> None:
    with lens(lambda: b"not a picture at all") as seen:
        assert still(camera(seen.address)).status == 503


def test_a_stream_is_one_picture_after_another_each_followed_by_its_boundary(street: Street) -> None:
    host, _, port = street.cameras["joan"].listen.partition(":")
    with socket.create_connection((host, int(port)), 10) as viewer:
        viewer.sendall(b"GET /stream?width=640&fps=20 HTTP/1.0\r\nX-Device-Secret: of-joan\r\n\r\n")
        data = b""
        deadline = time.monotonic() + 10
        while data.count(b"\r\n--next-picture") < 4 and time.monotonic() < deadline:
            data += viewer.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    boundary = b"--" + head.partition(b"boundary=")[2].split(b"\r\n")[0]
    parts = body.split(boundary)[1:4]
    assert len(parts) == 3
    for part in parts:
        jpeg = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        assert owner_of(Image.open(io.BytesIO(jpeg))) == "joan"
        assert b"Content-Length: %d\r\n" % len(jpeg) in part


def test_a_slow_viewer_gets_fewer_pictures_and_no_camera_waits_for_it(street: Street) -> None:
    host, _, port = street.cameras["joan"].listen.partition(":")
    with socket.create_connection((host, int(port)), 10) as viewer:
        viewer.sendall(b"GET /stream?fps=30 HTTP/1.1\r\nHost: c\r\nX-Device-Secret: of-joan\r\n\r\n")
        assert viewer.recv(100)
        assert owner_of(picture(call(street.cameras["joan"].listen, "/still", X_Device_Secret="of-joan"))) == "joan"
    # the viewer is gone; the camera still answers
    assert call(street.cameras["joan"].operator, "/healthz").status == 200


def test_at_night_it_films_grey_and_with_few_bits_it_sends_few(camera: Callable[..., Node]) -> None:
    key = Key.from_hex("5a" * 32)
    scene = stamped_jpeg(Badge(case=1, owner=1, camera=1, frame=3, time_ms=5), key)
    with lens(lambda: scene) as seen:
        node = camera(seen.address)
        assert call(node.operator, "/operator/picture").json() == {"night": False, "quality": None}
        day = still(node, "?width=1024").data
        wanted = {"night": True, "quality": 10}
        assert call(node.operator, "/operator/picture", wanted).json() == wanted
        night = still(node, "?width=1024").data
        assert call(node.operator, "/operator/picture", {"night": False, "quality": None}).status == 200
        again = still(node, "?width=1024").data
    assert [Image.open(io.BytesIO(p)).mode for p in (day, night, again)] == ["RGB", "L", "RGB"]
    assert len(night) < len(day) / 1.5
    assert abs(len(again) - len(day)) < len(day) / 20, "its own quality is back"
    written = np.asarray(Image.open(io.BytesIO(night)))[-16:, -200:]
    assert written.max() > 200, "the time is burnt in by night too"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"night": True}, {"night": "yes", "quality": None}, {"night": False, "quality": 0}]
    + [{"night": False, "quality": q} for q in (96, 12.5, True, "best")],
)
def test_a_picture_that_no_encoder_makes_is_refused_and_the_old_settings_stay(
    camera: Callable[..., Node], wrong: dict[str, object]
) -> None:
    with lens(lambda: flat(COLOURS["ada"])) as seen:
        node = camera(seen.address)
        if wrong:
            wrong.setdefault("quality", 0)
        answer = call(node.operator, "/operator/picture", wrong)
        assert (answer.status, "expected {night" in answer.json()["error"]) == (400, True)
        assert call(node.operator, "/operator/picture").json() == {"night": False, "quality": None}


def test_a_clock_that_falls_back_an_hour_while_it_films_goes_on_filming(camera: Callable[..., Node]) -> None:
    """The end of summer time: what is burnt in says an hour that was there before, and moments follow each other."""
    now = datetime.now(UTC)
    berlin = ZoneInfo("Europe/Berlin")
    hours = (now + timedelta(hours=h) for h in range(24 * 366))
    change = next(
        h.replace(minute=0, second=0, microsecond=0)
        for h in hours
        if (h.astimezone(berlin).utcoffset(), (h - timedelta(hours=1)).astimezone(berlin).utcoffset())
        == (timedelta(hours=1), timedelta(hours=2))
    )
    with lens(lambda: flat(COLOURS["ada"])) as seen:
        node = camera(seen.address, FPS="1000")
        ahead = (change - datetime.now(UTC)).total_seconds() - 1.5
        call(node.operator, "/operator/clock", {"offset_s": ahead, "time_zone": "Europe/Berlin"})
        before = _told(node)
        after = wait_until("summer time is over", lambda: (t := _told(node)).utcoffset() == timedelta(hours=1) and t)
    assert before.utcoffset() == timedelta(hours=2)
    assert after.replace(tzinfo=None) < before.replace(tzinfo=None), "what is burnt in goes back"
    assert after > before

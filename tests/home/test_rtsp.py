"""Cameras and a relay that speak RTSP, with FFmpeg and MediaMTX played. The real ones: tests/live/test_rtsp.py."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from tests.home.homes import CAMERA, COLOURS, HOME, Node, Street, call, flat, free_address, wait_until

FFMPEG = '''#!{python}
"""Stands in for FFmpeg: notes what it is told, and writes pictures until it is told to end, or as many as `count`."""
import json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
def end(*_):
    (here / "goodbyes").open("a").write(f"{{os.getpid()}}\\n")
    os._exit(0)
signal.signal(signal.SIGINT, end)
(here / "told").open("a").write(json.dumps([os.getpid(), *sys.argv[1:]]) + "\\n")
refused = (here / "refused").read_text().split()
if "-min_port" in sys.argv and sys.argv[sys.argv.index("-min_port") + 1] in refused:
    sys.exit("400 Bad Request")
left = int((here / "count").read_text())
while left:
    left -= 1
    picture = (here / "picture").read_bytes()
    for part in (picture[:100], picture[100:-1], picture[-1:]):
        os.write(1, part)
        time.sleep(0.005)
    time.sleep(0.05)
'''
MEDIAMTX = '''#!{python}
"""Stands in for MediaMTX."""
import pathlib, sys, time
(pathlib.Path(__file__).parent / "settings").write_text(pathlib.Path(sys.argv[1]).read_text())
time.sleep(600)
'''
PICTURE = flat(COLOURS["ada"], (320, 180))
EVER = 1_000_000


class Programs:
    """What was played, and how."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("ffmpeg", FFMPEG), ("mediamtx", MEDIAMTX)):
            (folder / name).write_text(text.format(python=sys.executable))
            (folder / name).chmod(0o755)
        (folder / "picture").write_bytes(PICTURE)
        self.writes(EVER)
        self.refuses()
        self.path = f"{folder}:{os.environ['PATH']}"

    def writes(self, count: int) -> None:
        (self.folder / "count").write_text(str(count))

    def refuses(self, *ports: str) -> None:
        (self.folder / "refused").write_text(" ".join(ports))

    @property
    def told(self) -> list[list[str]]:
        """What each FFmpeg was told, its process id first."""
        found = self.folder / "told"
        return [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []

    @property
    def ports(self) -> list[str]:
        """The first port of each, as they were started."""
        return [told[told.index("-min_port") + 1] for told in self.told]

    @property
    def goodbyes(self) -> list[int]:
        found = self.folder / "goodbyes"
        return [int(line) for line in found.read_text().split()] if found.exists() else []


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    (tmp_path / "bin").mkdir()
    return Programs(tmp_path / "bin")


@pytest.fixture
def relay(street: Street, programs: Programs) -> Iterator[Node]:
    node = street.start(
        "relay",
        "relay/over_rtsp.py",
        PATH=programs.path,
        LISTEN=free_address(),
        OPERATOR=free_address(),
        CACHE_URL=f"redis://{street.cache.listen}/0",
        ACCOUNTS_URL=f"http://{street.accounts.listen}",
        UPLINK_TOTAL="5",
        STREAM_FIRST="5",
    )
    node.wait_ready()
    street.devices({o: f"{o}-camera:7017" for o in street.owners}, node)
    return node


def stream(relay: Node, token: str) -> urllib3.BaseHTTPResponse:
    url = f"http://{relay.listen}/v1/cameras/{CAMERA}/stream"
    return urllib3.PoolManager().request(
        "GET", url, headers={"Authorization": f"Bearer {token}"}, preload_content=False
    )


def test_a_still_is_a_picture_of_an_ffmpeg_that_was_started_for_it_and_said_goodbye(street, relay, programs) -> None:
    answer = street.still(street.token("ada"), relay)
    assert (answer.status, answer.data) == (200, PICTURE)
    (told,) = programs.told
    assert told[told.index("-i") + 1] == "rtsp://relay:of-ada@ada-camera:7017/film"
    assert told[told.index("-rtsp_transport") + 1] == "tcp"
    assert told[told.index("-max_port") + 1] == str(int(programs.ports[0]) + 2)
    wait_until("it said goodbye", lambda: programs.goodbyes == [told[0]])


def test_each_has_a_lane_of_its_own_and_the_lowest_that_is_free(street, relay, programs) -> None:
    first, second = stream(relay, street.token("ada")), stream(relay, street.token("grace"))
    for each in (first, second):
        assert PICTURE in each.read(len(PICTURE) + 500)
    assert programs.ports == ["6970", "6974"]
    first.close()
    wait_until("the first said goodbye", lambda: programs.goodbyes == [programs.told[0][0]])
    assert street.still(street.token("lin"), relay).status == 200
    assert programs.ports[2] == "6970", "the next owner's player has the port of one before"
    second.close()
    wait_until("all said goodbye", lambda: len(programs.goodbyes) == 3)


def test_a_camera_that_gives_nothing_is_unavailable_and_one_that_ends_breaks_its_stream(
    street, relay, programs
) -> None:
    programs.writes(0)
    assert street.still(street.token("ada"), relay).status == 503
    assert programs.ports == ["6970", "6974", "6978"]
    programs.writes(3)
    with pytest.raises(urllib3.exceptions.HTTPError):
        stream(relay, street.token("ada")).read()
    assert "ffmpeg ended" in relay.log
    answer = call(
        relay.listen, f"/v1/cameras/{CAMERA}/stream?form=video", Authorization=f"Bearer {street.token('ada')}"
    )
    assert answer.status == 503


def test_a_port_that_the_camera_refuses_is_passed_over(street, relay, programs) -> None:
    programs.refuses("6970", "6974")
    assert street.still(street.token("ada"), relay).data == PICTURE
    opened = stream(relay, street.token("grace"))
    assert PICTURE in opened.read(len(PICTURE) + 500)
    assert programs.ports == ["6970", "6974", "6978"] * 2
    opened.close()


def test_who_taps_away_ends_the_program(street, relay, programs) -> None:
    (programs.folder / "picture").write_bytes(b"")  # nothing comes
    token = street.token("ada")
    asked = threading.Thread(target=lambda: _gives_up(relay, token))
    asked.start()
    wait_until("it was started", lambda: len(programs.told) == 1)
    asked.join()
    wait_until("it said goodbye", lambda: programs.goodbyes == [programs.told[0][0]])


def _gives_up(relay: Node, token: str) -> None:
    url = f"http://{relay.listen}/v1/cameras/{CAMERA}/still"
    with pytest.raises(urllib3.exceptions.HTTPError):
        urllib3.PoolManager(retries=False).request(
            "GET", url, headers={"Authorization": f"Bearer {token}"}, timeout=urllib3.Timeout(read=2.0)
        )


def test_a_camera_behind_mediamtx_gives_the_pictures_of_its_own_stream(
    start: Callable[..., Node], programs: Programs
) -> None:
    where = {name: free_address() for name in ("LISTEN", "OPERATOR", "RTSP", "RTP", "RTCP")}
    lens = "http://127.0.0.1:1/lens/ada/living-room"
    node = start(
        "camera", "camera/bridge.py", PATH=programs.path, CAMERA="mediamtx", LENS=lens, DEVICE_SECRET="s", **where
    )
    node.wait_ready()
    answer = call(node.listen, "/still", X_Device_Secret="s")
    assert (answer.status, answer.data) == (200, PICTURE)
    assert call(node.listen, "/still", X_Device_Secret="t").status == 403
    settings = json.loads((programs.folder / "settings").read_text())
    assert [settings[k] for k in ("rtspAddress", "rtpAddress", "rtcpAddress")] == [
        where["RTSP"], where["RTP"], where["RTCP"],
    ]  # fmt: skip
    assert [(u["user"], u["pass"]) for u in settings["authInternalUsers"]] == [("any", ""), ("relay", "s")]
    assert settings["authInternalUsers"][0]["ips"] == ["127.0.0.1/32"]
    films = settings["paths"]["film"]["runOnInit"]
    assert f"-i {lens} " in films
    assert films.endswith(f"rtsp://127.0.0.1:{where['RTSP'].split(':')[1]}/film")
    programs.writes(0)
    os.kill(programs.told[-1][0], 9)
    wait_until("it has no picture", lambda: call(node.operator, "/healthz").status == 503)
    programs.writes(EVER)
    wait_until("it is looked at again", lambda: call(node.operator, "/healthz").status == 200)


def test_the_update_and_its_control_differ_in_whom_ffmpeg_listens_to() -> None:
    def options(folder: Path) -> tuple[str, ...]:
        values: dict[str, tuple[str, ...]] = {}
        exec((folder / "relay/transport.py").read_text(), values)
        return values["OPTIONS"]

    assert options(HOME) == ("-rtsp_transport", "tcp")
    broken = options(HOME / "updates" / "rtsp-over-udp")
    assert broken == ("-rtsp_transport", "udp")
    assert options(HOME / "updates" / "rtsp-over-udp-fixed") == (*broken, "-rtsp_flags", "filter_src")

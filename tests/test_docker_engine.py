"""An engine that is missing, too old, elsewhere, full or silent; whose things are whose. No engine is needed."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from chaos.errors import Misuse, Surroundings
from chaos.stacks import docker_engine, docker_networks
from chaos.stacks.docker_engine import OWNER, RUN, Owner, asking, clear_leftovers, connect


class Engine:
    """Answers as an engine does, from a table of (method, path without its version)."""

    def __init__(self):
        self.version = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"}
        self.answers = {
            ("GET", "/info"): (200, {"OSType": "linux", "OperatingSystem": "Debian", "SecurityOptions": []}),
            ("GET", "/networks"): (200, []),
            ("GET", "/containers/json"): (200, []),
            ("GET", "/volumes"): (200, {"Volumes": None}),
        }
        self.asked = []

    def answer(self, method, path):
        path = path.partition("?")[0]
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        self.asked.append((method, path))
        if path == "/version":
            return 200, self.version
        return self.answers.get((method, path), (404, {"message": f"no such thing as {path}"}))


@pytest.fixture
def engine(monkeypatch):
    there = Engine()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self):
            status, body = there.answer(self.command, self.path)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
    there.stop = lambda: (server.shutdown(), server.server_close())
    yield there
    there.stop()


def test_an_engine_that_can_is_taken(engine):
    connect().close()


def test_no_engine_is_a_sentence_with_where_it_was_looked_for_and_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(Surroundings, match=rf"no Docker engine answers on unix://{tmp_path}/none .*DOCKER_HOST"):
        connect()


@pytest.mark.parametrize("api", ["1.39", "1.12"])
def test_an_engine_that_is_too_old_is_named_with_what_is_needed(engine, api):
    engine.version |= {"ApiVersion": api, "Version": "18.09"}
    with pytest.raises(Surroundings, match=rf"({api}|too old).*(1\.40|20\.10)"):
        connect()


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"OperatingSystem": "Docker Desktop"}, "Docker Desktop"),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}, "rootless"),
        ({"OSType": "windows"}, "windows"),
    ],
)
def test_an_engine_whose_containers_the_harness_cannot_reach_is_refused(engine, about, word):
    engine.answers["GET", "/info"][1].update(about)
    with pytest.raises(Surroundings, match=word):
        connect()


def test_a_full_disk_is_told_as_that(engine):
    client = connect()
    full = {"message": "write /var/lib/docker/overlay2/x: no space left on device"}
    engine.answers["GET", "/networks"] = (500, full)
    with pytest.raises(Surroundings, match=r"disk is full.*free some space"), asking("list its networks"):
        client.api.networks()


def test_an_engine_that_stops_answering_is_told_with_what_it_was_asked(engine):
    client = connect()
    engine.stop()
    told = pytest.raises(Surroundings, match="stopped answering when asked to list its networks")
    with told, asking("list its networks"):
        client.api.networks()


def test_a_run_without_an_engine_ends_with_3_and_one_sentence(tmp_path):
    scenario = Path(__file__).parent.parent / "scenarios" / "test_three_homes_one_relay.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--stack", "docker", "--evidence", str(tmp_path), str(scenario)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none"},
    )
    assert done.returncode == 3, done.stdout
    assert "no Docker engine answers" in done.stdout
    assert "Traceback" not in done.stdout


# Whose things are whose.


def _gone() -> Owner:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    me = Owner.me()
    return Owner(me.boot, me.namespace, child.pid, me.started)


def test_this_process_is_alive_and_its_label_says_who_it_is():
    me = Owner.me()
    assert not me.dead
    assert Owner.read(str(me)) == me


def test_a_process_that_ended_is_dead():
    assert _gone().dead


def test_a_number_that_was_given_to_somebody_else_is_a_dead_owner():
    me = Owner.me()
    assert Owner(me.boot, me.namespace, me.process, me.started - 1).dead


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while docker_engine._started(child.pid) != -1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    me = Owner.me()
    assert Owner(me.boot, me.namespace, child.pid, 12345).dead
    child.wait()


@pytest.mark.parametrize("other", [{"boot": "another"}, {"namespace": "1"}])
def test_of_another_machine_or_namespace_nobody_is_called_dead(other):
    gone = _gone()
    fields = {"boot": gone.boot, "namespace": gone.namespace, "process": gone.process, "started": gone.started}
    assert not Owner(**(fields | other)).dead


def test_a_process_of_another_user_is_alive(monkeypatch):
    def not_ours(pid, signal):
        raise PermissionError

    gone = _gone()
    monkeypatch.setattr(os, "kill", not_ours)
    monkeypatch.setattr(docker_engine, "_started", lambda _: None)  # as where /proc hides it
    assert not gone.dead


def _thing(run, owner, *, state="running", age=5.0, network=False):
    created = int(time.time() - age)
    if network:
        text = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(created))
        return {"Id": f"net-{run}", "Labels": {RUN: run, OWNER: str(owner)}, "Created": text}
    return {"Id": f"con-{run}", "Labels": {RUN: run, OWNER: str(owner)}, "Created": created, "State": state}


def test_only_what_is_certainly_nobodys_is_removed(engine, monkeypatch):
    gone, me = _gone(), Owner.me()
    old = Owner("another-boot", "4026531836", 7, 7)
    containers = [
        _thing("dead", gone),
        _thing("mine", me),
        _thing("rebooted", old, state="exited", age=3600),
        _thing("young", old, state="exited", age=5),
        _thing("elsewhere", old, state="running", age=3600),
        _thing("strange", "what is this"),
    ]
    networks = [_thing("rebooted", old, age=3600, network=True), _thing("mine", me, network=True)]
    engine.answers["GET", "/containers/json"] = (200, containers)
    engine.answers["GET", "/networks"] = (200, networks)
    removed = []
    monkeypatch.setattr(docker_engine, "remove_run", lambda _, run: removed.append(run))
    lines = clear_leftovers(connect())
    assert removed == ["dead", "rebooted"]
    assert len(lines) == 2


# Addresses.


def test_a_range_that_is_none_is_wrong_use(monkeypatch):
    for text in ("nonsense", "10.0.0.1/16", "10.0.0.0/30", "fd00::/64"):
        monkeypatch.setenv(docker_networks.RANGE_SETTING, text)
        with pytest.raises(Misuse, match="expected"):
            docker_networks._range()


def test_subnets_that_networks_or_routes_have_are_left_out(engine, monkeypatch):
    monkeypatch.setenv(docker_networks.RANGE_SETTING, "10.213.0.0/24")
    there = [{"IPAM": {"Config": [{"Subnet": "10.213.0.0/25"}]}}, {"IPAM": {"Config": None}}, {"IPAM": None}]
    engine.answers["GET", "/networks"] = (200, there)
    monkeypatch.setattr(docker_networks, "_routes", lambda: [docker_networks.IPv4Network("10.213.0.128/26")])
    left = [str(n) for n in docker_networks._free(connect())]
    assert sorted(left) == [f"10.213.0.{i}/29" for i in (192, 200, 208, 216, 224, 232, 240, 248)]


def test_the_default_route_takes_nothing(monkeypatch):
    text = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda _: text)
    assert [str(n) for n in docker_networks._routes()] == ["192.168.0.0/24"]


def test_a_range_that_is_used_up_is_told_with_what_to_set(engine, monkeypatch):
    monkeypatch.setenv(docker_networks.RANGE_SETTING, "10.213.0.0/24")
    engine.answers["GET", "/networks"] = (200, [{"IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}}])
    maker = docker_networks.Networks(connect(), "ownframe-x", {})
    with pytest.raises(Surroundings, match=r"no subnet is left.*OWNFRAME_DOCKER_SUBNETS"):
        maker.make("control", front=True)


def test_a_subnet_that_somebody_took_in_between_is_passed_over(engine):
    answers = iter([(403, {"message": "Pool overlaps with other one on this address space"}), (201, {"Id": "n1"})])
    original = engine.answer

    def answer(method, path):
        if method == "POST" and path.endswith("/networks/create"):
            return next(answers)
        if "/networks/n1" in path:
            return 200, {"Id": "n1", "Name": "x", "Labels": {}}
        return original(method, path)

    engine.answer = answer
    made = docker_networks.Networks(connect(), "ownframe-x", {}).make("control", front=True)
    assert made.id == "n1"
    assert made.host == str(made.subnet[1])

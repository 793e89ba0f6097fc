"""Faults that only containers have: each does what it says, is met by asks, and is proven undone after the case."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from chaos.conditions import EDGE, Fault
from chaos.errors import Surroundings
from chaos.history import Asked, Met, NodeFaultSet
from chaos.plan import (
    Ask,
    Attach,
    Detach,
    Evict,
    Pause,
    Plan,
    Restart,
    Resume,
    RollBack,
    RollOut,
    SetClock,
    SetConditions,
)
from chaos.remote import Remote
from chaos.stacks.docker_engine import OWNER, RUN
from chaos.verdict import Rules, Verdict, exercised, judge

from .docker_home import OWNERS, engine, run_in, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker]
NODES = ("relay", "cache", "accounts", "ada.camera", "ada.hub")
PATIENCE = {"relay": 1.0, "ada.hub": 1.0, "ada.camera": 0.5, "cache": 0.3, "accounts": 0.3}
"""Seconds after which the reference home gives up when that node is silent (docs/reference-home.md); a healthy ask
takes 0.1."""


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture(scope="module")
def running(client, tmp_path_factory):
    with running_home(tmp_path_factory.mktemp("home")) as there:
        yield there


def _execute(home, *steps):
    events = home.execute(Plan(OWNERS, steps))
    frames = judge(events, Rules())
    assert {j.verdict for j in frames} <= {Verdict.OWN, Verdict.BLANK}
    return events, exercised(events, frames)


def _asks(events, hub="ada"):
    return [(e.outcome, e.settled - e.began) for e in events if isinstance(e, Asked) and e.hub == hub]


def _met(events):
    return {e.fault for e in events if isinstance(e, Met) and e.amount > 0}


def _is_as_it_was(client, stack, node):
    """What the engine says, and what the node's own kernel says, which is not this run's word for it."""
    about = client.api.inspect_container(stack._containers[node].id)
    there = {name: at["IPAddress"] for name, at in about["NetworkSettings"]["Networks"].items()}
    wanted = {stack._networks[n].name: stack._networks[n].node for n in stack._plan.of(node)}
    assert (about["State"]["Status"], there) == ("running", wanted)
    said = run_in(client, stack._containers[node].id, "print(open('/proc/net/fib_trie').read())")
    assert all(address in said for address in wanted.values())
    for link in stack._topology.links:
        if link.server == node:
            assert stack.links.hops[link.name].upstream.split(":")[0] in wanted.values()


@pytest.mark.parametrize("node", ["relay", "cache", "accounts", "ada.camera"])
def test_an_ask_whose_way_has_a_paused_node_waits_as_long_as_its_home_is_patient(running, client, node):
    home, stack, _ = running
    events, exercise = _execute(home, Pause(node), Ask("ada"), Ask("ada"))
    for outcome, took in _asks(events):
        assert outcome == "unavailable"
        assert took >= PATIENCE[node]
    assert Fault(node, "paused") in _met(events)
    assert exercise.unmet == ()
    _is_as_it_was(client, stack, node)


def test_a_container_that_is_paused_is_so_by_the_kernels_word(running, client):
    home, stack, _ = running
    case = home.case()
    case.pause("relay")
    threads = client.api.top(stack._containers["relay"].id, ps_args="-eo pid,stat")["Processes"]
    assert threads
    assert all(state.startswith(("D", "T", "S")) for _, state in threads)
    assert client.api.inspect_container(stack._containers["relay"].id)["State"]["Paused"]
    case.resume("relay")
    assert not client.api.inspect_container(stack._containers["relay"].id)["State"]["Paused"]
    home.finish(case)


def test_a_hub_that_stands_still_hears_nobody_and_meets_what_is_sent_to_it(running):
    home, _, _ = running
    steps = (Ask("ada", feed="stream"), Pause("ada.hub"), Ask("ada"), Ask("grace"), Resume("ada.hub"))
    events, exercise = _execute(home, *steps)
    assert [outcome for outcome, _ in _asks(events)] == ["picture", "lost"]
    assert Fault("ada.hub", "paused") in _met(events)
    assert exercise.asks == 2, "a tap that nobody heard is no ask"


@pytest.mark.parametrize("node", NODES)
def test_an_ask_does_not_get_past_a_node_that_is_off_its_networks(running, client, node):
    home, stack, _ = running
    events, exercise = _execute(home, Ask("ada"), Detach(node), Ask("ada"))
    healthy, cut_off = _asks(events)
    assert healthy[0] == "picture"
    assert cut_off[0] == "unavailable"
    assert cut_off[1] >= PATIENCE[node]
    assert _met(events) == {Fault(node, "detached")}
    assert exercise.unmet == ()
    _is_as_it_was(client, stack, node)


def test_nothing_can_dial_a_detached_node_and_everything_can_again(running, client):
    home, stack, _ = running
    dial = """
import socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5); print("connected")
except OSError as e: print(type(e).__name__)
"""
    host, port = stack.links.hops["ada.camera"].upstream.split(":")
    wire = stack._containers["wire"].id
    case = home.case()
    assert run_in(client, wire, dial, host, port).strip() == "connected"
    case.detach("ada.camera")
    assert run_in(client, wire, dial, host, port).strip() in ("TimeoutError", "OSError")
    case.attach("ada.camera")
    _wait("the camera can be dialled", lambda: run_in(client, wire, dial, host, port).strip() == "connected")
    home.finish(case)


@pytest.mark.parametrize("node", ["relay", "cache", "accounts", "ada.camera"])
def test_a_node_that_came_back_elsewhere_is_dialled_there(running, client, node):
    home, stack, _ = running
    links = [k.name for k in home.topology.links if k.server == node]
    before = {k: stack.links.hops[k].upstream for k in links}
    case = home.case()
    case.set_conditions(links[0], EDGE)
    case.attach(node, new_address=True)
    after = {k: stack.links.hops[k].upstream for k in links}
    assert all(after[k] != before[k] for k in links)
    assert stack.links.conditions(links[0]) == EDGE, "a link keeps what it is under"
    case.clear(links[0])
    outcomes = [case.ask("ada").outcome for _ in range(10)]
    assert outcomes[-1] == "picture", "old connections are noticed to be dead, then it is found"
    events = home.finish(case)
    assert Fault(node, "new address") in _met(events)
    (moved,) = [e for e in events if isinstance(e, NodeFaultSet) and e.on]
    new, _, old = moved.detail.split()[:3]
    assert (new, old) in {(after[k].split(":")[0], before[k].split(":")[0]) for k in links} or node == "relay"
    assert {k: stack.links.hops[k].upstream for k in links} == before
    _is_as_it_was(client, stack, node)


def test_a_hub_with_a_new_address_comes_from_there(running, client):
    home, stack, _ = running
    elsewhere = Attach("ada.hub", new_address=True)
    asks = [Ask("ada")] * 3  # the first may be sent from the old address still, over a connection that is dead
    events, _ = _execute(home, elsewhere, *asks, elsewhere, *asks)
    details = [e.detail.split()[0] for e in events if isinstance(e, NodeFaultSet) and e.on]
    assert len({*details, stack._networks["ada-hub--client"].node}) == 3
    assert Fault("ada.hub", "new address") in _met(events)
    _is_as_it_was(client, stack, "ada.hub")


def _captured(stack, node) -> datetime:
    remote = Remote(node, stack.address(node, "public"))
    answer = remote._http.request(
        "GET", remote._base + "/still?width=64", headers={"X-Device-Secret": "device-of-" + node.split(".")[0]}
    )
    remote.close()
    return datetime.fromisoformat(answer.headers["X-Captured-At"])


def test_a_cameras_clock_is_wrong_for_the_case_and_right_after_it(running):
    home, stack, _ = running
    case = home.case()
    case.set_clock("ada.camera", offset_s=86_400, time_zone="Asia/Kolkata")
    assert case.ask("ada").outcome == "picture"
    for _ in range(2):
        told = _captured(stack, "ada.camera")
        assert told.utcoffset() == timedelta(hours=5.5)
        assert told - datetime.now(UTC) > timedelta(hours=23)
        case.restart("ada.camera")  # a device keeps its settings
    assert _captured(stack, "grace.camera").utcoffset() == timedelta(0)
    events = home.finish(case)
    assert Fault("ada.camera", "clock") in _met(events)
    told = _captured(stack, "ada.camera")
    assert told.utcoffset() == timedelta(0)
    assert told - datetime.now(UTC) < timedelta(hours=1)


def test_every_fault_at_once_is_undone(running, client):
    home, stack, _ = running
    first = (Pause("ada.camera"), Detach("ada.camera"), SetClock("ada.camera", 60), Attach("ada.camera", True))
    more = (Detach("relay"), Restart("relay"), Pause("relay"), Restart("cache"), Restart("relay"), Pause("ada.hub"))
    events, _ = _execute(home, *first, *more, Ask("ada"))
    assert [e for e in events if isinstance(e, NodeFaultSet)]
    for node in NODES:
        _is_as_it_was(client, stack, node)
    for _ in range(10):
        events, _ = _execute(home, *(Ask(o) for o in OWNERS))
        if [_asks(events, o)[-1][0] for o in OWNERS] == ["picture"] * 3:
            return
    pytest.fail("in none of ten cases everybody got a picture again")


@pytest.mark.parametrize("broken", [KeyboardInterrupt, Surroundings, ZeroDivisionError])
def test_a_case_that_breaks_off_leaves_nothing_to_the_next(running, client, broken):
    home, stack, _ = running
    with contextlib.suppress(broken):
        case = home.case()
        case.pause("cache")
        case.detach("relay")
        case.attach("ada.camera", new_address=True)
        case.set_clock("ada.camera", offset_s=3600)
        case.set_conditions("ada.camera", EDGE)
        raise broken("in the middle")
    home.finish(home.case())
    for node in NODES:
        _is_as_it_was(client, stack, node)
    assert _captured(stack, "ada.camera") - datetime.now(UTC) < timedelta(minutes=30)


def test_what_cannot_be_undone_is_a_sentence_and_no_next_case(client, tmp_path):
    with running_home(tmp_path) as (home, stack, _):
        camera, network = stack._containers["ada.camera"], stack._networks["ada-camera--server"]
        case = home.case()
        case.pause("ada.camera")
        camera.resume = lambda: None
        with pytest.raises(Surroundings, match=r"ada.camera is not as it was before the case: it is paused instead of"):
            home.finish(case)
        with pytest.raises(Surroundings, match="it is paused instead of running"):
            home.case()
        del camera.resume
        camera.resume()
        client.api.disconnect_container_from_network(camera.id, network.id)
        client.api.connect_container_to_network(camera.id, network.id, ipv4_address=str(network.subnet[5]))
        with pytest.raises(Surroundings, match=r"ada.camera is not as .*: it is on .* instead of"):
            home.case()


def test_a_run_that_ends_while_nodes_stand_still_leaves_nothing(client, tmp_path):
    with running_home(tmp_path) as (home, stack, _):
        case = home.case()
        for node in ("relay", "ada.hub", "cache"):
            case.pause(node)
        case.detach("ada.camera")
        run = stack._run
    assert _things_of(client, run) == []


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.live.docker_home import running_home
with running_home(Path(sys.argv[1])) as (home, stack, _):
    case = home.case()
    case.pause("relay")
    case.detach("cache")
    print(stack._run, flush=True)
    sys.stdin.read()
"""


STANDING = """
import threading
from pathlib import Path
from chaos.stacks.docker_engine import Owner
def test_stands_still(home):
    home.pause("relay")
    home.detach("ada.camera")
    Path("owner").write_text(str(Owner.me()))
    Path("standing").touch()
    threading.Event().wait(60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_while_nodes_stand_still_ends_in_order(client, tmp_path, how):
    (tmp_path / "test_stands.py").write_text(STANDING)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--stack", "docker", "--junitxml", "out.xml"]
    with subprocess.Popen([sys.executable, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as run:
        try:
            _wait("a node stands still", lambda: run.poll() is not None or (tmp_path / "standing").exists(), 90)
            assert _made_by(client, tmp_path) or run.poll() is not None, "the question below finds what stands"
            run.send_signal(how)
            said = run.communicate(timeout=90)[0]
        finally:
            run.kill()
    assert run.returncode == 2, said
    assert (tmp_path / "standing").exists(), said
    assert _made_by(client, tmp_path) == [], "nothing of it is left"
    assert [*ET.parse(tmp_path / "out.xml").iter("testsuite")]
    assert [*(tmp_path / "ownframe-evidence").glob("*/index.html")]


def _made_by(client, folder):
    """What the run in `folder` made: other tests start and end runs on the same engine meanwhile."""
    filters = {"label": f"{OWNER}={(folder / 'owner').read_text()}"}
    return [*client.api.containers(all=True, filters=filters), *client.api.networks(filters=filters)]


def test_what_a_killed_run_left_standing_still_is_removed_by_the_next_start(client, tmp_path, request):
    from chaos.stacks import docker_engine

    words = [sys.executable, "-c", KILLED, str(tmp_path), str(request.config.rootpath)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as run:
        name = run.stdout.readline().strip()
        run.kill()
    assert _things_of(client, name)
    docker_engine.clear_leftovers(client)
    assert _things_of(client, name) == []


def _things_of(client, run):
    filters = {"label": f"{RUN}={run}"}
    return [*client.api.containers(all=True, filters=filters), *client.api.networks(filters=filters)]


def test_a_node_is_replaced_where_it_was_and_back_in_the_next_case(running, client):
    """Rolled back and out it is a new container each time, at the addresses of the old one, detached ones detached."""
    home, stack, _ = running
    first = stack._containers["relay"].id
    where = stack._containers["relay"].addresses()
    first_asks = (Ask("ada"), Ask("ada"))  # a relay that was made a moment ago may be late once, on a starved machine
    events, _ = _execute(home, RollBack("relay"), *first_asks, Detach("cache"), RollOut("relay"), Ask("ada"))
    assert [e.outcome for e in events if isinstance(e, Asked)][1:] == ["picture", "unavailable"]
    assert stack._containers["relay"].id != first
    assert stack._containers["relay"].addresses() == where
    events, _ = _execute(home, Detach("relay"), RollBack("relay"), Ask("ada"), Attach("relay"), *first_asks)
    asked = [e.outcome for e in events if isinstance(e, Asked)]
    assert (asked[0], asked[-1]) == ("unavailable", "picture")
    assert stack._containers["relay"].addresses() == where


def test_the_cache_in_its_container_lets_go(running):
    home, _, _ = running
    events, exercise = _execute(home, Ask("ada"), Evict(), Ask("ada"))
    assert [e.outcome for e in events if isinstance(e, Asked)] == ["picture", "picture"]
    assert Fault("cache", "emptied") in {fault for fault, _ in exercise.met}


def test_conditions_and_faults_of_nodes_go_together(running):
    home, _, _ = running
    steps = (SetConditions("ada.camera", EDGE), Attach("ada.camera", new_address=True), Ask("ada", feed="stream"))
    events, exercise = _execute(home, *steps, Restart("ada.camera"), Ask("ada"), Pause("ada.camera"), Ask("ada"))
    assert Fault("ada.camera", "latency") in _met(events)
    assert Fault("ada.camera", "paused") in _met(events)
    assert exercise.asks == 3


def _wait(what, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.05)

"""Packet faults in a run's own network: asks meet them, a case leaves none, and nobody else is touched."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from types import SimpleNamespace

import pytest

from chaos.conditions import GPRS, WIFI_UNSTABLE, Fault, of, packet_fault
from chaos.errors import Surroundings
from chaos.exchanges import talks
from chaos.history import Asked, Met, Touched
from chaos.plan import Ask, Clear, Plan, Reconnect, SetConditions
from chaos.stacks.docker_tap import Tap
from chaos.stacks.docker_wire import Door
from chaos.streams import connections
from chaos.verdict import Rules, exercised, is_leak, judge

from .docker_home import OWNERS, engine, run_in, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker]

EXCHANGE = """
import json, socket, sys, time
began = time.monotonic()
got, how = b"", "end"
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4) as s:
        s.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * int(sys.argv[3]))
        s.settimeout(float(sys.argv[4]))
        while more := s.recv(65536):
            got += more
except OSError as e:
    how = type(e).__name__
print(json.dumps([time.monotonic() - began, how, got.decode("latin-1")]))
"""


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture(scope="module")
def running(client, tmp_path_factory):
    with running_home(tmp_path_factory.mktemp("home")) as there:
        yield there


def exchange(client, stack, link="ada.hub", requests=1, patience=0.5):
    """Let a link's client ask its server for what it has not got; return the seconds, the end, and the answer."""
    node = next(k.client for k in stack._topology.links if k.name == link)
    words = (*stack.dialled(link).split(":"), str(requests), str(patience))
    return json.loads(run_in(client, stack._containers[node].id, EXCHANGE, *words))


def execute(home, *steps):
    events = home.execute(Plan(OWNERS, steps))
    frames = judge(events, Rules())
    assert not any(is_leak(j, Rules()) for j in frames)
    return events, exercised(events, frames)


@pytest.mark.parametrize("link", ["ada.hub", "ada.camera"])
def test_an_ask_meets_packet_faults_and_it_is_told_which_packets(running, link):
    home, stack, _ = running
    hurt = of(packet_fault("loss", way="down", at=(2,)), packet_fault("duplicate", way="up", at=(1, 2)))
    events, exercise = execute(
        home, Ask("ada"), SetConditions(link, hurt), Ask("ada"), Ask("ada"), Clear(link), Ask("ada")
    )
    met = {(e.ask, e.fault.kind) for e in events if isinstance(e, Met)}
    asks = [e.ask for e in events if isinstance(e, Asked)]
    assert {kind for _, kind in met} == {"loss", "duplicate"}
    assert not {asks[0], asks[-1]} & {ask for ask, _ in met}, "neither before nor after"
    assert exercise.unmet == ()
    touched = {e.kind: e for e in events if isinstance(e, Touched)}
    assert (touched["loss"].packets, touched["loss"].places, touched["loss"].link) == (1, (2,), link)
    halves = stack._plan.halves(stack._networks)[link]
    assert (halves.client if link == "ada.hub" else halves.server) in touched["loss"].connection
    assert stack._packets._watched == frozenset()


def test_a_profile_has_its_loss_and_asks_meet_it(running):
    home, _, _ = running
    events, exercise = execute(home, SetConditions("ada.hub", WIFI_UNSTABLE), Ask("ada"), Ask("ada"), Ask("ada"))
    assert {f.kind for f, _ in exercise.met} >= {"loss", "duplicate", "reorder"}
    assert "picture" in [e.outcome for e in events if isinstance(e, Asked)]
    _, exercise = execute(home, Ask("ada", feed="stream"), SetConditions("ada.hub", GPRS), Ask("ada"), Ask("ada"))
    assert Fault("ada.hub", "loss") in {f for f, _ in exercise.met}


def test_nothing_is_left_of_a_case_that_broke_off(running, client):
    home, stack, _ = running
    with contextlib.suppress(ZeroDivisionError):
        case = home.case()
        case.set_conditions("ada.hub", of(packet_fault("loss", way="down", at=(1,), of=1)))
        assert exchange(client, stack)[2] == "", "nothing gets through"
        raise ZeroDivisionError
    home.finish(home.case())
    assert exchange(client, stack)[2].startswith("HTTP/1.1 404")
    assert stack._packets.touches() == ()


def test_other_links_are_left_alone(running, client):
    home, stack, _ = running
    case = home.case()
    case.set_conditions("ada.hub", of(packet_fault("damage", way="down", at=(1,), of=1, byte=0, xor=0x20)))
    assert exchange(client, stack)[2][0] == "h", "an H with one bit changed"
    assert exchange(client, stack, "grace.hub")[2][0] == "H"
    home.finish(case)


def test_a_connection_that_is_reset_in_the_middle_ends_on_both_sides_of_toxiproxy(running, client):
    home, stack, _ = running
    case = home.case()
    assert exchange(client, stack, requests=2)[1] == "TimeoutError", "a healthy one is kept open"
    case.set_conditions("ada.hub", of(packet_fault("reset", way="down")))
    assert exchange(client, stack, requests=2)[1] == "ConnectionResetError"
    case.set_conditions("ada.hub", of(packet_fault("reset", way="up")))
    assert exchange(client, stack, requests=2)[1] in ("end", "ConnectionResetError")
    home.finish(case)


def test_a_half_open_connection_is_one_that_nobody_tells_the_client_of(running, client):
    home, stack, _ = running
    case = home.case()
    case.set_conditions("ada.hub", of(packet_fault("half_open", way="up")))
    took, how, answer = exchange(client, stack, patience=1.5)
    assert (how, answer) == ("TimeoutError", "")
    assert took >= 1.5
    home.finish(case)


@pytest.mark.parametrize("address", [False, True])
def test_a_server_answers_a_client_that_was_bound_anew_that_it_knows_no_such_connection(running, client, address):
    home, stack, _ = running
    relay, spare = stack._containers["relay"].id, stack._networks["ada-hub--server"].nobody
    resets = "print([x.split()[14] for x in open('/proc/net/snmp') if x.startswith('Tcp:')][1])"
    case = home.case()
    before = int(run_in(client, relay, resets))
    case.set_conditions("ada.hub", of(packet_fault("rebind", address=address)))
    took, how, answer = exchange(client, stack, patience=2.0)
    assert (how, answer) == ("end", ""), "Toxiproxy is told, and ends what it had with the client"
    assert took < 2.0
    assert int(run_in(client, relay, resets)) > before
    assert (spare in run_in(client, relay, "print(open('/proc/net/arp').read())")) is address
    home.finish(case)


def test_the_next_owner_is_where_the_one_before_was(running, client):
    home, stack, _ = running
    ports = """
import sys
rows = [line.split()[1:4] for line in open("/proc/net/tcp") if ":" in line]
print({int(there.split(":")[1], 16) for here, there, _ in rows if int(here.split(":")[1], 16) == int(sys.argv[1])})
"""
    relay, dials = stack._containers["relay"].id, stack._plan.halves(stack._networks)["grace.hub"].dials
    case = home.case()
    assert case.ask("grace").outcome == "picture"
    before = eval(run_in(client, relay, ports, str(dials)))
    case.set_conditions("grace.hub", of(packet_fault("port_reuse")))
    case.change_account("grace", owner="ada")
    case.ask("grace")
    assert eval(run_in(client, relay, ports, str(dials))) & before
    ours = {port for _, port, _, to in stack._packets._ends() if to == dials}
    assert ours & before, "what Toxiproxy had then is over"
    events = home.finish(case)
    assert {e.link for e in events if isinstance(e, Touched)} == {"grace.hub"}
    assert Fault("grace.hub", "port_reuse") in {e.fault for e in events if isinstance(e, Met)}


def test_packet_faults_survive_a_reconnect_and_a_toxiproxy_that_is_replaced(running, client):
    home, stack, _ = running
    hurt = of(packet_fault("loss", way="down", at=(1,), of=1))
    case = home.case()
    case.set_conditions("ada.hub", hurt)
    case.reconnect("ada.hub")
    assert exchange(client, stack)[2] == ""
    stack.links._replace_server()
    assert exchange(client, stack)[2] == ""
    case.clear("ada.hub")
    assert exchange(client, stack)[2].startswith("HTTP")
    home.finish(case)
    execute(home, SetConditions("ada.hub", hurt), Reconnect(("ada.hub",)), Ask("ada"))


def test_every_hop_of_an_ask_is_captured_and_every_address_has_its_nodes_name(running):
    home, stack, _ = running
    for _ in range(10):  # on a busy machine the relay's patience runs out, and there is no picture to capture
        events, _ = execute(home, Ask("ada"))
        if [e.outcome for e in events if isinstance(e, Asked)] == ["picture"]:
            break
    taken = stack.captures.taken()
    assert taken.whole
    said = talks(connections(taken.packets))
    stills = {at: [p.data for e in t.exchanges if e.answer for p in e.answer.pictures] for at, t in said.items()}
    for link in ("ada.hub", "ada.camera"):
        assert len(stills[link, "client"]) == 1
        assert stills[link, "client"] == stills[link, "server"]
    assert stills["ada.hub", "client"] == stills["ada.camera", "server"], "the relay hands on what the camera gave"
    assert said["relay.accounts", "client"].exchanges
    assert said["relay.cache", "server"].exchanges[-1].speaks == "Redis"
    assert not any(talk.opaque for talk in said.values())
    ends = {socket.inet_ntoa(at) for p in taken.packets for at in (p.raw[12:16], p.raw[16:20])}
    assert ends <= taken.names.keys()
    assert {taken.names[e] for e in ends} >= {"toxiproxy", "ada.hub", "ada.camera", "relay", "cache", "accounts"}
    assert b"ada.camera\0" in taken.file(""), "a name resolution block"


def test_an_engine_that_gives_no_capabilities_is_a_sentence(tmp_path):
    door = Door(tmp_path / "door", "tap", socket.SOCK_SEQPACKET)
    container = SimpleNamespace(name="tap", ended=lambda: None, tail=lambda: "PermissionError: Operation not permitted")
    way = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    way.connect(str(tmp_path / "door" / "tap"))
    way.close()
    tap = Tap(door)
    with pytest.raises(Surroundings, match=r"no CAP_NET_ADMIN and CAP_NET_RAW.*\n.*Operation not permitted"):
        tap.captured(container)
    tap.close()


def test_a_tap_that_ended_is_noticed(running):
    _, stack, _ = running
    layer, tap = stack._packets, stack._containers["tap"]
    tap._client.api.kill(tap.id)
    deadline = time.monotonic() + 10
    while tap.ended() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(Surroundings, match="tap ended by itself"):
        stack.check()
    with pytest.raises(Surroundings, match=r"does not answer|cannot be reached"):
        layer.set("lin.hub", [packet_fault("loss", at=(1,))])

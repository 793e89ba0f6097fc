"""Captures of this machine's loopback: each packet of a link once, of others none, and what there was no room for."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest

from chaos import captures, pcapng
from chaos.errors import Surroundings
from chaos.exchanges import talks
from chaos.fates import Halves
from chaos.streams import connections
from tests.conversations import get, ok, picture
from tests.live.conftest import wait_until

pytestmark = pytest.mark.live
ENDS = {"ada.hub": ("ada.hub", "relay")}


@pytest.fixture
def root():
    if os.geteuid() != 0:
        assert os.environ.get("CI", "").lower() not in ("true", "1"), "CI runs these as root"
        pytest.skip("NOT RUN: reading loopback's packets takes root")


@contextlib.contextmanager
def hop(**how):
    """A link whose two halves are two servers of the test; gives captures of it, and both servers."""
    with contextlib.ExitStack() as stack:
        client, server = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        listens, dials = client.getsockname()[1], server.getsockname()[1]
        links = {"ada.hub": Halves(True, "127.0.0.1", listens, "127.0.0.1", dials, "127.0.0.1")}
        made = captures.loopback(links, ENDS, **how)
        stack.callback(made.stop)
        yield made, client, server


def exchange(server, request, answer):
    """Ask and answer over a new connection to a server of the test."""
    with socket.create_connection(server.getsockname()) as asking:
        answering, _ = server.accept()
        with answering:
            asking.sendall(request)
            assert answering.recv(65_536)
            sending = threading.Thread(target=answering.sendall, args=(answer,))
            sending.start()
            got = b""
            while len(got) < len(answer):
                got += asking.recv(65_536)
            sending.join()
    assert got == answer


def test_a_link_is_captured_on_both_halves_and_another_port_is_not(root):
    with hop() as (made, client, server), socket.create_server(("127.0.0.1", 0)) as other:
        made.begin()
        shown = picture("lin", size=300_000)
        exchange(client, get("/at-toxiproxy"), ok(shown))
        exchange(other, get("/elsewhere"), ok(b""))
        exchange(server, get("/at-the-relay"), ok(shown))
        taken = made.taken()
    assert (taken.whole, taken.forgotten, taken.lost) == (True, 0, 0)
    assert [p.number for p in taken.packets] == list(range(1, len(taken.packets) + 1))
    said = talks(connections(taken.packets))
    assert {at: [e.request.line.split()[1] for e in talk.exchanges] for at, talk in said.items()} == {
        ("ada.hub", "client"): ["/at-toxiproxy"],
        ("ada.hub", "server"): ["/at-the-relay"],
    }
    for talk in said.values():
        assert talk.exchanges[0].answer.pictures[0].data == shown, "each byte once"
    stored = pcapng.read(taken.file("a leak"))
    assert [p.data for p in stored.packets] == [p.raw for p in taken.packets], "the numbers are Wireshark's"
    assert [(i.name, i.about) for i in stored.interfaces] == [
        ("ada.hub client", "ada.hub: ada.hub to Toxiproxy"),
        ("ada.hub server", "ada.hub: Toxiproxy to relay"),
    ]
    ways = {(stored.interfaces[p.interface].name, p.outbound) for p in stored.packets if b"GET" in p.data}
    assert ways == {("ada.hub client", False), ("ada.hub server", True)}


def test_a_case_begins_with_nothing(root):
    with hop() as (made, client, _):
        exchange(client, get("/before"), ok(b"."))
        made.begin()
        assert made.taken().packets == ()
        exchange(client, get("/now"), ok(b"."))
        (now,) = talks(connections(made.taken().packets))["ada.hub", "client"].exchanges
    assert now.request.line.startswith("GET /now")


def test_what_there_is_no_room_for_is_the_oldest_and_is_told(root):
    with hop(limit=400_000) as (made, client, _):
        made.begin()
        for n in range(4):
            exchange(client, get(f"/{n}"), ok(picture("lin", size=150_000)))
        wait_until(lambda: made.taken().forgotten, "packets that are forgotten")
        taken = made.taken()
    assert not taken.whole
    assert 200_000 < taken.size <= 400_000
    asked = [e.request.line.split()[1] for e in talks(connections(taken.packets))["ada.hub", "client"].exchanges]
    assert asked == ["/2", "/3"][-len(asked) :]


def test_who_may_not_read_packets_is_told_what_it_takes(monkeypatch):
    monkeypatch.setattr(
        captures, "opened", lambda: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted"))
    )
    with pytest.raises(Surroundings, match=r"the right to read loopback's packets \(root\): Operation not permitted"):
        captures.loopback({}, {})


def test_of_more_ports_than_a_filter_has_jumps_everything_is_taken():
    assert len(captures.program([7000])) == 8 * 7
    assert len(captures.program(range(7000, 7120))) == 8 * 245
    assert len(captures.program(range(7000, 7121))) == 8

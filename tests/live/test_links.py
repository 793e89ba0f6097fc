"""Links on a real server: reset, healing, a server that dies or hangs, a taken port, a killed run, and the witness."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from chaos import links, sockets
from chaos.children import Scratch
from chaos.conditions import (
    BLACK_HOLE,
    CLEAR,
    EDGE,
    NAMED,
    OUTAGE,
    SATELLITE,
    SLOW_4G,
    Bandwidth,
    Conditions,
    Latency,
    Slicer,
    Timeout,
    Way,
    of,
)
from chaos.errors import Misuse, Surroundings
from chaos.links import Hop, Links, Toxiproxy
from chaos.waiting import wait_for
from tests.live.conftest import Ends, Wire, arrives_within, ends_with, receive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.live


def passes(wire: Wire) -> bool:
    ends = wire.connect()
    ends.device.sendall(b"ask")
    assert receive(ends.far, 3) == b"ask"
    ends.far.sendall(b"picture")
    return receive(ends.device, 7) == b"picture"


def leave(held: socket.socket) -> None:
    """Close as a client does that gave up in the middle."""
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    held.close()


@pytest.mark.parametrize(
    "before", [c.without_packets() for c in NAMED.values() if not c.without_packets().calm], ids=lambda c: c.name
)
def test_fresh_makes_a_link_clear_from_anything(hub_wire: Wire, before: Conditions) -> None:
    hub_wire.links.set("ada.hub", before)
    hub_wire.links.fresh()
    assert hub_wire.links.conditions("ada.hub") == CLEAR
    assert passes(hub_wire)


def test_every_change_between_conditions_is_read_back_and_hangs_nothing(hub_wire: Wire) -> None:
    """Also while data is held and after its client has gone, which is where the server's own removal stalls for 5 s."""
    order = [EDGE, CLEAR, SLOW_4G, EDGE, BLACK_HOLE, EDGE, OUTAGE, SATELLITE, CLEAR]
    order += [of(Bandwidth(rate=2)), of(Bandwidth(rate=0)), of(Latency(latency=300)), EDGE, SLOW_4G, CLEAR]
    order += [OUTAGE, CLEAR]
    for conditions in order:
        began, ended = hub_wire.links.set("ada.hub", conditions)
        assert began < ended
        if not conditions.refused:
            ends = hub_wire.connect()
            ends.far.sendall(bytes(200_000))
            arrives_within(ends.device, 0.01)
            leave(ends.device)
            with contextlib.suppress(ConnectionResetError):
                arrives_within(ends.far, 0.05)  # what is held for it stays; its death itself is another moment
    assert hub_wire.links.restarts == []
    assert passes(hub_wire)


def test_a_connection_outlives_a_change_of_latency_bandwidth_and_slices(hub_wire: Wire) -> None:
    ends = hub_wire.connect()
    for conditions in (
        EDGE,
        SLOW_4G,
        CLEAR,
        EDGE,
        of(Latency(latency=30)),
        of(Bandwidth(rate=62)),
        of(Slicer(average_size=128)),
        of(Latency(latency=30), Slicer(average_size=536)),
        CLEAR,
    ):
        hub_wire.links.set("ada.hub", conditions)
        ends.far.sendall(b"x")
        assert receive(ends.device, 1) == b"x"


def test_nothing_held_is_lost_or_out_of_order_when_conditions_turn(hub_wire: Wire) -> None:
    ends = hub_wire.connect()
    sent = b"".join(struct.pack(">I", i) for i in range(50_000))
    hub_wire.links.set("ada.hub", EDGE)
    ends.far.sendall(sent)
    got = receive(ends.device, 4000)
    for conditions in (of(Bandwidth(rate=200)), of(Latency(latency=75)), SLOW_4G, CLEAR):
        hub_wire.links.set("ada.hub", conditions)
        got += receive(ends.device, 4000)
    assert got + receive(ends.device, len(sent) - len(got)) == sent


def test_a_with_statement_heals_even_after_an_error(hub_wire: Wire) -> None:

    def break_off() -> None:
        with hub_wire.links.under("ada.hub", OUTAGE):
            assert hub_wire.links.conditions("ada.hub") == OUTAGE
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert hub_wire.links.conditions("ada.hub") == CLEAR
    assert passes(hub_wire)


def test_an_unknown_link_is_answered_with_the_nearest(hub_wire: Wire) -> None:
    with pytest.raises(Misuse, match=r"no link 'ada.hbu'; did you mean 'ada.hub'\?"):
        hub_wire.links.set("ada.hbu", EDGE)


def test_two_servers_in_one_process_do_not_share_an_address(
    hub_wire: Wire, toxiproxy_binary: Path, scratch: Scratch, tmp_path: Path
) -> None:
    with Toxiproxy(toxiproxy_binary, scratch, tmp_path / "second.log") as second:
        other = Wire(second, device_dials=False)
        other.links.set("ada.camera", OUTAGE)
        hub_wire.links.set("ada.hub", EDGE)
        other.links.fresh()
        other.close()
    assert hub_wire.links.conditions("ada.hub") == EDGE
    hub_wire.links.set("ada.hub", CLEAR)
    assert passes(hub_wire)


def test_a_users_http_proxy_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch, hub_wire: Wire) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    hub_wire.links.set("ada.hub", EDGE)


def test_a_server_that_is_killed_in_the_middle_is_one_sentence_with_its_last_lines(
    toxiproxy: Toxiproxy, hub_wire: Wire
) -> None:
    # it answers before it has written of its proxies
    wait_for("its proxies in its log", lambda: None if "Started proxy" in toxiproxy.tail() else toxiproxy.tail())
    os.kill(toxiproxy.pid, signal.SIGKILL)
    with pytest.raises(Surroundings) as failed:
        hub_wire.links.set("ada.hub", EDGE)
    assert f"Toxiproxy (pid {toxiproxy.pid}) died with exit -9; start the run again" in str(failed.value)
    assert "Started proxy" in str(failed.value)
    with pytest.raises(Surroundings, match="died with exit -9"):
        toxiproxy.check()
    assert not toxiproxy.alive()


def test_a_server_that_hangs_is_replaced_and_every_link_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch, toxiproxy: Toxiproxy
) -> None:
    monkeypatch.setattr(links, "LIMIT", 0.3)
    first, second = Wire(toxiproxy, device_dials=True), Wire(toxiproxy, device_dials=False)
    both = Links(toxiproxy, {w.name: w.hop for w in (first, second)})
    both.fresh()
    both.set("ada.camera", of(Latency(way=Way.UP, latency=300)))
    hung = toxiproxy.pid
    os.kill(hung, signal.SIGSTOP)
    both.set("ada.hub", OUTAGE)
    assert len(both.restarts) == 1
    assert toxiproxy.pid != hung
    assert not psutil.pid_exists(hung)
    with pytest.raises(ConnectionRefusedError):
        first.dial()
    ends = second.connect()
    began = time.monotonic()
    ends.device.sendall(b"x")
    assert receive(ends.far, 1) == b"x"
    assert time.monotonic() - began >= 0.3
    os.kill(toxiproxy.pid, signal.SIGSTOP)
    both.fresh()
    assert passes(first)
    assert passes(second)
    first.close()
    second.close()


def test_a_server_that_has_grown_full_is_replaced_between_cases(
    monkeypatch: pytest.MonkeyPatch, toxiproxy: Toxiproxy, hub_wire: Wire
) -> None:
    first = toxiproxy.pid
    hub_wire.links.fresh()
    assert toxiproxy.pid == first
    monkeypatch.setattr(links, "_FULL", 1)
    hub_wire.links.set("ada.hub", EDGE)
    assert toxiproxy.pid == first, "never within a case"
    hub_wire.links.fresh()
    assert toxiproxy.pid != first
    assert hub_wire.links.restarts == [], "nothing was in force that could have been lost"
    assert passes(hub_wire)


def test_a_taken_port_is_one_sentence(monkeypatch: pytest.MonkeyPatch, toxiproxy: Toxiproxy) -> None:
    monkeypatch.setattr(links, "_PORT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        clash = Links(toxiproxy, {"ada.hub": Hop(address, "127.0.0.1:9", device_dials=True)})
        with pytest.raises(Surroundings, match=r"taken by another program.*start the run again") as failed:
            clash.fresh()
        assert address in str(failed.value)
    clash.fresh()


def test_a_port_that_is_only_shortly_busy_is_waited_for(toxiproxy: Toxiproxy, hub_wire: Wire) -> None:
    hub_wire.links.set("ada.hub", OUTAGE)
    busy = subprocess.Popen(
        [sys.executable, "-c", _LISTEN_SHORTLY, str(hub_wire.port)], stdout=subprocess.PIPE, text=True
    )
    assert busy.stdout
    assert busy.stdout.readline() == "listening\n"
    hub_wire.links.set("ada.hub", CLEAR)
    assert passes(hub_wire)
    busy.stdout.close()
    busy.wait()


_LISTEN_SHORTLY = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listening", flush=True)
    time.sleep(0.5)
"""

_RUN = """
import sys, time
from pathlib import Path
from chaos import children
from chaos.links import Toxiproxy
if sys.argv[3] == "unasked":
    children._dies_with_us = lambda: []  # a system on which a child cannot ask to die with its parent
toxiproxy = Toxiproxy(Path(sys.argv[1]), children.Scratch(), Path(sys.argv[2]))
toxiproxy.start()
print(toxiproxy.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def killed_run(
    request: pytest.FixtureRequest, toxiproxy_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psutil.Process]:
    """The server of a run that was killed with kill -9."""
    monkeypatch.setenv("OWNFRAME_STATE", str(tmp_path / "state"))
    command = [sys.executable, "-c", _RUN, str(toxiproxy_binary), str(tmp_path / "log"), request.param]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    server = psutil.Process(int(run.stdout.readline()))
    run.stdout.close()
    assert "toxiproxy" in server.name()
    run.kill()
    run.wait()
    yield server
    if server.is_running():
        server.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to")
@pytest.mark.parametrize("killed_run", ["asked"], indirect=True)
def test_a_run_that_is_killed_takes_its_server_with_it(killed_run: psutil.Process) -> None:
    wait_until(lambda: not killed_run.is_running() or killed_run.status() == psutil.STATUS_ZOMBIE, "the server's end")


@pytest.mark.parametrize("killed_run", ["unasked"], indirect=True)
def test_what_a_killed_run_left_behind_is_cleared_by_the_next(killed_run: psutil.Process) -> None:
    assert killed_run.is_running()
    Scratch().remove()
    wait_until(lambda: not killed_run.is_running() or killed_run.status() == psutil.STATUS_ZOMBIE, "the server's end")


def test_a_server_started_by_a_thread_outlives_that_thread(
    toxiproxy_binary: Path, scratch: Scratch, tmp_path: Path
) -> None:
    from threading import Thread

    toxiproxy = Toxiproxy(toxiproxy_binary, scratch, tmp_path / "log")
    starter = Thread(target=toxiproxy.start)
    starter.start()
    starter.join()
    for _ in range(20):
        toxiproxy.call("GET", "/version")
    assert toxiproxy.alive()
    toxiproxy.stop()


def test_a_binary_that_is_no_server_is_one_sentence(scratch: Scratch, tmp_path: Path) -> None:
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho I am no server\nexit 7\n")
    liar.chmod(0o755)
    with pytest.raises(Surroundings, match=r"died with exit 7(.|\n)*I am no server"):
        Toxiproxy(liar, scratch, tmp_path / "log").start()


# -- the witness: bytes that arrived at Toxiproxy -------------------------------------------------------------------


@pytest.fixture
def hubs(toxiproxy: Toxiproxy) -> Iterator[tuple[Links, socket.socket]]:
    """Three hubs' links to one relay, and the relay's listening socket."""
    relay = socket.create_server(("127.0.0.1", 0))
    relay.settimeout(20.0)
    upstream = f"127.0.0.1:{relay.getsockname()[1]}"
    owners = ("ada.hub", "grace.hub", "lin.hub")
    hops = {o: Hop(f"127.0.0.1:{p}", upstream, True) for o, p in zip(owners, sockets.free_ports(3), strict=True)}
    three = Links(toxiproxy, hops)
    three.fresh()
    yield three, relay
    relay.close()


def dial(three: Links, relay: socket.socket, link: str) -> Ends:
    device = socket.create_connection(("127.0.0.1", int(three.hops[link].listen.split(":")[1])), timeout=20.0)
    far, _ = relay.accept()
    far.settimeout(20.0)
    return Ends(device, far)


@pytest.mark.parametrize(
    "fault",
    [BLACK_HOLE, of(Latency(way=Way.UP, latency=60_000), Latency(latency=60_000))],
    ids=["black hole", "latency"],
)
def test_bytes_that_no_one_receives_are_counted_where_they_arrived(wire: Wire, fault: Conditions) -> None:
    with sockets.Meter(wire.links.hops) as meter:
        ends = wire.connect()
        wire.links.set(wire.name, fault)
        began = meter.mark()
        ends.device.sendall(bytes(3000))
        ends.far.sendall(bytes(7000))
        wait_until(lambda: meter.moved(wire.name, Way.DOWN, began, time.monotonic()) == 7000, "7000 bytes")
        wait_until(lambda: meter.moved(wire.name, Way.UP, began, time.monotonic()) == 3000, "3000 bytes")
        assert meter.moved(wire.name, Way.UP, 0, began) == 0
        assert meter.connections(wire.name, began, time.monotonic()) == 1


def test_hubs_that_share_a_relay_are_counted_apart_even_when_they_ask_at_once(
    hubs: tuple[Links, socket.socket],
) -> None:
    three, relay = hubs
    with sockets.Meter(three.hops) as meter:
        began = meter.mark()
        ends = {link: dial(three, relay, link) for link in three.hops}
        for n, (device, far) in enumerate(ends.values()):
            device.sendall(bytes(100 + n))
            receive(far, 100 + n)
            far.sendall(bytes(1000 + n))
            receive(device, 1000 + n)
        for n, link in enumerate(three.hops):
            wait_until(lambda k=link, b=1000 + n: meter.moved(k, Way.DOWN, began, time.monotonic()) == b, link)
            assert meter.moved(link, Way.UP, began, time.monotonic()) == 100 + n
        # before, what a young connection was handed counts; from here on it must be known whose upstream's bytes are
        wait_until(lambda: meter.mark() and all(c.paired for c in meter._connections.values()), "all to be paired")
        three.set("grace.hub", of(Timeout()))
        three.set("lin.hub", of(Timeout(way=Way.UP)))
        mark = meter.mark()
        for device, far in ends.values():
            device.sendall(bytes(50))
            far.sendall(bytes(60))
        for link in three.hops:
            wait_until(lambda k=link: meter.moved(k, Way.DOWN, mark, time.monotonic()) == 60, link)
            wait_until(lambda k=link: meter.moved(k, Way.UP, mark, time.monotonic()) == 50, link)


def test_whose_answer_it_was_stays_unknown_rather_than_guessed(hubs: tuple[Links, socket.socket]) -> None:
    three, relay = hubs
    with sockets.Meter(three.hops) as meter:
        began = meter.mark()
        for link in three.hops:
            three.set(link, of(Timeout(way=Way.UP), Timeout()))
        devices = [dial(three, relay, link) for link in three.hops]
        for _, far in devices:
            far.sendall(bytes(500))
        wait_until(lambda: meter.connections("lin.hub", began, time.monotonic()) == 1, "the last connection")
        counted = [meter.moved(link, Way.DOWN, began, time.monotonic()) for link in three.hops]
        assert sum(counted) <= 1500
        assert all(count in (0, 500) for count in counted)


def test_a_connection_too_short_for_any_sample_is_counted(hub_wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PERIOD", 3600.0)
    with sockets.Meter(hub_wire.links.hops) as meter:
        began = meter.mark()
        wait_until(lambda: time.monotonic() > began + sockets._LATE, "the kernel's message to be of no time before")
        ends = hub_wire.connect()
        ends.device.sendall(bytes(1234))
        assert len(receive(ends.far, 1234)) == 1234
        ends.device.close()
        assert ends_with(ends.far) == "end"
        ends.far.close()
        wait_until(lambda: meter.moved("ada.hub", Way.UP, 0, time.monotonic()) == 1234, "the kernel's message")
        assert meter.connections("ada.hub", began, time.monotonic()) == 1


def test_an_outage_is_witnessed_by_the_connections_it_dropped(hub_wire: Wire) -> None:
    with sockets.Meter(hub_wire.links.hops) as meter:
        gone = hub_wire.connect()
        wait_until(lambda: meter.connections("ada.hub", 0, time.monotonic()) == 1, "the first connection")
        gone.device.close()
        ends_with(gone.far)
        kept = [hub_wire.connect(), hub_wire.connect()]
        wait_until(lambda: meter.connections("ada.hub", 0, time.monotonic()) == 3, "all connections")
        at, _ = hub_wire.links.set("ada.hub", OUTAGE)
        assert [ends_with(ends.device) for ends in kept] == ["end", "end"]
        wait_until(lambda: meter.dropped("ada.hub", at) == 2, "both to be dropped")
        assert meter.dropped("ada.hub", at - 5) == 0


def test_a_healthy_link_drops_nothing(hub_wire: Wire) -> None:
    with sockets.Meter(hub_wire.links.hops) as meter:
        hub_wire.connect()
        at, _ = hub_wire.links.set("ada.hub", EDGE)
        wait_until(lambda: meter.connections("ada.hub", at, time.monotonic()) == 1, "the connection")
        assert meter.dropped("ada.hub", at) == 0

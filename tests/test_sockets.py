"""Bytes and connections as the kernel counts them, told apart by link; free ports; no root, no Toxiproxy."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import sys
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos import sockets
from chaos.conditions import Way
from chaos.errors import Misuse, Surroundings
from chaos.links import Hop
from chaos.sockets import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Exchange(NamedTuple):
    """The four ends of a connection through a proxy: client, accepted by the proxy, dialled by it, server."""

    client: socket.socket
    accepted: socket.socket
    dialled: socket.socket
    server: socket.socket

    def close(self) -> None:
        for end in self:
            end.close()


class Proxies:
    """Proxies whose every move the test makes itself: two hubs that share a relay, and one camera."""

    def __init__(self) -> None:
        self.listens = {name: socket.create_server(("127.0.0.1", 0)) for name in ("ada.hub", "lin.hub", "ada.camera")}
        self.relay, self.camera = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
        self.hops = {
            name: Hop(
                _address(listen), _address(self.relay if "hub" in name else self.camera), device_dials="hub" in name
            )
            for name, listen in self.listens.items()
        }
        self.open: list[Exchange] = []

    def connect(self, link: str) -> Exchange:
        upstream = self.relay if "hub" in link else self.camera
        client = socket.create_connection(self.listens[link].getsockname())
        accepted, _ = self.listens[link].accept()
        dialled = socket.create_connection(upstream.getsockname())
        server, _ = upstream.accept()
        self.open.append(Exchange(client, accepted, dialled, server))
        return self.open[-1]

    def close(self) -> None:
        for each in (*self.listens.values(), self.relay, self.camera):
            each.close()
        for exchange in self.open:
            exchange.close()


def _address(listening: socket.socket) -> str:
    return f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.close()


@pytest.fixture
def meter(proxies: Proxies) -> Iterator[Meter]:
    with Meter(proxies.hops) as running:
        yield running


def pass_on(sender: socket.socket, receiver: socket.socket, count: int) -> None:
    """Send `count` bytes and wait until they are there."""
    sender.sendall(bytes(count))
    assert len(receiver.recv(count, socket.MSG_WAITALL)) == count


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, f"waited 20 s for {what}"
        time.sleep(0.005)


def test_the_kernel_tells_here() -> None:
    sockets.check()


def test_bytes_count_on_the_way_and_side_on_which_they_arrive(proxies: Proxies, meter: Meter) -> None:
    began = meter.mark()
    hub, camera = proxies.connect("ada.hub"), proxies.connect("ada.camera")
    pass_on(hub.client, hub.accepted, 100)
    pass_on(camera.accepted, camera.client, 7)  # what leaves the proxy is not what arrives at it
    pass_on(camera.client, camera.accepted, 300)  # the relay dials: this goes to the device
    pass_on(camera.server, camera.dialled, 5000)
    ended = meter.mark()
    assert meter.moved("ada.hub", Way.UP, began, ended) == 100
    assert meter.moved("ada.hub", Way.DOWN, began, ended) == 0
    assert meter.moved("ada.camera", Way.DOWN, began, ended) == 300
    assert meter.moved("ada.camera", Way.UP, began, ended) == 5000
    assert meter.moved("lin.hub", Way.UP, began, ended) == 0


def test_on_a_shared_upstream_what_a_young_connection_was_handed_counts(proxies: Proxies, meter: Meter) -> None:
    """A fault that cuts connections leaves them too short for anybody to tell which upstream's bytes were theirs."""
    old = proxies.connect("lin.hub")
    began = meter.mark()
    pass_on(old.accepted, old.client, 50)  # what was handed on to an older connection may have come before
    hub = proxies.connect("ada.hub")
    pass_on(hub.accepted, hub.client, 200)
    ended = meter.mark()
    assert meter.moved("ada.hub", Way.DOWN, began, ended) == 200
    assert meter.moved("lin.hub", Way.DOWN, began, ended) == 0


def test_only_what_surely_arrived_between_two_instants_counts(proxies: Proxies, meter: Meter) -> None:
    camera = proxies.connect("ada.camera")
    marks = [meter.mark()]
    for count in (10, 200, 3000):
        pass_on(camera.server, camera.dialled, count)
        marks.append(meter.mark())
    between = [meter.moved("ada.camera", Way.UP, a, b) for a, b in itertools.pairwise(marks)]
    assert between == [10, 200, 3000]
    assert meter.moved("ada.camera", Way.UP, marks[0], marks[-1]) == 3210
    nearly = (marks[0] + 1e-6, marks[-1] - 1e-6)
    assert meter.moved("ada.camera", Way.UP, *nearly) <= 3210


def test_bytes_from_before_the_meter_are_not_counted(proxies: Proxies) -> None:
    camera = proxies.connect("ada.camera")
    pass_on(camera.server, camera.dialled, 1000)
    with Meter(proxies.hops) as late:
        pass_on(camera.server, camera.dialled, 1)
        assert late.moved("ada.camera", Way.UP, 0.0, late.mark()) == 1


def test_an_end_of_a_connection_is_no_byte(proxies: Proxies, meter: Meter) -> None:
    began = meter.mark()
    camera = proxies.connect("ada.camera")
    camera.server.close()
    camera.client.close()
    assert camera.dialled.recv(1) == b""
    assert camera.accepted.recv(1) == b""
    camera.close()
    wait_until(lambda: meter.mark() and len(meter.moved.__self__._connections) == 2, "both ends")
    assert meter.moved("ada.camera", Way.UP, began, meter.mark()) == 0
    assert meter.moved("ada.camera", Way.DOWN, began, meter.mark()) == 0


def test_a_connection_between_two_samples_is_counted_by_its_end(
    proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PERIOD", 3600.0)
    with Meter(proxies.hops) as meter:
        began = meter.mark()
        wait_until(lambda: time.monotonic() > began + sockets._LATE, "the kernel's message to be of no time before")
        camera = proxies.connect("ada.camera")
        pass_on(camera.server, camera.dialled, 777)
        camera.close()
        wait_until(lambda: meter.moved("ada.camera", Way.UP, began, meter.mark()) == 777, "the kernel's message")
        assert meter.connections("ada.camera", began, meter.mark()) == 1


def test_bytes_told_late_by_a_connections_end_count_from_when_it_was_last_seen(
    proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "PERIOD", 3600.0)
    with Meter(proxies.hops) as meter:
        camera = proxies.connect("ada.camera")
        began = meter.mark()
        pass_on(camera.server, camera.dialled, 777)
        assert meter._kernel is not None
        told, held = meter._kernel.ended, []
        monkeypatch.setattr(meter._kernel, "ended", lambda: held.extend(told()) or [])
        camera.close()
        after = meter.mark()
        wait_until(lambda: meter.mark() and any(r.received >= 777 for r in held), "the message, held back")
        monkeypatch.setattr(meter._kernel, "ended", lambda: held)
        assert meter.moved("ada.camera", Way.UP, after, meter.mark()) == 0, "they came before"
        assert meter.moved("ada.camera", Way.UP, began, meter.mark()) == 777


def test_links_that_share_an_upstream_are_told_apart_when_only_one_can_be_meant(proxies: Proxies, meter: Meter) -> None:
    began = meter.mark()
    ada = proxies.connect("ada.hub")
    pass_on(ada.server, ada.dialled, 50)
    wait_until(lambda: meter.moved("ada.hub", Way.DOWN, began, meter.mark()) == 50, "the first to be told")
    lin = proxies.connect("lin.hub")
    pass_on(lin.server, lin.dialled, 60)
    wait_until(lambda: meter.moved("lin.hub", Way.DOWN, began, meter.mark()) == 60, "the second to be told")
    assert meter.moved("ada.hub", Way.DOWN, began, meter.mark()) == 50


def test_links_that_were_dialled_at_once_are_told_apart_by_equal_numbers_at_both_ends(
    proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Meter(proxies.hops) as meter:
        began = meter.mark()
        with meter._lock:  # no sample between the two
            both = {link: proxies.connect(link) for link in ("ada.hub", "lin.hub")}
        for n, ends in enumerate(both.values()):
            pass_on(ends.server, ends.dialled, 500 + n)
        for _ in range(10):
            meter.mark()
        unknown = [meter.moved(link, Way.DOWN, began, meter.mark()) for link in both]
        assert unknown == [0, 0], "whose these are cannot be known yet"
        for n, ends in enumerate(both.values()):
            pass_on(ends.accepted, ends.client, 500 + n)
            pass_on(ends.client, ends.accepted, 20 + n)
            pass_on(ends.dialled, ends.server, 20 + n)
        wait_until(lambda: meter.moved("lin.hub", Way.DOWN, began, meter.mark()) == 501, "them to be told apart")
        assert meter.moved("ada.hub", Way.DOWN, began, meter.mark()) == 500


def test_a_dropped_connection_is_one_that_ended_right_then_and_not_by_its_client(
    proxies: Proxies, meter: Meter
) -> None:
    ends = [proxies.connect("ada.hub") for _ in range(3)]
    ends[0].client.close()
    wait_until(lambda: any(c.left_by_peer for c in meter._connections.values()), "the client's leave to be seen")
    at = meter.mark()
    for each in ends:
        each.accepted.close()
    wait_until(lambda: meter.mark() and meter.dropped("ada.hub", at) == 2, "two to be dropped")
    assert meter.dropped("ada.hub", at + 10.0) == 0
    assert meter.dropped("lin.hub", at) == 0


def test_a_client_that_leaves_just_then_was_not_dropped(proxies: Proxies, meter: Meter) -> None:
    ends = proxies.connect("ada.hub")
    at = meter.mark()
    ends.client.close()
    assert ends.accepted.recv(1) == b""
    meter.mark()
    assert meter.dropped("ada.hub", at) == 0


def test_an_unknown_link_is_answered_with_the_nearest(meter: Meter) -> None:
    with pytest.raises(Misuse, match=r"no link 'ada.hib'; did you mean 'ada.hub'\?"):
        meter.moved("ada.hib", Way.UP, 0.0, 1.0)


def test_a_meter_that_broke_says_so_when_asked(proxies: Proxies) -> None:
    with Meter(proxies.hops) as meter:
        assert meter._kernel is not None
        meter._kernel._asking.close()
        wait_until(lambda: meter._failed, "the next sample")
        with pytest.raises(Surroundings, match="does not tell how many bytes"):
            meter.moved("ada.hub", Way.UP, 0.0, 1.0)
        with pytest.raises(Surroundings):
            meter.mark()


def test_a_system_without_netlink_is_one_sentence(proxies: Proxies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(Surroundings, match=r"no fault is proven.*Linux 4\.19"):
        Meter(proxies.hops).start()
    with pytest.raises(Surroundings, match="Linux"):
        sockets.check()


def test_other_ports_are_left_out_by_the_kernel(proxies: Proxies) -> None:
    kernel = sockets._Kernel([int(proxies.hops["ada.camera"].listen.split(":")[1])], sockets.netlink_sockets)
    camera, hub = proxies.connect("ada.camera"), proxies.connect("ada.hub")
    port = camera.accepted.getsockname()[1]
    rows = kernel.connections()
    kernel.close()
    assert {row.local[1] for row in rows} | {row.remote[1] for row in rows} == {port, camera.client.getsockname()[1]}
    assert hub.client.fileno() > 0


def _pass_on(hop: Hop, count: int) -> list[socket.socket]:
    """Send bytes through a proxy on a connection, which stays open: client, accepted, dialled, server."""
    made: list[socket.socket] = []
    for host, _, port in (hop.listen.partition(":"), hop.upstream.partition(":")):
        with socket.create_server((host, int(port))) as listening:
            made += [socket.create_connection((host, int(port))), listening.accept()[0]]
    client, accepted, dialled, server = made
    client.sendall(bytes(count))
    dialled.sendall(accepted.recv(count, socket.MSG_WAITALL))
    server.recv(count, socket.MSG_WAITALL)
    return made


def test_links_with_the_same_port_are_told_apart_by_their_addresses_which_may_move_a_little() -> None:
    (port,) = sockets.free_ports(1)
    hops = {
        "ada.hub": Hop(f"127.0.0.2:{port}", f"127.0.0.9:{port}", device_dials=True),
        "lin.hub": Hop(f"127.0.1.2:{port}", f"127.0.1.9:{port}", device_dials=True),
    }
    with Meter(hops, moves=3) as meter:
        began = meter.mark()
        made = _pass_on(hops["ada.hub"], 500)
        made += _pass_on(Hop(f"127.0.1.2:{port}", f"127.0.1.12:{port}", device_dials=True), 70)
        ended = meter.mark()
        assert [meter.moved(link, Way.UP, began, ended) for link in hops] == [500, 70]
        ends = {c.group[0] << 3 for c in meter._connections.values() if not c.towards_client}
        assert ends == {int(IPv4Address("127.0.0.8")), int(IPv4Address("127.0.1.8"))}
    for each in made:
        each.close()


def test_a_refused_request_is_an_error_not_an_empty_answer() -> None:
    refusal = struct.pack("=IHHII", 36, 2, 0, 1, 0) + struct.pack("=i", -22) + bytes(16)
    with pytest.raises(OSError, match="netlink refused"):
        sockets._decode(refusal, [])


def test_free_ports_are_free_distinct_and_below_those_that_the_kernel_gives_away() -> None:
    ports = sockets.free_ports(40) + sockets.free_ports(40)
    assert len(set(ports)) == 80
    low = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])  # noqa: PTH123, SIM115
    assert max(ports) < low
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_taken_port_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = sockets.free_ports(1)
    monkeypatch.setattr(sockets, "_given", set())
    with socket.create_server(("127.0.0.1", first)):
        monkeypatch.setattr(sockets.os, "getpid", lambda: 0)
        monkeypatch.setattr(sockets, "_calls", iter([0]))
        monkeypatch.setattr(sockets, "_ephemeral", lambda: 20_000 + 10_000)
        assert first not in sockets.free_ports(9_000)


def test_a_port_on_which_somebody_listens_is_taken() -> None:
    one, other = sockets.free_ports(2)
    assert sockets.taken([one, other]) == []
    with socket.create_server(("127.0.0.1", other)):
        assert sockets.taken([one, other]) == [other]


def test_runs_side_by_side_are_given_different_ports() -> None:
    command = [sys.executable, "-c", "from chaos import sockets; print(*sockets.free_ports(30))"]
    many = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    given = [port for each in many for port in each.communicate(timeout=60)[0].split()]
    assert len(set(given)) == len(given) == 120


def test_too_few_free_ports_are_one_sentence() -> None:
    with pytest.raises(Surroundings, match=r"free ports are needed on 127\.0\.0\.1"):
        sockets.free_ports(60_000)


def test_accepts_says_whether_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert sockets.accepts(_address(listening))
        gone = _address(listening)
    assert not sockets.accepts(gone)

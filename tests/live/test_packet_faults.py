"""Each packet fault on a real connection, with a bound that the same on a healthy link misses, as its twin shows.

The kernel's own counters are the witness where time would be a coin toss.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import socket
import sys
import threading
import time
from typing import NamedTuple

import msgspec
import pytest

from chaos.conditions import Fault
from chaos.disturbance import Way
from chaos.errors import Misuse, Surroundings
from chaos.packetfaults import (
    Damage,
    Duplicate,
    HalfOpen,
    Hold,
    Loss,
    Own,
    PortReuse,
    Rebind,
    Reorder,
    Reset,
)

from . import netns
from .conftest import wait_until

pytestmark = pytest.mark.live
PICTURE = bytes(range(256)) * 400
"""100 KB: 71 packets."""
ENOUGH = 12


@pytest.fixture(scope="module")
def network():
    with netns.namespace() as made:
        yield made


class Half(NamedTuple):
    """One half of a link: its client dials its server, and packets are touched in between."""

    network: netns.Namespace
    server: socket.socket
    layer: object
    source: str
    to: tuple[str, int]
    client_way: Way

    def connect(self):
        client = self.network.dial(self.to, self.source)
        served, _ = self.server.accept()
        served.settimeout(10)
        return client, served

    def ends(self, way):
        """Return (sender, receiver) of a way."""
        client, served = self.connect()
        return (client, served) if way is self.client_way else (served, client)

    def under(self, *faults):
        self.layer.set(netns.LINK, faults)

    def touched(self, kind):
        return self.layer.touched(Fault(netns.LINK, kind), 0, time.monotonic())


@pytest.fixture(params=["client's half", "server's half"])
def half(network, request):
    """The device's half, which is the client's when the device dials."""
    yield from _half(network, device_dials=request.param == "client's half")


@pytest.fixture
def servers_half(network):
    yield from _half(network, device_dials=False)


def _half(network, *, device_dials):
    server = network.server(netns.DIALLED if device_dials else netns.SERVER)
    port = server.getsockname()[1]
    layer = netns.layer(network, port, port, device_dials=device_dials)
    source = "127.0.0.1" if device_dials else netns.DIALLING
    way = Way.UP if device_dials else Way.DOWN
    try:
        yield Half(network, server, layer, source, server.getsockname(), way)
    finally:
        layer.stop()
        server.close()


def sent(sender, receiver, data=PICTURE):
    """Send data, and return what arrived and how long it took."""
    began = time.monotonic()
    threading.Thread(target=sender.sendall, args=(data,), daemon=True).start()
    got = b""
    while len(got) < len(data):
        more = receiver.recv(1 << 16)
        if not more:
            break
        got += more
    return got, time.monotonic() - began


def grown(half, way, *faults, counter, data=PICTURE):
    """Return by how much a counter of the kernel grew while data crossed under these faults, and what arrived."""
    sender, receiver = half.ends(way)
    half.under(*faults)
    before = half.network.counters()[counter]
    got, _ = sent(sender, receiver, data)
    half.under()
    sender.close()
    receiver.close()
    return half.network.counters()[counter] - before, got


WAYS = pytest.mark.parametrize("way", list(Way))


@WAYS
@pytest.mark.parametrize(
    ("fault", "counter"),
    [
        (Loss(at=(3,), of=4), "Tcp.RetransSegs"),
        (Duplicate(at=(3,), of=4), "TcpExt.TCPDSACKOldSent"),
        (Reorder(at=(3,), of=4, by=2), "TcpExt.TCPOFOQueue"),
        (Damage(at=(3,), of=4, mended=False), "Tcp.InCsumErrors"),
    ],
    ids=lambda x: getattr(x, "kind", x),
)
def test_the_kernel_counts_what_was_done_to_packets_and_nothing_on_a_healthy_link(half, way, fault, counter):
    """A fourth of 71 packets, and a bound that leaves room for what a starved machine sends again by itself."""
    fault = msgspec.structs.replace(fault, way=way)
    assert grown(half, way, counter=counter)[0] < ENOUGH, "a healthy link"
    looked, got = grown(half, way, msgspec.structs.replace(fault, at=(5_000,), of=0), counter=counter)
    assert looked < ENOUGH, "a link whose packets are looked at and let go"
    assert got == PICTURE
    count, got = grown(half, way, fault, counter=counter)
    assert count >= ENOUGH
    assert got == PICTURE, "what arrives is what was sent: this is TCP"
    assert half.touched(fault.kind) >= ENOUGH
    assert grown(half, way, counter=counter)[0] < ENOUGH, "healed"


@WAYS
def test_a_packet_that_is_held_comes_late_and_others_do_not(half, way):
    """Less than the 200 ms after which a kernel sends it again."""
    sender, receiver = half.ends(way)
    assert min(sent(sender, receiver, b"tea")[1] for _ in range(3)) < 0.15
    half.under(Hold(at=(1,), ms=150, way=way))
    assert sent(sender, receiver, b"tea")[1] >= 0.15
    assert min(sent(sender, receiver, b"tea")[1] for _ in range(3)) < 0.15


def test_a_lost_request_to_connect_costs_the_second_that_a_kernel_waits(half):
    def connects():
        began = time.monotonic()
        half.connect()
        return time.monotonic() - began

    assert min(connects() for _ in range(2)) < 1.0
    half.under(Loss(at=(1,), way=half.client_way))
    assert connects() >= 1.0


@WAYS
def test_damage_reaches_who_reads_and_is_one_byte(half, way):
    sender, receiver = half.ends(way)
    half.under(Damage(at=(2,), byte=7, xor=0x80, way=way))
    got, _ = sent(sender, receiver)
    wrong = [(i, a ^ b) for i, (a, b) in enumerate(zip(PICTURE, got, strict=True)) if a != b]
    assert [x for _, x in wrong] == [0x80]
    half.under()
    assert sent(sender, receiver)[0] == PICTURE


@WAYS
def test_one_packet_is_no_more_than_ethernet_carries(half, way):
    """Where offload gives the network 64 KB at once, a fault still touches one packet of it."""
    sender, receiver = half.ends(way)
    half.under(Damage(at=(2, 3, 4), byte=0, xor=1, way=way))
    got, _ = sent(sender, receiver)
    wrong = [i for i, (a, b) in enumerate(zip(PICTURE, got, strict=True)) if a != b]
    assert len(wrong) == 3
    assert max(b - a for a, b in itertools.pairwise(wrong)) <= 1_500


def test_a_million_bytes_under_rare_faults_arrive_as_they_were_sent(half):
    data = PICTURE * 10
    way = half.client_way
    sender, receiver = half.ends(way)
    half.under(
        Loss(at=(40,), of=200, way=way), Duplicate(at=(90,), of=200, way=way), Reorder(at=(150,), of=200, way=way)
    )
    got, _ = sent(sender, receiver, data)
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def ends_with(receiver):
    try:
        while receiver.recv(1 << 16):
            pass
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "nothing"
    return "end"


def to_client(half):
    return Way.DOWN if half.client_way is Way.UP else Way.UP


@pytest.mark.parametrize("nth", [1, 5])
def test_a_reset_ends_a_connection_in_the_middle_at_both_ends(network, nth):
    for device_dials in (True, False):
        for half in _half(network, device_dials=device_dials):
            way = to_client(half) if device_dials else half.client_way  # the halves whose receivers are reset
            sender, receiver = half.ends(way)
            half.under(Reset(nth=nth, way=way))
            threading.Thread(target=_try_to_send, args=(sender,), daemon=True).start()
            assert ends_with(receiver) == "reset"
            assert ends_with(sender) in ("reset", "end"), "told, though perhaps to who was sending just then"
            assert half.touched("reset") == 1
            half.under()
            again = half.ends(way)
            assert sent(*again)[0] == PICTURE


def test_half_open_is_an_end_that_one_side_is_never_told(network):
    for half in _half(network, device_dials=True):
        way = to_client(half)
        sender, receiver = half.ends(way)
        half.under(HalfOpen(nth=3, way=way))
        threading.Thread(target=_try_to_send, args=(sender,), daemon=True).start()
        assert ends_with(receiver) == "reset"
        sender.settimeout(0.7)
        assert ends_with(sender) == "nothing", "after a reset it is told at once, as the test above shows"
        other = half.ends(way)
        other[0].sendall(b"new ones are not held")
        assert other[1].recv(100)


def _try_to_send(sender):
    with contextlib.suppress(OSError):
        sender.sendall(PICTURE)


def test_a_client_with_another_port_is_unknown_to_its_server(servers_half):
    half = servers_half
    client, served = half.connect()
    assert sent(client, served, b"before")[0] == b"before"
    half.under(Rebind(nth=2))
    assert sent(client, served, b"the first")[0] == b"the first"
    client.sendall(b"from elsewhere")
    assert ends_with(client) == "reset", "the server's kernel says that it knows no such connection"
    served.settimeout(0.5)
    assert ends_with(served) == "nothing", "and what it knew is half open"


def test_a_new_connection_comes_from_the_port_that_an_old_one_had(servers_half):
    half = servers_half
    first = half.network.dial(half.to, half.source)
    served, seen = half.server.accept()
    assert seen == first.getsockname(), "as it is"
    first.close()  # our side closes first, as Toxiproxy does when a hub goes: it remembers the port
    assert ends_with(served) == "end"
    served.close()
    half.under(PortReuse())
    second = half.network.dial(half.to, half.source)
    served, seen_now = half.server.accept()
    assert seen_now == seen != second.getsockname()
    served.sendall(b"to the next owner")
    assert second.recv(100) == b"to the next owner"
    assert half.touched("port_reuse") >= 1


OWN = """
from scapy.layers.inet import TCP
def shout(packet, number):
    if packet[TCP].payload:
        packet[TCP].payload.load = bytes(packet[TCP].payload.load).upper() + b"!"
    return packet
def watch(packet, number):
    return packet
def lose(packet, number):
    return None if number == 1 else packet
def wrong(packet, number):
    return packet[TCP].no_such_thing
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_faults.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_faults", None)


def test_a_fault_of_ones_own_is_a_function_on_a_packet(half, own):
    way = half.client_way
    sender, receiver = half.ends(way)
    half.under(Own(function="my_faults:watch", way=way))
    assert sent(sender, receiver, b"tea")[0] == b"tea"
    assert half.touched("own") == 0, "it changed nothing"
    half.under(Own(function="my_faults:shout", way=way))
    sender.sendall(b"tea")
    assert receiver.recv(100) == b"TEA!"
    assert half.touched("own") == 1


def test_a_function_that_is_not_there_or_fails_is_told(half, own):
    with pytest.raises(Misuse, match="my_faults:nothing is not to be had"):
        half.under(Own(function="my_faults:nothing"))
    sender, _ = half.ends(half.client_way)
    half.under(Own(function="my_faults:wrong", way=half.client_way))
    sender.sendall(b"tea")
    wait_until(lambda: half.layer._failed, "the function to fail")
    with pytest.raises(Misuse, match=r"my_faults:wrong failed on packet 1 \(AttributeError"):
        half.layer.check()


def test_a_fault_on_a_link_that_carries_no_packet_touches_nothing(half):
    half.under(Loss(at=(1,)))
    assert half.touched("loss") == 0
    assert half.layer.touches() == ()


def test_a_kernel_without_the_modules_is_a_sentence(network, monkeypatch):
    from chaos import netfilter

    monkeypatch.setattr(netfilter, "_WAITS", dict.fromkeys(netfilter.WAYS, netfilter._expression(b"nothing\0", b"")))
    with pytest.raises(Surroundings, match=r"neither nft_queue nor NFQUEUE.*works without; ownframe doctor"):
        netns.layer(network, 1, 2, device_dials=True)


def test_doctor_tries_it_in_a_network_of_its_own():
    from chaos.doctor import _packets

    check = _packets()
    assert check.good, check.found
    assert "half_open" in check.found

"""A link over UDP: its datagrams go through the packet layer alone, and each fault is seen where a healthy one is not.

Both ends know addresses of the namespace only, as over TCP; what is sent there and not sent on arrives nowhere.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import NamedTuple

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR

from chaos.conditions import Fault
from chaos.disturbance import Way
from chaos.packetfaults import Damage, Duplicate, Hold, Loss, Own, Rebind, Reorder, Stale

from . import netns

pytestmark = pytest.mark.live
COUNT = 200
_ROOM = 33  # SO_RCVBUFFORCE
QUIET = 0.3
"""Seconds without a datagram after which none is taken to come; one that is sent on takes 1 ms."""


@pytest.fixture(scope="module")
def network():
    with netns.namespace() as made:
        yield made


class Ends(NamedTuple):
    client: socket.socket
    server: socket.socket
    layer: object

    def way(self, up):
        """Return (sender, address that it sends to, receiver) of a way."""
        port = self.server.getsockname()[1]
        if up:
            return self.client, (netns.DIALLED, port), self.server
        return self.server, (netns.DIALLING, self.client.getsockname()[1]), self.client

    def under(self, *faults):
        self.layer.set(netns.LINK, faults)

    def touched(self, kind):
        return self.layer.touched(Fault(netns.LINK, kind), 0, time.monotonic())


@pytest.fixture(params=[True, False], ids=["the device dials", "the device is dialled"])
def ends(network, request):
    def bound(address):
        made = network.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.setsockopt(socket.SOL_SOCKET, _ROOM, 8 << 20)  # who is looked at afterwards must not have lost any itself
        made.bind((address, 0))
        return made

    client, server = bound("127.0.0.1"), bound(netns.SERVER)
    layer = netns.router(network, server.getsockname()[1], device_dials=request.param)
    try:
        yield Ends(client, server, layer)
    finally:
        layer.stop()
        client.close()
        server.close()


def numbered(number):
    return struct.pack(">I", number) + bytes(1200)


def came(receiver):
    """Return the datagrams that arrive until it is quiet, as (when, from where, number)."""
    receiver.settimeout(QUIET)
    found = []
    try:
        while True:
            data, source = receiver.recvfrom(2048)
            found.append((time.monotonic(), source, struct.unpack(">I", data[:4])[0]))
    except TimeoutError:
        return found


def crossed(ends, *, up, count=COUNT):
    """Send numbered datagrams and return what `came` of them, and when each was sent."""
    sender, to, receiver = ends.way(up)
    sent = []
    for i in range(1, count + 1):
        sent.append(time.monotonic())
        sender.sendto(numbered(i), to)
        time.sleep(0.001)  # as many a second as a camera's video has
    return came(receiver), sent


def numbers(found):
    return [number for _, _, number in found]


def of_way(ends, fault, *, up):
    """Return the fault on the way that goes up for the client."""
    halves = ends.layer._links[netns.LINK]
    return fault(Way.UP if up is halves.device_dials else Way.DOWN)


UPS = pytest.mark.parametrize("up", [True, False], ids=["to the server", "to the client"])


@UPS
def test_each_datagram_of_a_healthy_link_arrives_once_in_order_from_where_its_receiver_sends_to(ends, up):
    found, _ = crossed(ends, up=up)
    assert numbers(found) == list(range(1, COUNT + 1))
    port = ends.server.getsockname()[1]
    expected = (netns.DIALLING, ends.client.getsockname()[1]) if up else (netns.DIALLED, port)
    assert {source for _, source, _ in found} == {expected}, "the client keeps its port, which it may have told"


@UPS
def test_lost_datagrams_are_exactly_those_that_were_to_be(ends, up):
    ends.under(of_way(ends, lambda way: Loss(at=(3, 4), of=10, way=way), up=up))
    found, _ = crossed(ends, up=up)
    assert numbers(found) == [i for i in range(1, COUNT + 1) if i % 10 not in (3, 4)]
    assert ends.touched("loss") == COUNT // 5
    ends.under()
    assert len(crossed(ends, up=up)[0]) == COUNT


@UPS
def test_twice_late_overtaken_and_damaged_ones(ends, up):
    ends.under(of_way(ends, lambda way: Duplicate(at=(5,), way=way), up=up))
    assert numbers(crossed(ends, up=up, count=8)[0]) == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    ends.under(of_way(ends, lambda way: Reorder(at=(2,), by=2, way=way), up=up))
    assert numbers(crossed(ends, up=up, count=6)[0]) == [1, 3, 4, 2, 5, 6]
    ends.under(of_way(ends, lambda way: Hold(at=(2,), ms=150, way=way), up=up))
    found, sent = crossed(ends, up=up, count=6)
    took = {number: at - sent[number - 1] for at, _, number in found}
    assert took[2] >= 0.15
    assert sorted(took.values())[-2] < 0.15, "the others are not late"
    ends.under(of_way(ends, lambda way: Damage(at=(2,), byte=3, xor=0x80, way=way), up=up))
    assert numbers(crossed(ends, up=up, count=3)[0]) == [1, 2 ^ 0x80, 3]
    ends.under(of_way(ends, lambda way: Damage(at=(2,), byte=3, xor=0x80, mended=False, way=way), up=up))
    assert numbers(crossed(ends, up=up, count=3)[0]) == [1, 3], "the receiver's kernel drops it"


def test_the_other_way_is_left_alone(ends):
    ends.under(of_way(ends, lambda way: Loss(at=(1,), of=1, way=way), up=True))
    assert crossed(ends, up=True, count=5)[0] == []
    assert len(crossed(ends, up=False, count=5)[0]) == 5


def test_a_client_that_was_bound_anew_is_seen_elsewhere_and_still_answered(ends):
    _, to, _ = ends.way(up=True)
    mine = ends.client.getsockname()[1]
    ends.under(Rebind(nth=3))
    seen = []
    for i in range(1, 5):
        ends.client.sendto(numbered(i), to)
        ((_, source, number),) = came(ends.server)
        seen.append(source[1])
        ends.server.sendto(numbered(number), source)
        ((_, answered_from, again),) = came(ends.client)
        assert (answered_from, again) == (to, i)
    assert seen[:2] == [mine, mine]
    assert mine not in seen[2:]


def answers(at, say):
    """Answer each question with the address that `say` has now, until somebody says nothing."""
    while data := (came := at.recvfrom(512))[0]:
        asked = DNS(data)
        record = DNSRR(rrname=asked.qd[0].qname, rdata=say["address"], ttl=60)
        said = DNS(id=asked.id, qr=1, rd=1, ra=1, qd=asked.qd, an=record)
        at.sendto(bytes(said), came[1])


def resolved(ends, number):
    """Ask as a resolver does: an answer counts by its number; returns the address and how long it took."""
    _, to, _ = ends.way(up=True)
    began = time.monotonic()
    ends.client.settimeout(2)
    ends.client.sendto(bytes(DNS(id=number, rd=1, qd=DNSQR(qname="ada-camera"))), to)
    said = DNS(ends.client.recvfrom(512)[0])
    assert said.id == number
    return said.an[0].rdata, time.monotonic() - began


def test_a_stale_answer_is_what_was_true_before_and_a_late_one_comes_late(ends):
    say = {"address": "10.0.0.1"}
    server = threading.Thread(target=answers, args=(ends.server, say), daemon=True)
    server.start()
    assert resolved(ends, 1)[0] == "10.0.0.1"
    say["address"] = "10.0.0.2"
    ends.under(of_way(ends, lambda way: Stale(at=(1, 2), way=way), up=False))
    assert [resolved(ends, i)[0] for i in (2, 3, 4)] == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    assert ends.touched("stale") == 2
    ends.under(of_way(ends, lambda way: Hold(at=(1,), ms=200, way=way), up=False))
    assert resolved(ends, 5)[1] >= 0.2
    assert resolved(ends, 6)[1] < 0.2
    ends.layer.clear()
    say["address"] = "10.0.0.3"
    assert resolved(ends, 7)[0] == "10.0.0.3"
    ends.client.sendto(b"", ends.way(up=True)[1])
    server.join(5)
    assert not server.is_alive()


def nothing(packet, number):
    """A fault of one's own that loses everything."""
    return


def test_a_fault_of_ones_own_decides_on_datagrams(ends):
    ends.under(of_way(ends, lambda way: Own(function=f"{__name__}:nothing", way=way), up=True))
    assert crossed(ends, up=True, count=5)[0] == []


def test_there_is_no_way_but_through_the_layer(ends):
    """To another port of the same address nothing is sent on, and without the layer nothing at all."""
    port = ends.server.getsockname()[1]
    ends.client.sendto(numbered(1), (netns.DIALLED, port + 1 if port < 65535 else port - 1))
    assert came(ends.server) == []
    ends.layer.stop()
    assert crossed(ends, up=True, count=3)[0] == []

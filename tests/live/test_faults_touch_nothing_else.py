"""A fault changes no packet that it was not asked to: 300 numbered datagrams each, every one of them looked at."""

from __future__ import annotations

import contextlib
import socket

import pytest

from chaos.disturbance import Way
from chaos.packetfaults import Damage, Duplicate, Hold, Loss, Own, Reorder

from . import netns

pytestmark = pytest.mark.live
COUNT = 300
PLACES = (7, 60, 151)
SENT = [n.to_bytes(4, "big") + bytes((n + i) % 251 for i in range(40 + 4 * n)) for n in range(1, COUNT + 1)]
ASKED_FOR = [SENT[p - 1] for p in PLACES]
OTHERS = [data for data in SENT if data not in ASKED_FOR]


def unchanged(packet, number):
    """A fault of one's own that looks and does nothing."""
    return packet


@pytest.fixture(scope="module")
def network():
    with netns.namespace() as made:
        yield made


@pytest.fixture(params=[True, False], ids=["client's half", "server's half"])
def ends(network, request):
    """Both ends of the half that the device is at, as datagrams have them, and the layer between."""
    dials = request.param
    with contextlib.ExitStack() as stack:

        def bound(address):
            made = stack.enter_context(network.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            made.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE: what is not read yet must have room
            made.bind((address, 0))
            return made

        server = bound(netns.DIALLED if dials else netns.SERVER)
        client = bound("127.0.0.1" if dials else netns.DIALLING)
        port = server.getsockname()[1]
        layer = netns.layer(network, port, port, device_dials=dials)
        stack.callback(layer.stop)
        client.connect(server.getsockname())
        server.connect(client.getsockname())
        yield client, server, layer, Way.UP if dials else Way.DOWN


def arrived(ends, fault, way, expected):
    """Send every datagram under the fault, and return what came, in order."""
    client, server, layer, client_way = ends
    sender, receiver = (client, server) if way is client_way else (server, client)
    layer.set(netns.LINK, [fault] if fault is not None else [])
    for data in SENT:
        sender.send(data)
    receiver.settimeout(10)
    got = [receiver.recv(4096) for _ in range(expected)]
    receiver.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        got.append(receiver.recv(4096))
    layer.set(netns.LINK, [])
    return got


WAYS = pytest.mark.parametrize("way", list(Way))


@WAYS
@pytest.mark.parametrize("fault", [None, Own(function=f"{__name__}:unchanged")], ids=["none", "own"])
def test_what_is_only_looked_at_arrives_as_it_was(ends, way, fault):
    fault = fault and Own(way=way, function=fault.function)
    assert arrived(ends, fault, way, COUNT) == SENT


@WAYS
def test_only_what_was_to_be_lost_is(ends, way):
    assert arrived(ends, Loss(way=way, at=PLACES), way, COUNT - len(PLACES)) == OTHERS


@WAYS
def test_only_what_was_to_come_twice_does(ends, way):
    got = arrived(ends, Duplicate(way=way, at=PLACES), way, COUNT + len(PLACES))
    assert sorted(got) == sorted(SENT + ASKED_FOR)
    assert [data for data in got if data in OTHERS] == OTHERS, "in order"


@WAYS
@pytest.mark.parametrize("fault", [Reorder(at=PLACES, by=2), Hold(at=PLACES, ms=50)], ids=["reorder", "hold"])
def test_only_what_was_to_come_late_does(ends, way, fault):
    more = {"by": fault.by} if isinstance(fault, Reorder) else {"ms": fault.ms}
    got = arrived(ends, type(fault)(way=way, at=PLACES, **more), way, COUNT)
    assert sorted(got) == sorted(SENT), "byte for byte"
    assert [data for data in got if data in OTHERS] == OTHERS
    assert got != SENT


@WAYS
def test_only_the_byte_that_was_to_be_damaged_is(ends, way):
    got = arrived(ends, Damage(way=way, at=PLACES, byte=5, xor=0x40), way, COUNT)
    changed = [(before, after) for before, after in zip(SENT, got, strict=True) if before != after]
    assert [before for before, _ in changed] == ASKED_FOR
    for before, after in changed:
        assert [i for i in range(len(before)) if before[i] != after[i]] == [5]
        assert before[5] ^ after[5] == 0x40


@WAYS
def test_the_other_way_is_left_alone(ends, way):
    other = Way.DOWN if way is Way.UP else Way.UP
    assert arrived(ends, Loss(way=other, at=(1,), of=1), way, COUNT) == SENT

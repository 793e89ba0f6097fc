"""Where a datagram goes on, as tables; and what a link over UDP refuses."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP

from chaos import conditions, netfilter
from chaos.conditions import GPRS, OUTAGE, of, packet_fault, toxic
from chaos.datagrams import Router
from chaos.disturbance import Way
from chaos.errors import CannotRunHere, Misuse, Surroundings
from chaos.fates import Fates, Halves
from chaos.links import Hop, Links
from chaos.packetfaults import Loss, Stale
from chaos.packets import _Answers
from chaos.segments import is_broken, segment
from chaos.stacks.docker import _Plan
from chaos.stacks.docker_networks import Network
from chaos.stacks.process import ProcessStack
from chaos.streams import Places
from chaos.topology import Link, Node, Topology

# the relay dials ada's camera over both, and the numbers of the ports are the same
HALVES = {
    "ada.camera": Halves(False, "10.0.3.2", 8000, "10.0.4.2", 8000, "10.0.4.6"),
    "ada.camera.rtp": Halves(False, "10.0.3.2", 8000, "10.0.4.2", 8000, "10.0.4.6", datagrams=True),
}
ENDS = {"ada.camera.rtp": ("10.0.3.3", "10.0.4.3")}


def datagram(source, destination, data=b"video", layer=UDP, **more):
    return bytes(IP(src=source[0], dst=destination[0], **more) / layer(sport=source[1], dport=destination[1]) / data)


UP = datagram(("10.0.3.3", 6970), ("10.0.3.2", 8000))
DOWN = datagram(("10.0.4.3", 8000), ("10.0.4.2", 6970))


def ends(raw):
    """Return (source, destination, data) of a datagram, whose checksums are right."""
    packet = IP(raw)
    fresh = packet.copy()
    del fresh.chksum, fresh.len, fresh[UDP].chksum, fresh[UDP].len
    assert bytes(fresh) == raw
    over = packet[UDP]
    return (packet.src, over.sport), (packet.dst, over.dport), bytes(over.payload)


def test_each_end_sees_the_other_under_the_namespaces_address_and_the_client_keeps_its_port():
    router = Router(HALVES, ENDS)
    assert router.addresses == {"10.0.3.2", "10.0.4.2"}
    assert router.carries(UP)
    assert router.carries(DOWN)
    assert ends(router.onward(UP)) == (("10.0.4.2", 6970), ("10.0.4.3", 8000), b"video")
    assert ends(router.onward(DOWN)) == (("10.0.3.2", 8000), ("10.0.3.3", 6970), b"video")


def test_what_was_damaged_stays_so_and_what_has_no_checksum_gets_one():
    router = Router(HALVES, ENDS)
    torn = bytearray(UP)
    torn[-1] ^= 1
    for raw in (bytes(torn), bytes(torn[:26] + b"\0\1" + torn[28:])):
        there = router.onward(raw)
        assert is_broken(segment(there))
    bare = router.onward(bytes(torn[:26] + b"\0\0" + torn[28:]))
    assert ends(bare)[2] == bytes(torn[28:])


def test_who_has_moved_is_found_where_it_is():
    router = Router(HALVES, ENDS)
    router.redial("ada.camera.rtp", "10.0.4.4")
    assert ends(router.onward(datagram(("10.0.3.5", 6970), ("10.0.3.2", 8000))))[1] == ("10.0.4.4", 8000)
    assert ends(router.onward(DOWN))[1] == ("10.0.3.5", 6970)


@pytest.mark.parametrize(
    "raw",
    [
        datagram(("10.0.3.3", 6970), ("10.0.3.2", 8001)),
        datagram(("10.0.4.3", 9000), ("10.0.4.2", 6970)),
        datagram(("10.0.3.3", 6970), ("10.0.9.9", 8000)),
        datagram(("10.0.3.3", 6970), ("10.0.3.2", 8000), layer=TCP),
        b"",
        bytes(40),
    ],
    ids=["another port", "from another port", "another address", "TCP", "nothing", "zeros"],
)
def test_nothing_else_is_sent_on(raw):
    router = Router(HALVES, ENDS)
    assert not router.carries(raw)
    assert router.onward(raw) is None


def test_a_datagram_in_parts_is_told_and_not_swallowed():
    part = datagram(("10.0.3.3", 6970), ("10.0.3.2", 8000), flags="MF")
    with pytest.raises(Surroundings, match="1,472"):
        Router(HALVES, ENDS).carries(part)
    assert not Router({}, {}).carries(part)


def test_faults_of_a_link_over_udp_touch_no_stream_on_the_same_ports_and_the_other_way_round():
    stream = bytes(IP(src="10.0.4.3", dst="10.0.4.2") / TCP(sport=8000, dport=6970, flags="A") / b"x")
    for link, lost, kept in (("ada.camera.rtp", DOWN, stream), ("ada.camera", stream, DOWN)):
        fates = Fates(HALVES)
        fates.set(link, [Loss(at=(1,), of=1, way=Way.UP)])  # up leaves the camera
        assert fates.see(lost, arriving=True, now=0.0).dropped
        assert not fates.see(kept, arriving=True, now=0.0).dropped


def test_captures_tell_them_apart():
    places = Places(HALVES)
    stream = bytes(IP(src="10.0.4.3", dst="10.0.4.2") / TCP(sport=8000, dport=6970, flags="A"))
    assert places.place(DOWN) == ("ada.camera.rtp", "server", False)
    assert places.place(UP) == ("ada.camera.rtp", "client", True)
    assert places.place(stream) == ("ada.camera", "server", False)


def test_netfilter_is_told_of_datagrams_that_arrive():
    both = netfilter.watch(["198.18.0.2"], "queue", 1, ["198.18.0.10"])
    assert both.count(socket.inet_aton("198.18.0.10")) == 1
    assert struct.pack(">I", socket.IPPROTO_UDP)[3:] in both
    assert len(both) > len(netfilter.watch(["198.18.0.2"], "queue", 1))


NAMES = {"names": Halves(True, "10.0.5.2", 53, "10.0.6.2", 53, "10.0.6.6", datagrams=True)}


def question(name="ada-camera.", number=7):
    return DNS(id=number, rd=1, qd=DNSQR(qname=name))


def answer(address, name="ada-camera.", number=7):
    """A name server's answer as it arrives, and what of it matters."""
    said = DNS(id=number, qr=1, rd=1, ra=1, qd=DNSQR(qname=name), an=DNSRR(rrname=name, rdata=address, ttl=60))
    return datagram(("10.0.6.3", 53), ("10.0.6.2", 40000), said)


def through(fates, raw):
    """Let an answer cross both halves, and return (number, name, address) as the client gets it."""
    router = Router(NAMES, {"names": ("10.0.5.3", "10.0.6.3")})
    here = fates.see(raw, arriving=True, now=0.0).packet
    there = fates.see(router.onward(here), arriving=False, now=0.0).packet
    assert ends(there)[:2] == (("10.0.5.2", 53), ("10.0.5.3", 40000))
    said = DNS(bytes(IP(there)[UDP].payload))
    return said.id, said.qd[0].qname.decode(), said.an[0].rdata


def test_an_answer_is_what_it_was_before_the_fault_with_its_own_number():
    fates = Fates(NAMES, answers=_Answers())
    assert through(fates, answer("10.0.0.1")) == (7, "ada-camera.", "10.0.0.1")
    assert through(fates, answer("10.0.0.2", number=8)) == (8, "ada-camera.", "10.0.0.2")
    fates.set("names", [Stale(at=(1, 2))])
    assert through(fates, answer("10.0.0.2", number=9)) == (9, "ada-camera.", "10.0.0.2")
    assert fates.touches == [], "it says what it said before"
    assert through(fates, answer("10.0.0.3", number=10)) == (10, "ada-camera.", "10.0.0.2")
    assert through(fates, answer("10.0.0.3", name="grace-camera.", number=11)) == (11, "grace-camera.", "10.0.0.3")
    assert through(fates, answer("10.0.0.4", name="GRACE-camera.", number=12)) == (12, "GRACE-camera.", "10.0.0.3")
    assert through(fates, answer("10.0.0.5", number=13)) == (13, "ada-camera.", "10.0.0.5"), "the third"
    assert [(t.kind, t.place) for t in fates.touches] == [("stale", 1), ("stale", 2)]
    fates.set("names", [])
    assert through(fates, answer("10.0.0.6", number=14)) == (14, "ada-camera.", "10.0.0.6")


def test_what_was_said_is_forgotten_with_the_case():
    fates = Fates(NAMES, answers=_Answers())
    through(fates, answer("10.0.0.1"))
    fates.forget()
    fates.set("names", [Stale(at=(1,), of=1)])
    assert through(fates, answer("10.0.0.2"))[2] == "10.0.0.2"


@pytest.mark.parametrize("data", [bytes(question()), b"\x80" * 40, b"", bytes(12), b"\0\7\x80\0\0\1\0\1" + bytes(20)])
def test_what_is_no_answer_is_left_as_it_is(data):
    fates = Fates(NAMES, answers=_Answers())
    fates.set("names", [Stale(at=(1,), of=1)])
    raw = datagram(("10.0.6.3", 53), ("10.0.6.2", 40000), data)
    through_both = [fates.see(raw, arriving=True, now=0.0).packet for _ in range(2)]
    assert through_both == [raw, raw]
    assert fates.touches == []


def test_stale_answers_are_of_links_over_udp():
    with pytest.raises(Misuse, match="one over TCP"):
        links(Layer()).check("ada.camera", of(packet_fault("stale", at=(1,))))
    links(Layer()).check("ada.camera.rtp", of(packet_fault("stale", at=(1,))))


@given(conditions.packet_faults(datagrams=True))
def test_what_is_drawn_for_datagrams_can_be_had_on_them(fault):
    links(Layer()).check("ada.camera.rtp", of(fault))


class Layer:
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def refuse(self, faults):
        pass

    def set(self, link, faults):
        self.told.append((link, faults))

    def redial(self, link, server):
        self.told.append((link, server))


def links(packets):
    return Links(None, {"ada.camera": Hop("10.0.3.2:8000", "10.0.4.3:8000", False)}, packets, ["ada.camera.rtp"])


@pytest.mark.parametrize(
    ("under", "why"),
    [
        (OUTAGE, "outage"),
        (of(toxic("latency", latency=75)), "latency"),
        (GPRS, "Toxiproxy does not carry"),
        (of(packet_fault("reset", way="down")), "reset ends"),
        (of(packet_fault("half_open", way="down")), "half_open ends"),
        (of(packet_fault("port_reuse")), "port_reuse ends"),
    ],
)
def test_what_a_link_over_udp_cannot_have_is_refused_before_anything_runs(under, why):
    layer = Layer()
    with pytest.raises(Misuse, match=why):
        links(layer).set("ada.camera.rtp", under)
    assert layer.told == []


def test_a_link_over_udp_has_packet_faults_and_no_proxy():
    layer = Layer()
    under = of(packet_fault("loss", way="up", at=(1,)))
    found = links(layer)
    found.set("ada.camera.rtp", under)
    found.redial("ada.camera.rtp", "10.0.4.4:8000")
    assert layer.told == [("ada.camera.rtp", under.packets), ("ada.camera.rtp", "10.0.4.4")]
    assert found.conditions("ada.camera.rtp") == under
    assert "ada.camera.rtp" not in found.hops
    with pytest.raises(Misuse, match="cannot be done"):
        links("no engine").check("ada.camera.rtp", under)


CAMERA = Node("camera", "camera", (), ("rtsp", "rtp"), {}, "camera", numbers={"rtp": 8000})
RELAY = Node("relay", "relay", (), ("dns",), {}, "relay")
CONTROL = Link("ada.camera", "relay", "camera", "rtsp", device="camera")
VIDEO = Link("ada.camera.rtp", "relay", "camera", "rtp", device="camera", protocol="udp")
ALONE = Link("camera.dns", "camera", "relay", "dns", protocol="udp")
HOME = Topology(("ada", "grace", "lin"), (CAMERA, RELAY), (CONTROL, VIDEO, ALONE))


def test_a_topology_tells_which_links_are_over_udp_and_beside_what_they_go():
    assert HOME.datagrams == {"ada.camera.rtp", "camera.dns"}
    assert HOME.over_tcp().links == (CONTROL,)
    assert HOME.beside(VIDEO) == CONTROL
    assert HOME.beside(ALONE) == ALONE


def test_datagrams_go_between_the_addresses_of_the_tcp_link_or_have_networks_of_their_own():
    plan = _Plan(HOME)
    networks = {
        name: Network(name, name, IPv4Network((0x0A000000 + 8 * i, 29)), front=False)
        for i, name in enumerate(plan.networks)
    }
    halves = plan.halves(networks)
    control, video, alone = (halves[k.name] for k in HOME.links)
    assert (video.client, video.server) == (control.client, control.server)
    assert (video.listens, video.dials, video.datagrams) == (8000, 8000, True)
    assert alone.client not in (control.client, control.server)
    assert alone.listens == alone.dials
    assert list(plan.hops(networks)) == ["ada.camera"]
    host = plan.dialled["ada.camera"].split(":")[0]
    assert plan.dialled["ada.camera.rtp"] == f"{host}:8000"
    assert plan.dialled["camera.dns"].split(":")[1] == str(alone.listens)
    assert plan.datagrams(networks)["ada.camera.rtp"] == (
        networks["ada-camera--client"].node,
        networks["ada-camera--server"].node,
    )
    assert "ada-camera-rtp--client" not in networks
    assert plan.names("camera-dns--client") == (plan.dialled["camera.dns"].split(":")[0],)


def test_the_process_stack_says_that_it_has_no_such_link():
    with pytest.raises(CannotRunHere, match=r"ada.camera.rtp, camera.dns cannot be had on --stack process"):
        ProcessStack(None).start(HOME, Path(), None, Path())

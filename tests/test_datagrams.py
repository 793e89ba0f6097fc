"""Where a datagram goes on, as tables; and what a link over UDP refuses."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP

from chaos import netfilter
from chaos.conditions import GPRS, OUTAGE, of, packet_fault, toxic
from chaos.datagrams import Router
from chaos.disturbance import Way
from chaos.errors import CannotRunHere, Misuse, Surroundings
from chaos.fates import Fates, Halves
from chaos.links import Hop, Links
from chaos.packetfaults import Loss
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
    ("conditions", "why"),
    [
        (OUTAGE, "outage"),
        (of(toxic("latency", latency=75)), "latency"),
        (GPRS, "Toxiproxy does not carry"),
        (of(packet_fault("reset", way="down")), "reset ends"),
        (of(packet_fault("half_open", way="down")), "half_open ends"),
        (of(packet_fault("port_reuse")), "port_reuse ends"),
    ],
)
def test_what_a_link_over_udp_cannot_have_is_refused_before_anything_runs(conditions, why):
    layer = Layer()
    with pytest.raises(Misuse, match=why):
        links(layer).set("ada.camera.rtp", conditions)
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

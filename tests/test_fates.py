"""What becomes of each packet, as tables: only what was asked for, on the right half, of the right connection."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP

from chaos.conditions import packet_faults
from chaos.disturbance import Way
from chaos.fates import Fate, Fates, Halves, Held, counted
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
from chaos.segments import readdressed, segment

# a hub dials Toxiproxy at 10.0.1.2:7020, which dials the relay from 10.0.2.2; the relay dials cameras likewise
LINKS = {
    "ada.hub": Halves(True, "10.0.1.2", 7020, "10.0.2.2", 7010, "10.0.2.6"),
    "ada.camera": Halves(False, "10.0.3.2", 7017, "10.0.4.2", 7004, "10.0.4.6"),
}
ENDS = {
    ("ada.hub", "client"): ("10.0.1.3", 40000, "10.0.1.2", 7020),
    ("ada.hub", "server"): ("10.0.2.2", 41000, "10.0.2.3", 7010),
    ("ada.camera", "client"): ("10.0.3.3", 42000, "10.0.3.2", 7017),
    ("ada.camera", "server"): ("10.0.4.2", 43000, "10.0.4.3", 7004),
}


def packet(link="ada.hub", half="client", to_server=True, data=b"", seq=100, flags="A", port=0, udp=False):
    """A packet of that half's connection; `port` tells connections apart."""
    source, sport, destination, dport = ENDS[link, half]
    sport += port
    ends = (source, sport, destination, dport) if to_server else (destination, dport, source, sport)
    layer = UDP(sport=ends[1], dport=ends[3]) if udp else TCP(sport=ends[1], dport=ends[3], seq=seq, flags=flags)
    return bytes(IP(src=ends[0], dst=ends[2]) / layer / data)


def see(fates, raw, half="client", to_server=True, now=0.0) -> Fate:
    """Toxiproxy's namespace takes what clients send in the first half, and what servers answer in the second."""
    return fates.see(raw, arriving=to_server is (half == "client"), now=now)


def lost(fates, count, **at):
    half = at.get("half", "client")
    fates_of = [see(fates, packet(**at), half, at.get("to_server", True)) for _ in range(count)]
    return [i for i, fate in enumerate(fates_of, 1) if fate.dropped]


def under(*faults, link="ada.hub", **more):
    fates = Fates(LINKS, **more)
    fates.set(link, faults)
    return fates


@pytest.mark.parametrize(
    ("at", "of", "expected"), [((2, 5), 0, [2, 5]), ((1,), 3, [1, 4, 7, 10]), ((3,), 3, [3, 6, 9]), ((20,), 0, [])]
)
def test_packets_at_places_are_lost_and_no_others(at, of, expected):
    assert lost(under(Loss(at=at, of=of, way=Way.UP)), 10) == expected


def test_each_connection_counts_for_itself_where_it_is_said():
    fates = under(Loss(at=(2,), each=True, way=Way.UP))
    fates_of = [see(fates, packet(port=i % 3)).dropped for i in range(9)]
    assert fates_of == [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("link", "half", "to_server", "way"),
    [
        ("ada.hub", "client", True, Way.UP),
        ("ada.hub", "client", False, Way.DOWN),
        ("ada.camera", "server", True, Way.DOWN),
        ("ada.camera", "server", False, Way.UP),
    ],
)
def test_ways_are_the_devices_and_loss_is_between_it_and_toxiproxy(link, half, to_server, way):
    at = {"link": link, "half": half, "to_server": to_server}
    assert lost(under(Loss(at=(1,), of=1, way=way), link=link), 2, **at) == [1, 2]
    other = Way.UP if way is Way.DOWN else Way.DOWN
    assert lost(under(Loss(at=(1,), of=1, way=other), link=link), 2, **at) == []
    at["half"] = "client" if half == "server" else "server"
    assert lost(under(Loss(at=(1,), of=1, way=way), link=link), 2, **at) == []


@settings(deadline=None)
@given(packet_faults(), st.lists(st.tuples(st.booleans(), st.sampled_from([0, 1]), st.binary(max_size=9)), max_size=20))
def test_no_packet_of_another_link_or_of_none_is_changed(fault, crossing):
    fates = under(fault, link="ada.camera")
    for to_server, port, data in crossing:
        for half in ("client", "server"):
            raw = packet(half=half, to_server=to_server, port=port, data=data)
            assert see(fates, raw, half, to_server) == Fate(raw)
        stray = packet("ada.camera", "client", to_server, data=data).replace(b"\x1b\x69", b"\x00\x35")  # 7017 to 53
        assert see(fates, stray, "client", to_server) == Fate(stray)
    assert fates.touches == []
    assert fates.see(b"no packet", arriving=True, now=0.0) == Fate(b"no packet")


def test_what_is_done_to_single_packets():
    raw = packet(data=b"GET")
    assert see(under(Duplicate(at=(1,), way=Way.UP)), raw).copies == [raw]
    reorder = see(under(Reorder(at=(1,), by=3, way=Way.UP)), raw, now=5.0)
    assert (reorder.behind, reorder.until) == (3, 5.1)
    assert see(under(Hold(at=(1,), ms=30, way=Way.UP)), raw, now=5.0).until == pytest.approx(5.03)
    damaged = see(under(Damage(at=(1,), byte=4, xor=1, way=Way.UP)), raw)
    assert segment(damaged.packet).data == b"GDT", "the byte after the last is the first again"


def test_packets_that_carry_nothing_are_not_counted_for_damage():
    fates = under(Damage(at=(1,), xor=1, way=Way.UP))
    assert see(fates, packet()).packet == packet()
    assert segment(see(fates, packet(data=b"a")).packet).data == b"`"


def test_faults_go_one_after_the_other_and_nothing_follows_a_loss():
    fates = under(Loss(at=(2,), way=Way.UP), Duplicate(at=(1, 2), way=Way.UP))
    assert [len(see(fates, packet()).copies) for _ in range(3)] == [1, 0, 1]


def test_a_reset_is_sent_where_its_receiver_is_and_only_in_its_place_of_the_stream():
    for link, way, half, to_server in [
        ("ada.hub", Way.DOWN, "client", False),
        ("ada.hub", Way.UP, "server", True),
        ("ada.camera", Way.DOWN, "server", True),
        ("ada.camera", Way.UP, "client", False),
    ]:
        fates = under(Reset(nth=3, way=way), link=link)

        def crosses(seq, data, *, fates=fates, link=link, half=half, to_server=to_server):
            fate = see(fates, packet(link, half, to_server, data, seq), half, to_server)
            return segment(fate.packet).flags & 4

        assert not crosses(100, b"first")
        assert not crosses(100, b"first"), "it comes again, and is no second one"
        assert not crosses(115, b"early"), "one before it is missing: a RST here would not be believed"
        assert not crosses(105, b"secondsecond"[:10])
        assert not crosses(105, b"")
        assert crosses(120, b"third"), "the next in line, since what came early has its place now"
        assert not crosses(125, b"fourth")


def test_sequence_numbers_go_round():
    fates = under(Reset(nth=3, way=Way.DOWN))
    flags = [
        segment(see(fates, packet(to_server=False, data=b"12345678", seq=seq), to_server=False).packet).flags & 4
        for seq in (2**32 - 12, 2**32 - 4, 4)
    ]
    assert flags == [0, 0, 4]


def test_half_open_drops_the_rest_both_ways_until_the_ports_are_used_anew():
    fates = under(HalfOpen(nth=1, way=Way.DOWN))
    told = see(fates, packet(to_server=False, data=b"x"), to_server=False)
    assert segment(told.packet).flags & 4
    assert see(fates, packet(to_server=False, data=b"x"), to_server=False).dropped
    assert see(fates, packet(data=b"hello?")).dropped
    assert not see(fates, packet(data=b"another", port=1)).dropped
    assert not see(fates, packet(flags="S")).dropped
    assert not see(fates, packet(data=b"new")).dropped


def test_a_reset_is_nothing_to_udp():
    fates = under(Reset(nth=1, way=Way.UP))
    raw = packet(half="server", data=b"x", udp=True)
    assert see(fates, raw, "server") == Fate(raw, lane=("ada.hub", Way.UP, "server"))


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("address", [False, True])
def test_who_is_bound_anew_is_seen_elsewhere_and_gets_what_is_sent_there(udp, address):
    fates = under(Rebind(nth=2, address=address))
    mine = {"half": "server", "udp": udp}
    first = packet(data=b"1", **mine)
    assert see(fates, first, "server").packet == first
    moved = segment(see(fates, packet(data=b"2", **mine), "server").packet)
    assert moved.source == (socket.inet_aton("10.0.2.6" if address else "10.0.2.2"), 41000 - 30000)
    if not udp:
        assert segment(see(fates, packet(half="server"), "server").packet).source == moved.source, "from then on"
    answer = readdressed(segment(packet(to_server=False, data=b"3", **mine)), destination=moved.source)
    assert see(fates, answer, "server", to_server=False).packet == packet(to_server=False, data=b"3", **mine)
    old = packet(to_server=False, data=b"4", **mine)
    assert see(fates, old, "server", to_server=False).packet == old, "what is sent to where it was comes too"
    assert fates.watched() == ({"10.0.2.2", "10.0.2.6"} if address else {"10.0.2.2"})
    fates.set("ada.hub", ())
    assert see(fates, packet(data=b"5", **mine), "server").packet == packet(data=b"5", **mine)


def test_a_new_connection_takes_the_place_of_an_old_one_if_there_is_one():
    old = (socket.inet_aton("10.0.2.2"), 45000)
    fates = under(PortReuse(), before=lambda link: [old])
    raw = packet(half="server", data=b"x")
    assert see(fates, raw, "server").packet == raw, "one that is there already"
    assert segment(see(fates, packet(half="server", flags="S", port=1), "server").packet).source == old
    assert segment(see(fates, packet(half="server", port=1), "server").packet).source == old
    second = packet(half="server", flags="S", port=2)
    assert see(fates, second, "server").packet == second, "and only one has it at a time"
    assert len(fates.touches) == 2
    nobody = under(PortReuse())
    assert see(nobody, second, "server").packet == second
    assert nobody.touches == []


def test_a_function_may_lose_change_and_multiply_packets_and_is_not_counted_when_it_does_nothing():
    def function(raw, number):
        return [[raw], [], [raw, raw], [raw[:-1] + b"!"]][number - 1]

    fates = Fates(LINKS)
    fates.set("ada.hub", [Own(function="a:b", way=Way.UP)], {"a:b": function})
    raw = packet(data=b"?")
    same, gone, twice, other = (see(fates, raw) for _ in range(4))
    assert (same.packet, same.copies, same.dropped) == (raw, [], False)
    assert gone.dropped
    assert twice.copies == [raw]
    assert other.packet.endswith(b"!")
    assert [t.place for t in fates.touches] == [2, 3, 4]


def test_only_the_addresses_of_links_under_faults_are_watched():
    fates = Fates(LINKS)
    assert fates.watched() == frozenset()
    fates.set("ada.camera", [Loss(at=(1,)), HalfOpen(way=Way.UP)])
    assert fates.watched() == {"10.0.4.2", "10.0.3.2"}
    fates.set("ada.hub", [PortReuse()])
    assert fates.watched() == {"10.0.4.2", "10.0.3.2", "10.0.2.2"}
    fates.set("ada.camera", ())
    assert fates.watched() == {"10.0.2.2"}


def test_what_was_touched_is_told_by_connection():
    fates = under(Loss(at=(1,), each=True, way=Way.UP))
    for port in (0, 1):
        see(fates, packet(port=port), now=port)
    (first, second) = counted(fates.touches)
    assert first[:4] == ("ada.hub", "loss", Way.UP, "10.0.1.3:40000 to 10.0.1.2:7020")
    assert second[3] == "10.0.1.3:40001 to 10.0.1.2:7020"
    assert [t.at for t in second[4]] == [1]


def test_held_packets_go_when_overtaken_or_when_their_time_has_come():
    held, lane, other = Held(), ("ada.hub", Way.UP, "client"), ("ada.hub", Way.DOWN, "client")
    held.add(1, Fate(b"a", until=5.0, behind=2, lane=lane))
    held.add(2, Fate(b"b", until=9.0, lane=lane))
    assert held.next() == 5.0
    assert held.passed(other) == held.passed(lane) == []
    assert [n for n, _ in held.passed(lane)] == [1]
    assert held.due(8.9) == []
    assert [n for n, _ in held.due(9.0)] == [2]
    assert held.next() is None
    held.add(3, Fate(b"c", until=9.0, lane=lane))
    assert held.of("ada.camera") == []
    assert [n for n, _ in held.of("ada.hub")] == [3]
    held.add(4, Fate(b"d", until=9.0, lane=lane))
    assert [n for n, _ in held.all()] == [4]

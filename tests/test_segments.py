"""Packets read and changed as scapy reads and builds them, and nothing else of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from chaos import segments
from chaos.segments import damaged, mended, readdressed, reset, segment

HTTP = (
    IP(src="198.18.0.3", dst="198.18.0.2") / TCP(sport=40000, dport=7001, seq=1000, ack=77, flags="PA") / b"GET / ...."
)
RTP = IP(src="198.18.0.3", dst="198.18.0.2") / UDP(sport=40000, dport=7001) / b"\x80\x60 picture"
PACKETS = pytest.mark.parametrize("packet", [HTTP, RTP], ids=["tcp", "udp"])


def rebuilt(raw: bytes) -> bytes:
    """Return the packet as scapy makes it, with every length and checksum anew."""
    fresh = IP(raw)
    for layer, fields in ((IP, ("len", "chksum")), (TCP, ("chksum",)), (UDP, ("len", "chksum"))):
        if layer in fresh:
            for field in fields:
                fresh[layer].delfieldval(field)
    return bytes(fresh)


@PACKETS
def test_a_packet_is_read_as_scapy_reads_it(packet):
    found = segment(bytes(packet))
    assert segments.told(found.source) == "198.18.0.3:40000"
    assert segments.told(found.destination) == "198.18.0.2:7001"
    assert found.data == bytes(packet[Raw])
    if TCP in packet:
        assert (found.sequence, found.ack, found.flags) == (1000, 77, segments.ACK | 8)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=80), st.integers(0, 500), st.integers(1, 255), st.booleans())
def test_damage_is_one_byte_with_right_checksums(data, byte, xor, tcp):
    raw = bytes(IP() / (TCP() if tcp else UDP()) / data)
    changed = damaged(segment(raw), byte, xor, mend=True)
    assert changed == rebuilt(changed)
    assert [a ^ b for a, b in zip(data, segment(changed).data, strict=True) if a != b] == [xor]
    broken = damaged(segment(raw), byte, xor, mend=False)
    assert sum(a != b for a, b in zip(raw, broken, strict=True)) == 1


def test_a_reset_has_the_place_of_the_packet_and_nothing_in_it():
    made = IP(reset(segment(bytes(HTTP))))
    assert bytes(made) == rebuilt(bytes(made))
    assert (made[TCP].seq, str(made[TCP].flags), made[TCP].sport, len(made)) == (1000, "RA", 40000, 40)


@PACKETS
def test_another_address_and_port_is_all_that_changes(packet):
    raw = bytes(packet)
    changed = readdressed(segment(raw), source=(b"\xc6\x12\x00\x06", 9))
    assert changed == rebuilt(changed)
    back = readdressed(segment(changed), source=segment(raw).source)
    assert back == raw
    there = readdressed(segment(raw), destination=(b"\xc6\x12\x00\x06", 9))
    assert segments.told(segment(there).destination) == "198.18.0.6:9"


@PACKETS
@settings(deadline=None)
@given(st.data())
def test_what_is_cut_or_damaged_anywhere_is_no_segment_or_a_whole_one(packet, data):
    raw = bytearray(bytes(packet)[: data.draw(st.integers(0, len(packet)))])
    for _ in range(data.draw(st.integers(0, 3)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = segment(bytes(raw))
    if found is not None:
        assert len(found.data) == found.size <= len(raw)


def test_what_is_neither_tcp_nor_udp_or_a_later_fragment_is_none():
    assert segment(bytes(IP() / ICMP() / (b"x" * 30))) is None
    assert segment(bytes(IP(frag=3) / UDP() / b"rest of a picture")) is None
    assert segment(b"\x60" + bytes(60)) is None


def test_a_checksum_of_zero_is_sent_as_the_other_zero_over_udp():
    packet = bytearray(bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=0, dport=2)))
    rest = int.from_bytes(mended(packet, 20)[26:28], "big")
    packet[20:22] = rest.to_bytes(2, "big")  # this port takes the sum to 0, which would mean that there is none
    made = mended(packet, 20)
    assert made[26:28] == b"\xff\xff"
    assert made == rebuilt(made)

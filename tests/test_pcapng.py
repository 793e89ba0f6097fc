"""Captures as files: read back as they were written, by others too; and what is told of files that are none."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.utils import RawPcapNgReader, wrpcap

from chaos.errors import Misuse
from chaos.pcapng import Interface, Packet, read, written

HOPS = (Interface("ada.hub client", "ada.hub: ada.hub to Toxiproxy"), Interface("ada.hub server"))
NAMES = {"10.0.0.2": "toxiproxy", "10.0.0.3": "ada.hub"}
SEEN = (
    Packet(0, 1_700_000_000_123_456_789, False, bytes(IP(src="10.0.0.3", dst="10.0.0.2") / TCP() / b"GET")),
    Packet(1, 1_700_000_000_123_999_999, True, bytes(IP() / TCP() / b"x")),
)
FILE = written(HOPS, NAMES, SEEN, "a leak, in a sentence")


def test_a_file_is_read_as_it_was_written():
    assert read(FILE) == ("a leak, in a sentence", HOPS, SEEN, False)


def test_another_reader_finds_packets_interfaces_and_names(tmp_path):
    path = tmp_path / "capture.pcapng"
    path.write_bytes(FILE)
    with RawPcapNgReader(str(path)) as reader:
        found = list(reader)
    assert [data for data, _ in found] == [p.data for p in SEEN]
    assert [about.ifname for _, about in found] == [b"ada.hub client", b"ada.hub server"]
    assert [about.direction for _, about in found] == [1, 2]
    assert [(a.tshigh << 32) + a.tslow for _, a in found] == [p.time_ns for p in SEEN]
    assert {about.linktype for _, about in found} == {101}
    record = struct.pack("<HH", 1, 4 + len("ada.hub") + 1) + bytes((10, 0, 0, 3)) + b"ada.hub\0"
    assert record in FILE


@given(st.integers(min_value=12, max_value=len(FILE) - 1))
def test_a_file_that_was_cut_is_read_as_far_as_it_goes(length):
    found = read(FILE[:length])
    assert found.packets == SEEN[: len(found.packets)]
    assert found.cut or len(FILE[:length]) == sum(_sizes(FILE[:length]))


def _sizes(data):
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        yield size
        at += size


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no capture"),
        (b"GIF89a..........", "no capture"),
        (FILE[:8] + b"\0\0\0\0" + FILE[12:], "no byte order"),
        (FILE[:28] + b"\x07" + FILE[29:], "damaged at byte 0"),
    ],
)
def test_what_is_no_capture_is_a_sentence(data, said):
    with pytest.raises(Misuse, match=said):
        read(data if said != "damaged at byte 0" else FILE[:4] + b"\x07" + FILE[5:])


def test_an_old_pcap_is_a_sentence(tmp_path):
    path = tmp_path / "old.pcap"
    wrpcap(str(path), [IP(SEEN[0].data)])
    with pytest.raises(Misuse, match="old pcap format, which names no hops"):
        read(path.read_bytes())


def test_a_capture_of_ethernet_is_a_sentence():
    (place,) = [i for i in range(0, len(FILE), 4) if FILE[i : i + 4] == b"\x01\0\0\0" and FILE[i + 8] == 101][:1]
    with pytest.raises(Misuse, match="another link type"):
        read(FILE[: place + 8] + b"\x01" + FILE[place + 9 :])


@given(st.binary(max_size=400))
def test_damaged_packets_are_a_sentence_or_packets(junk):
    with contextlib.suppress(Misuse):
        assert read(FILE[:-40] + junk).packets[:1] == SEEN[:1]

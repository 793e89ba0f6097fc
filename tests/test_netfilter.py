"""Netfilter's bytes: what is sent says what was meant, and what comes back is read, refusals too."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import netfilter


def parts(data):
    """Return (type, sequence) of each message, checking that each is as long as it says."""
    found, at = [], 0
    while at < len(data):
        length, kind, _, sequence = struct.unpack_from("=IHHI", data, at)
        assert length >= 20
        assert length % 4 == 0
        found.append((kind, sequence))
        at += length
    assert at == len(data)
    return found


def told(kind, body, sequence=1):
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body + bytes(-len(body) % 4)


@pytest.mark.parametrize("way", netfilter.WAYS)
def test_watching_is_one_transaction_that_names_each_address_in_both_chains(way):
    data = netfilter.watch(["198.18.0.2", "198.18.0.10"], way, 7)
    kinds = parts(data)
    assert kinds[0][0] == 0x10
    assert kinds[-1][0] == 0x11
    assert {sequence for _, sequence in kinds} == {7}
    assert [k for k, _ in kinds[1:-1]] == [0xA08] * 2 + [0xA06] * 6, "all old rules go; ours, then one an address"
    assert data.count(bytes([198, 18, 0, 2])) == data.count(bytes([198, 18, 0, 10])) == 2
    assert parts(netfilter.watch([], way, 8))[1:-1] == [(0xA08, 8)] * 2


def test_a_packet_is_read_with_its_number_and_its_way():
    def attribute(kind, value):
        return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

    arrives = bytes(4) + attribute(1, struct.pack(">IHB", 5, 0x800, 0)) + attribute(10, b"whole packet")
    leaves = bytes(4) + attribute(10, b"other") + attribute(1, struct.pack(">IHB", 6, 0x800, 4))
    data = told(0x300, arrives) + told(0x300, leaves)
    assert list(netfilter.waiting(data)) == [(5, True, b"whole packet"), (6, False, b"other")]


def test_a_verdict_names_its_packet_and_what_goes_instead():
    assert struct.pack(">II", 1, 9) in netfilter.let(9)
    assert struct.pack(">II", 0, 9) in netfilter.drop(9)
    assert b"another packet" in netfilter.let(9, b"another packet")
    parts(netfilter.let(9) + netfilter.drop(9) + netfilter.let(9, b"another packet") + netfilter.bind())


def test_a_refusal_is_an_error_and_one_of_an_earlier_request_is_passed_over():
    done, refused = struct.pack("=i", 0) + bytes(16), struct.pack("=i", -errno.EPERM) + bytes(16)
    assert netfilter.acknowledged(told(2, done, 3), 3)
    assert not netfilter.acknowledged(told(2, refused, 2), 3)
    assert not netfilter.acknowledged(told(0x300, bytes(4), 3), 3)
    with pytest.raises(PermissionError):
        netfilter.acknowledged(told(2, refused, 3), 3)
    with pytest.raises(PermissionError):
        list(netfilter.waiting(told(2, refused, 0)))


@given(st.binary(max_size=200))
def test_nothing_that_comes_makes_it_hang_or_crash(data):
    try:
        assert len(list(netfilter.waiting(data))) <= len(data)
    except OSError:
        pass
    except struct.error:
        pytest.fail("a message that says more than it has is read as far as it goes")

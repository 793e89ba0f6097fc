"""Streams out of packets: in order, each byte once, with the packet that brought it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP

from chaos.fates import Halves
from chaos.streams import Places, Taken, connections

LINKS = {
    "ada.hub": Halves(True, "10.0.1.2", 7020, "10.0.2.2", 7010, "10.0.2.6"),
    "ada.camera": Halves(False, "10.0.3.2", 7017, "10.0.4.2", 7004, "10.0.4.6"),
}
PLACES = Places(LINKS)


def raw(data=b"", seq=1, flags="A", up=True, port=40_000):
    ends = ("10.0.1.3", port, "10.0.1.2", 7020) if up else ("10.0.1.2", 7020, "10.0.1.3", port)
    return bytes(IP(src=ends[0], dst=ends[2]) / TCP(sport=ends[1], dport=ends[3], seq=seq, flags=flags) / data)


def taken(*packets):
    return [Taken(n, n / 10, *PLACES.place(p), p) for n, p in enumerate(packets, 1)]


def stream(*packets):
    (one,) = connections(taken(*packets))
    return one.up


@pytest.mark.parametrize(
    ("source", "destination", "place"),
    [
        (("10.0.1.3", 40_000), ("10.0.1.2", 7020), ("ada.hub", "client", True)),
        (("10.0.1.2", 7020), ("10.0.1.3", 40_000), ("ada.hub", "client", False)),
        (("10.0.2.2", 41_000), ("10.0.2.3", 7010), ("ada.hub", "server", True)),
        (("10.0.2.3", 7010), ("10.0.2.2", 41_000), ("ada.hub", "server", False)),
        (("10.0.2.6", 41_000), ("10.0.2.3", 7010), ("ada.hub", "server", True)),  # bound anew, with another address
        (("10.0.4.2", 43_000), ("10.0.4.3", 7004), ("ada.camera", "server", True)),
        (("10.0.9.2", 43_000), ("10.0.9.3", 8474), None),  # the harness speaks to Toxiproxy itself
    ],
)
def test_a_packet_is_of_one_half_of_one_link(source, destination, place):
    packet = IP(src=source[0], dst=destination[0]) / TCP(sport=source[1], dport=destination[1])
    assert PLACES.place(bytes(packet)) == place
    assert PLACES.place(b"\x60" + bytes(40)) is None, "IPv6 is no link's"
    assert PLACES.place(b"") is None


def test_bytes_come_in_order_and_know_their_packet():
    found = stream(raw(seq=0, flags="S"), raw(b"abc", 1), raw(b"def", 4), raw(b"", 7, "FA"))
    assert (bytes(found.data), found.begun, found.holes, found.ends) == (b"abcdef", True, [], "fin")
    assert [found.packet(i)[0] for i in range(6)] == [2, 2, 2, 3, 3, 3]
    assert found.packet(4) == (3, 0.3)


def test_what_came_twice_and_out_of_order_is_taken_once():
    found = stream(
        raw(seq=0, flags="S"), raw(b"ghi", 7), raw(b"abc", 1), raw(b"abcd", 1), raw(b"cdefgh", 3), raw(b"hi", 8)
    )
    assert bytes(found.data) == b"abcdefghi"
    assert [found.packet(i)[0] for i in (0, 3, 4, 8)] == [3, 4, 5, 2]
    assert not found.holes


def test_what_never_came_leaves_a_hole():
    found = stream(raw(seq=0, flags="S"), raw(b"abc", 1), raw(b"ghi", 7), raw(b"mno", 13))
    assert (bytes(found.data), found.holes) == (b"abcghimno", [3, 6])


def test_a_connection_whose_beginning_was_not_captured_begins_where_it_is_seen():
    found = stream(raw(b"later", 900), raw(b"on", 905))
    assert (bytes(found.data), found.begun) == (b"lateron", False)


def test_sequence_numbers_begin_again():
    last = 2**32 - 2
    found = stream(raw(seq=last, flags="S"), raw(b"abcd", last + 1), raw(b"ef", 3))
    assert bytes(found.data) == b"abcdef"


def test_a_port_that_is_used_again_is_another_connection():
    first = [raw(seq=0, flags="S"), raw(b"one", 1), raw(b"", 4, "R")]
    again = [raw(seq=5000, flags="S"), raw(seq=5000, flags="S"), raw(b"two", 5001), raw(b"answer", 77, up=False)]
    one, two = connections(taken(*first, *again))
    assert (bytes(one.up.data), one.up.ends, bytes(two.up.data), bytes(two.down.data)) == (
        b"one",
        "reset",
        b"two",
        b"answer",
    )
    assert (one.client, one.began, two.began) == ("10.0.1.3:40000", 0.1, 0.4)


def test_both_halves_and_both_ways_are_apart():
    found = connections(taken(raw(b"up", 1), raw(b"down", 1, up=False), raw(b"other", 1, port=40_001)))
    assert [(c.half, bytes(c.up.data), bytes(c.down.data)) for c in found] == [
        ("client", b"up", b"down"),
        ("client", b"other", b""),
    ]


def test_what_is_not_tcp_is_nobodys():
    packet = bytes(IP(src="10.0.1.3", dst="10.0.1.2") / UDP(sport=1, dport=7020) / b"rtp")
    assert connections([Taken(1, 0.0, "ada.hub", "client", True, packet)]) == []


@given(st.binary(min_size=1, max_size=60), st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_any_order_of_any_pieces_is_the_same_stream(data, chance, first):
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(4))})
    pieces = [(a, data[a : b + chance.randrange(5)]) for a, b in itertools.pairwise(cuts)]
    pieces += chance.sample(pieces, chance.randrange(len(pieces) + 1))
    chance.shuffle(pieces)
    packets = [raw(part, (first + 1 + at) % 2**32) for at, part in pieces if part]
    found = stream(raw(seq=first, flags="S"), *packets)
    assert bytes(found.data) == data
    assert not found.holes
    for i in range(len(data)):
        number, _ = found.packet(i)
        at, part = next(
            (a, p) for (a, p), r in zip([x for x in pieces if x[1]], packets, strict=True) if r == packets[number - 2]
        )
        assert at <= i < at + len(part)

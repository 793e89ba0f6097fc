"""Packet faults are constants: their shares are exact, their values checked, and calmer means calmer."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import conditions
from chaos.conditions import CLEAR, Conditions, Latency, of, packet_fault, packet_faults
from chaos.disturbance import Way
from chaos.errors import Misuse
from chaos.packetfaults import (
    NTH,
    PACKET_FAULTS,
    Damage,
    Hold,
    Loss,
    Own,
    Rebind,
    Reorder,
    Reset,
    bursts,
    scattered,
)

SHARES = {
    "WIFI_GOOD": {"loss": 0.2},
    "DSL_POOR": {"loss": 2},
    "GPRS": {"loss": 2},
    "TWO_G_RURAL": {"loss": 2},
    "EDGE_LOSSY": {"loss": 1},
    "LEO_SATELLITE": {"loss": 2.5},
    "WIFI_UNSTABLE": {"loss": 3, "damage": 3, "duplicate": 2, "reorder": 10},
    "WIFI_VERY_UNSTABLE": {"loss": 5, "damage": 5, "duplicate": 5, "reorder": 20},
    "LOSSY": {"loss": 20},
    "FLAKY": {"loss": 30},
}
"""Percent of packets, each way, as published; docs/conditions.md has the sources."""


@pytest.mark.parametrize(("name", "shares"), SHARES.items())
def test_a_named_condition_has_exactly_the_published_share_of_packets_each_way(name, shares):
    found = conditions.named(name).packets
    assert {(f.kind, f.way) for f in found} == {(kind, way) for kind in shares for way in Way}
    for fault in found:
        assert 100 * len(fault.at) / fault.of == shares[fault.kind]
    corrupted = [f for f in found if f.kind == "damage"]
    assert not any(f.mended for f in corrupted), "what was published breaks the checksum too"


def test_every_other_named_condition_has_no_packet_faults():
    assert {c.name for c in conditions.NAMED.values() if c.packets} == SHARES.keys()


@given(st.sampled_from([1, 2, 2.5, 5, 12, 33.3]), st.integers(0, 10**6))
def test_a_scattered_share_is_exact_begins_at_the_third_packet_and_is_the_same_for_ever(percent, seed):
    at, of_ = scattered(percent, seed)
    assert 100 * len(at) / of_ == pytest.approx(percent)
    assert at[0] <= 3
    assert 3 in at
    assert list(at) == sorted(set(at))
    assert scattered(percent, seed) == (at, of_)


def test_what_is_scattered_does_not_change_with_a_version():
    assert scattered(2, seed=0) == ((3, 4), 100)
    assert scattered(5, seed=7) == ((3, 6, 12, 17, 29), 100)


@given(st.sampled_from([5, 10, 20]), st.sampled_from([2, 4, 8]), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_bursts_have_their_share_and_about_their_length(percent, mean, seed):
    at, of_ = bursts(percent, mean, seed, of=200)
    assert 100 * len(at) / of_ == percent
    assert 3 in at


def test_bursts_are_as_long_as_they_are_said_to_be_on_average():
    runs = lost = 0
    for seed in range(40):
        at, _ = bursts(20, 4, seed * 10_000, of=200)
        lost += len(at)
        runs += sum(place - 1 not in at for place in at)
    assert 3 <= lost / runs <= 5


@pytest.mark.parametrize("bad", [(0, 0), (100, 0), (0.001, 0), (2, 30), (101, 100)])
def test_a_share_that_no_round_has_is_refused(bad):
    with pytest.raises(Misuse, match="cannot be had in a round"):
        scattered(bad[0], 1, bad[1])
    with pytest.raises(Misuse, match="runs of 50"):
        bursts(2, 50, 1, of=100)


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("los", {"at": (1,)}, "did you mean 'loss'"),
        ("loss", {"att": (1,)}, "did you mean 'at'"),
        ("loss", {}, "missing required field `at`"),
        ("loss", {"at": ()}, "rising whole numbers from 1"),
        ("loss", {"at": (0,)}, "rising whole numbers from 1"),
        ("loss", {"at": (2, 1)}, "rising whole numbers"),
        ("loss", {"at": (11,), "of": 10}, "from 1 to 10"),
        ("loss", {"at": (1,), "of": -1}, "0 to 10000"),
        ("loss", {"at": (1.5,)}, "int"),
        ("loss", {"at": (1,), "way": "dwon"}, "way"),
        ("reorder", {"at": (1,), "by": 0}, "1 to 100"),
        ("hold", {"at": (1,), "ms": 0}, "1 to 60000"),
        ("damage", {"at": (1,), "xor": 0}, "1 to 255"),
        ("reset", {"nth": 0}, "1 to 10000"),
        ("rebind", {"nth": 0}, "1 to 10000"),
        ("own", {"function": "nothing"}, "package.module:function"),
        ("own", {"function": "os:system()"}, "package.module:function"),
    ],
)
def test_a_value_that_means_nothing_is_refused(kind, arguments, sentence):
    with pytest.raises(Misuse, match=sentence):
        packet_fault(kind, **arguments)


def test_a_fault_is_named_once_for_a_way_except_ones_own():
    with pytest.raises(Misuse, match="twice"):
        of(Loss(at=(1,)), Loss(at=(2,)))
    of(Loss(at=(1,)), Loss(at=(1,), way=Way.UP))
    of(Own(function="a:b"), Own(function="a:c"))
    with pytest.raises(Misuse, match="refused"):
        Conditions("both", refused=True, packets=(Rebind(),))


@settings(deadline=None)
@given(packet_faults())
def test_what_is_drawn_is_its_own_json_and_its_own_program(fault):
    under = of(Latency(latency=30), fault)
    assert msgspec.json.decode(msgspec.json.encode(under), type=Conditions) == under
    assert eval(under.code(), {"conditions": conditions}) == under
    assert fault.describe() in under.describe()
    assert {f.kind for f in under.faults("ada.hub")} == {"latency", fault.kind}


@settings(deadline=None)
@given(packet_faults())
def test_shrinking_ends_and_never_leaves_the_kind(fault):
    seen, todo = set(), [fault]
    while todo:
        now = todo.pop()
        for calmer in now.calmer():
            assert calmer.kind == fault.kind
            assert calmer != now
            if calmer not in seen:
                seen.add(calmer)
                todo.append(calmer)
    assert len(seen) < 2_000


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (Loss(at=(3, 9), of=20), Loss(at=(3,))),
        (Loss(at=(2,)), Loss(at=(60,))),
        (Loss(at=(60,)), None),
        (Reorder(at=(60,), by=10), Reorder(at=(60,), by=1)),
        (Reset(nth=2), Reset(nth=60)),
    ],
)
def test_the_furthest_move_towards_calm_comes_first(fault, first):
    assert next(iter(fault.calmer()), None) == first


def test_conditions_get_simpler_fault_by_fault():
    both = of(Latency(latency=75), Loss(at=(60,)))
    assert list(both.calmer()) == [
        CLEAR,
        of(Loss(at=(60,))),
        of(Latency(latency=75)),
        of(Latency(latency=30), Loss(at=(60,))),
    ]


@settings(deadline=None)
@given(packet_faults())
def test_the_soonest_is_the_same_fault_at_the_first_packet(fault):
    soon = fault.soonest()
    assert type(soon) is type(fault)
    assert getattr(soon, "nth", 1) == 1
    assert getattr(soon, "at", (1,))[0] == 1


def test_what_is_drawn_elsewhere_has_no_packet_faults_and_says_so():
    names = set()

    @given(conditions.poor())
    @settings(max_examples=300, deadline=None)
    def drawn(under):
        assert not under.packets
        names.add(under.name)

    drawn()
    assert {"GPRS without packet faults", "EDGE"} <= names


def test_what_is_drawn_where_packets_can_be_reached_has_all_kinds_but_ones_own():
    kinds = set()

    @given(conditions.poor(packets=True))
    @settings(max_examples=600, deadline=None)
    def drawn(under):
        kinds.update(f.kind for f in under.packets)

    drawn()
    assert PACKET_FAULTS.keys() - kinds == {"own", "stale"}, "the second is of links over UDP"


def test_places_are_told_in_words():
    assert Loss(at=(5,)).describe() == "packet 5 lost down"
    assert Hold(at=(1, 2), of=10, ms=30, way=Way.UP).describe() == "20 % of packets in runs of up to 2 30 ms late up"
    assert Damage(at=(1, 2, 3, 9), each=True).describe() == "packets 1, 2, 3 and 1 more of each connection damaged down"
    assert NTH[0] > NTH[-1] == 1

"""Named conditions carry the published numbers, values that kill the server are refused, calmer means calmer."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import conditions
from chaos.conditions import (
    CLEAR,
    NAMED,
    OUTAGE,
    TOXICS,
    Bandwidth,
    Conditions,
    Latency,
    LimitData,
    ResetPeer,
    SlowClose,
    Timeout,
    Toxic,
    Way,
    named,
    of,
    poor,
    toxic,
)
from chaos.disturbance import calmer_rungs
from chaos.errors import Misuse
from chaos.packetfaults import NTH, PacketFault

# name: (down kbit/s, up kbit/s, delay down ms, delay up ms) as published; docs/conditions.md has the sources
PUBLISHED = {
    "TWO_G_RURAL": (20, 18, 650, 650),
    "EDGE": (240, 200, 400, 440),
    "GPRS": (50, 50, 500, 500),
    "SLOW_3G": (500, 500, 200, 200),
    "SLOW_4G": (1600, 750, 75, 75),
    "FAST_4G": (9000, 1500, 30, 30),
    "REGULAR_3G": (700, 700, 150, 150),
    "DSL_POOR": (2000, 2000, 70, 70),
    "WIFI_GOOD": (30_000, 30_000, 40, 40),
    "SATELLITE": (1000, 256, 300, 300),
    "EDGE_LOSSY": (240, 200, 400, 440),
}
WITHOUT_RATE = {"LEO_SATELLITE": 20, "LOSSY": 50, "FLAKY": 75, "WIFI_UNSTABLE": 0, "WIFI_VERY_UNSTABLE": 0}
"""Of these a delay is published, the same each way, and packet faults (tests/test_packetfaults.py)."""
RISING = st.sampled_from([c for c in NAMED.values() if not c.calm])


@pytest.mark.parametrize(("name", "numbers"), PUBLISHED.items())
def test_a_named_condition_has_the_published_numbers(name: str, numbers: tuple[int, int, int, int]) -> None:
    down, up, delay_down, delay_up = numbers
    assert set(named(name).toxics) == {
        Bandwidth(way=Way.DOWN, rate=down // 8),
        Bandwidth(way=Way.UP, rate=up // 8),
        Latency(way=Way.DOWN, latency=delay_down),
        Latency(way=Way.UP, latency=delay_up),
    }


@pytest.mark.parametrize(("name", "delay"), WITHOUT_RATE.items())
def test_a_named_condition_without_a_published_rate_has_none(name: str, delay: int) -> None:
    assert named(name).toxics == tuple(Latency(way=way, latency=delay) for way in (Way.DOWN, Way.UP) if delay)


def test_every_named_condition_is_published_or_one_of_our_three() -> None:
    assert NAMED.keys() == PUBLISHED.keys() | WITHOUT_RATE.keys() | {"CLEAR", "OUTAGE", "BLACK_HOLE"}


def test_clear_does_nothing_an_outage_refuses_and_a_black_hole_passes_nothing_either_way() -> None:
    assert CLEAR.calm
    assert OUTAGE.refused
    assert not OUTAGE.calm
    assert conditions.BLACK_HOLE.toxics == (Timeout(way=Way.UP, timeout=0), Timeout(way=Way.DOWN, timeout=0))


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(Misuse, match=r"no conditions 'EGDE'; did you mean 'EDGE'\?"):
        named("EGDE")


@pytest.mark.parametrize(
    ("kind", "attributes", "sentence"),
    [
        ("latncy", {"latency": 1}, "did you mean 'latency'"),
        ("latency", {"latncy": 1}, "did you mean 'latency'"),
        ("latency", {}, "latency"),
        ("latency", {"latency": -1}, "0 to 60000"),
        ("latency", {"latency": 1, "jitter": 5}, "Hypothesis"),
        ("latency", {"latency": 1.5}, "whole number"),
        ("latency", {"latency": True}, "whole number"),
        ("latency", {"latency": "600"}, "whole number"),
        ("bandwidth", {"rate": -1}, "kills"),
        ("slicer", {}, "average_size"),
        ("slicer", {"average_size": 0}, "dies"),
        ("slicer", {"average_size": 100, "size_variation": 200}, "kills"),
        ("timeout", {"timeout": -1}, "black hole"),
        ("reset_peer", {"timeout": 60_000}, "0 to 2000"),
        ("limit_data", {"bytes": 0}, "1 to"),
        ("slow_close", {"delay": -5}, "0 to"),
    ],
)
def test_what_the_server_ignores_or_dies_of_is_refused(kind: str, attributes: dict[str, int], sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        toxic(kind, **attributes)


def test_a_toxic_is_named_once_for_a_way_and_never_on_a_refused_link() -> None:
    with pytest.raises(Misuse, match="twice"):
        of(Latency(latency=30), Latency(latency=75))
    with pytest.raises(Misuse, match="refused"):
        Conditions("both", (Latency(latency=30),), refused=True)


def test_a_way_that_is_none_is_refused_and_a_plain_word_is_a_way() -> None:
    with pytest.raises(Misuse, match=r"no way 'dwon'; did you mean 'down'\?"):
        toxic("latency", way="dwon", latency=30)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="no way"):
        of(Latency(way="dwon", latency=30))  # type: ignore[arg-type]
    assert toxic("latency", way="up", latency=30) == Latency(way=Way.UP, latency=30)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", TOXICS.values())
def test_ladders_are_valid_values_from_calm_to_harsh(kind: type[Toxic]) -> None:
    assert kind.LADDERS, "every toxic can be drawn"
    for attribute, ladder in kind.LADDERS.items():
        assert len(set(ladder)) == len(ladder) >= 3
        needed = {f: kind.LADDERS[f][0] for f in kind.LADDERS} | {attribute: ladder[0]}
        for rung in ladder:
            kind(**{**needed, attribute: rung})
        numbers = ladder[:-1] if kind is Timeout else ladder  # its last, 0, is for ever
        assert list(numbers) in (sorted(numbers), sorted(numbers, reverse=True))
    assert Timeout.LADDERS["timeout"][-1] == 0
    assert Bandwidth.LADDERS["rate"][0] > Bandwidth.LADDERS["rate"][-1] == 0
    assert LimitData.LADDERS["bytes"][0] > LimitData.LADDERS["bytes"][-1]
    assert ResetPeer.LADDERS["timeout"][-1] == 0
    assert Latency.LADDERS["latency"][0] < Latency.LADDERS["latency"][-1]
    assert SlowClose.LADDERS["delay"][0] < SlowClose.LADDERS["delay"][-1]


@pytest.mark.parametrize(
    ("now", "calmer"),
    [
        (Latency(latency=400), [30, 75, 150, 300]),
        (Latency(latency=600), [30, 75, 150, 300]),
        (Latency(latency=30), []),
        (Bandwidth(rate=30), [1125, 500, 250, 200, 93, 62]),
        (Timeout(timeout=500), [100, 300]),
        (Timeout(timeout=0), [100, 300, 1000]),
        (LimitData(bytes=30_000), [100_000, 50_000]),
    ],
)
def test_calmer_values_are_only_those_before_on_the_ladder(now: Toxic, calmer: list[int]) -> None:
    (attribute,) = now.LADDERS
    assert [getattr(c, attribute) for c in now.calmer()] == calmer


def _weight(c: Conditions) -> tuple[int, int]:
    """More toxics, or the same ones further from calm, weigh more."""
    if c.refused:
        return 99, 0

    def packets(f: PacketFault) -> int:
        places = getattr(f, "at", ())
        single = (far_of(NTH, places[0]) if len(places) == 1 and not f.of else 0) if places else 0
        return 1_000 * (len(places) + bool(getattr(f, "of", 0))) + single

    faults = (*c.toxics, *c.packets)
    ladders = sum(far_of(rungs, getattr(f, a)) for f in faults for a, rungs in f.LADDERS.items())
    return len(faults), ladders + sum(packets(f) for f in c.packets)


def far_of(ladder: tuple[int, ...], value: int) -> int:
    """A value between two rungs is further than the one before it."""
    return 2 * ladder.index(value) if value in ladder else 2 * len(calmer_rungs(ladder, value)) - 1


@given(poor() | RISING)
def test_calmer_always_gets_nearer_to_clear_and_tries_clear_first(drawn: Conditions) -> None:
    steps = list(drawn.calmer())
    assert steps[0] == CLEAR
    assert all(_weight(step) < _weight(drawn) for step in steps)
    walked, now = 0, drawn
    while not now.calm:  # the slowest way down ends too
        now = list(now.calmer())[-1]
        walked += 1
        assert walked < 100


def test_clear_has_nothing_calmer() -> None:
    assert list(CLEAR.calmer()) == []


@given(
    poor()
    | st.sampled_from(list(NAMED.values()))
    | st.sampled_from(
        [
            Conditions("mine", (Latency(latency=1),)),
            Conditions("mine", (Latency(latency=1), Bandwidth(way=Way.UP, rate=3))),
            Conditions("gone", refused=True),
            Conditions("EDGE", (Latency(latency=1),)),
            of(),
            of(Timeout(way=Way.UP), Timeout(way=Way.DOWN)),
            of(toxic("slicer", average_size=128, delay=1000)),
        ]
    )
)
def test_the_printed_code_evaluates_to_the_same_conditions(drawn: Conditions) -> None:
    assert eval(drawn.code(), {"conditions": conditions}) == drawn


@given(poor())
def test_drawn_conditions_are_valid_hurt_and_survive_a_plan_file(drawn: Conditions) -> None:
    assert not drawn.calm
    assert all(isinstance(value, int) for t in drawn.toxics for value in t.attributes().values())
    assert msgspec.json.decode(msgspec.json.encode(drawn), type=Conditions) == drawn


def test_every_kind_of_fault_but_a_slow_close_is_drawn() -> None:
    found: set[str] = set()

    @given(poor())
    def draw(drawn: Conditions) -> None:
        found.update(f.kind for f in drawn.faults("ada.hub"))

    draw()
    assert found >= {"refused", *TOXICS} - {"slow_close"}


def test_a_fault_is_counted_once_for_a_kind_and_link_and_knows_its_ways() -> None:
    edge = named("EDGE")
    assert [f.kind for f in edge.faults("ada.camera")] == ["latency", "bandwidth"]
    assert edge.ways_of("latency") == (Way.DOWN, Way.UP)
    assert OUTAGE.faults("ada.camera")[0].kind == "refused"
    assert CLEAR.faults("ada.camera") == ()


@pytest.mark.parametrize("c", NAMED.values())
def test_a_headline_names_the_conditions_and_their_numbers(c: Conditions) -> None:
    said = c.describe()
    assert said.startswith(c.name)
    for t in c.toxics:
        assert t.describe() in said

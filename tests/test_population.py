"""A population before it runs: who is where, what is refused, and what is told of it."""

from __future__ import annotations

import pytest

from chaos import conditions, updates
from chaos.conditions import EDGE, OUTAGE
from chaos.errors import Misuse
from chaos.population import INCIDENT, Options, Saw, Share, Told, in_order, share, topology_for
from chaos.verdict import Outcome

TOLD = Told(
    outcome=Outcome.LEAK,
    reasons=(),
    homes=INCIDENT,
    poor=5,
    started=20.0,
    read_back=0.05,
    asked=30.0,
    memory_mb=900.0,
    first=1.25,
    counts={"foreign": 3, "own": 1039},
    unavailable=2,
    poor_asks=5,
    answered=3,
    saw=(Saw("home-0007", "home-0100", 2), Saw("home-0009", "home-0100", 1)),
)


def test_as_many_as_had_the_integration_and_a_few_on_poor_links():
    options = Options()
    assert len(set(options.owners)) == INCIDENT == 1044
    poor = options.conditions_of()
    assert sorted(c.name for c in poor.values()) == ["EDGE"] * 3 + ["OUTAGE"] * 2
    assert poor == Options().conditions_of()
    assert poor.keys() != Options(seed=1).conditions_of().keys()


@pytest.mark.parametrize(("homes", "part", "number"), [(10, 0.5, 5), (10, 0.01, 1), (1000, 0.0104, 10), (3, 1.0, 3)])
def test_a_share_is_whole_homes_and_at_least_one(homes, part, number):
    assert len(Options(homes=homes, poor=(Share(EDGE, part),)).conditions_of()) == number


def test_nobody_is_under_two_conditions():
    poor = Options(homes=4, poor=(Share(EDGE, 0.5), Share(OUTAGE, 0.5))).conditions_of()
    assert sorted(c.name for c in poor.values()) == ["EDGE", "EDGE", "OUTAGE", "OUTAGE"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"homes": 2}, "a population of 2 homes; expected 3 to 10,000"),
        ({"homes": 10_001}, "expected 3 to 10,000"),
        ({"rounds": 0}, "0 rounds"),
        ({"poor": (Share(EDGE, 0.0),)}, "EDGE is the share 0 of all homes"),
        ({"poor": (Share(EDGE, 0.6), Share(OUTAGE, 0.6))}, "more than all homes"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(given, words):
    with pytest.raises(Misuse, match=words):
        Options(**given)


def test_a_share_is_read_and_a_wrong_one_refused():
    assert share("OUTAGE=0.25") == Share(OUTAGE, 0.25)
    assert not share("EDGE_LOSSY=0.5").under.packets, "processes have no packet faults"
    with pytest.raises(Misuse, match=r"expected NAME=SHARE, such as EDGE=0\.003"):
        share("EDGE")
    with pytest.raises(Misuse, match="did you mean 'EDGE'"):
        share("EDG=0.5")


def test_everybody_is_asked_once_in_an_order_that_the_seed_decides():
    owners = Options(homes=100).owners
    one, other = in_order(owners, "0 round 1"), in_order(owners, "0 round 2")
    assert sorted(one) == sorted(other) == list(owners)
    assert one != other
    assert one == in_order(owners, "0 round 1")


def test_each_camera_has_a_link_of_its_own_and_the_relay_is_the_home_s():
    owners = Options(homes=50).owners
    topology = topology_for(owners, updates.find("december-26"))
    assert [k.name for k in topology.links if k.server == "cameras"] == [f"{o}.camera" for o in owners]
    assert {n.name for n in topology.nodes} == {"cache", "accounts", "relay", "cameras"}
    gateway = topology_for(owners, updates.find("access-gateway"))
    assert "gateway.accounts" in {k.name for k in gateway.links}


def test_it_is_told_who_saw_whom():
    lines = list(TOLD.lines())
    assert lines[0].startswith("1,044 homes, 5 of them under poor conditions; started in 20.0 s")
    assert "asked in 30.0 s: 3 foreign, 1,039 own; 2 times 'unavailable'" in lines
    assert "came 1.25 s after the first ask; 2 homes saw others, 1 homes were seen:" in lines[3]
    assert lines[4:] == ["  home-0007 saw home-0100 2 times", "  home-0009 saw home-0100 1 time"]


def test_conditions_of_a_population_are_named_ones():
    assert {p.under.name for p in Options().poor} <= conditions.NAMED.keys()

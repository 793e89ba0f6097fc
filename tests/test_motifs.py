"""Motifs: each fits the reference home and one that has neither a cache nor anything shared, and does what it says."""

from __future__ import annotations

import tomllib
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import motifs, updates
from chaos.faults import NodeFaults
from chaos.motifs import Place
from chaos.plan import Ask, Clear, GiveUp, Meanwhile, NodeFault, Plan, Restart, RollBack, RollOut, SetConditions
from chaos.topology import Link, Node, Topology, from_toml
from tests.makers import OWNERS

REFERENCE = from_toml(tomllib.loads((updates.home_folder() / "home.toml").read_text()), OWNERS)
BARE = Topology(
    OWNERS,
    tuple(Node(f"{o}.{r}", r, (), (), {}, ".", o) for o in OWNERS for r in ("camera", "hub")),
    tuple(Link(f"{o}.camera", f"{o}.hub", f"{o}.camera", "public") for o in OWNERS),
)
RELAYED = Topology(
    OWNERS,
    (*BARE.nodes, Node("relay", "relay", (), (), {}, ".")),
    tuple(Link(f"{o}.camera", "relay", f"{o}.camera", "public") for o in OWNERS),
)
EVERY = list(dict.fromkeys((*motifs.ALL, *motifs.VENDOR, *motifs.VOICE)))


def _faults(topology):
    stack = SimpleNamespace(name="docker", faults=frozenset(get_args(NodeFault)))
    return NodeFaults(topology, stack, lambda _: None)


@pytest.mark.parametrize("topology", [REFERENCE, RELAYED, BARE], ids=["reference", "relayed", "bare"])
@pytest.mark.parametrize("motif", EVERY, ids=lambda m: m.__name__)
def test_a_motif_makes_steps_that_the_home_can_do(motif, topology):
    links, faults = {k.name for k in topology.links}, _faults(topology)

    @settings(max_examples=6, deadline=None, database=None)
    @given(st.data(), st.lists(st.sampled_from(sorted(links)), unique=True))
    def draws(data, troubled):
        steps = tuple(motif(data.draw, Place(OWNERS, topology, (), tuple(troubled))))

        assert Plan(OWNERS, steps).asks or not steps
        faults.check(steps)
        for step in Plan(OWNERS, steps).elements:
            assert getattr(step, "link", None) in {None, *links}
            assert set(getattr(step, "links", ())) <= links
            assert getattr(step, "home", "ada") in OWNERS

    draws()


def _drawn(motif, **place):
    drawn = []

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.data())
    def draws(data):
        drawn.append(tuple(motif(data.draw, Place(OWNERS, REFERENCE, **place))))

    draws()
    return drawn


def test_what_piled_up_is_cleared_first_where_it_would_end_the_ask_before_the_motif_is_met():
    for steps in _drawn(motifs.answer_is_cut, troubled=("ada.hub", "relay.cache")):
        assert steps[:2] == (Clear("ada.hub"), Clear("relay.cache"))
    some = _drawn(motifs.conditions_turn, troubled=("ada.hub",))
    assert {Clear("ada.hub") in steps[:1] for steps in some} == {True, False}


def test_conditions_turn_between_two_owners_and_often_on_the_camera_s_own_link():
    links = []
    for steps in _drawn(motifs.conditions_turn):
        first, turned, second = steps[:3]
        assert isinstance(first, Ask)
        assert isinstance(turned, SetConditions)
        assert isinstance(second, Ask | GiveUp)
        assert first.home != second.home
        links.append(turned.link == f"{second.home}.camera")
    assert sum(links) / len(links) > 0.25


def test_an_update_is_rolled_back_and_out_on_the_nodes_that_it_changes():
    for steps in _drawn(motifs.update_rolls_out, updated=("cache",)):
        assert {s.node for s in steps if isinstance(s, RollBack | RollOut)} == {"cache"}
        kinds = [type(s) for s in steps if isinstance(s, RollBack | RollOut)]
        assert kinds == [RollBack, RollOut]


def test_links_at_what_an_update_changed_are_drawn_more_often_where_that_tells_links_apart():
    way = [k.name for k in Place(OWNERS, REFERENCE).way("ada")]
    by_the_cache = Place(OWNERS, REFERENCE, changed=("cache",)).suspected(way)
    assert sorted(by_the_cache) == sorted([*way, "relay.cache"])
    assert Place(OWNERS, REFERENCE, changed=("relay",)).suspected(way) == way, "each of them ends at the relay"
    assert Place(OWNERS, REFERENCE).suspected(way) == way


def test_what_the_network_does_by_itself_restarts_no_node_and_changes_no_account():
    for motif in dict.fromkeys(motifs.NETWORK):
        for steps in _drawn(motif):
            kinds = {type(s).__name__ for s in Plan(OWNERS, steps).elements}
            assert not kinds & {"Restart", "RollBack", "RollOut", "Evict", "ChangeAccount"}
    assert any(isinstance(s, Restart) for steps in _drawn(motifs.node_comes_back) for s in steps)


def test_one_is_held_while_another_passes():
    for steps in _drawn(motifs.one_is_held):
        (meanwhile,) = [s for s in steps if isinstance(s, Meanwhile)]
        others = [s for s in meanwhile.steps if isinstance(s, Ask | GiveUp)]
        assert others
        assert {s.home for s in others}.isdisjoint({meanwhile.ask.home})

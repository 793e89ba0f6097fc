"""What every plan ends with: no trouble is left but what a still survives, and everybody looks as often as was said."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import rule

from chaos import Household, any_link, any_node_fault, conditions, updates
from chaos.aftermath import slow, steps
from chaos.motifs import Place
from chaos.plan import (
    Ask,
    AskTogether,
    Attach,
    Clear,
    Detach,
    Meanwhile,
    Pause,
    Restart,
    Resume,
    RollOut,
    SetClock,
    SetConditions,
)
from chaos.topology import from_toml
from tests.makers import OWNERS
from tests.test_household import _Chapter

TOPOLOGY = from_toml(tomllib.loads((updates.home_folder() / "home.toml").read_text()), OWNERS)
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))
LATE = conditions.of(conditions.toxic("latency", latency=75))


class Troubled(Household):
    homes = OWNERS

    @rule(fault=any_node_fault)
    def a_node_is_in_trouble(self, fault):
        self.add(fault)

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link, under):
        self.set_conditions(link, under)


@pytest.mark.parametrize("looks", [1, 3])
def test_every_drawn_plan_ends_without_trouble_and_with_everybody_looking_at_what_is_a_little_slow(looks):
    chapter = _Chapter()
    chapter.looks = looks
    Troubled.hunt(chapter, 30, seeded=1)
    assert len(chapter.executed) == 30
    for plan in chapter.executed:
        ends = [i for i, step in enumerate(plan.steps) if step == EVERYBODY][-looks - 1 :]
        assert len(ends) == looks + 1, "once under what the rules left, and then each look"
        state = _State()
        for number, step in enumerate(plan.steps):
            state.see(step)
            if number in ends[1:]:
                assert not state.nodes, f"{state.nodes} at {plan.program()}"
                under = {c for c in state.links.values() if not c.calm}
                assert len(under) == 1, "all links but the slow ones are clear"
                assert _is_mild(under.pop())
        assert plan.steps[-1] == EVERYBODY


class _State:
    """What links are under and which nodes are not themselves, after some steps of a plan."""

    def __init__(self) -> None:
        self.links: dict[str, conditions.Conditions] = {}
        self.nodes: set[tuple[str, str]] = set()

    def see(self, step) -> None:
        for one in step.elements():
            match one:
                case SetConditions(link, under):
                    self.links[link] = under
                case Clear(link):
                    self.links[link] = conditions.CLEAR
                case Pause(node):
                    self.nodes.add(("stands still", node))
                case Resume(node) | Restart(node) | RollOut(node):
                    self.nodes.discard(("stands still", node))
                case Detach(node):
                    self.nodes.add(("is off", node))
                case Attach(node):
                    self.nodes.discard(("is off", node))


def _is_mild(under: conditions.Conditions) -> bool:
    """Whether a still comes under these conditions on any link of the reference home, by its table."""
    (toxic,) = under.toxics
    values = toxic.attributes()
    return (
        (toxic.kind == "latency" and values["latency"] <= 150)
        or (toxic.kind == "bandwidth" and values["rate"] >= 500)
        or (toxic.kind == "slicer" and values["average_size"] >= 536 and not values["delay"])
    )


@given(data=st.data())
def test_what_is_slow_lies_on_the_way_of_everybodys_asks(data):
    links, under = data.draw(slow(Place(OWNERS, TOPOLOGY)))
    assert _is_mild(under)
    for owner in OWNERS:
        assert set(links) & {k.name for k in TOPOLOGY.between(owner, owner)}, owner


@pytest.mark.parametrize(
    ("before", "mended"),
    [
        ((Pause("relay"),), [Resume("relay")]),
        ((Pause("relay"), Resume("relay")), []),
        ((Pause("relay"), Restart("relay")), []),
        ((Detach("relay"), Restart("relay")), [Attach("relay")]),
        ((Detach("relay"), Attach("relay", new_address=True)), []),
        ((Pause("cache"), Detach("cache")), [Resume("cache"), Attach("cache")]),
        ((Meanwhile(Ask("ada"), (Pause("cache"),)),), [Resume("cache")]),
        ((SetClock("ada.camera", 60),), []),
    ],
)
def test_nodes_are_brought_back_first(before, mended):
    place = Place(OWNERS, TOPOLOGY, troubled=("ada.hub",))
    look = (("relay.cache",), LATE)
    wanted = [*mended, Clear("ada.hub"), SetConditions("relay.cache", LATE), EVERYBODY]
    assert steps(before, OWNERS, [look], place) == wanted


def test_a_look_takes_away_what_the_one_before_it_was_under():
    cameras = tuple(f"{o}.camera" for o in OWNERS)
    made = steps((), OWNERS, [(("relay.cache",), LATE), (cameras, LATE)], Place(OWNERS, TOPOLOGY))
    slow_cameras = [SetConditions(link, LATE) for link in cameras]
    assert made == [SetConditions("relay.cache", LATE), EVERYBODY, Clear("relay.cache"), *slow_cameras, EVERYBODY]


def test_without_a_look_nothing_is_added():
    assert steps((Pause("relay"),), OWNERS, [], Place(OWNERS, TOPOLOGY, troubled=("ada.hub",))) == []

"""A camera more for everybody: a nursery beside the living room, where a scenario asks for it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from chaos import Household, any_home, any_room, motifs, updates
from chaos.aftermath import slow
from chaos.contracts.desk import ReferenceDesk
from chaos.contracts.reference import Reference, topology_of
from chaos.errors import Misuse
from chaos.home import camera_names, check_plan
from chaos.motifs import Place
from chaos.plan import Ask, AskTogether, Meanwhile, Plan, Restart, Say, SetClock, SetConditions, shared
from chaos.topology import check_rooms, from_toml
from chaos.verdict import Verdict
from tests.makers import OWNERS, ROOM, SLOW, asked, judged_in_case, seen, shown
from tests.test_household import _Chapter

REFERENCE = tomllib.loads((updates.home_folder() / "home.toml").read_text())
HOME = from_toml(REFERENCE, OWNERS, rooms=("nursery",))
ONE = from_toml(REFERENCE, OWNERS)


def test_a_nursery_is_a_camera_of_its_own_on_a_link_of_its_own():
    node, first = HOME.node("grace.nursery"), HOME.node("grace.camera")
    assert node.environment["LENS"] == "${scene}/lens/grace/nursery"
    assert node.environment["DEVICE_SECRET"] != first.environment["DEVICE_SECRET"]
    assert (node.role, node.owner, node.room, first.room) == ("camera", "grace", "nursery", "")
    (link,) = (k for k in HOME.links if k.name == "grace.nursery")
    assert (link.client, link.server, link.device_dials) == ("relay", "grace.nursery", False)
    assert HOME.rooms == ("nursery",)
    assert ONE.rooms == ()


def test_whoever_asks_for_no_room_has_the_home_that_there_always_was():
    assert topology_of(OWNERS, None) == ONE
    more = {f"{o}.nursery" for o in OWNERS}
    assert {n.name for n in HOME.nodes} - {n.name for n in ONE.nodes} == more
    assert {k.name for k in HOME.links} - {k.name for k in ONE.links} == more


@pytest.mark.parametrize("choices", [{"path": "app"}, {"camera": "motion"}, {"camera": "go2rtc"}])
def test_a_nursery_is_as_the_living_rooms_camera_that_was_chosen(choices):
    made = from_toml(REFERENCE, OWNERS, choices, ("nursery",))
    first, node = made.node("ada.camera"), made.node("ada.nursery")
    assert (node.command, node.dockerfile) == (first.command, first.dockerfile)
    assert {k.client for k in made.links if k.server == node.name} == {
        k.client for k in made.links if k.server == first.name
    }


def test_the_way_to_one_camera_is_not_the_way_to_another():
    ways = {room: [k.name for k in HOME.between("ada", "grace", room)][-1] for room in ("", "nursery")}
    assert ways == {"": "grace.camera", "nursery": "grace.nursery"}
    assert {"grace.camera", "grace.nursery"} <= {k.name for k in HOME.between("ada", "grace")}
    assert [k.name for k in HOME.between("ada", "grace", "")] == [k.name for k in ONE.between("ada", "grace")]


def test_motifs_and_what_comes_after_them_trouble_the_way_to_the_camera_that_everybody_asks_for():
    places = [Place(OWNERS, home) for home in (ONE, HOME)]
    assert places[0].way("ada") == places[1].way("ada")
    assert places[0].shared == places[1].shared
    assert places[0].from_cameras == places[1].from_cameras

    @settings(max_examples=40, database=None, deadline=None)
    @given(slow(places[1]))
    def no_nursery(drawn):
        assert not any(link.endswith("nursery") for link in drawn[0])

    no_nursery()


@pytest.mark.parametrize(
    "rooms", [("living-room",), ("camera",), ("hub",), ("Nursery",), ("a b",), ("den", "den"), ("",)]
)
def test_a_room_that_is_none_is_refused_with_what_is_expected(rooms):
    with pytest.raises(Misuse, match="expected names such as 'nursery'"):
        check_rooms(rooms)
    with pytest.raises(Misuse, match="expected names such as 'nursery'"):
        type("Wrong", (Household,), {"rooms": rooms})


def test_a_plan_for_a_room_that_a_home_does_not_have_is_refused_before_anything_starts():
    check_plan(Plan(OWNERS, (Ask("ada"), Ask("lin", camera=shared("ada")), Restart("ada.hub"))), ONE)
    for step in (
        Ask("ada", "nursery"),
        AskTogether((Ask("ada"), Say("lin", "nursery"))),
        Meanwhile(Ask("ada"), (Ask("lin", "nursery"),)),
        SetConditions("ada.nursery", SLOW),
        SetClock("ada.nursery", 60),
    ):
        plan = Plan(OWNERS, (step,))
        check_plan(plan, HOME)
        with pytest.raises(Misuse, match="nursery"):
            check_plan(plan, ONE)


def test_everybody_has_both_on_her_account():
    assert Reference(OWNERS, rooms=("nursery",)).cameras == (ROOM, "nursery")
    desk = ReferenceDesk(OWNERS, (ROOM, "nursery"), lambda: None)
    assert [a["cameras"] for a in desk.accounts()] == [[ROOM, "nursery"]] * 3
    assert list(desk.devices())[:2] == [("ada", ROOM, "ada", ROOM), ("ada", "nursery", "ada", "nursery")]
    assert camera_names(HOME)[:2] == (ROOM, "nursery")


ASKED = asked(3.0, camera="nursery", ask=2)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (seen("ada", "nursery"), Verdict.OWN),
        (seen("grace", "nursery"), Verdict.FOREIGN),
        (seen("grace", ROOM), Verdict.FOREIGN),
        (seen("ada", ROOM), Verdict.MISDIRECTED),
    ],
)
def test_the_nursery_of_one_owner_is_never_anothers_and_never_another_room(picture, expected):
    assert judged_in_case(ASKED, shown(4, 5, picture)).verdict is expected


def test_a_motif_says_any_room_of_a_home_that_has_more():
    said: set[str] = set()

    @settings(max_examples=60, database=None, deadline=None)
    @given(st.data())
    def draw(data):
        for step in Plan(OWNERS, tuple(motifs.summoned_by_voice(data.draw, Place(OWNERS, HOME)))).elements:
            if isinstance(step, Say):
                said.add(step.camera)

    draw()
    assert said == {ROOM, "nursery"}


class Nurseries(Household):
    rooms = ("nursery",)
    motifs = ()

    @rule(home=any_home, room=any_room)
    def asks(self, home, room):
        self.ask(home, camera=room)


def test_a_scenario_draws_any_of_its_rooms():
    chapter = _Chapter()
    Nurseries.hunt(chapter, 6, seeded=1)
    asks = [s.camera for plan in chapter.executed for s in plan.steps if isinstance(s, Ask)]
    assert set(asks) == {ROOM, "nursery"}

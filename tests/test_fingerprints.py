"""Fingerprints: one for a mechanism whoever it befell, another where what was observed differs."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from chaos import conditions
from chaos.conditions import BLACK_HOLE, EDGE, OUTAGE, of, toxic
from chaos.fingerprints import Mechanism, mechanism
from chaos.plan import Ask, AskTogether, ChangeAccount, Pause, Plan, Restart, SetConditions
from tests.makers import OWNERS, asked, conditions_set, judged_in_case, seen, shown, signed_in

LEAK = judged_in_case(shown(6, 7, seen("grace")))
CUT = of(toxic("limit_data", bytes=2_000))


def leak_of(hub: str, whose: str, **more):
    """Return a leak with other people in it."""
    frame = msgspec.structs.replace(LEAK.frame, hub=hub, reading=shown(6, 7, seen(whose), **more).reading)
    return msgspec.structs.replace(LEAK, frame=frame, owners=(hub,), guilty=seen(whose))


def december(hub: str, whose: str, link: str | None = None, under=EDGE) -> Plan:
    return Plan(OWNERS, (SetConditions(link or f"{hub}.camera", under), AskTogether((Ask(hub), Ask(whose)))))


def print_of(hub: str, whose: str, plan: Plan, update: str | None = "december-26") -> str:
    return mechanism(leak_of(hub, whose), OWNERS, plan, update).fingerprint


def test_whoever_it_befell_it_is_one_finding():
    prints = {print_of(hub, whose, december(hub, whose)) for hub, whose in itertools.permutations(OWNERS, 2)}

    assert len(prints) == 1


def _damages(under: conditions.Conditions) -> bool:
    return any(fault.kind == "damage" for fault in under.faults("x"))


@pytest.mark.parametrize("name", [n for n, c in conditions.NAMED.items() if not c.calm and not _damages(c)])
def test_whatever_kept_the_answer_away_it_is_one_finding(name):
    assert print_of("ada", "grace", december("ada", "grace", under=conditions.NAMED[name])) == print_of(
        "ada", "grace", december("ada", "grace")
    )


def test_asks_in_any_order_are_one_finding():
    plan = Plan(OWNERS, (Ask("grace"), SetConditions("ada.camera", OUTAGE), Ask("ada")))

    assert print_of("ada", "grace", plan) == print_of("ada", "grace", december("ada", "grace"))


@pytest.mark.parametrize(
    "plan",
    [
        december("ada", "grace", "grace.camera"),
        december("ada", "grace", "lin.camera"),
        december("ada", "grace", "ada.hub"),
        december("ada", "grace", "relay.cache"),
        december("ada", "grace", under=CUT),
        Plan(OWNERS, (Restart("relay"), *december("ada", "grace").steps)),
        Plan(OWNERS, (Pause("grace.camera"), *december("ada", "grace").steps)),
        Plan(OWNERS, (ChangeAccount("ada", "grace"), *december("ada", "grace").steps)),
        Plan(OWNERS, (Ask("grace"), Ask("ada"))),
    ],
)
def test_another_link_another_kind_another_node_are_another_finding(plan):
    assert print_of("ada", "grace", plan) != print_of("ada", "grace", december("ada", "grace"))


def test_another_update_is_another_finding():
    plan = december("ada", "grace")

    assert len({print_of("ada", "grace", plan, u) for u in ("december-26", "edge-cache", None)}) == 3


def test_what_was_on_the_screen_tells_findings_apart():
    plan = december("ada", "grace")
    whole = leak_of("ada", "grace")
    torn = msgspec.structs.replace(
        whole, frame=msgspec.structs.replace(whole.frame, reading=shown(6, 7, seen("grace"), seen("ada")).reading)
    )
    old = msgspec.structs.replace(whole, carried_over=3)
    own = judged_in_case(shown(6, 7, seen("ada", camera="porch")))
    guest = judged_in_case(signed_in("lin", 3.5, 4), asked(4, 5), shown(6, 7, seen("ada")))
    stream = msgspec.structs.replace(whole, ask=msgspec.structs.replace(whole.ask, feed="stream"))

    every = [mechanism(leak, OWNERS, plan, None) for leak in (whole, torn, old, own, guest, stream)]

    assert len({m.fingerprint for m in every}) == len(every)
    assert [m.whose for m in every] == ["stranger", "stranger", "stranger", "home", "home", "stranger"]


def test_without_a_plan_what_stood_then_is_told():
    under = judged_in_case(conditions_set("ada.camera", EDGE, 4.0), shown(6, 7, seen("grace")))

    assert mechanism(under, OWNERS, None, None).under == (("home.camera", "no answer in time"),)


def test_numbers_and_names_are_not_in_it():
    told = mechanism(LEAK, OWNERS, december("ada", "grace", under=BLACK_HOLE), "december-26")

    assert told.describe() == (
        "foreign: stranger's camera on home's hub (still); no answer in time on home.camera; update december-26"
    )
    assert not any(owner in told.describe() for owner in OWNERS)


def test_a_fingerprint_is_stable():
    """An accepted finding in a gate's file names it: it changes only with a reason that the changelog tells."""
    told = Mechanism(
        "foreign", "stranger", "still", (("home.camera", "no answer in time"),), (), False, False, False, "x"
    )

    assert told.fingerprint == "7469141749a3"

"""Both ways to a camera: what the counts say, and what is left of a program in the vendor's own app."""

from __future__ import annotations

import tomllib

import pytest

from chaos import updates
from chaos.bothways import BothWays, by_app
from chaos.conditions import OUTAGE
from chaos.contracts.reference import Reference
from chaos.errors import Misuse
from chaos.plan import Ask, AskTogether, Clear, Meanwhile, Moment, Plan, Restart, RollOut, Say, SetConditions, Suspend
from chaos.topology import choices_of, from_toml
from tests.makers import OWNERS, SLOW

DESCRIBED = tomllib.loads((updates.home_folder() / "home.toml").read_text())


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            BothWays(5, 5, 0, 3, 9),
            "The fault is in the integration: the program leaked by the integration 5 of 5 times",
        ),
        (BothWays(5, 5, 0, 3, 9), "in none of 3, while it displayed 9 pictures to their owners."),
        (BothWays(1, 5, 0, 3, 9), "Probably the fault is in the integration"),
        (BothWays(1, 5, 0, 3, 9), "which would happen by chance in 58% of cases"),
        (BothWays(1, 1, 0, 1, 9), "Probably the fault is in the integration"),
        (BothWays(5, 5, 1, 3, 9), "The fault is not in the integration alone"),
        (BothWays(5, 5, 0, 3, 0), "the vendor's own app displayed no camera at all in 3 executions"),
        (BothWays(0, 5, 0, 3, 9), "the program did not leak by the integration either"),
    ],
)
def test_the_sentence_says_no_more_than_the_counts(counts, words):
    assert words in counts.sentence()


@pytest.mark.parametrize(("hits", "tries", "times"), [(5, 5, 3), (3, 3, 3), (5, 9, 5)])
def test_who_leaks_often_is_told_apart_and_the_chance_is_what_it_says(hits, tries, times):
    counts = BothWays(hits, tries, 0, times, 1)
    assert counts.chance == pytest.approx(((tries + 1 - hits) / (tries + 1)) ** times)
    assert counts.chance < 0.05
    assert counts.sentence().startswith("The fault is in the integration")


def test_in_the_app_there_is_no_relay_and_nobody_to_speak_to():
    plan = Plan(
        OWNERS,
        (
            Say("ada"),
            RollOut("relay"),
            Restart("cache"),
            SetConditions("relay.cache", SLOW),
            SetConditions("ada.camera", OUTAGE),
            AskTogether((Say("ada"), Ask("lin", feed="stream"))),
            Meanwhile(Say("grace"), (Clear("relay.accounts"), Ask("lin")), Moment("sent", "grace.hub")),
            Suspend(),
        ),
    )
    assert by_app(plan, frozenset({"relay", "cache"})).steps == (
        Ask("ada"),
        SetConditions("ada.camera", OUTAGE),
        AskTogether((Ask("ada"), Ask("lin", feed="stream"))),
        Meanwhile(Ask("grace"), (Ask("lin"),), Moment("sent", "grace.hub")),
        Suspend(),
    )


def test_the_app_s_links_have_the_names_of_the_integration_s():
    integration, app = from_toml(DESCRIBED, OWNERS), from_toml(DESCRIBED, OWNERS, {"path": "app"})
    assert {n.name for n in integration.nodes} - {n.name for n in app.nodes} == {"relay", "cache"}
    assert {n.name for n in app.nodes} - {n.name for n in integration.nodes} == {"cloud"}
    for owner in OWNERS:
        ways = [[k.name for k in t.between(owner, owner)] for t in (integration, app)]
        assert (ways[0][0], ways[0][-1]) == (ways[1][0], ways[1][-1]) == (f"{owner}.hub", f"{owner}.camera")
    assert choices_of(DESCRIBED, "path") == ("integration", "app")


def test_no_update_of_the_integration_reaches_the_app():
    """A gateway in front of the relay, and a relay's file: there is no relay, and the cloud is another's source."""
    for name in ("edge-cache", "december-26"):
        made = Reference(OWNERS, updates.find(name), {"path": "app"})
        assert made.updated == ()
        assert {n.source for n in made.topology.nodes} == {"accounts", "camera", "cloud", "hub"}
    assert not made.speaks


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"without": ["relay", "relais"]}, "path app is without 'relais'"),
        ({"without": ["relay", "relay"]}, "path app is without 'relay'"),
    ],
)
def test_what_a_choice_is_without_must_be_there(change, words):
    described = DESCRIBED | {"path": {"app": DESCRIBED["path"]["app"] | change}}
    with pytest.raises(Misuse, match=words):
        from_toml(described, OWNERS, {"path": "app"})

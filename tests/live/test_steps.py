"""Steps of a plan that meet other steps: done while an ask is under way, rolled out and back, evicted, reconnected."""

from __future__ import annotations

import pytest

from chaos import conditions
from chaos.children import Scratch
from chaos.conditions import Latency, Way, of
from chaos.contracts.reference import Reference
from chaos.errors import Misuse
from chaos.evidence import Evidence
from chaos.history import Asked, Displayed, MomentCame, Restarted
from chaos.home import Home
from chaos.identity import Key
from chaos.plan import (
    Ask,
    ChangeAccount,
    Clear,
    Evict,
    GiveUp,
    LetAge,
    Meanwhile,
    Moment,
    Pause,
    Plan,
    Reconnect,
    Resume,
    RollBack,
    RollOut,
    SetConditions,
)
from chaos.stacks.process import ProcessStack
from chaos.updates import find
from chaos.verdict import Rules, Verdict, exercised, judge

pytestmark = pytest.mark.live
OWNERS = ("ada", "grace", "lin")
SLOW = of(Latency(way=Way.UP, latency=600))


@pytest.fixture(scope="module")
def home(tmp_path_factory, toxiproxy_binary):
    """A home with december-26, so that there is something to roll back."""
    scratch = Scratch()
    evidence = Evidence(tmp_path_factory.mktemp("home") / "evidence")
    made = Home(Reference(OWNERS, find("december-26")), ProcessStack(scratch), (Key.fresh(),), evidence)
    try:
        made.start(scratch.folder / "home")
        yield made
    finally:
        made.stop()
        evidence.close()
        scratch.remove()


def _do(home, *steps):
    events = home.execute(Plan(OWNERS, steps))
    return events, judge(events, Rules())


def _asks(events):
    return {e.hub: e for e in events if isinstance(e, Asked)}


def test_steps_happen_while_the_ask_is_under_way(home):
    events, _ = _do(home, SetConditions("ada.camera", SLOW), Meanwhile(Ask("ada"), (Ask("grace"),)))
    asks = _asks(events)
    assert asks["ada"].taken <= asks["grace"].began
    assert asks["grace"].settled < asks["ada"].settled
    assert [(e.moment, e.came) for e in events if isinstance(e, MomentCame)] == [("taken", True)]
    states = {s.name: s.reached for s in exercised(events, ()).states}
    assert states == {"two asks at once": 1, "moment of an ask": 1}


@pytest.mark.parametrize("what", ["sent", "answering"])
def test_a_moment_on_a_link_is_waited_for(home, what):
    """The request is held on the hub's own link, or the answer on the camera's: either takes 0.6 s."""
    held = of(Latency(way=Way.UP, latency=600))
    link = {"sent": "ada.hub", "answering": "ada.camera"}[what]
    other = {"sent": "relay.cache", "answering": "ada.camera"}[what]
    moment = Moment(what, other)
    events, _ = _do(home, SetConditions(link, held), Meanwhile(Ask("ada"), (Ask("grace"),), moment))
    (came,) = [e for e in events if isinstance(e, MomentCame)]
    assert came.came
    asks = _asks(events)
    if what == "sent":  # the relay asks its registry only once the request got through
        assert asks["grace"].began - asks["ada"].taken > 0.3
    else:  # bytes of the camera have arrived, and are held
        assert asks["grace"].began < asks["ada"].settled


def test_after_a_failed_ask_steps_happen_and_after_a_good_one_they_do_not(home):
    failing = Meanwhile(Ask("ada"), (Ask("grace"),), Moment("failed"))
    events, _ = _do(home, SetConditions("ada.hub", conditions.OUTAGE), failing)
    assert _asks(events)["ada"].settled <= _asks(events)["grace"].began
    events, _ = _do(home, failing)
    assert "grace" not in _asks(events)
    assert [e.came for e in events if isinstance(e, MomentCame)] == [False]


def test_who_taps_twice_has_closed_the_first_feed_and_gets_the_second(home):
    events, frames = _do(
        home, SetConditions("ada.camera", SLOW), Meanwhile(Ask("ada"), (Clear("ada.camera"), Ask("ada")))
    )
    first, second = sorted((e for e in events if isinstance(e, Asked)), key=lambda e: e.began)
    assert (first.outcome, second.outcome) == ("given_up", "picture")
    assert {f.verdict for f in frames} <= {Verdict.OWN, Verdict.BLANK}


def test_who_gives_up_after_somebody_asked_anew_closes_nothing(home):
    meanwhile = Meanwhile(GiveUp("ada", 500), (Clear("ada.camera"), Ask("ada")))
    events, _ = _do(home, SetConditions("ada.camera", SLOW), meanwhile, LetAge("ada", 700))
    shown = [e for e in events if isinstance(e, Displayed) and e.reading.sightings]
    assert max(e.until for e in shown) - min(e.at for e in shown) > 0.6


def test_an_account_changes_while_a_picture_is_on_its_way(home):
    steps = (SetConditions("ada.camera", SLOW), Meanwhile(Ask("ada"), (ChangeAccount("ada", "lin"),)), Ask("ada"))
    _, frames = _do(home, *steps)
    assert {f.verdict for f in frames} <= {Verdict.OWN, Verdict.BLANK}


def test_nobody_stops_the_hub_that_somebody_waits_in_front_of(home):
    with pytest.raises(Misuse, match=r"meanwhile\(Ask\('ada'\), …\) has Pause\('ada.hub'\)"):
        home.execute(Plan(OWNERS, (Meanwhile(Ask("ada"), (Pause("ada.hub"),)),)))


TURN = (Ask("grace"), Ask("ada"), SetConditions("ada.camera", conditions.OUTAGE), Ask("ada"))
"""With december-26 the last shows grace's still."""


def test_an_update_that_is_rolled_back_shows_nothing_foreign_and_rolled_out_again_it_does(home):
    def foreign(*steps):
        return [f for f in _do(home, *steps)[1] if f.verdict is Verdict.FOREIGN]

    assert home.updated == ("relay",)
    assert foreign(Ask("ada"), Ask("grace"), *TURN[2:])
    assert not foreign(RollBack("relay"), Ask("ada"), Ask("grace"), *TURN[2:])
    assert foreign(Ask("ada"), Ask("grace"), *TURN[2:]), "the next case begins with the update"
    assert foreign(RollBack("relay"), RollOut("relay"), Ask("ada"), Ask("grace"), *TURN[2:])


def test_a_roll_out_counts_when_an_ask_met_it(home):
    events, frames = _do(home, RollBack("relay"), Ask("ada"), RollOut("relay"), Ask("ada"))
    assert [e.why for e in events if isinstance(e, Restarted)] == ["rolled back", "rolled out"]
    met = {f.kind for f, _ in exercised(events, frames).met}
    assert met == {"rolled back", "rolled out"}
    assert exercised(events, frames).unmet == ()


def test_what_the_cache_let_go_of_is_not_shown_again_and_the_registry_stays(home):
    kept = (Ask("ada"), SetConditions("ada.camera", conditions.OUTAGE))
    assert [e.outcome for e in _do(home, *kept, Ask("ada"))[0] if isinstance(e, Asked)] == ["picture", "picture"]
    events, frames = _do(home, *kept, Evict(), Ask("ada"), Clear("ada.camera"), Ask("ada"))
    assert [e.outcome for e in events if isinstance(e, Asked)] == ["picture", "unavailable", "picture"]
    assert ("emptied", "cache") in {(f.kind, f.link) for f, _ in exercised(events, frames).met}


def test_a_cache_that_stands_still_lets_nothing_go(home):
    events, _ = _do(home, Ask("ada"), Pause("cache"), Evict(), Resume("cache"), Ask("ada"))
    assert next(e.outcome for e in events if isinstance(e, Asked)) == "picture"
    assert not [e for e in events if isinstance(e, Restarted)]


def test_all_connections_drop_at_once_and_can_be_made_anew(home):
    links = tuple(f"{o}.camera" for o in OWNERS)
    asks = [Ask(o) for o in OWNERS]
    events, _ = _do(home, *asks, Reconnect(links), *asks)
    assert [e.outcome for e in events if isinstance(e, Asked)] == ["picture"] * 6
    with pytest.raises(Misuse, match=r"no link 'ada.camara'.*ada.camera"):
        home.execute(Plan(OWNERS, (Reconnect(("ada.camara",)),)))


def test_a_picture_grows_old_before_the_next_step(home):
    events, _ = _do(home, LetAge("ada", 60_000), Ask("ada"), LetAge("ada", 700), Ask("ada"))
    first, second = sorted((e for e in events if isinstance(e, Asked)), key=lambda e: e.began)
    assert second.began - first.settled >= 0.7


def test_a_node_that_the_update_brought_has_nothing_to_go_back_to_and_is_restarted(tmp_path, toxiproxy_binary):
    scratch, evidence = Scratch(), Evidence(tmp_path / "evidence")
    with_gateway = Home(Reference(OWNERS, find("access-gateway")), ProcessStack(scratch), (Key.fresh(),), evidence)
    try:
        with_gateway.start(scratch.folder / "home")
        events, _ = _do(with_gateway, RollBack("gateway"), Ask("ada"), RollOut("gateway"), Ask("ada"))
        assert [e.outcome for e in events if isinstance(e, Asked)] == ["picture", "picture"]
        assert "gateway" not in with_gateway.updated
    finally:
        with_gateway.stop()
        evidence.close()
        scratch.remove()

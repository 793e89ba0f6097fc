"""Which asks met which fault of a node, from numbers that a meter would have told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chaos.conditions import Fault, Way
from chaos.history import Asked, Event, NodeFaultSet, Restarted
from chaos.topology import Link
from chaos.witnesses import Exchange, proofs

HUB = Link("ada.hub", "ada.hub", "relay", "public")
ACCOUNTS = Link("relay.accounts", "relay", "accounts", "public")
CACHE = Link("relay.cache", "relay", "cache", "public")
CAMERA = Link("ada.camera", "relay", "ada.camera", "public")
WAY = (HUB, ACCOUNTS, CACHE, CAMERA)


class _Meter:
    """Tells of bytes as (link, way, at, count), and of connections that ended as (link, at)."""

    def __init__(self, bytes_: Sequence[tuple[str, Way, float, int]] = (), ends: Sequence[tuple[str, float]] = ()):
        self._bytes, self._ends = bytes_, ends

    def moved(self, link: str, way: Way, began: float, ended: float) -> int:
        return sum(n for k, w, at, n in self._bytes if (k, w) == (link, way) and began <= at <= ended)

    def ended(self, link: str, began: float, ended: float) -> int:
        return sum(k == link and began <= at <= ended for k, at in self._ends)


def _ask(
    began: float, settled: float, *, feed: str = "still", outcome: str = "unavailable", until: float | None = None
):
    asked = Asked(
        ask=int(began), hub="ada", camera="living-room", feed=feed, began=began, taken=began, settled=settled,
        outcome=outcome,
    )  # fmt: skip
    return Exchange(asked, WAY, settled if until is None else until, signed_in=True)


def _on(node: str, kind: str, at: float) -> NodeFaultSet:
    return NodeFaultSet(node=node, kind=kind, on=True, began=at - 0.1, ended=at)


def _off(node: str, kind: str, at: float) -> NodeFaultSet:
    return NodeFaultSet(node=node, kind=kind, on=False, began=at, ended=at + 0.1)


def _met(events: Sequence[Event], exchanges: Sequence[Exchange], meter: _Meter) -> dict[tuple[int, Fault], int]:
    return {(p.ask, p.fault): p.amount for p in proofs(events, exchanges, meter)}


def _paused(node: str = "ada.camera", kind: str = "paused") -> list[Event]:
    return [_on(node, kind, 10.0), _off(node, kind, 20.0)]


@pytest.mark.parametrize("kind", ["paused", "detached"])
@pytest.mark.parametrize(
    ("node", "link", "way"),
    [
        ("ada.camera", "ada.camera", Way.DOWN),
        ("cache", "relay.cache", Way.DOWN),
        ("accounts", "relay.accounts", Way.DOWN),
        ("relay", "ada.hub", Way.UP),
        ("relay", "ada.camera", Way.UP),
        ("ada.hub", "ada.hub", Way.DOWN),
    ],
)
def test_bytes_for_a_node_that_can_take_none_are_the_proof_and_bytes_from_it_are_not(kind, node, link, way):
    other = Way.UP if way is Way.DOWN else Way.DOWN
    ask = _ask(11.0, 12.0, outcome="picture")
    towards, from_it = _Meter([(link, way, 11.5, 65)]), _Meter([(link, other, 11.5, 65)])
    assert _met(_paused(node, kind), [ask], towards) == {(11, Fault(node, kind)): 65}
    assert _met(_paused(node, kind), [ask], from_it) == {}


@pytest.mark.parametrize(
    ("what", "at", "ask"),
    [
        ("before it stood still", 9.5, _ask(9.0, 12.0)),
        ("after it went on", 20.5, _ask(19.0, 21.0)),
        ("after the still had settled", 12.5, _ask(11.0, 12.0)),
        ("before the ask", 10.5, _ask(11.0, 12.0)),
    ],
)
def test_bytes_outside_of_the_time_in_which_ask_and_fault_both_were_prove_nothing(what, at, ask):
    assert _met(_paused(), [ask], _Meter([("ada.camera", Way.DOWN, at, 65)])) == {}, what


def test_a_node_that_is_on_no_link_of_the_way_is_not_met():
    everywhere = _Meter([(k.name, way, 11.5, 65) for k in WAY for way in Way])
    assert _met(_paused("grace.camera"), [_ask(11.0, 12.0)], everywhere) == {}


def test_a_fault_that_nobody_took_away_lasts_to_the_end_of_the_case():
    meter = _Meter([("ada.camera", Way.DOWN, 99.0, 65)])
    assert _met([_on("ada.camera", "paused", 10.0)], [_ask(98.0, 100.0)], meter)


def test_a_hub_that_was_cut_off_all_the_time_met_it_when_nothing_of_its_ask_arrived():
    hub = _paused("ada.hub", "detached")
    silent = _Meter()
    assert _met(hub, [_ask(11.0, 12.0)], silent) == {(11, Fault("ada.hub", "detached")): 1}
    assert _met(hub, [_ask(11.0, 12.0)], _Meter([("ada.hub", Way.UP, 11.5, 9)])) == {}, "some of it arrived"
    assert _met(hub, [_ask(11.0, 12.0, outcome="picture")], silent) == {}, "it saw something"
    assert _met(hub, [_ask(9.0, 12.0)], silent) == {}, "it asked before"
    assert _met(hub, [_ask(19.0, 21.0)], silent) == {}, "it was back before the ask had settled"
    nobody = Exchange(_ask(11.0, 12.0).asked, WAY[:3], 12.0, signed_in=False)
    assert _met(hub, [nobody], silent) == {}, "nobody was signed in: there was nothing to send"
    assert _met(_paused("ada.hub", "paused"), [_ask(11.0, 12.0)], silent) == {}, "a paused hub takes no ask"


@pytest.mark.parametrize("kind", ["new address", "clock"])
def test_a_camera_that_answered_from_elsewhere_or_with_its_clock_was_met(kind):
    ask = _ask(11.0, 12.0, outcome="picture")
    assert _met(_paused("ada.camera", kind), [ask], _Meter([("ada.camera", Way.UP, 11.5, 70_000)]))
    assert not _met(_paused("ada.camera", kind), [ask], _Meter([("ada.camera", Way.DOWN, 11.5, 200)]))


RESTART = Restarted(node="relay", began=10.0, ended=11.0, why="drawn")


def test_a_stream_met_the_restart_that_broke_its_connection():
    stream = _ask(5.0, 5.1, feed="stream", outcome="picture", until=30.0)
    broke = _Meter(ends=[("ada.hub", 10.1), ("ada.camera", 10.1), ("relay.cache", 10.1)])
    assert _met([RESTART], [stream], broke) == {(5, Fault("relay", "restarted")): 2}, "pictures do not cross the cache"
    assert _met([RESTART], [stream], _Meter(ends=[("ada.hub", 9.0), ("ada.camera", 12.0)])) == {}
    still = _ask(5.0, 5.1, outcome="picture")
    assert _met([RESTART], [still], broke) == {}, "it had settled long before"


def test_the_first_ask_of_a_hub_after_a_restart_met_it_when_the_node_answered():
    answers = _Meter([("ada.hub", Way.DOWN, at, 100) for at in (12.5, 15.5)])
    first, second = _ask(12.0, 13.0, outcome="picture"), _ask(15.0, 16.0, outcome="picture")
    assert _met([RESTART], [first, second], answers) == {(12, Fault("relay", "restarted")): 100}
    assert _met([RESTART], [first, second], _Meter()) == {}


@pytest.mark.parametrize("why", ["hung", "carried over"])
def test_a_restart_that_was_not_drawn_is_no_fault_to_meet(why):
    event = Restarted(node="relay", began=10.0, ended=11.0, why=why)
    assert _met([event], [_ask(12.0, 13.0)], _Meter([("ada.hub", Way.DOWN, 12.5, 100)])) == {}

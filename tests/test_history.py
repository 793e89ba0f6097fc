"""Events as lines: what was written is read again, whatever it is."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.errors import Misuse
from chaos.history import CaseStarted, Event, Restarted, from_line, to_line
from chaos.plan import NodeFault
from tests import makers
from tests.makers import OWNERS, conditions_set, seen, shown
from tests.test_plan import any_conditions, plans

times = st.floats(0, 1e9)
names = st.sampled_from([*OWNERS, "relay.cache", "Åsa's hub"])

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(CaseStarted, at=times, case=st.integers(0, 2**24), kind=st.just("plan"), plan=st.none() | plans),
    st.builds(makers.case_ended, st.integers(0, 2**24), times),
    st.builds(makers.signed_in, names | st.none(), times, times, names),
    st.builds(makers.asked, times, times, ask=st.integers(0), hub=names, camera=names),
    st.builds(makers.closed, times, times, names),
    st.builds(conditions_set, names, any_conditions, times, times),
    st.builds(Restarted, node=names, began=times, ended=times, why=st.sampled_from(["drawn", "carried over", "hung"])),
    st.builds(makers.node_fault, names, st.sampled_from(get_args(NodeFault)), times, times, on=st.booleans()),
    st.builds(makers.met, st.integers(0), names, names, st.integers(0)),
    st.builds(makers.control, names, seen=st.booleans()),
    st.builds(
        lambda at, until, sightings, blank, damaged: shown(at, until, *sightings, blank=blank, damaged=damaged),
        times,
        times,
        st.lists(st.builds(seen, names, names, captured=st.none() | times), max_size=2),
        st.booleans(),
        st.booleans(),
    ),
)


@settings(deadline=None)
@given(events)
def test_an_event_read_from_its_line_is_the_same_event(event):
    line = to_line(event)

    assert b"\n" not in line
    assert from_line(line) == event
    assert to_line(from_line(line)) == line


@settings(deadline=None)
@given(events)
def test_a_line_is_plain_json_that_names_its_event(event):
    assert json.loads(to_line(event))["event"] == event.__struct_config__.tag


def test_an_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        makers.closed(1.0).hub = "lin"  # type: ignore[misc]


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"event":"sneezed"}', b'{"event":"closed","hub":"ada"}', b'{"hub":"ada","began":1,"ended":2}'],
)
def test_another_line_is_refused(line):
    with pytest.raises(msgspec.DecodeError):
        from_line(line)


def test_an_event_that_no_harness_could_have_written_is_refused():
    line = to_line(conditions_set("x", makers.SLOW, 1.0)).replace(b'"latency":1000', b'"latency":-1')

    with pytest.raises(Misuse, match="latency is -1"):
        from_line(line)

"""A home of processes whose ports somebody else takes first begins again on others, and nothing else does."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from chaos import sockets
from chaos.errors import Surroundings
from chaos.stacks.process import STARTS, ProcessStack

TOPOLOGY = SimpleNamespace(datagrams=frozenset(), nodes=(), links=(1, 2))
SAID = 'hub ended with code 3: error="OPERATOR 127.0.0.1:25589 cannot be listened on: Address already in use"'


def started(monkeypatch, *failures):
    """Start a stack whose first starts fail in these ways; return the ports of each start, and what was said."""
    given: list[list[int]] = []
    said: list[str] = []
    waiting = list(failures)

    def start_on(_, chosen, *__) -> None:
        given.append(list(chosen))
        if waiting:
            raise waiting.pop(0)

    monkeypatch.setattr(ProcessStack, "_start_on", start_on)
    stack = ProcessStack(SimpleNamespace(), said.append)
    stack.start(TOPOLOGY, None, None, None)
    return SimpleNamespace(given=given, said=said)


def test_a_port_that_was_taken_for_a_moment_is_told_by_who_wanted_it(monkeypatch):
    told = started(monkeypatch, Surroundings(SAID))

    assert len(told.given) == 2
    assert not set(told.given[0]) & set(told.given[1])
    assert told.said == ["another process took a port for a moment first; starting again on other ports"]


def test_a_port_on_which_somebody_listens_is_named(monkeypatch):
    choose, listener = sockets.free_ports, socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    theirs = listener.getsockname()[1]
    chosen = iter([[theirs, *choose(1)]])
    monkeypatch.setattr(sockets, "free_ports", lambda count: next(chosen, None) or choose(count))
    with listener:
        told = started(monkeypatch, Surroundings("the hub did not answer"))

    assert told.said == [f"another process took port {theirs} first; starting again on other ports"]


def test_what_failed_for_another_reason_is_raised_at_once_and_a_taken_port_in_the_end(monkeypatch):
    with pytest.raises(Surroundings, match="no such program"):
        started(monkeypatch, Surroundings("no such program"))
    with pytest.raises(Surroundings, match="already in use"):
        started(monkeypatch, *[Surroundings(SAID)] * STARTS)

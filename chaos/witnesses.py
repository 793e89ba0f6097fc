"""Proof that the exchange of an ask met a fault of a whole node: what arrived for it, what came from it, what ended.

As for faults of links, numbers are lower bounds from the kernel's byte counters at Toxiproxy, between marked instants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from chaos.conditions import Fault
from chaos.disturbance import Way
from chaos.history import Asked, Event, Met, NodeFaultSet, Restarted
from chaos.plan import NodeFault

if TYPE_CHECKING:
    from chaos.sockets import Meter
    from chaos.topology import Link


class Exchange(msgspec.Struct, frozen=True):
    """An ask, the links that it can cross (the hub's own first, the camera's last), and until when it exchanged.

    `signed_in`: whether the hub had an account to ask for.
    """

    asked: Asked
    way: tuple[Link, ...]
    until: float
    signed_in: bool


def proofs(events: Sequence[Event], exchanges: Sequence[Exchange], meter: Meter) -> Iterator[Met]:
    """Yield the proof for each ask and each fault of a node that its exchange met, in one case."""
    for span in spans(events):
        for exchange in exchanges:
            low = max(span.began, exchange.asked.began)
            if low < min(span.until, exchange.until) and (amount := _met(exchange, span, exchanges, meter)):
                yield Met(at=low, ask=exchange.asked.ask, fault=Fault(span.node, span.kind), amount=amount)


class Span(msgspec.Struct, frozen=True):
    """From when until when (seconds, monotonic) a fault of a node was fully in force.

    A restart, and what is like one, is from the kill on, without end: what the node forgot stays forgotten. It was
    ready at `ready`.
    """

    node: str
    kind: NodeFault
    began: float
    until: float
    ready: float


def spans(events: Sequence[Event]) -> Iterator[Span]:
    """Yield the spans of all faults of nodes in one case."""
    changes = sorted((e for e in events if isinstance(e, NodeFaultSet)), key=lambda e: e.began)
    for i, change in enumerate(changes):
        if change.on:
            later = (e.began for e in changes[i + 1 :] if (e.node, e.kind) == (change.node, change.kind))
            yield Span(change.node, change.kind, change.ended, next(later, float("inf")), change.ended)
    for event in events:
        if isinstance(event, Restarted) and event.drawn is not None:
            yield Span(event.node, event.drawn, event.began, float("inf"), event.ended)


def _met(exchange: Exchange, span: Span, all_: Sequence[Exchange], meter: Meter) -> int:
    """Return bytes or connections that prove that an exchange met a fault, 0 when nothing does."""
    low, high = max(span.began, exchange.asked.began), min(span.until, exchange.until)
    adjacent = [k for k in exchange.way if span.node in (k.client, k.server)]
    match span.kind:
        case "paused" | "detached":  # bytes for it arrived at Toxiproxy, while it could take none
            arrived = sum(meter.moved(k.name, _towards(k, span.node), low, high) for k in adjacent)
            return arrived or int(span.kind == "detached" and _is_cut_off(exchange, span, meter))
        case "new address" | "clock" | "picture":  # it answered, from there and with that clock
            return sum(meter.moved(k.name, _from(k, span.node), low, high) for k in adjacent)
        case "restarted" | "rolled out" | "rolled back" | "emptied":
            return _met_restart(exchange, span, adjacent, all_, meter)


def _is_cut_off(exchange: Exchange, span: Span, meter: Meter) -> bool:
    """Whether the hub itself was detached all the time, was asked, and nothing that it sent arrived."""
    ask, first = exchange.asked, exchange.way[0]
    return (
        first.client == span.node
        and exchange.signed_in
        and span.began <= ask.began
        and ask.settled <= span.until
        and ask.outcome in ("unavailable", "silent", "given_up")
        and meter.moved(first.name, _from(first, span.node), ask.began, ask.settled) == 0
    )


def _met_restart(exchange: Exchange, span: Span, adjacent: list[Link], all_: Sequence[Exchange], meter: Meter) -> int:
    """Count what broke of a stream that ran through the node, or what the hub's first ask afterwards had from it."""
    ask = exchange.asked
    if ask.began < span.began:
        carried = [k for k in adjacent if k in (exchange.way[0], exchange.way[-1])] if ask.feed != "still" else []
        return sum(meter.ended(k.name, span.began, min(span.ready, exchange.until)) for k in carried)
    after = [e.asked for e in all_ if e.asked.hub == ask.hub and e.asked.began >= span.ready]
    if after and min(after, key=lambda a: a.began) is ask:
        return sum(meter.moved(k.name, _from(k, span.node), ask.began, exchange.until) for k in adjacent)
    return 0


def _from(link: Link, node: str) -> Way:
    """Return the way of what `node`, at one end of the link, sends."""
    return Way.UP if (node == link.client) == link.device_dials else Way.DOWN


def _towards(link: Link, node: str) -> Way:
    return Way.DOWN if _from(link, node) == Way.UP else Way.UP

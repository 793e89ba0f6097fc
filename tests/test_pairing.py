"""Pairs are those that comparing all with all gives, after whatever was added, moved and removed."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from chaos.pairing import DIAL, Pairing


def socket(towards_client: bool, seen: float, since: float | None = None) -> SimpleNamespace:
    since = seen - 0.02 if since is None else since
    return SimpleNamespace(towards_client=towards_client, since=since, seen=seen, received=0, sent=0)


def all_with_all(there: dict[int, SimpleNamespace]) -> set[tuple[int, int]]:
    near = [
        (c, s)
        for c, client in there.items()
        for s, server in there.items()
        if client.towards_client and not server.towards_client
        if client.since <= server.seen and server.since <= client.seen + DIAL
    ]
    equal = [
        (c, s) for c, s in near if there[c].received == there[s].sent > 0 and there[c].sent == there[s].received > 0
    ]
    sure = set()
    for pairs in (near, equal):
        clients, servers = Counter(c for c, _ in pairs), Counter(s for _, s in pairs)
        sure |= {(c, s) for c, s in pairs if clients[c] == servers[s] == 1}
    return sure


STEPS = st.lists(
    st.tuples(st.just("new"), st.booleans(), st.sampled_from([0.0, 0.02, 0.5, 1.5]), st.sampled_from([0.02, 0.05]))
    | st.tuples(st.just("moves"), st.integers(0, 20), st.sampled_from([1, 2]), st.sampled_from([0, 1]))
    | st.tuples(st.just("goes"), st.integers(0, 20)),
    max_size=40,
)


@given(STEPS)
def test_it_finds_what_comparing_all_with_all_finds(steps):
    pairing, there, now = Pairing(), {}, 100.0
    for number, (what, *how) in enumerate(steps):
        if what == "new":
            now += how[1]
            there[number] = socket(how[0], now, now - how[2])
            pairing.add(number, there[number])
        elif there:
            chosen = sorted(there)[how[0] % len(there)]
            if what == "moves":
                there[chosen].received += how[1]
                there[chosen].sent += how[2]
                pairing.moved(chosen)
            else:
                del there[chosen]
                pairing.remove(chosen)
        assert pairing.sure() == all_with_all(there)


def test_two_that_came_at_once_are_told_apart_by_what_they_moved():
    pairing = Pairing()
    there = {n: socket(n < 2, 10.0) for n in range(4)}
    for number, one in there.items():
        pairing.add(number, one)
    assert pairing.sure() == frozenset()
    for client, server, size in ((0, 3, 100), (1, 2, 250)):
        there[client].received = there[server].sent = size
        there[client].sent = there[server].received = 7
        pairing.moved(client)
        pairing.moved(server)
    assert pairing.sure() == {(0, 3), (1, 2)}
    pairing.remove(0)
    assert pairing.sure() == {(1, 2)}
    pairing.moved(0)  # whoever is gone may still be told of
    assert pairing.sure() == {(1, 2)}

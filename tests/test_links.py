"""Changes of toxics follow the rules that keep the server alive, and every answer of the server is doubted."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import links
from chaos.conditions import (
    CLEAR,
    EDGE,
    NAMED,
    OUTAGE,
    Bandwidth,
    Conditions,
    Latency,
    LimitData,
    Slicer,
    SlowClose,
    Timeout,
    Way,
    of,
    poor,
)
from chaos.errors import Surroundings
from chaos.links import Hop, Links, Server, Step, ToxicState, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

HUB = Hop("127.0.0.1:20001", "127.0.0.1:20002", device_dials=True)
CAMERA = Hop("127.0.0.1:20003", "127.0.0.1:20004", device_dials=False)


def test_up_leaves_the_device_whoever_dials() -> None:
    assert (HUB.stream(Way.UP), HUB.stream(Way.DOWN)) == ("upstream", "downstream")
    assert (CAMERA.stream(Way.UP), CAMERA.stream(Way.DOWN)) == ("downstream", "upstream")


class Chain:
    """The toxics of one proxy as the server keeps them; refuses what was seen to kill, hang or corrupt it."""

    def __init__(self) -> None:
        self.toxics: list[ToxicState] = []

    def apply(self, step: Step) -> None:
        if step.do == "add":
            assert step.name not in {t.name for t in self.toxics}, "the server answers 409"
            self.toxics.append(ToxicState(step.name, step.kind, step.stream, step.toxicity, step.attributes))
            return
        at = next(i for i, t in enumerate(self.toxics) if t.name == step.name)
        toxic = self.toxics[at]
        for behind in (t for t in self.toxics[at + 1 :] if t.stream == toxic.stream):
            if behind.type == "latency" or toxic.type in ("timeout", "reset_peer"):
                break
            slow = behind.type == "bandwidth" or (behind.type == "slicer" and toxic.type != "bandwidth")
            assert not (slow and behind.toxicity), "it waits for what holds data back"
        if step.do == "remove":
            assert toxic.type in ("timeout", "reset_peer"), "removing stalls"
            del self.toxics[at]
            return
        assert toxic.type not in ("timeout", "reset_peer") or step.toxicity, "a hole, or a reset that stays"
        if toxic.type == "bandwidth" and step.attributes:
            assert not toxic.toxicity, "it repeats bytes"
            assert step.attributes["rate"] <= toxic.attributes["rate"], "it dies"
        if toxic.type == "limit_data":
            assert not step.attributes, "its count goes on"
        self.toxics[at] = msgspec.structs.replace(
            toxic, toxicity=step.toxicity, attributes=step.attributes or toxic.attributes
        )

    def in_force(self) -> dict[tuple[str, str], dict[str, int]]:
        return {(t.type, t.stream): t.attributes for t in self.toxics if t.toxicity}


def wanted(conditions: Conditions) -> dict[tuple[str, str], dict[str, int]]:
    return {(t.kind, HUB.stream(t.way)): t.attributes() for t in conditions.toxics}


MIXED = st.builds(
    lambda rate, delay, size, cut, close, hole: of(
        *([Bandwidth(rate=rate)] if rate is not None else []),
        *([Latency(latency=delay)] if delay else []),
        *([Slicer(average_size=size, delay=1000)] if size else []),
        *([LimitData(bytes=cut)] if cut else []),
        *([SlowClose(delay=close)] if close else []),
        *([Timeout(timeout=100)] if hole else []),
    ),
    st.sampled_from([None, 0, 2, 62, 1125]),
    st.sampled_from([0, 30, 600]),
    st.sampled_from([0, 128, 4096]),
    st.sampled_from([0, 200, 2000]),
    st.sampled_from([0, 100]),
    st.booleans(),
)


@given(st.lists(poor() | MIXED | st.sampled_from(list(NAMED.values())), max_size=12))
def test_any_way_through_conditions_keeps_the_rules_and_arrives(drawn: list[Conditions]) -> None:
    chain = Chain()
    for conditions in drawn:
        for step in plan(chain.toxics, wanted(conditions)):
            chain.apply(step)
        assert chain.in_force() == wanted(conditions)
        for stream in ("upstream", "downstream"):
            order = [t.type for t in chain.toxics if t.toxicity and t.stream == stream]
            if "latency" in order:
                assert not {"bandwidth", "slicer"} & set(order[order.index("latency") :])
        assert plan(chain.toxics, wanted(conditions)) == [], "there is nothing left to do"


def test_a_rate_in_force_is_never_changed_but_followed_by_another_with_room_between() -> None:
    have = [ToxicState("b", "bandwidth", "downstream", 1.0, {"rate": 62})]
    down = ("bandwidth", "downstream")
    for rate in (25, 93):
        assert plan(have, {down: {"rate": rate}}) == [
            Step("add", "latency-downstream-1-between", "latency", "downstream", 0.0),
            Step("add", "bandwidth-downstream-2", *down, attributes={"rate": rate}),
            Step("update", "b", *down, toxicity=0.0),
        ]
    assert plan(have, {}) == [Step("update", "b", *down, toxicity=0.0)]
    off = [msgspec.structs.replace(have[0], toxicity=0.0)]
    assert plan(off, {down: {"rate": 25}}) == [Step("update", "b", *down, attributes={"rate": 25})]
    assert plan(off, {down: {"rate": 93}})[0].do == "add"


class Fake(Server):
    """A server in memory that forgets, ignores or loses what `flaw` says."""

    def __init__(self, flaw: str = "") -> None:
        super().__init__("Toxiproxy (fake)")
        self.flaw = flaw
        self.proxies: dict[str, dict[str, object]] = {}

    def start(self) -> None:
        self.proxies = {}

    def stop(self) -> None:
        pass

    def ended(self) -> str | None:
        return None

    def tail(self) -> str:
        return "  | last line"

    def call(self, method: str, path: str, body: object = None) -> bytes:
        match method, path.strip("/").split("/"):
            case "POST", ["populate"]:
                for entry in body:
                    self.proxies[entry["name"]] = {**entry, "toxics": []}
                if self.flaw == "loses a proxy":
                    self.proxies.popitem()
                if self.flaw == "another upstream":
                    next(iter(self.proxies.values()))["upstream"] = "127.0.0.1:1"
                if self.flaw == "disabled":
                    next(iter(self.proxies.values()))["enabled"] = False
            case "DELETE", ["proxies", name]:
                if self.flaw != "keeps toxics":
                    del self.proxies[name]
            case "POST", ["proxies", name, "toxics"]:
                if self.flaw == "ignores attributes":
                    body = {**body, "attributes": dict.fromkeys(body["attributes"], 0)}
                if self.flaw == "half-hearted":
                    body = {**body, "toxicity": 0.5}
                if self.flaw != "forgets toxics":
                    self.proxies[name]["toxics"].append(body)
            case "GET", ["proxies"]:
                return json.dumps(self.proxies).encode()
            case "GET", ["proxies", name]:
                return b"<html>" if self.flaw == "babbles" else json.dumps(self.proxies[name]).encode()
        return b""


def test_a_server_that_obeys_is_believed() -> None:
    two = Links(Fake(), {"ada.hub": HUB, "ada.camera": CAMERA})
    two.fresh()
    two.set("ada.hub", EDGE)
    assert two.conditions("ada.hub") == EDGE
    assert two.conditions("ada.camera") == CLEAR


@pytest.mark.parametrize("flaw", ["loses a proxy", "another upstream", "disabled"])
def test_a_reset_that_did_not_happen_is_noticed(flaw: str) -> None:
    with pytest.raises(Surroundings, match=r"did not do what it was told|has the proxies"):
        Links(Fake(flaw), {"ada.hub": HUB, "ada.camera": CAMERA}).fresh()


def test_toxics_left_over_from_one_case_are_noticed_at_the_next() -> None:
    server = Fake()
    one = Links(server, {"ada.hub": HUB})
    one.fresh()
    one.set("ada.hub", EDGE)
    server.flaw = "keeps toxics"
    server.call = lambda *a, real=server.call: b"" if a[:2] == ("POST", "/populate") else real(*a)  # type: ignore[method-assign]
    with pytest.raises(Surroundings, match=r"did not do what it was told on ada\.hub: toxics"):
        one.fresh()


@pytest.mark.parametrize("flaw", ["ignores attributes", "forgets toxics", "half-hearted", "babbles"])
def test_a_write_that_did_not_take_is_noticed(flaw: str) -> None:
    one = Links(server := Fake(), {"ada.hub": HUB})
    one.fresh()
    server.flaw = flaw
    with pytest.raises(Surroundings, match=r"did not do what it was told on ada\.hub|what no Toxiproxy does"):
        one.set("ada.hub", EDGE)


def test_an_outage_that_was_not_taken_is_noticed() -> None:
    one = Links(server := Fake(), {"ada.hub": HUB})
    one.fresh()
    server.flaw = "keeps toxics"
    server.call = lambda *a, real=server.call: b"" if a[:2] == ("POST", "/populate") else real(*a)  # type: ignore[method-assign]
    with pytest.raises(Surroundings, match="enabled True instead of False"):
        one.set("ada.hub", OUTAGE)


# -- the client, made strict ----------------------------------------------------------------------------------------


class Elsewhere(Fake):
    """A server at a real address that answers as a test says."""

    call = Server.call


@pytest.fixture
def answering() -> Iterator[tuple[Elsewhere, list[tuple[int, bytes, float]]]]:
    """A server, and the (status, body, seconds) of its answers."""
    answers: list[tuple[int, bytes, float]] = [(200, b"{}", 0.0)]
    release = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, seconds = answers[-1]
            release.wait(seconds)
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        server = Elsewhere()
        server.reach("127.0.0.1", listening.server_address[1])
        yield server, answers
        release.set()
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [500, 503, 302, 400, 404, 409])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_refusal_is_an_error_with_what_was_said(
    answering: tuple[Elsewhere, list[tuple[int, bytes, float]]], status: int, method: str
) -> None:
    server, answers = answering
    answers.append((status, b"because of reasons", 0.0))
    with pytest.raises(Surroundings, match="because of reasons") as failed:
        server.call(method, "/proxies")  # type: ignore[arg-type]
    assert "last line" in str(failed.value)


def test_a_silence_is_an_error_after_the_time_limit(
    monkeypatch: pytest.MonkeyPatch, answering: tuple[Elsewhere, list[tuple[int, bytes, float]]]
) -> None:
    monkeypatch.setattr(links, "LIMIT", 0.2)
    server, answers = answering
    answers.append((200, b"{}", 60.0))
    began = time.monotonic()
    with pytest.raises(Surroundings, match="did not answer DELETE /proxies/x within"):
        server.call("DELETE", "/proxies/x")
    assert time.monotonic() - began >= 0.2


def test_two_servers_have_two_addresses(answering: tuple[Elsewhere, list[tuple[int, bytes, float]]]) -> None:
    first, _ = answering
    other = Elsewhere()
    with pytest.raises(Surroundings, match="did not answer GET /version"):
        other.reach("127.0.0.1", 1)
    assert first.call("GET", "/proxies") == b"{}"

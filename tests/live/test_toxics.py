"""Each toxic on a real connection through the real server, beside the same on a healthy link; and the server's habits.

A bound here proves that a fault was injected: it is a lower bound that a healthy link misses, as the twin shows.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from chaos.conditions import (
    BLACK_HOLE,
    CLEAR,
    EDGE,
    OUTAGE,
    Bandwidth,
    Conditions,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Way,
    of,
)
from chaos.errors import Surroundings
from tests.live.conftest import Wire, arrives_within, ends_with, receive, wait_until

if TYPE_CHECKING:
    from chaos.links import Toxiproxy

pytestmark = pytest.mark.live

WAYS = pytest.mark.parametrize("way", list(Way))


def seconds_for(wire: Wire, way: Way, count: int) -> float:
    """Send `count` bytes one way on a new connection; return the seconds until the last of them arrived."""
    sender, receiver = wire.connect().way(way)
    began = time.monotonic()
    sender.sendall(bytes(count))
    assert len(receive(receiver, count)) == count
    return time.monotonic() - began


def twin(wire: Wire, way: Way, fault: Conditions, count: int, bound: float) -> None:
    """Assert that `count` bytes take at least `bound` seconds under `fault`, and less on a healthy link."""
    assert min(seconds_for(wire, way, count) for _ in range(3)) < bound, "a healthy link misses the bound"
    wire.links.set(wire.name, fault)
    assert seconds_for(wire, way, count) >= bound
    other = Way.UP if way is Way.DOWN else Way.DOWN
    assert min(seconds_for(wire, other, count) for _ in range(3)) < bound, "the other way is left alone"
    wire.links.set(wire.name, CLEAR)
    assert min(seconds_for(wire, way, count) for _ in range(3)) < bound, "a healed link misses the bound again"


@WAYS
def test_latency_holds_the_first_byte_back(wire: Wire, way: Way) -> None:
    twin(wire, way, of(Latency(way=way, latency=300)), 1, 0.3)


@WAYS
def test_bandwidth_stretches_a_transfer(wire: Wire, way: Way) -> None:
    twin(wire, way, of(Bandwidth(way=way, rate=25)), 10_000, 10_000 / 25_000)


@WAYS
def test_a_slicer_with_a_delay_stretches_a_transfer_by_its_slices(wire: Wire, way: Way) -> None:
    slices = 2560 // 128
    twin(wire, way, of(Slicer(way=way, average_size=128, delay=20_000)), 2560, (slices - 1) * 0.02)


@WAYS
def test_a_profile_delays_and_narrows_at_once(wire: Wire, way: Way) -> None:
    rate, delay = (30, 0.4) if way is Way.DOWN else (25, 0.44)
    assert min(seconds_for(wire, way, 20_000) for _ in range(3)) < delay
    wire.links.set(wire.name, EDGE)
    assert seconds_for(wire, way, 1) >= delay
    assert seconds_for(wire, way, 20_000) >= 20 / rate


@WAYS
def test_a_rate_of_nothing_stalls_and_clearing_it_lets_go_what_was_held(wire: Wire, way: Way) -> None:
    sender, receiver = wire.connect().way(way)
    wire.links.set(wire.name, of(Bandwidth(way=way, rate=0)))
    sender.sendall(b"still")
    assert arrives_within(receiver, 0.5) is None
    wire.links.set(wire.name, CLEAR)
    assert receive(receiver, 5) == b"still"


@WAYS
def test_a_timeout_swallows_data_and_closes_after_its_silence(wire: Wire, way: Way) -> None:
    sender, receiver = wire.connect().way(way)
    sender.sendall(b"a")
    assert receive(receiver, 1) == b"a", "a healthy link passes it"
    wire.links.set(wire.name, of(Timeout(way=way, timeout=300)))
    began = time.monotonic()
    sender.sendall(b"b")
    assert arrives_within(receiver, 20.0) == b"", "closed, and nothing came"
    assert time.monotonic() - began >= 0.3


@WAYS
def test_a_black_hole_swallows_data_and_keeps_the_connection_until_it_is_lifted(wire: Wire, way: Way) -> None:
    sender, receiver = wire.connect().way(way)
    wire.links.set(wire.name, BLACK_HOLE)
    sender.sendall(b"lost")
    assert arrives_within(receiver, 0.5) is None
    wire.links.set(wire.name, CLEAR)
    # without the close the receiver would go on behind a hole in its stream, which no network does
    assert arrives_within(receiver, 20.0) == b""
    assert seconds_for(wire, way, 4) >= 0


@WAYS
def test_a_reset_resets_new_connections_at_both_ends_and_only_ends_old_ones(wire: Wire, way: Way) -> None:
    old = wire.connect()
    wire.links.set(wire.name, of(ResetPeer(way=way, timeout=50)))
    new = wire.connect()
    began = time.monotonic()
    new.way(way)[0].sendall(b"x")
    assert ends_with(new.way(way)[1]) == "reset"
    assert time.monotonic() - began >= 0.05
    assert ends_with(new.way(way)[0]) == "reset"
    old.way(way)[0].sendall(b"x")
    assert ends_with(old.way(way)[1]) == "end"
    wire.links.set(wire.name, CLEAR)
    healthy = wire.connect()
    healthy.device.close()
    assert ends_with(healthy.far) == "end", "a removed reset leaves nothing behind"


@WAYS
def test_limit_data_passes_exactly_so_many_bytes_and_then_ends(wire: Wire, way: Way) -> None:
    sender, receiver = wire.connect().way(way)
    sender.sendall(bytes(5000))
    assert len(receive(receiver, 5000)) == 5000, "a healthy link passes more"
    wire.links.set(wire.name, of(LimitData(way=way, bytes=2000)))
    sender.sendall(bytes(5000))
    assert len(receive(receiver, 5000)) == 2000, "and a connection from before has its count begin now"
    sender, receiver = wire.connect().way(way)
    sender.sendall(bytes(1500))
    assert len(receive(receiver, 1500)) == 1500
    wire.links.set(wire.name, of(LimitData(way=way, bytes=1000)))
    sender.sendall(bytes(5000))
    assert len(receive(receiver, 5000)) == 1000, "a new limit counts from its own beginning"


@WAYS
def test_a_slow_close_delays_the_end_alone(wire: Wire, way: Way) -> None:
    def seconds_to_the_end() -> float:
        sender, receiver = wire.connect().way(way)
        sender.sendall(b"bye")
        assert receive(receiver, 3) == b"bye"
        began = time.monotonic()
        sender.close()
        assert ends_with(receiver) == "end"
        return time.monotonic() - began

    assert min(seconds_to_the_end() for _ in range(3)) < 0.3
    wire.links.set(wire.name, of(SlowClose(way=way, delay=300)))
    assert seconds_to_the_end() >= 0.3


def test_an_outage_drops_what_was_there_and_refuses_what_comes(wire: Wire) -> None:
    ends = wire.connect()
    wire.links.set(wire.name, OUTAGE)
    assert ends_with(ends.device) == "end"
    assert ends_with(ends.far) == "end"
    with pytest.raises(ConnectionRefusedError):
        wire.dial()
    wire.links.set(wire.name, CLEAR)
    assert seconds_for(wire, Way.DOWN, 1) >= 0


# -- habits of the server that the harness relies on, or guards against ---------------------------------------------


@pytest.fixture
def path(hub_wire: Wire, toxiproxy: Toxiproxy) -> str:
    return f"/proxies/{hub_wire.name}"


def told(toxiproxy: Toxiproxy, path: str) -> dict[str, object]:
    return json.loads(toxiproxy.call("GET", path))


def test_a_misspelt_attribute_is_answered_as_if_it_were_taken(toxiproxy: Toxiproxy, path: str) -> None:
    toxiproxy.call("POST", f"{path}/toxics", {"name": "t", "type": "latency", "attributes": {"latncy": 500}})
    assert told(toxiproxy, f"{path}/toxics/t")["attributes"] == {"latency": 0, "jitter": 0}


def test_a_changed_type_or_stream_is_answered_as_if_it_were_taken(toxiproxy: Toxiproxy, path: str) -> None:
    toxiproxy.call("POST", f"{path}/toxics", {"name": "t", "type": "latency", "attributes": {"latency": 5}})
    toxiproxy.call("POST", f"{path}/toxics/t", {"type": "timeout", "stream": "upstream", "attributes": {}})
    toxic = told(toxiproxy, f"{path}/toxics/t")
    assert (toxic["type"], toxic["stream"]) == ("latency", "downstream")


def test_a_number_in_quotes_is_refused(toxiproxy: Toxiproxy, path: str) -> None:
    with pytest.raises(Surroundings, match="refused POST"):
        toxiproxy.call("POST", f"{path}/toxics", {"type": "latency", "attributes": {"latency": "500"}})


def test_a_post_updates_a_toxic_as_the_client_can_only_post(toxiproxy: Toxiproxy, path: str) -> None:
    toxiproxy.call("POST", f"{path}/toxics", {"name": "t", "type": "latency", "attributes": {"latency": 5}})
    toxiproxy.call("POST", f"{path}/toxics/t", {"toxicity": 0.0, "attributes": {"latency": 7}})
    toxic = told(toxiproxy, f"{path}/toxics/t")
    assert (toxic["toxicity"], toxic["attributes"]) == (0, {"latency": 7, "jitter": 0})


def test_populating_again_keeps_a_proxy_and_its_toxics(toxiproxy: Toxiproxy, hub_wire: Wire, path: str) -> None:
    toxiproxy.call("POST", f"{path}/toxics", {"name": "t", "type": "latency", "attributes": {"latency": 5}})
    entry = {"name": hub_wire.name, "listen": hub_wire.hop.listen, "upstream": hub_wire.hop.upstream}
    toxiproxy.call("POST", "/populate", [entry])
    assert told(toxiproxy, f"{path}/toxics/t")["attributes"] == {"latency": 5, "jitter": 0}


def test_a_toxic_that_is_switched_off_lets_all_through_and_keeps_the_connection(hub_wire: Wire) -> None:
    sender, receiver = hub_wire.connect().way("down")
    hub_wire.links.set(hub_wire.name, of(Latency(latency=60_000)))
    sender.sendall(b"held")
    assert arrives_within(receiver, 0.2) is None
    hub_wire.links.set(hub_wire.name, CLEAR)
    assert receive(receiver, 4) == b"held"


def test_a_dead_upstream_is_accepted_before_it_is_dialled(hub_wire: Wire) -> None:
    hub_wire.upstream.close()
    assert ends_with(hub_wire.dial()) in ("end", "reset")


def test_only_loopback_reaches_the_api(toxiproxy: Toxiproxy) -> None:
    listening = [
        c.laddr.ip for c in psutil.Process(toxiproxy.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("kind", "attributes"),
    # a slicer without a size does too, after it has filled 1 GB with its recursion: not tried here
    [("bandwidth", {"rate": -1}), ("slicer", {"average_size": 10, "size_variation": 50})],
)
def test_the_values_that_conditions_refuse_do_kill_the_server(
    toxiproxy: Toxiproxy, hub_wire: Wire, path: str, kind: str, attributes: dict[str, int]
) -> None:
    ends = hub_wire.connect()
    toxiproxy.call("POST", f"{path}/toxics", {"type": kind, "attributes": attributes})
    ends.far.sendall(bytes(1000))
    wait_until(lambda: not toxiproxy.alive(), "the server to die")


def test_a_rate_that_is_raised_in_place_kills_the_server(toxiproxy: Toxiproxy, hub_wire: Wire, path: str) -> None:
    toxiproxy.call("POST", f"{path}/toxics", {"name": "t", "type": "bandwidth", "attributes": {"rate": 1}})
    toxiproxy.call("POST", f"{path}/toxics", {"name": "l", "type": "latency", "attributes": {"latency": 0}})
    ends = hub_wire.connect()
    ends.far.sendall(bytes(30_000))
    receive(ends.device, 100)  # it cuts slices now, and goes on with that when its client has gone
    ends.device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ends.device.close()
    wait_until(lambda: "Could not write to destination" in toxiproxy.tail(), "the server to give the client up")
    toxiproxy.call("POST", f"{path}/toxics/t", {"attributes": {"rate": 300}})
    wait_until(lambda: not toxiproxy.alive(), "the server to die")

"""Nodes in containers reach each other through their proxies and in no other way; what is wired wrongly is found."""

from __future__ import annotations

import json
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from chaos.stacks.docker_engine import each
from chaos.stacks.docker_wire import API_PORT

from .docker_home import engine, run_in, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker]

PROBE = """
import contextlib, errno, json, selectors, socket, sys, time
hosts, ports = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found, todo = [], [(h, p) for h in hosts for p in ports]
for at in range(0, len(todo), 2000):
    waiting = selectors.DefaultSelector()
    for target in todo[at:at + 2000]:
        s = socket.socket()
        s.setblocking(False)
        code = s.connect_ex(target)
        if code == 0:
            found.append(target)
        elif code == errno.EINPROGRESS:
            waiting.register(s, selectors.EVENT_WRITE, target)
    deadline = time.monotonic() + 1.0
    while waiting.get_map() and time.monotonic() < deadline:
        for key, _ in waiting.select(deadline - time.monotonic()):
            if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                with contextlib.suppress(OSError):  # it ended, without an error
                    key.fileobj.getpeername()
                    found.append(key.data)
            waiting.unregister(key.fileobj)
            key.fileobj.close()
    for key in list(waiting.get_map().values()):
        key.fileobj.close()
print(json.dumps(found))
"""
"""Prints to which of (host, port) a TCP connection comes about; a second is thousands of times what one takes.

An event without an error is not enough: on a machine that was starved dozens of ports in a row, of addresses that
nobody has, came so once. What is connected has a peer.
"""


class World(NamedTuple):
    """What there is to try: every address and every port of two runs, and of the harness."""

    hosts: list[str]
    ports: list[int]


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture(scope="module")
def two(client, tmp_path_factory):
    with (
        running_home(tmp_path_factory.mktemp("one")) as (_, one, _),
        running_home(tmp_path_factory.mktemp("other")) as (_, other, _),
    ):
        yield one, other


def _world(client, stacks) -> World:
    hosts, ports = {"192.0.2.1", "127.0.0.1"}, {API_PORT, 22, 53, 80, 443, 2375}
    for stack in stacks:
        for network in stack._networks.values():
            hosts |= {str(network.subnet[i]) for i in (1, 2, 3, 6)}
        ports |= set(stack._ports.values())
        ports |= {int(hop.listen.rpartition(":")[2]) for hop in stack.links.hops.values()}
        ports |= {urlsplit(url).port for url in stack._lenses.values()}
    return World(sorted(hosts), sorted(ports))


def _allowed(stack, node) -> set[tuple[str, int]]:
    """A node's proxies, its lens, and itself."""
    links = [k.name for k in stack._topology.links if k.client == node]
    allowed = {tuple(stack.links.hops[k].listen.rsplit(":", 1)) for k in links}
    if node in stack._lenses:
        lens = urlsplit(stack._lenses[node])
        allowed.add((lens.hostname, lens.port))
    own = {"127.0.0.1", *(stack._networks[name].node for name in stack._plan.of(node))}
    mine = {port for (n, _), port in stack._ports.items() if n == node}
    return {(h, int(p)) for h, p in allowed} | {(h, p) for h in own for p in mine}


def _reached(client, stack, node, world) -> set[tuple[str, int]]:
    said = run_in(client, stack._containers[node].id, PROBE, json.dumps(world.hosts), json.dumps(world.ports))
    return {(h, p) for h, p in json.loads(said)}


def test_a_node_reaches_its_proxies_and_its_lens_and_nothing_else_of_two_runs(client, two):
    world = _world(client, two)
    assert len(world.hosts) > 150
    nodes = [(stack, n.name) for stack in two for n in stack._topology.nodes]
    reached = each(lambda at: _reached(client, *at, world), nodes, threads=4)
    for (stack, node), found in zip(nodes, reached, strict=True):
        assert found == _allowed(stack, node), node


def test_toxiproxys_network_has_no_way_to_a_lens(client, two):
    stack, _ = two
    found = _reached(client, stack, "wire", _world(client, two))
    assert not found & {(h, int(p)) for h, p in (u.removeprefix("http://").split(":") for u in stack._lenses.values())}
    assert {h for h, _ in found} & {stack._networks["relay-cache--server"].node}  # it did look


def test_the_harness_reaches_every_operator_port_and_toxiproxy(two):
    from chaos import sockets

    for stack in two:
        for node in stack._topology.nodes:
            for port in node.ports:
                assert sockets.accepts(stack.address(node.name, port)), (node.name, port)
        assert sockets.accepts(f"{stack._server._host}:{API_PORT}")


@pytest.mark.parametrize(
    ("node", "wrongly_on"),
    [("relay", "ada-camera--server"), ("ada.hub", "relay-cache--client"), ("grace.camera", "control")],
)
def test_a_node_that_is_put_on_a_wrong_network_is_found(client, two, node, wrongly_on):
    stack, _ = two
    network = stack._networks[wrongly_on]
    container = stack._containers[node].id
    client.api.connect_container_to_network(container, network.id, ipv4_address=str(network.subnet[4]))
    try:
        around = _reached(client, stack, node, _world(client, two)) - _allowed(stack, node)
    finally:
        client.api.disconnect_container_from_network(container, network.id)
    assert around
    assert {h for h, _ in around} <= {network.host, network.proxy, network.node}
    assert _reached(client, stack, node, _world(client, two)) == _allowed(stack, node)


def test_a_node_has_no_address_of_version_6_and_no_way_out_that_leads_anywhere(client, two):
    stack, _ = two
    nobody = {str(n.subnet[6]) for n in stack._networks.values()}
    program = "print(open('/proc/net/if_inet6').read(), open('/proc/net/route').read(), sep='#')"
    for node in stack._topology.nodes:
        six, routes = run_in(client, stack._containers[node.name].id, program).split("#")
        assert {line.split()[-1] for line in six.splitlines()} <= {"lo"}
        fields = [line.split() for line in routes.splitlines()[1:] if line.strip()]
        ways = {".".join(str(b) for b in reversed(bytes.fromhex(f[2]))) for f in fields if int(f[7], 16) == 0}
        assert ways <= nobody, node.name


def test_a_node_resolves_what_it_dials_and_none_of_its_neighbours(client, two):
    stack, _ = two
    program = """
import socket, sys
def at(name):
    try: return socket.gethostbyname(name)
    except OSError: return None
print([at(n) for n in sys.argv[1:]])
"""
    said = run_in(client, stack._containers["lin.hub"].id, program, "relay", "cache")
    assert said.strip() == str([stack._networks["lin-hub--client"].proxy, None])

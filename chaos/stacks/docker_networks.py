"""Networks of containers: two for each hop, one for each lens, one for the harness; all with addresses by hand.

Every network is internal, and so small that each of its addresses has its one use:

* the first address is the host's. Only on a node's *front* network has the host it at all (``inhibit_ipv4`` elsewhere):
  through it the harness reaches the node, and the node could reach what the host has listening on all addresses;
* the second is Toxiproxy's, the third the node's;
* the last is nobody's and is announced as the way out. Docker 20.10 gives containers on internal networks a default
  route through the host (measured), and with it every address of the host; this one leads nowhere.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import docker.errors
import msgspec
from docker.types import IPAMConfig, IPAMPool

from chaos.errors import Misuse, Surroundings
from chaos.stacks.docker_engine import asking

if TYPE_CHECKING:
    from docker import DockerClient

RANGE_SETTING = "OWNFRAME_DOCKER_SUBNETS"
RANGE = "198.18.0.0/15"
"""Set apart for tests of networks (RFC 2544), so that neither a home's router nor an office has it, nor do the engine's
own pools. 16,384 networks; a home of three owners has 20."""
ADDRESS_BITS = 3
"""Of a network of eight addresses."""
_WIDTH = 32 - ADDRESS_BITS
_TRIES = 200


class Network(msgspec.Struct, frozen=True):
    """A network that is there."""

    id: str
    name: str
    subnet: IPv4Network
    front: bool

    @property
    def host(self) -> str:
        """The host's address; only there when the network is a front."""
        return str(self.subnet[1])

    @property
    def proxy(self) -> str:
        """Toxiproxy's address."""
        return str(self.subnet[2])

    @property
    def node(self) -> str:
        """The node's address."""
        return str(self.subnet[3])

    @property
    def nobody(self) -> str:
        """The address that is announced as the way out, and that nobody has."""
        return str(self.subnet[6])


class Networks:
    """Makes the networks of one run from the range; threads may share it."""

    def __init__(self, client: DockerClient, prefix: str, labels: dict[str, str]) -> None:
        self._client = client
        self._prefix = prefix
        self._labels = labels
        self._lock = threading.Lock()
        self._free = _free(client)

    def make(self, name: str, *, front: bool) -> Network:
        """Make a network; another subnet is tried when somebody else just took this one."""
        for _ in range(_TRIES):
            with self._lock:
                subnet = next(self._free, None)
            if subnet is None:
                break
            pool = IPAMPool(
                subnet=str(subnet), gateway=str(subnet[1]), aux_addresses={"DefaultGatewayIPv4": str(subnet[6])}
            )
            options = {} if front else {"com.docker.network.bridge.inhibit_ipv4": "true"}
            full_name = f"{self._prefix}-{name}"
            with asking(f"make the network {full_name} ({subnet})"):
                try:
                    made = self._client.networks.create(
                        full_name,
                        driver="bridge",
                        internal=True,
                        options=options,
                        labels=self._labels,
                        ipam=IPAMConfig(pool_configs=[pool]),
                    )
                except docker.errors.APIError as refused:
                    if "overlap" in str(refused.explanation):
                        continue
                    raise
            assert made.id is not None
            return Network(made.id, full_name, subnet, front)
        raise Surroundings(
            f"no subnet is left for another network in {_range()}: other networks and routes of this machine have the "
            f"rest; set {RANGE_SETTING} to a free range such as 10.213.0.0/16, or end other runs (ownframe clean)"
        )


def _range() -> IPv4Network:
    text = os.environ.get(RANGE_SETTING) or RANGE
    try:
        found = IPv4Network(text)
    except ValueError as wrong:
        raise Misuse(f"{RANGE_SETTING} is {text!r} ({wrong}); expected a range such as {RANGE}") from None
    if found.prefixlen > _WIDTH - 5:
        raise Misuse(f"{RANGE_SETTING} is {text!r}, too small for one home; expected /{_WIDTH - 5} or wider")
    return found


def _free(client: DockerClient) -> Iterator[IPv4Network]:
    """Yield subnets of the range that nobody has; runs begin at different places, so that they seldom meet."""
    whole = _range()
    with asking("list its networks"):
        there = [
            IPv4Network(pool["Subnet"], strict=False)
            for network in client.api.networks()
            for pool in (network.get("IPAM") or {}).get("Config") or ()
            if "." in pool.get("Subnet", "")
        ]
    taken = [n for n in (*there, *_routes()) if n.overlaps(whole)]
    count = 2 ** (_WIDTH - whole.prefixlen)
    first = os.getpid() * 61 % count
    base = int(whole.network_address)
    for i in itertools.chain(range(first, count), range(first)):
        subnet = IPv4Network((base + i * 2 ** (32 - _WIDTH), _WIDTH))
        if not any(subnet.overlaps(n) for n in taken):
            yield subnet


def _routes() -> list[IPv4Network]:
    """Return where this machine has routes to, but for the default route."""
    found = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        if mask:
            found.append(IPv4Network((destination, mask.bit_count())))
    return found

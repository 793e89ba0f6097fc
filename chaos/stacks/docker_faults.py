"""What can happen to a container as a whole: it stands still, loses its networks, comes back at other addresses.

A node's *front*, the one network that it shares with the harness, is no part of it: what an owner's hand does and what
the screen's journal tells lie outside every fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from chaos.errors import Surroundings
from chaos.stacks.docker_containers import Container, Endpoint

if TYPE_CHECKING:
    from chaos.links import Links
    from chaos.stacks.docker_networks import Network

_PLACES = (3, 4, 5)
"""Places of a node's addresses in its networks of eight; the first is where it begins."""


class Wiring(Protocol):
    """What must be known of how a home is wired."""

    def hop_networks(self, node: str) -> Sequence[str]:
        """Return the names of the networks that the node's links cross, as keys of the networks given."""

    def served(self, node: str) -> Mapping[str, tuple[str, int]]:
        """Return, for each link that ends at the node, its network there and the port that is dialled."""


class ContainerFaults:
    """Faults of whole containers, undone and proven undone by `mend`."""

    def __init__(
        self, wiring: Wiring, networks: Mapping[str, Network], containers: Mapping[str, Container], links: Links
    ) -> None:
        self._wiring = wiring
        self._networks = networks
        self._containers = containers
        self._links = links
        self._place: dict[str, int] = {}
        self._touched: set[str] = set()

    def pause(self, node: str) -> None:
        """Freeze the node with all that it has open."""
        self._touched.add(node)
        self._containers[node].pause()

    def resume(self, node: str) -> None:
        """Let a frozen node go on."""
        self._containers[node].resume()

    def detach(self, node: str) -> None:
        """Take the node off every network that its links cross."""
        self._touched.add(node)
        for name in self._wiring.hop_networks(node):
            self._containers[node].disconnect(self._networks[name].name)

    def attach(self, node: str, *, new_address: bool) -> str:
        """Put the node back on its networks, and let Toxiproxy dial it where it is now; returns what changed."""
        now = self._place.get(node, 0)
        then = (now + 1) % len(_PLACES) if new_address else now
        if new_address:
            self.detach(node)
        self._put(node, then)
        old, new = (list(self._at(node, place).values()) for place in (now, then))
        more = f" and {len(new) - 1} more" if len(new) > 1 else ""
        return f"{new[0]} after {old[0]}{more}" if new_address and new else ""

    def stay(self, node: str, there: Mapping[str, str]) -> None:
        """Let a container that was made anew be only where the one before it was: `there`, by the network's name."""
        container = self._containers[node]
        for network, address in container.addresses().items():
            if there.get(network) != address and network in {n.name for n in self._networks.values()}:
                container.disconnect(network)
                if network in there:
                    container.connect(Endpoint(network, there[network]))

    def mend(self, wait_ready: Callable[[str], None]) -> None:
        """Undo every fault since the last time, and prove it: the engine is asked, and `wait_ready` asks the node.

        Raises `Surroundings` with what is not as it was.
        """
        nodes = sorted(self._touched)
        for node in nodes:
            self._containers[node].resume()
            if self._place.get(node, 0):
                self.detach(node)
            self._put(node, 0)
        for node in nodes:
            self._prove(node)
            wait_ready(node)
        self._touched.clear()

    def _put(self, node: str, place: int) -> None:
        container = self._containers[node]
        there = container.addresses()
        for name, address in self._at(node, place).items():
            network = self._networks[name].name
            if network not in there:
                container.connect(Endpoint(network, address))
        self._place[node] = place
        for link, (name, port) in self._wiring.served(node).items():
            upstream = f"{self._at(node, place)[name]}:{port}"
            known = self._links.hops.get(link)  # a link over UDP has no hop
            if known is None or known.upstream != upstream:
                self._links.redial(link, upstream)

    def _at(self, node: str, place: int) -> dict[str, str]:
        return {n: str(self._networks[n].subnet[_PLACES[place]]) for n in self._wiring.hop_networks(node)}

    def _prove(self, node: str) -> None:
        container = self._containers[node]
        state, there = container.state(), container.addresses()
        wanted = {self._networks[n].name: address for n, address in self._at(node, 0).items()}
        wrong = []
        if state["Paused"] or not state["Running"]:
            wrong.append(f"it is {state['Status']} instead of running")
        on = {name: address for name, address in there.items() if name in wanted}
        if on != wanted or len(there) != len(wanted) + 1:  # and its front
            wrong.append(f"it is on {there} instead of {wanted} and its front")
        if wrong:
            raise Surroundings(
                f"{node} is not as it was before the case: {'; '.join(wrong)}; nobody else may change the containers "
                "of a run; start the run again"
            )

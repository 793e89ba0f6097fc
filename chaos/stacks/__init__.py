"""Where a home system's nodes run: one small protocol, one module for each place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from chaos.captures import Captures
    from chaos.links import Links
    from chaos.plan import NodeFault
    from chaos.scene import SceneServer
    from chaos.sockets import Meter
    from chaos.topology import Topology


class Stack(Protocol):
    """Nodes that run somewhere, with Toxiproxy between any two that speak to each other."""

    name: str
    faults: frozenset[NodeFault]
    """Kinds of fault of whole nodes that this stack can do; the others are refused before they are asked for."""
    links: Links
    captures: Captures | str
    """What takes the packets of every link once the stack has started, or a sentence that says why nothing does."""
    parts: Mapping[str, str]
    """What runs on this stack beside the sources, by name with a version or digest; whole once it has started."""

    def start(self, topology: Topology, home: Path, scene: SceneServer, logs: Path) -> None:
        """Start every node of `topology` from the sources in `home` and return once each says that it is ready.

        `scene` runs, and is told where else to listen if cameras cannot reach it on loopback; `logs` is the folder
        for each node's log. Raises `Surroundings` with a node's last lines when it does not become ready.
        """

    def meter(self) -> Meter:
        """Return a meter, not yet started, that counts where this stack's Toxiproxy runs."""

    def stop(self) -> None:
        """End everything that `start` started; may be called twice, and after a failed start."""

    def check(self) -> None:
        """Raise `Surroundings` when a node or Toxiproxy died by itself."""

    def address(self, node: str, port: str) -> str:
        """Return ``host:port`` of a node's port as the harness reaches it, past every link."""

    def dialled(self, link: str) -> str:
        """Return ``host:port`` under which the link's client dials it."""

    def images(self) -> dict[str, str]:
        """Return the digest of the image that each node runs, by node; of a node that is no image, nothing."""

    def restart(self, node: str) -> None:
        """Kill the node, start it again, and return once it is ready."""

    def roll(self, node: str, home: Path) -> None:
        """Replace the node by one from the sources in `home`, at the same addresses; return once it answers."""

    def pause(self, node: str) -> None:
        """Let the node stand still with all that it has open; harmless when it does."""

    def resume(self, node: str) -> None:
        """Let a paused node go on; harmless when it runs."""

    def detach(self, node: str) -> None:
        """Take the node off every network that its links cross, not off the harness's; harmless when it is off."""

    def attach(self, node: str, *, new_address: bool) -> str:
        """Put the node back, at other addresses than before if `new_address`, where its links then end.

        Returns which addresses changed, as words. Harmless when it is attached and keeps its addresses.
        """

    def mend(self) -> None:
        """Undo every pause, detachment and new address, also of a case that broke off, and prove it.

        Proven is: the node runs, is where it was at the start, and answers. Raises `Surroundings` when it is not so.
        """

    def run_beside(self, node: str, command: tuple[str, ...]) -> None:
        """Run a command where the node runs, and return when it has ended; `Surroundings` when it fails."""

    def log_mark(self, node: str) -> int:
        """Return a position in the node's log, for `log_since`."""

    def log_since(self, node: str, mark: int) -> str:
        """Return what the node logged since that position."""

    def tail(self, node: str, lines: int = 12) -> str:
        """Return the last lines of the node's log."""

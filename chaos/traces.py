"""The captures of cases that leaked, and where their pictures turned foreign: kept until a finding is written down."""

from __future__ import annotations

import functools
from collections import OrderedDict

import msgspec

from chaos import frames, media, rtp
from chaos.captures import Capture, Captures
from chaos.history import Reading
from chaos.reading import Reader
from chaos.topology import Node, Topology
from chaos.verdict import Judged
from chaos.whence import Whence, whence

KEPT = 128 << 20
"""Bytes of packets of the last cases that leaked; a case has some 3 MB."""


class Trace(msgspec.Struct, frozen=True):
    """What is needed beside the packets of a case to follow its leak again, and what the run said.

    `wall` is the time of day (seconds since 1970) at the monotonic clock's zero; `whole`: no packet is missing.
    """

    whence: Whence
    topology: Topology
    wall: float
    whole: bool


class Traces:
    """The last cases of one home that leaked. `captures` is a sentence where there are none."""

    def __init__(self, topology: Topology, captures: Captures | str, reader: Reader) -> None:
        self._topology = topology
        self._captures = captures
        self._reader = reader
        self._kept: OrderedDict[int, Capture] = OrderedDict()

    def keep(self, case: int) -> None:
        """Keep the packets of the case that just ended."""
        if isinstance(self._captures, Captures):
            self._kept[case] = self._captures.taken()
            while len(self._kept) > 1 and sum(c.size for c in self._kept.values()) > KEPT:
                self._kept.popitem(last=False)

    def whence(self, leak: Judged) -> Whence | None:
        """Return where the picture of a leak turned foreign; None when the packets of its case are not kept."""
        if isinstance(self._captures, str):
            return Whence(f"Where it turned foreign was not seen: {self._captures}.", ())
        kept = self._kept.get(leak.case)
        if kept is None:
            return None
        read = functools.partial(read_picture, reader=self._reader)
        return whence(leak, self._topology, kept.packets, read, whole=kept.whole)

    def trace(self, leak: Judged, found: Whence) -> Trace | None:
        """Return what is kept beside the packets of a leak's case, or None when they are not."""
        kept = self._kept.get(leak.case)
        return None if kept is None else Trace(found, _bare(self._topology), kept.wall, kept.whole)

    def file(self, leak: Judged, about: str) -> bytes | None:
        """Return the packets of a leak's case as a pcapng file, or None when they are not kept."""
        kept = self._kept.get(leak.case)
        return None if kept is None else kept.file(about)


def read_picture(data: bytes, reader: Reader) -> Reading:
    """Return whom an encoded picture shows, as far as it came; of what is none, nobody."""
    plane = media.luma_of_h264(data) if data.startswith(rtp.START) else frames.luma_of_jpeg(data)
    return Reading("blank") if plane is None else reader.read(plane)


def _bare(topology: Topology) -> Topology:
    """Return who there is and who dials whom, without commands and secrets."""
    nodes = (Node(n.name, n.role, (), n.ports, {}, "", n.owner) for n in topology.nodes)
    return Topology(topology.owners, tuple(nodes), topology.links)

"""The captures of cases that leaked, and where their pictures turned foreign: kept until a finding is written down."""

from __future__ import annotations

from collections import OrderedDict

from chaos import frames
from chaos.captures import Capture, Captures
from chaos.history import Reading
from chaos.reading import Reader
from chaos.topology import Topology
from chaos.verdict import Judged
from chaos.whence import Whence, whence

KEPT = 128 << 20
"""Bytes of packets of the last cases that leaked; a case has some 3 MB."""


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
        return whence(leak, self._topology, kept.packets, self._read, whole=kept.whole)

    def file(self, leak: Judged, about: str) -> bytes | None:
        """Return the packets of a leak's case as a pcapng file, or None when they are not kept."""
        kept = self._kept.get(leak.case)
        return None if kept is None else kept.file(about)

    def _read(self, picture: bytes) -> Reading:
        plane = frames.luma_of_jpeg(picture)
        return Reading("blank") if plane is None else self._reader.read(plane)

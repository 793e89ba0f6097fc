"""``ownframe where``: a stored finding followed back again, from its packets, and from another file if one is given.

A folder comes from somewhere: half written, cut off, or of something else. What is missing is a sentence.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from chaos import keys, pcapng
from chaos.errors import Misuse
from chaos.fates import Half
from chaos.identity import Key, Register
from chaos.plan import DEFAULT_CAMERA
from chaos.reading import Reader
from chaos.run import Finding
from chaos.streams import Taken
from chaos.traces import Trace, read_picture
from chaos.whence import described, whence

CAPTURE, TRACE = "capture.pcapng", "whence.json"
LARGEST = 512 << 20
_T = TypeVar("_T")
_HALVES: dict[str, Half] = {"client": "client", "server": "server"}


def tell(folder: Path, packets: Path | None, key_file: Path | None, say: Callable[[str], object]) -> int:
    """Say where the picture of a finding turned foreign, and by which hops; ``folder`` is a run's ``findings/N``.

    Returns 0 when one node is named, 2 when none can be. Raises `Misuse` for what is missing, damaged or not of it.
    """
    finding = _decoded(folder / "finding.json", Finding)
    trace = _decoded(folder / TRACE, Trace)
    path = packets or folder / CAPTURE
    try:
        with path.open("rb") as opened:
            stored = pcapng.read(opened.read(LARGEST))
    except OSError as missing:
        raise Misuse(f"{path} cannot be read ({missing.strerror}); the packets of a finding are kept there") from None
    except Misuse as wrong:
        raise Misuse(f"{path}: {wrong}") from None
    taken = placed(path, stored, trace)
    reader = Reader(Register(trace.topology.owners, (DEFAULT_CAMERA, *trace.topology.rooms)), _keys(folder, key_file))
    read = functools.partial(read_picture, reader=reader)
    word = whence(finding.leak, trace.topology, taken, read, whole=trace.whole and not stored.cut)
    say(finding.sentence)
    if stored.cut:
        say(f"{path} was cut off after packet {len(stored.packets)}; what is below is from those")
    say(word.sentence)
    for hop in word.hops:
        say(f"  {described(hop)}")
    if trace.whence.sentence != word.sentence:
        say(f"  DIFFERS from what the run said: {trace.whence.sentence}")
    return 0 if word.node is not None else 2


def placed(path: Path, stored: pcapng.File, trace: Trace) -> list[Taken]:
    """Return the packets of a file, each on the half of the link that its interface is named for."""
    known = {k.name for k in trace.topology.links}
    halves: list[tuple[str, Half]] = []
    for number, each in enumerate(stored.interfaces):
        link, _, half = each.name.rpartition(" ")
        if link not in known or half not in _HALVES:
            raise Misuse(
                f"{path}: its interface {number} is called {each.name!r}, and no link of this finding's home is; "
                f"expected the file {CAPTURE} that the run left"
            )
        halves.append((link, _HALVES[half]))
    taken = []
    for number, p in enumerate(stored.packets, 1):
        link, half = halves[p.interface]
        taken.append(Taken(number, p.time_ns / 1e9 - trace.wall, link, half, p.outbound == (half == "server"), p.data))
    return taken


def _decoded(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_path)
    except OSError as missing:
        raise Misuse(
            f"{path} cannot be read ({missing.strerror}); expected a folder findings/N that a run left, of a leak "
            "whose packets were captured"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
        raise Misuse(f"{path} is damaged or of another version: {wrong}") from None


def _path(kind: type, value: object) -> object:
    if issubclass(kind, Path):
        return kind(str(value))
    raise NotImplementedError(f"{kind.__name__} is in no finding")


def _keys(folder: Path, key_file: Path | None) -> tuple[Key, ...]:
    """Return the keys that there are, that of the finding's run first."""
    had = keys.load(key_file) if key_file is not None else keys.recent()
    run = folder.resolve().parent.parent / "run.json"
    try:
        wanted = json.loads(run.read_bytes()).get("key_id")
    except (OSError, ValueError, AttributeError) as wrong:
        raise Misuse(f"{run} does not say which key its run had ({wrong}); expected findings/N of a run") from None
    mine = [key for key in had if key.id == wanted]
    if not mine:
        raise Misuse(
            f"the key {str(wanted)[:40]!r} of this finding's run is not had here, and without it no picture says whose "
            "it is; give --key-file, or work where the run was"
        )
    return (*mine, *(key for key in had if key.id != wanted))

"""Pictures in captured RTP: H.264 (RFC 6184) over UDP, as far as each picture stands for itself. Pure.

A picture that needs others before it is passed over, as is one of which a packet is missing: cameras send whole ones
every second or so. What the decoder must know first comes with the video or was told over RTSP (RFC 4566, `fmtp`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from chaos.exchanges import Exchange, Message, Picture, Talk
from chaos.fates import Half
from chaos.segments import UDP, segment, told
from chaos.streams import Connection, Taken

START = b"\0\0\0\1"
"""What each part of a picture begins with (ITU-T H.264, annex B), and so every picture here."""
SPEAKS = "RTP"
_SETS = re.compile(rb"sprop-parameter-sets=([A-Za-z0-9+/=]+(?:,[A-Za-z0-9+/=]+)+)")
_WHOLE, _KNOWS, _USES, _TOGETHER, _PARTS = 5, 7, 8, 24, 28
_HEADER = 12
_OTHER, _NO_PICTURE = "over UDP, which is not read", "RTP in which no picture of H.264 is found"


class _Piece(NamedTuple):
    """One packet of RTP: its number in its stream, the time of its picture, and what it carries."""

    order: int
    time: int
    data: bytes
    taken: Taken


class _Stream:
    """What one source sends to one port."""

    def __init__(self) -> None:
        self.pieces: dict[int, _Piece] = {}
        self._last: int | None = None

    def add(self, sequence: int, time: int, data: bytes, taken: Taken) -> None:
        """Take a packet; numbers begin again after 65,535."""
        last = sequence if self._last is None else self._last
        order = last + ((sequence - last + 0x8000) % 0x10000) - 0x8000
        self._last = max(order, last)
        self.pieces.setdefault(order, _Piece(order, time, data, taken))


def parameters(connections: Iterable[Connection]) -> dict[str, tuple[bytes, ...]]:
    """Return what was told over RTSP that a decoder must know, by link."""
    found: dict[str, tuple[bytes, ...]] = {}
    for one in connections:
        for sets in _SETS.finditer(bytes(one.down.data)):
            try:
                found[one.link] = tuple(base64.b64decode(s, validate=True) for s in sets[1].split(b","))
            except binascii.Error:
                continue
    return found


def talks(packets: Iterable[Taken], known: Mapping[str, Sequence[bytes]]) -> dict[tuple[str, Half], Talk]:
    """Return what went over UDP on each half of each link; `known` is what `parameters` found, by the links' names."""
    streams: dict[tuple[str, Half, str, int], _Stream] = {}
    began: dict[tuple[str, Half], float] = {}
    unread: dict[tuple[str, Half], str] = {}
    for packet in packets:
        found = segment(packet.raw)
        if found is None or found.protocol != UDP:
            continue
        at, data = (packet.link, packet.half), found.data
        began.setdefault(at, packet.at)
        if len(data) < 8 or data[0] >> 6 != 2:
            unread.setdefault(at, _OTHER)
        elif not 192 <= data[1] <= 223 and not packet.up and (payload := _payload(data)):  # else RTCP (RFC 5761)
            source = int.from_bytes(data[8:12], "big")
            stream = streams.setdefault((*at, told(found.destination), source), _Stream())
            time = int.from_bytes(data[4:8], "big")
            stream.add(int.from_bytes(data[2:4], "big"), time, payload, packet)
    exchanges: dict[tuple[str, Half], list[Exchange]] = {}
    for (link, half, to, _), stream in streams.items():
        pieces = [stream.pieces[i] for i in sorted(stream.pieces)]
        pictures = tuple(_pictures(pieces, known.get(link, ())))
        if pictures:
            exchanges.setdefault((link, half), []).append(_exchange(link, half, to, pieces, pictures))
        else:
            unread.setdefault((link, half), _NO_PICTURE)
    return {
        at: Talk(tuple(exchanges.get(at, ())), ((since, unread[at]),) if at in unread else ())
        for at, since in began.items()
    }


def _payload(data: bytes) -> bytes:
    """Return what a packet of RTP carries (RFC 3550); nothing when its header says what cannot be."""
    at = _HEADER + 4 * (data[0] & 15)
    if data[0] & 0x10 and len(data) >= at + 4:
        at += 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
    end = len(data) - (data[-1] if data[0] & 0x20 else 0)
    return data[at:end]


def _exchange(link: str, half: Half, to: str, pieces: Sequence[_Piece], pictures: tuple[Picture, ...]) -> Exchange:
    first, last = pieces[0].taken, pieces[-1].taken
    asked = Message(f"video to {to}", first.number, first.number, first.at, first.at)
    sent = Message(SPEAKS, first.number, last.number, first.at, last.at, pictures=pictures)
    return Exchange(link, half, to, SPEAKS, asked, sent)


def _pictures(pieces: Sequence[_Piece], known: Sequence[bytes]) -> Iterator[Picture]:
    """Yield the pictures that are whole and need none before them."""
    sets = {s[0] & 31: s for s in known if s}
    for group in _groups(pieces):
        parts = list(_units(group))
        sets |= {p[0] & 31: p for p in parts if p[0] & 31 in (_KNOWS, _USES)}
        slices = [p for p in parts if p[0] & 31 == _WHOLE]
        gapless = group[-1].order - group[0].order == len(group) - 1
        if slices and gapless and {_KNOWS, _USES} <= sets.keys():
            data = b"".join(START + part for part in (sets[_KNOWS], sets[_USES], *slices))
            first, last = group[0].taken, group[-1].taken
            yield Picture(data, first.number, last.number, first.at)


def _groups(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Yield the packets of each picture; its time tells them apart."""
    group: list[_Piece] = []
    for piece in pieces:
        if group and piece.time != group[0].time:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _units(group: Sequence[_Piece]) -> Iterator[bytes]:
    """Yield the parts of a picture that are whole."""
    open_part = bytearray()
    before = None
    for piece in group:
        kind, data = piece.data[0] & 31, piece.data
        if kind == _PARTS and len(data) > 2:
            if data[1] & 0x80:
                open_part = bytearray([(data[0] & 0xE0) | (data[1] & 31)])
            elif before != piece.order - 1:
                open_part.clear()
            if open_part:
                open_part += data[2:]
                if data[1] & 0x40:
                    yield bytes(open_part)
                    open_part.clear()
        elif kind == _TOGETHER:
            at = 1
            while at + 2 < len(data):
                size = int.from_bytes(data[at : at + 2], "big")
                if part := data[at + 2 : at + 2 + size]:
                    yield part
                at += 2 + size
        elif 0 < kind < _TOGETHER:
            yield data
        before = piece.order

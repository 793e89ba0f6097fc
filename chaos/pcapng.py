"""Captures as files that Wireshark opens: pcapng, with an interface for each half of a hop and names for addresses.

Own code for both ways, since names (a name resolution block) and what an interface is (``if_description``) are what
makes a capture of thirty networks readable, and the writers of scapy and dpkt have neither. The layout is that of the
IETF's draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from chaos.errors import Misuse

_SECTION, _INTERFACE, _NAMES, _PACKET = 0x0A0D0D0A, 1, 4, 6
_MAGIC = 0x1A2B3C4D
_RAW = 101  # LINKTYPE_RAW: packets begin with their IP header
_COMMENT, _IF_NAME, _IF_ABOUT, _IF_RESOLUTION, _FLAGS = 1, 2, 3, 9, 2
_NANOSECONDS = b"\x09"
_INBOUND, _OUTBOUND = 1, 2
_PCAP = {b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"}


class Interface(NamedTuple):
    """Where packets were seen: a name, and what it is in words."""

    name: str
    about: str = ""


class Packet(NamedTuple):
    """A packet from its IP header on: which interface saw it, when (nanoseconds since 1970), and which way it went."""

    interface: int
    time_ns: int
    outbound: bool
    data: bytes


class File(NamedTuple):
    """What a file holds; `cut` says that its last block is not whole."""

    about: str
    interfaces: tuple[Interface, ...]
    packets: tuple[Packet, ...]
    cut: bool


def written(
    interfaces: Sequence[Interface], names: Mapping[str, str], packets: Iterable[Packet], about: str = ""
) -> bytes:
    """Return a file. `names` are what Wireshark calls addresses; `about` is the file's comment."""
    blocks = [_block(_SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1), [(_COMMENT, about.encode())] if about else [])]
    if names:
        blocks.append(_block(_NAMES, b"".join(_name(*each) for each in sorted(names.items())) + bytes(4), []))
    for each in interfaces:
        options = [(_IF_NAME, each.name.encode()), (_IF_RESOLUTION, _NANOSECONDS)]
        options += [(_IF_ABOUT, each.about.encode())] if each.about else []
        blocks.append(_block(_INTERFACE, struct.pack("<HHI", _RAW, 0, 0), options))
    for number, time_ns, outbound, data in packets:
        head = struct.pack("<IIIII", number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data))
        way = struct.pack("<I", _OUTBOUND if outbound else _INBOUND)
        blocks.append(_block(_PACKET, head + _padded(data), [(_FLAGS, way)]))
    return b"".join(blocks)


def read(data: bytes) -> File:
    """Return what a file holds, as far as it goes: a last block that was cut off is left out and told.

    Raises `Misuse` for anything that is no pcapng file with interfaces that have names.
    """
    if data[:4] in _PCAP:
        raise Misuse("this is a capture in the old pcap format, which names no hops; expected the pcapng file of a run")
    if len(data) < 12 or struct.unpack_from("<I", data)[0] != _SECTION:
        raise Misuse("this is no capture: it does not begin as a pcapng file does; expected the pcapng file of a run")
    order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(data[8:12])
    if order is None:
        raise Misuse("this capture begins as a pcapng file does and has no byte order; it is damaged at its beginning")
    about, cut = "", False
    interfaces: list[Interface] = []
    scales: list[int] = []
    packets: list[Packet] = []
    for kind, body in _blocks(data, order):
        if kind is None:
            cut = True
        elif kind == _SECTION and len(body) >= 16:
            about = _options(body[16:], order).get(_COMMENT, b"").decode(errors="replace")
        elif kind == _INTERFACE and len(body) >= 8:
            if struct.unpack_from(f"{order}H", body)[0] != _RAW:
                raise Misuse("this capture is of another link type than IP packets; expected the pcapng file of a run")
            said = _options(body[8:], order)
            words = (said.get(k, b"").decode(errors="replace") for k in (_IF_NAME, _IF_ABOUT))
            interfaces.append(Interface(*words))
            scales.append(_scale(said.get(_IF_RESOLUTION, b"\x06")))
        elif kind == _PACKET and len(body) >= 20:
            number, high, low, size, _ = struct.unpack_from(f"{order}IIIII", body)
            if number >= len(interfaces) or size > len(body) - 20:
                raise Misuse(f"packet {len(packets) + 1} of this capture is damaged; those before it are whole")
            way = _options(body[20 + size + -size % 4 :], order).get(_FLAGS, bytes(4))
            outbound = struct.unpack(f"{order}I", way)[0] & 3 == _OUTBOUND if len(way) == 4 else False
            time_ns = ((high << 32) + low) * 1_000_000_000 // scales[number]
            packets.append(Packet(number, time_ns, outbound, body[20 : 20 + size]))
    return File(about, tuple(interfaces), tuple(packets), cut)


def _blocks(data: bytes, order: str) -> Iterator[tuple[int | None, bytes]]:
    """Yield each block's type and body; a type of None for what was cut off."""
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            yield None, b""
            return
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if size < 12 or size % 4:
            raise Misuse(f"this capture is damaged at byte {at}: no block is {size} bytes long")
        if size > len(data) - at:
            yield None, b""
            return
        yield kind, data[at + 8 : at + size - 4]
        at += size


def _options(data: bytes, order: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from(f"{order}HH", data, at)
        if not code:
            break
        found.setdefault(code, data[at + 4 : at + 4 + size])
        at += 4 + size + -size % 4
    return found


def _scale(resolution: bytes) -> int:
    """Return how many units of an interface's times are a second."""
    power = resolution[0] if resolution else 6
    return int(2 ** (power & 0x7F)) if power & 0x80 else int(10**power)


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    said = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    body += said + bytes(4) if said else b""
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _name(address: str, name: str) -> bytes:
    value = ipaddress.IPv4Address(address).packed + name.encode() + b"\0"
    return struct.pack("<HH", 1, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

"""IPv4 packets of TCP and UDP as far as faults and captures need them: read in place, changed with right checksums."""

from __future__ import annotations

import socket
import struct

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


class Segment:
    """One packet. Addresses are four bytes; a UDP packet has sequence numbers and flags of 0."""

    __slots__ = ("ack", "data_at", "destination", "flags", "header", "protocol", "raw", "sequence", "size", "source")

    def __init__(self, raw: bytes, header: int, size: int) -> None:
        self.raw = raw
        self.header = header
        self.protocol = raw[9]
        ports = struct.unpack_from(">HH", raw, header)
        self.source = raw[12:16], ports[0]
        self.destination = raw[16:20], ports[1]
        if self.protocol == TCP:
            self.sequence, self.ack, offset, self.flags = struct.unpack_from(">IIBB", raw, header + 4)
            self.data_at = header + (offset >> 4) * 4
        else:
            self.sequence = self.ack = self.flags = 0
            self.data_at = header + 8
        self.size = max(0, size - self.data_at)

    @property
    def data(self) -> bytes:
        """What it carries."""
        return self.raw[self.data_at : self.data_at + self.size]


def segment(raw: bytes) -> Segment | None:
    """Return a packet's segment; None for what is no whole IPv4 packet of TCP or UDP, or a later fragment of one."""
    if len(raw) < 28 or raw[0] >> 4 != 4 or raw[9] not in (TCP, UDP):
        return None
    header = (raw[0] & 15) * 4
    size, fragment = struct.unpack_from(">H2xH", raw, 2)
    if header < 20 or fragment & 0x1FFF or len(raw) < header + (20 if raw[9] == TCP else 8):
        return None
    if raw[9] == TCP and not 20 <= (raw[header + 12] >> 4) * 4 <= len(raw) - header:
        return None
    return Segment(raw, header, min(size, len(raw)) if size else len(raw))  # 0: it was put together by offload


def mended(raw: bytes | bytearray, header: int) -> bytes:
    """Return an IPv4 packet with its length and all its checksums made right."""
    packet = bytearray(raw)
    struct.pack_into(">H", packet, 2, len(packet))
    packet[10:12] = b"\0\0"
    struct.pack_into(">H", packet, 10, _checksum(bytes(packet[:header])))
    at = header + (16 if packet[9] == TCP else 6)
    if packet[9] == UDP:
        struct.pack_into(">H", packet, header + 4, len(packet) - header)
    packet[at : at + 2] = b"\0\0"
    pseudo = bytes(packet[12:20]) + struct.pack(">HH", packet[9], len(packet) - header)
    total = _checksum(pseudo + bytes(packet[header:]))
    struct.pack_into(">H", packet, at, total or (0xFFFF if packet[9] == UDP else 0))  # 0 means 'none' over UDP
    return bytes(packet)


def damaged(found: Segment, byte: int, xor: int, *, mend: bool) -> bytes:
    """Return the packet with one byte of what it carries changed."""
    packet = bytearray(found.raw)
    packet[found.data_at + byte % found.size] ^= xor
    return mended(packet, found.header) if mend else bytes(packet)


def reset(found: Segment) -> bytes:
    """Return a RST with the place in the stream that this packet has, to be sent instead of it."""
    packet = bytearray(found.raw[: found.header + 20])
    packet[found.header + 12] = 5 << 4
    packet[found.header + 13] = RST | (found.flags & ACK)
    packet[found.header + 14 : found.header + 20] = bytes(6)
    return mended(packet, found.header)


def readdressed(
    found: Segment, *, source: tuple[bytes, int] | None = None, destination: tuple[bytes, int] | None = None
) -> bytes:
    """Return the packet from another source, or to another destination."""
    packet = bytearray(found.raw)
    for end, at, port in ((source, 12, 0), (destination, 16, 2)):
        if end is not None:
            packet[at : at + 4] = end[0]
            struct.pack_into(">H", packet, found.header + port, end[1])
    return mended(packet, found.header)


def is_broken(found: Segment) -> bool:
    """Whether a datagram's checksum is wrong, so that its receiver's kernel drops it; one without any is right."""
    at = found.header + 6
    return found.raw[at : at + 2] != b"\0\0" and mended(found.raw, found.header)[at : at + 2] != found.raw[at : at + 2]


def broken(raw: bytes, header: int) -> bytes:
    """Return a datagram whose checksum is right with one that is wrong."""
    packet = bytearray(raw)
    packet[header + 7] ^= 0xFF if packet[header + 7] != 0xFF else 0x0F  # never 0, which means none
    return bytes(packet)


def told(end: tuple[bytes, int]) -> str:
    """Return an end as ``address:port``."""
    return f"{socket.inet_ntoa(end[0])}:{end[1]}"


def _checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    # one number in the base 65,536: its digits' sum is its rest modulo 65,535
    rest = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - rest if rest or not any(data) else 0

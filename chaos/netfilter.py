"""What netfilter is told and what it tells, as bytes: which packets wait for a verdict, and what becomes of each.

Two parts of one netlink family: nf_tables, whose rules send packets into a queue, and nfnetlink_queue, which hands them
out and takes verdicts (linux/netfilter/nf_tables.h, nfnetlink_queue.h). No library that needs no compiler speaks the
second; of the first we need one table. Nothing here has a socket: whoever sends these bytes needs CAP_NET_ADMIN in the
network namespace that they are about.

A queue hands out packets no larger than a wire carries: the kernel takes apart what segmentation offload had put
together, in both ways, as long as a queue does not ask for the whole (NFQA_CFG_F_GSO), and fills in checksums.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

QUEUE = 0
Way: TypeAlias = Literal["queue", "target"]
WAYS: tuple[Way, ...] = ("queue", "target")
"""nft_queue, and NFQUEUE of iptables by nft_compat: a kernel may have either, most have both."""
MARK = 0x6F66
"""On packets that the harness itself sends: they are let past."""
LONGEST = 16_384
"""Packets that may wait; a picture of 190 KB is 130."""

_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_ERROR = 2
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYS_QUEUE, _SUBSYS_TABLES = 3, 10
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE, _DEL_RULE = ((_SUBSYS_TABLES << 8) | n for n in (0, 3, 6, 8))
_PACKET, _VERDICT, _CONFIG = ((_SUBSYS_QUEUE << 8) | n for n in (0, 1, 2))
_NESTED = 0x8000
_IPV4 = socket.AF_INET
_PREROUTING, _POSTROUTING = 0, 4
_DROP, _ACCEPT = 0, 1
_TABLE, _ARRIVES, _LEAVES = b"ownframe\0", b"arrives\0", b"leaves\0"
_PROTOCOL, _SOURCE, _DESTINATION = 9, 12, 16  # where an IPv4 header has them


class Waiting(NamedTuple):
    """A packet that waits for its verdict: its number in the queue, its way at this namespace, and all of it."""

    number: int
    arriving: bool
    packet: bytes


def prepare(sequence: int) -> bytes:
    """Return what makes our table and its two chains; they queue nothing yet.

    The chains stay until the namespace ends: taking one away would drop every packet that waits.
    """
    return _transaction(
        sequence,
        _message(_NEW_TABLE, _attribute(1, _TABLE), flags=_CREATE),
        _chain(_ARRIVES, _PREROUTING, -300),
        _chain(_LEAVES, _POSTROUTING, -150),
    )


def watch(addresses: Iterable[str], way: Way, sequence: int, datagrams: Iterable[str] = ()) -> bytes:
    """Return what lets exactly those packets wait that come to or leave from these addresses of the namespace's own.

    Of the addresses in `datagrams` those over UDP wait that come to them. `way` is by which of the kernel's modules
    (`WAYS`); what it has not got is refused with ENOENT.
    """
    wanted = [socket.inet_aton(a) for a in addresses]
    changes = [_message(_DEL_RULE, _attribute(1, _TABLE) + _attribute(2, c)) for c in (_ARRIVES, _LEAVES)]
    for chain, place in ((_ARRIVES, _DESTINATION), (_LEAVES, _SOURCE)):
        if wanted:
            ours = _expression(b"meta\0", _attribute(1, _be(1)) + _attribute(2, _be(3)))  # to register 1: the mark
            changes.append(_rule(chain, ours, _equal(struct.pack("=I", MARK)), _accept()))
        changes += [_rule(chain, _loaded(place, 4), _equal(address), _WAITS[way]) for address in wanted]
    over_udp = _loaded(_PROTOCOL, 1) + _equal(bytes([socket.IPPROTO_UDP]))
    changes += [
        _rule(_ARRIVES, over_udp, _loaded(_DESTINATION, 4), _equal(socket.inet_aton(address)), _WAITS[way])
        for address in datagrams
    ]
    return _transaction(sequence, *changes)


def bind() -> bytes:
    """Return what makes the socket that sends it the queue's reader, of whole packets."""
    return b"".join(
        _queued(_CONFIG, attribute, flags=_ACK)
        for attribute in (
            _attribute(1, struct.pack(">BxH", 1, _IPV4)),
            _attribute(2, struct.pack(">IB", 0xFFFF, 2)),
            _attribute(3, _be(LONGEST)),
        )
    )


def let(number: int, instead: bytes | None = None) -> bytes:
    """Return the verdict that lets a packet go on, or another one `instead` of it."""
    return _queued(
        _VERDICT,
        _attribute(2, struct.pack(">II", _ACCEPT, number)) + (_attribute(10, instead) if instead is not None else b""),
    )


def drop(number: int) -> bytes:
    """Return the verdict that ends a packet here."""
    return _queued(_VERDICT, _attribute(2, struct.pack(">II", _DROP, number)))


def waiting(data: bytes) -> Iterator[Waiting]:
    """Yield the packets that the queue tells of; raises `OSError` for a refusal."""
    for kind, body in _messages(data):
        if kind == _PACKET:
            number, arriving, packet = 0, True, b""
            for attribute, value in _attributes(body[4:]):
                if attribute == 1:
                    number, _, hook = struct.unpack_from(">IHB", value)
                    arriving = hook == _PREROUTING
                elif attribute == 10:
                    packet = value
            yield Waiting(number, arriving, packet)


def acknowledged(data: bytes, sequence: int) -> bool:
    """Whether the request with that sequence number is told to be done; raises `OSError` when it is refused.

    Of a request that is refused each wrong part is told apart, so what belongs to an earlier one is passed over.
    """
    return any(kind == _ERROR for kind, _ in _messages(data, sequence))


def _messages(data: bytes, sequence: int | None = None) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _, number = struct.unpack_from("=IHHI", data, at)
        if sequence in (None, number):
            if kind == _ERROR and (code := struct.unpack_from("=i", data, at + 16)[0]):
                raise OSError(-code, os.strerror(-code))
            yield kind, data[at + 16 : at + length]
        at += max(16, (length + 3) & ~3)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += max(4, (length + 3) & ~3)


def _be(number: int) -> bytes:
    return struct.pack(">I", number & 0xFFFFFFFF)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _message(kind: int, body: bytes, *, flags: int = 0, family: int = _IPV4, resource: int = 0) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + body
    return struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, 0, 0) + body


def _queued(kind: int, body: bytes, *, flags: int = 0) -> bytes:
    return _message(kind, body, flags=flags, family=socket.AF_UNSPEC, resource=QUEUE)


def _transaction(sequence: int, *changes: bytes) -> bytes:
    """Return all changes or none; the last one is acknowledged."""
    *first, last = changes
    length, kind, flags = struct.unpack_from("=IHH", last)
    last = struct.pack("=IHH", length, kind, flags | _ACK) + last[8:]
    begin, end = (
        _message(kind, b"", family=socket.AF_UNSPEC, resource=_SUBSYS_TABLES) for kind in (_BATCH_BEGIN, _BATCH_END)
    )
    return b"".join(m[:8] + struct.pack("=I", sequence) + m[12:] for m in (begin, *first, last, end))


def _chain(name: bytes, hook: int, priority: int) -> bytes:
    where = _nested(4, _attribute(1, _be(hook)) + _attribute(2, _be(priority)))
    kind = _attribute(7, b"filter\0")
    return _message(_NEW_CHAIN, _attribute(1, _TABLE) + _attribute(3, name) + where + kind, flags=_CREATE)


def _rule(chain: bytes, *expressions: bytes) -> bytes:
    body = _attribute(1, _TABLE) + _attribute(2, chain) + _nested(4, b"".join(expressions))
    return _message(_NEW_RULE, body, flags=_CREATE | _APPEND)


def _expression(name: bytes, data: bytes) -> bytes:
    return _nested(1, _attribute(1, name) + _nested(2, data))


def _loaded(place: int, size: int) -> bytes:
    """Load so many bytes of the IPv4 header into register 1."""
    load = b"".join(_attribute(i, _be(n)) for i, n in ((1, 1), (2, 1), (3, place), (4, size)))
    return _expression(b"payload\0", load)


def _accept() -> bytes:
    return _expression(b"immediate\0", _attribute(1, _be(0)) + _nested(2, _nested(2, _attribute(1, _be(_ACCEPT)))))


def _equal(value: bytes) -> bytes:
    """Go on with the rule only where register 1 holds that value."""
    return _expression(b"cmp\0", _attribute(1, _be(1)) + _attribute(2, _be(0)) + _nested(3, _attribute(1, value)))


_WAITS: dict[Way, bytes] = {
    "queue": _expression(b"queue\0", _attribute(1, struct.pack(">H", QUEUE)) + _attribute(2, struct.pack(">H", 1))),
    "target": _expression(
        b"target\0", _attribute(1, b"NFQUEUE\0") + _attribute(2, _be(0)) + _attribute(3, struct.pack("=H6x", QUEUE))
    ),
}

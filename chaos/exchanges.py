"""What was asked and answered over captured connections, with the pictures in it: HTTP/1, MJPEG and Redis. Pure.

Parsed here and not by h11, since that forgets where its bytes stood and refuses an answer that breaks off, and poor
networks leave such. On one connection answers come in the order of their requests, in HTTP and in Redis, whatever a
client took them for; so a request is paired with the answer that the *wire* gave it.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from chaos.fates import Half
from chaos.streams import Connection, Stream

_METHOD = re.compile(rb"(GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS) [^\r\n]{1,8000} HTTP/1\.[01]\r\n")
_STATUS = re.compile(rb"HTTP/1\.[01] \d{3}")
_JPEG = b"\xff\xd8\xff"
_HEAD = 65_536
_SAID = 16_384
"""Bytes of a body or of a Redis value that are looked at for words."""
_WORDS = ("text/", "json", "xml", "x-www-form-urlencoded")
_ENCRYPTED, _MODERN, _UPGRADED, _OTHER = (
    "encrypted (TLS)",
    "HTTP/2, which is not read",
    "another protocol after HTTP's upgrade, which is not read",
    "a protocol that is not read",
)


class Picture(msgspec.Struct, frozen=True):
    """An encoded picture on the wire, or as much as came of it: its packets, and when its first byte came."""

    data: bytes
    first: int
    last: int
    at: float


class Message(msgspec.Struct, frozen=True):
    """A request or an answer: its first line, its fields, its words, its pictures, its packets and its times.

    `arguments` are those of a Redis command that are words. `whole` says that nothing of it is missing.
    """

    line: str
    first: int
    last: int
    began: float
    ended: float
    fields: Mapping[str, str] = {}
    said: str = ""
    pictures: tuple[Picture, ...] = ()
    arguments: tuple[str, ...] = ()
    whole: bool = True


class Exchange(msgspec.Struct, frozen=True):
    """A request and the answer that the wire gave it, if any, on one half of a link."""

    link: str
    half: Half
    client: str
    speaks: str
    request: Message
    answer: Message | None = None


class Talk(msgspec.Struct, frozen=True):
    """Everything of one half of a link: its exchanges, and connections that cannot be read, as (began, why)."""

    exchanges: tuple[Exchange, ...] = ()
    opaque: tuple[tuple[float, str], ...] = ()


def talks(connections: Iterable[Connection]) -> dict[tuple[str, Half], Talk]:
    """Return what was said on each half of each link, in the order of the requests."""
    exchanges: dict[tuple[str, Half], list[Exchange]] = {}
    opaque: dict[tuple[str, Half], list[tuple[float, str]]] = {}
    for one in connections:
        at = one.link, one.half
        found, why = _read(one)
        exchanges.setdefault(at, []).extend(found)
        if why:
            opaque.setdefault(at, []).append((one.began, why))
    return {
        at: Talk(tuple(sorted(exchanges.get(at, ()), key=lambda e: e.request.began)), tuple(sorted(opaque.get(at, ()))))
        for at in exchanges.keys() | opaque.keys()
    }


def _read(one: Connection) -> tuple[list[Exchange], str]:
    """Return the exchanges of a connection, and why it, or its end, cannot be read."""
    up, down = bytes(one.up.data), bytes(one.down.data)
    if not up and not down:
        return [], ""
    if up[:2] == b"\x16\x03" or down[:2] == b"\x16\x03":
        return [], _ENCRYPTED
    if up.startswith(b"PRI * HTTP/2"):
        return [], _MODERN
    if (start := _first(_METHOD, one.up, up)) is not None:
        requests = list(_requests(one.up, up, start))
        answers = list(_answers(one.down, down, [m.line.split(" ", 1)[0] for m in requests]))
        upgraded = any(" 101" in a.line[:13] for a in answers)
        return _paired(one, "HTTP", requests, answers), _UPGRADED if upgraded else ""
    if (start := _first(re.compile(rb"\*\d+\r\n\$"), one.up, up)) is not None:
        return _paired(one, "Redis", list(_commands(one.up, up, start)), list(_replies(one.down, down))), ""
    return [], _OTHER if up else ""


def _first(begins: re.Pattern[bytes], stream: Stream, data: bytes) -> int | None:
    """Return where the first request begins: where the stream does, or at a packet's beginning if that is missing."""
    if begins.match(data):
        return 0
    if stream.begun and not (stream.holes and stream.holes[0] == 0):
        return None
    return next((m.start() for m in begins.finditer(data)), None)


def _paired(one: Connection, speaks: str, requests: list[Message], answers: list[Message]) -> list[Exchange]:
    if not one.down.begun and requests:  # answers to what was asked before the capture
        answers = [a for a in answers if a.began >= requests[0].began]
    found = list(answers) + [None] * len(requests)
    return [Exchange(one.link, one.half, one.client, speaks, r, a) for r, a in zip(requests, found, strict=False)]


class _Body(msgspec.Struct):
    """A body that was cut out of its stream: its bytes, and where each of its parts stood."""

    data: bytearray
    starts: list[int]
    places: list[int]
    ends: int
    whole: bool = True

    def add(self, data: bytes, place: int) -> None:
        self.starts.append(len(self.data))
        self.places.append(place)
        self.data += data

    def place(self, at: int) -> int:
        """Return where in the stream a byte of the body stood."""
        i = bisect.bisect_right(self.starts, at) - 1
        return self.places[i] + at - self.starts[i]


def _requests(stream: Stream, data: bytes, at: int) -> Iterator[Message]:
    while at < len(data) and _METHOD.match(data, at):
        head = _head(data, at)
        if head is None:
            return
        line, fields, ends = head
        body = _body(data, ends, fields, until_end=False)
        yield _message(stream, line, fields, at, body)
        at = body.ends


def _answers(stream: Stream, data: bytes, methods: list[str]) -> Iterator[Message]:
    at, number = 0, 0
    if not _STATUS.match(data):
        found = _STATUS.search(data) if not stream.begun or stream.holes else None
        at = found.start() if found else len(data)
    while at < len(data) and _STATUS.match(data, at):
        head = _head(data, at)
        if head is None:
            return
        line, fields, ends = head
        status = int(line[9:12])
        if 100 <= status < 200 and status != 101:
            at = ends
            continue
        method = methods[number] if number < len(methods) else ""
        bodiless = status in (101, 204, 304) or method == "HEAD"
        body = _Body(bytearray(), [], [], ends) if bodiless else _body(data, ends, fields, until_end=True)
        yield _message(stream, line, fields, at, body)
        at, number = body.ends, number + 1
        if status == 101:
            return


def _head(data: bytes, at: int) -> tuple[str, dict[str, str], int] | None:
    end = data.find(b"\r\n\r\n", at, at + _HEAD)
    if end < 0:
        return None
    first, *lines = data[at:end].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, {k.strip().lower(): v.strip() for k, _, v in pairs}, end + 4


def _body(data: bytes, at: int, fields: Mapping[str, str], *, until_end: bool) -> _Body:
    body = _Body(bytearray(), [], [], at)
    if "chunked" in fields.get("transfer-encoding", "").lower():
        _dechunk(data, body)
        return body
    length = fields.get("content-length", "")
    if length.isdigit():
        size = int(length)
        body.whole = len(data) - at >= size
    else:
        size = len(data) - at if until_end else 0
    if size:
        body.add(data[at : at + size], at)
    body.ends = min(len(data), at + size)
    return body


def _dechunk(data: bytes, body: _Body) -> None:
    at = body.ends
    while True:
        end = data.find(b"\r\n", at, at + 1024)
        size = data[at:end].split(b";")[0].strip() if end >= 0 else b""
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            body.ends, body.whole = len(data), False
            return
        at, count = end + 2, int(size, 16)
        if not count:
            end = data.find(b"\r\n", at)  # trailers are nobody's here
            body.ends = len(data) if end < 0 else end + 2
            return
        if part := data[at : at + count]:
            body.add(part, at)
        if len(part) < count:
            body.ends, body.whole = len(data), False
            return
        at += count + 2


def _message(stream: Stream, line: str, fields: dict[str, str], at: int, body: _Body) -> Message:
    kind = fields.get("content-type", "").lower()
    data = bytes(body.data)
    pictures: list[Picture] = []
    if kind.startswith("multipart/"):
        pictures = [_picture(stream, body, a, b) for a, b in _parts(data, kind)]
    elif data and (kind.startswith("image/") or data.startswith(_JPEG)):
        pictures = [_picture(stream, body, 0, len(data))]
    is_words = any(w in kind for w in _WORDS) or (not kind and data[:_SAID].isascii())
    said = data[:_SAID].decode(errors="replace") if is_words else ""
    first, began = stream.packet(at)
    last, ended = stream.packet(max(at, body.ends - 1))
    return Message(line, first, last, began, ended, fields, said, tuple(pictures), (), body.whole)


def _parts(data: bytes, kind: str) -> Iterator[tuple[int, int]]:
    """Yield from where to where each part's content stands. As browsers do, it goes by boundaries alone."""
    words = (word.strip().partition("=") for word in kind.split(";")[1:])
    name = next((v.strip('"') for k, _, v in words if k == "boundary"), "")
    # the field was made lower case to be compared; boundaries are as they were sent
    boundary = re.compile(re.escape(b"--" + name.encode()), re.IGNORECASE) if name else None
    marks = [m.span() for m in boundary.finditer(data)] if boundary is not None else []
    for i, (_, begins) in enumerate(marks):
        ends = marks[i + 1][0] if i + 1 < len(marks) else len(data)
        head = data.find(b"\r\n\r\n", begins, ends)
        if head < 0:
            continue
        content = head + 4
        ends -= 2 if data[ends - 2 : ends] == b"\r\n" else 0
        if content < ends:
            yield content, ends


def _picture(stream: Stream, body: _Body, begins: int, ends: int) -> Picture:
    first, at = stream.packet(body.place(begins))
    return Picture(bytes(body.data[begins:ends]), first, stream.packet(body.place(ends - 1))[0], at)


# Redis: RESP2, and of RESP3 what servers send unasked.


class _Value(msgspec.Struct):
    """Everything in one value that is words or a picture, as (from, to) in the stream."""

    ends: int
    parts: list[tuple[int, int]]
    pushed: bool = False


def _commands(stream: Stream, data: bytes, at: int) -> Iterator[Message]:
    while at < len(data) and data[at : at + 1] == b"*":
        value = _value(data, at)
        if value is None:
            return
        yield _told(stream, data, at, value)
        at = value.ends


def _replies(stream: Stream, data: bytes) -> Iterator[Message]:
    at = 0
    while at < len(data):
        value = _value(data, at)
        if value is None:
            return
        if not value.pushed:
            yield _told(stream, data, at, value)
        at = value.ends


def _value(data: bytes, at: int) -> _Value | None:
    """Return the value at a place; None when it is not whole, or no value."""
    end = data.find(b"\r\n", at, at + _HEAD)
    kind, rest = data[at : at + 1], data[at + 1 : max(at, end)]
    if end < 0 or not kind:
        return None
    if kind in b"+-:_#,(":
        return _Value(end + 2, [(at + 1, end)])
    if not re.fullmatch(rb"-?\d{1,10}", rest):
        return None
    if kind in b"$=!":
        return _bulk(data, end + 2, int(rest))
    return _many(data, end + 2, int(rest) * (2 if kind == b"%" else 1), kind) if kind in b"*~>%" else None


def _bulk(data: bytes, at: int, size: int) -> _Value | None:
    if size < 0:
        return _Value(at, [])
    return _Value(at + size + 2, [(at, at + size)]) if len(data) >= at + size + 2 else None


def _many(data: bytes, at: int, count: int, kind: bytes) -> _Value | None:
    parts: list[tuple[int, int]] = []
    for _ in range(count):
        inner = _value(data, at)
        if inner is None:
            return None
        parts += inner.parts
        at = inner.ends
    return _Value(at, parts, pushed=kind == b">")


def _told(stream: Stream, data: bytes, at: int, value: _Value) -> Message:
    pictures, words = [], []
    for begins, ends in value.parts:
        found = data.find(_JPEG, begins, ends)
        if found >= 0:
            first, came = stream.packet(found)
            pictures.append(Picture(data[found:ends], first, stream.packet(ends - 1)[0], came))
        else:
            words.append(data[begins : min(ends, begins + _SAID)].decode(errors="replace"))
    first, began = stream.packet(at)
    last, ended = stream.packet(value.ends - 1)
    line = " ".join(words)
    return Message(line[:200], first, last, began, ended, {}, line[:_SAID], tuple(pictures), tuple(words))

"""Packets as a home's hops carry them, made by hand: what is asked and answered, on both halves of a link."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP, UDP

from chaos.fates import Halves
from chaos.streams import Places, Taken

MOST = 1400
"""Bytes of what one packet carries."""


def halves(topology) -> dict[str, Halves]:
    return {
        k.name: Halves(
            k.device_dials, f"10.1.{i}.2", 7000 + i, f"10.2.{i}.2", 8000 + i, f"10.2.{i}.6", k.protocol == "udp"
        )
        for i, k in enumerate(topology.links)
    }


class Conversation:
    """Collects packets; `packets` has them in the order of their times, numbered."""

    def __init__(self, topology) -> None:
        self.links = halves(topology)
        self._made: list[tuple[float, str, str, bool, bytes]] = []
        self._next = 30_000
        self._sequences: dict[object, int] = {}

    def connect(self, link: str) -> int:
        """Begin a connection, whose number (its client's port) is returned."""
        self._next += 1
        return self._next

    def say(self, link: str, port: int, data: bytes, at: float, *, up: bool, half: str | None = None, flags="A"):
        """Let one end say something, on both halves or on one."""
        for here in ("client", "server") if half is None else (half,):
            # what goes up is seen in the client's half first
            late = 0.0005 * (up == (here == "server"))
            begun = (link, here, port) in self._sequences
            if not begun:
                self._sequences[link, here, port] = 1
                self._packet(link, here, port, b"", at + late, True, 0, "S")
                self._packet(link, here, port, b"", at + late, False, 0, "SA")
            for begins in range(0, len(data), MOST):
                part = data[begins : begins + MOST]
                key = (link, here, port, up)
                sequence = self._sequences.setdefault(key, 1)
                self._packet(link, here, port, part, at + late, up, sequence, flags)
                self._sequences[key] = sequence + len(part)

    def ask(self, link: str, request: bytes, answer: bytes = b"", at: float = 1.0, took: float = 0.02, port: int = 0):
        """Ask and answer over a connection of its own, or of that number; returns its number."""
        port = port or self.connect(link)
        self.say(link, port, request, at, up=True)
        if answer:
            self.say(link, port, answer, at + took, up=False)
        return port

    def send(self, link: str, port: int, data: bytes, at: float, *, up: bool = False) -> None:
        """Let a datagram cross a link over UDP; `port` is the client's."""
        for here in ("client", "server"):
            self._packet(link, here, port, data, at + 0.0005 * (up == (here == "server")), up, 0, None)

    def _packet(self, link, half, port, data, at, up, sequence, flags) -> None:
        here, i = self.links[link], list(self.links).index(link)
        client, server = (
            ((f"10.1.{i}.3", port), (here.client, here.listens))
            if half == "client"
            else ((here.server, port), (f"10.2.{i}.3", here.dials))
        )
        source, destination = (client, server) if up else (server, client)
        over = UDP(sport=source[1], dport=destination[1])
        if flags is not None:
            over = TCP(sport=source[1], dport=destination[1], seq=sequence, flags=flags)
        self._made.append((at, link, half, up, bytes(IP(src=source[0], dst=destination[0]) / over / data)))

    @property
    def packets(self) -> list[Taken]:
        places = Places(self.links)
        made = sorted(self._made, key=lambda m: m[0])  # stable: what was said first at one time comes first
        for _, link, half, up, raw in made:
            assert places.place(raw) == (link, half, up)
        return [Taken(n, at, link, half, up, raw) for n, (at, link, half, up, raw) in enumerate(made, 1)]


def get(path: str, **fields: str) -> bytes:
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()


def post(path: str, body: str, **fields: str) -> bytes:
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def ok(body: bytes, kind: str = "image/jpeg") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def json(text: str) -> bytes:
    return ok(text.encode(), "application/json")


def resp(*words: str | bytes | None) -> bytes:
    """Return a Redis command, or an answer that has as many values."""
    out = f"*{len(words)}\r\n".encode()
    for word in words:
        if word is None:
            out += b"$-1\r\n"
        else:
            data = word.encode() if isinstance(word, str) else word
            out += f"${len(data)}\r\n".encode() + data + b"\r\n"
    return out


def picture(owner: str, frame: int = 1, size: int = 5000) -> bytes:
    """Return what stands for an encoded picture; `owner_of` reads it."""
    return b"\xff\xd8\xff" + f"[{owner}:{frame}]".encode() + b"." * size + b"\xff\xd9"

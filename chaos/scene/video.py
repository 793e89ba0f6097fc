"""A scene as H.264: encoded as it is painted, in RTP over RTSP for cameras that dial a sensor, or in MPEG-TS for files.

One encoder for each viewer: a camera has one lens. Pictures are spread over packets as RFC 6184 says (fragments of type
A). RTP is interleaved in the RTSP connection (RFC 2326, 10.12): on a network that no fault touches nothing is gained by
UDP, and a client that asks for it is answered 461, upon which FFmpeg and GStreamer ask for TCP (tried).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import Awaitable, Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import numpy as np

if TYPE_CHECKING:
    from chaos.scene.painting import Planes

CLOCK = 90_000
"""Ticks of RTP's clock a second, for video."""
_TYPE = 96
_ROOM = 1_400
_QUALITY = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18"}
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=scene\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
)
_DOES = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"

Film = Callable[[tuple[str, str], int], Awaitable[tuple[int, "Planes"]]]
"""From a lens and the last tick to the next tick and its picture."""


class Encoder:
    """Encodes pictures of 1920x1080 as H.264, an intra picture every second; nothing is held back."""

    def __init__(self, rate: int) -> None:
        self._context = av.CodecContext.create("libx264", "w")
        assert isinstance(self._context, av.VideoCodecContext), "an encoder of video"
        self._context.width, self._context.height = 1920, 1080
        self._context.pix_fmt = "yuv420p"
        self._context.framerate = Fraction(rate)
        self._context.time_base = Fraction(1, rate)
        self._context.gop_size = rate
        self._context.options = dict(_QUALITY)

    def encode(self, picture: Planes) -> bytes:
        """Return the bytes of one picture, parameter sets included where it is an intra picture."""
        planes = np.concatenate([picture.luma.ravel(), picture.blue.ravel(), picture.red.ravel()])
        frame = av.VideoFrame.from_ndarray(planes.reshape(1620, 1920), format="yuv420p")
        assert isinstance(self._context, av.VideoCodecContext), "an encoder of video"
        return b"".join(bytes(p) for p in self._context.encode(frame))


def packets(picture: bytes, number: int, time: int) -> Iterator[bytes]:
    """Yield the RTP packets of one encoded picture, the first with the sequence number `number`, the last marked."""
    units = [u for u in re.split(rb"\x00\x00\x00?\x01", picture) if u]
    pieces = [piece for unit in units for piece in _pieces(unit)]
    for n, piece in enumerate(pieces):
        marked = 0x80 if n == len(pieces) - 1 else 0
        yield struct.pack("!BBHII", 0x80, _TYPE | marked, (number + n) & 0xFFFF, time & 0xFFFFFFFF, 1) + piece


def _pieces(unit: bytes) -> Iterator[bytes]:
    if len(unit) <= _ROOM:
        yield unit
        return
    head, kind, rest = unit[0] & 0xE0 | 28, unit[0] & 0x1F, unit[1:]
    for at in range(0, len(rest), _ROOM):
        first, last = (0x80 if at == 0 else 0), (0x40 if at + _ROOM >= len(rest) else 0)
        yield bytes([head, first | last | kind]) + rest[at : at + _ROOM]


class Rtsp:
    """Answers RTSP connections: `lens_of` finds the lens of a path, `film` waits for the next picture of a lens."""

    def __init__(self, lens_of: Callable[[str], tuple[str, str] | None], film: Film, rate: int) -> None:
        self._lens_of = lens_of
        self._film = film
        self._rate = rate

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with one client until it leaves."""
        playing: asyncio.Task[None] | None = None
        try:
            while (request := await _request(reader)) is not None:
                method, url, headers = request
                lens = self._lens_of(urlsplit(url).path)
                status, more, body = self._reply(method, url, headers, lens)
                lines = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}", *more]
                if body:
                    lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
                if method == "PLAY" and status.startswith("200") and lens is not None and playing is None:
                    playing = asyncio.ensure_future(self._play(writer, lens))
                if method == "TEARDOWN":
                    return
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            if playing is not None:
                playing.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await playing
            writer.close()

    def _reply(
        self, method: str, url: str, headers: dict[str, str], lens: tuple[str, str] | None
    ) -> tuple[str, list[str], bytes]:
        session = "Session: 1;timeout=60"
        if lens is None and method != "OPTIONS":
            return "404 Not Found", [], b""
        match method:
            case "OPTIONS":
                found = "200 OK", [f"Public: {_DOES}"], b""
            case "DESCRIBE":
                host = urlsplit(url).hostname or "127.0.0.1"
                found = "200 OK", [f"Content-Base: {url.rstrip('/')}/"], _SDP.format(host=host).encode()
            case "SETUP" if "TCP" in headers.get("transport", "").upper():
                found = "200 OK", ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", session], b""
            case "SETUP":
                found = "461 Unsupported Transport", [], b""
            case "PLAY" | "GET_PARAMETER" | "TEARDOWN":
                found = "200 OK", [session], b""
            case _:
                found = "405 Method Not Allowed", [], b""
        return found

    async def _play(self, writer: asyncio.StreamWriter, lens: tuple[str, str]) -> None:
        loop = asyncio.get_running_loop()
        encoder, number, tick = Encoder(self._rate), 0, 0
        while True:
            tick, picture = await self._film(lens, tick)
            encoded = await loop.run_in_executor(None, encoder.encode, picture)
            for packet in packets(encoded, number, tick * CLOCK // self._rate):
                writer.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
                number += 1
            await writer.drain()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]] | None:
    """Read one request, passing over what a client sends interleaved; None at the end of the connection."""
    while True:
        first = await reader.read(1)
        if not first:
            return None
        if first != b"$":
            break
        _, length = struct.unpack("!BH", await reader.readexactly(3))
        await reader.readexactly(length)
    lines = (first + await reader.readuntil(b"\r\n\r\n")).decode(errors="replace").strip().split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    if headers.get("content-length", "0").isdigit():
        await reader.readexactly(int(headers.get("content-length", "0")))
    method, url, *_ = [*lines[0].split(), "", ""]
    return method, url, headers

"""H.264 for the table: moving stamped scenes through libx264 at a rate, with packets lost on the way."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np

from tests.bench.damage import Badge, Shown, badge, filmed, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 10
"""Frames a second: every frame has new dynamic tiles, as the scene server paints them."""
SECONDS = 10
SIZE = (1024, 576)


def shown(bits_a_second: int, lost: float, sequence: int, rng: np.random.Generator) -> Iterator[Shown]:
    """Yield what a decoder shows of ten seconds of one home; `lost` is the share of packets (slices) that are lost.

    A key frame every two seconds, slices of at most 1,200 bytes as RTP carries them; the first key frame arrives.
    """
    width, height = SIZE
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.bit_rate = bits_a_second
    rate = bits_a_second // 1000
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "x264-params": f"slice-max-size=1200:keyint={2 * RATE}:vbv-maxrate={rate}:vbv-bufsize={rate}:annexb=1",
    }
    first = badge(sequence, rng)
    owner = first.owner
    sent: list[tuple[Badge, bytes]] = []
    for i in range(RATE * SECONDS):
        who = Badge(first.case, owner, 1, i, 100 * i)
        luma = scaled(filmed(who, sequence * 1000 + i, rng), width, height)
        planes = np.concatenate([luma, np.full((height // 2, width), 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = i
        sent += [(who, bytes(p)) for p in encoder.encode(frame)]
    sent += [(first, bytes(p)) for p in encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    for number, (_, data) in enumerate(sent):
        kept = data if not lost or not number else b"".join(n for n in units(data) if rng.random() >= lost)
        if not kept:
            continue
        try:
            frames = decoder.decode(av.Packet(kept))
        except av.FFmpegError:
            continue
        for picture in frames:
            yield Shown(picture.to_ndarray(format="gray"), (first,))


def units(data: bytes) -> list[bytes]:
    """Return the NAL units of an Annex B access unit, each with its start code."""
    starts = []
    at = data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at)
        at = data.find(b"\0\0\1", at + 3)
    return [b"\0" + data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]

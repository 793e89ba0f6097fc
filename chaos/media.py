"""Files into luma planes, frame by frame: JPEGs at once, whatever else PyAV opens through it; and videos as they come.

The only module that imports `av` for reading. Files come from strangers: nothing that a file names is opened, nothing
larger than `frames.MAX_PIXELS` is decoded, and one frame is held at a time.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import av
import av.logging
import msgspec
import numpy as np
from numpy.typing import NDArray

from chaos import frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

Plane = NDArray[np.uint8]

MAX_PICTURE_BYTES = 128 << 20
"""A JPEG that is larger is no picture; 40 million pixels at quality 100 have 60 MB."""
MAX_DAMAGED = 1_000
"""So many packets in a row that nothing can be decoded from end a file: the rest is noise."""
_STREAMS = 256
"""More streams than any film has."""
_HAS_LUMA_PLANE = frozenset(
    ["gray", "nv12", "nv21"] + [f"yuv{j}{sampling}p" for j in ("", "j") for sampling in (410, 411, 420, 422, 440, 444)]
)

av.logging.set_level(av.logging.PANIC)  # what a codec mutters about a damaged file is not for a terminal


class Shot(msgspec.Struct, frozen=True):
    """One frame of a file: its number, its time in seconds where the file says so, and its plane, or why there is none.

    `full_width` is the picture's own width: a plane may be scaled down.
    """

    number: int
    seconds: float | None
    plane: Plane | None
    full_width: int = 0
    reason: str = ""


def shots(file: Path, *, quick: bool = True) -> Iterator[Shot]:
    """Yield the frames of a picture or video. What cannot be read is a shot with a reason: this raises nothing.

    `quick` lets JPEGs be scaled down while they are decoded.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            yield _unread(0, "not a file with content")
            return
        if not status.st_size:
            yield _unread(0, "the file is empty")
            return
        with file.open("rb") as opened:
            if opened.read(3) == b"\xff\xd8\xff" and status.st_size <= MAX_PICTURE_BYTES:
                opened.seek(0)
                data = opened.read()
                if b"\xff\xd9\xff\xd8" not in data:
                    yield _jpeg(data, quick=quick)
                    return
            opened.seek(0)
            yield from _video(opened)
    except OSError as refused:
        yield _unread(0, f"the file cannot be read: {refused.strerror or refused}")


class Unopened(Exception):  # noqa: N818 - a state of somebody else's video, told in its words
    """A live video cannot be opened, broke off, or fell silent."""


_PLAYED = {"max_pixels": str(frames.MAX_PIXELS)}
_LIVE = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "500000"}
"""What comes while a stream is looked into (microseconds) is let go of: shown afterwards it would be shown late."""


def live(source: str, patience: float) -> Iterator[frames.Picture | None]:
    """Yield each frame of the first video of `source` as (H, W, 3) RGB when it comes; None for what cannot be decoded.

    `source` is whatever PyAV opens: an address, or a path. A file is played at its own pace. Each frame has a size of
    its own. Raises `Unopened` when it cannot be opened, when nothing came for `patience` seconds, and when it broke.
    """
    began = time.monotonic()
    paced = "://" not in source and _is_file(source)
    options = _PLAYED if paced else _PLAYED | _LIVE
    try:
        with av.open(source, options=dict(options), timeout=(2 * patience, patience)) as container:
            if not container.streams.video:
                raise Unopened(f"{source} has no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # more threads hold frames back
            for packet in container.demux(stream):
                try:
                    pictures = packet.decode()
                except (av.FFmpegError, ValueError):
                    yield None
                    continue
                for picture in pictures:
                    if paced and picture.time is not None:
                        time.sleep(max(0.0, began + picture.time - time.monotonic()))
                    yield None if picture.is_corrupt else np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, OSError, ValueError) as broken:
        why = getattr(broken, "strerror", None) or str(broken) or type(broken).__name__
        raise Unopened(f"{source}: {why}") from broken


def luma_of_h264(data: bytes) -> Plane | None:
    """Return the luma of a picture of H.264 that needs none before it (annex B); None for what cannot be decoded."""
    context = av.CodecContext.create("h264", "r")
    context.options = dict(_PLAYED)
    context.thread_count = 1
    try:
        for packet in (av.Packet(data), None):
            for picture in context.decode(packet):
                return None if picture.is_corrupt else _plane(picture)
    except (av.FFmpegError, ValueError):
        pass
    return None


def _is_file(source: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(source).st_mode)  # noqa: PTH116 - a path that PyAV opens, whatever it looks like
    except OSError:
        return False


def _unread(number: int, reason: str) -> Shot:
    return Shot(number, None, None, reason=reason)


def _jpeg(data: bytes, *, quick: bool) -> Shot:
    plane = frames.luma_of_jpeg(data, quick=quick)
    if plane is None:
        return _unread(0, "a JPEG that no decoder takes, or with too many pixels")
    return Shot(0, None, plane, plane.shape[1])


class _Nameless:
    """A file without its name: what it is follows from its content, and `%03d` in a name is no pattern."""

    def __init__(self, opened: BinaryIO) -> None:
        self.read, self.seek, self.tell = opened.read, opened.seek, opened.tell


def container_of(opened: BinaryIO) -> av.container.InputContainer:
    """Open what PyAV takes of a stranger's file. Raises what PyAV raises.

    No protocol is allowed, so that a playlist cannot make us open anything else. The limit of pixels holds while it is
    looked into too: FFmpeg decodes the first picture of each stream then (measured: 218 MB for a PNG of 15000x15000).
    """
    limits: list[dict[str, str]] = [{"max_pixels": str(frames.MAX_PIXELS)}] * _STREAMS
    return av.open(  # type: ignore[no-any-return,call-overload]  # the stub says list[str], the code wants dicts
        _Nameless(opened),
        "r",
        metadata_errors="replace",
        options={"protocol_whitelist": "none"},
        stream_options=limits,
    )


def _video(opened: BinaryIO) -> Iterator[Shot]:
    number = 0
    try:
        with container_of(opened) as container:
            if not any(hasattr(s.codec_context, "options") for s in container.streams.video):
                yield _unread(0, "neither a picture nor a video")
                return
            for shot in _decoded(container):
                yield shot
                number = shot.number + 1
    except (av.FFmpegError, ValueError, EOFError, MemoryError, OverflowError) as broken:
        why = getattr(broken, "strerror", None) or str(broken) or type(broken).__name__
        yield _unread(number, f"the rest cannot be read: {why}" if number else f"not a picture or video: {why}")
        return
    if not number:
        yield _unread(0, "no frame in it can be decoded")


def _decoded(container: av.container.InputContainer) -> Iterator[Shot]:
    # a damaged header leaves streams without a codec
    stream = next(s for s in container.streams.video if hasattr(s.codec_context, "options"))
    context = stream.codec_context
    context.options = {"max_pixels": str(frames.MAX_PIXELS)}
    context.thread_count = 1  # judging takes a process a core
    number = damaged = 0
    for packet in container.demux(stream):
        try:
            pictures = packet.decode()
        except (av.FFmpegError, ValueError):
            damaged += 1
            if damaged > MAX_DAMAGED:
                yield _unread(number, f"the rest cannot be read: {MAX_DAMAGED} damaged packets in a row")
                return
            continue
        damaged = 0
        for picture in pictures:
            seconds = None if picture.time is None else float(picture.time)
            yield Shot(number, seconds, _plane(picture), picture.width)
            number += 1


def _plane(picture: av.VideoFrame) -> Plane:
    if picture.format.name not in _HAS_LUMA_PLANE:
        return np.ascontiguousarray(picture.to_ndarray(format="gray"), np.uint8)
    first = picture.planes[0]
    rows = np.frombuffer(memoryview(first), np.uint8).reshape(-1, first.line_size)
    return np.asarray(rows[: picture.height, : picture.width])

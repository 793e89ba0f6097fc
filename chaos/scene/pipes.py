"""Scenes for cameras that film from a file: a named pipe that is written while the camera reads it."""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from chaos.scene.video import Encoder

if TYPE_CHECKING:
    from chaos.scene.painting import Planes

_LOOK = 0.05
"""Seconds between two looks for a reader, which a pipe does not tell of by itself."""


class Pipe:
    """Writes a scene into a pipe at `path` as often as somebody opens it, until `close`.

    What is written follows from the name: ``.jpg`` one picture each time that it is opened, ``.mjpeg`` one after the
    other, ``.ts`` H.264 in MPEG-TS. `picture` and `planes` wait for the next tick and return what is filmed then.
    """

    def __init__(self, path: Path, picture: Callable[[], bytes], planes: Callable[[], Planes], rate: int) -> None:
        self.path = path
        self._picture, self._planes, self._rate = picture, planes, rate
        self._ended = threading.Event()
        os.mkfifo(path, 0o666)
        path.chmod(0o666)  # whoever the camera runs as
        self._thread = threading.Thread(target=self._serve, name=f"pipe-{path.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of whoever reads."""
        self._ended.set()
        self._thread.join(5.0)

    def _serve(self) -> None:
        write = {".ts": self._write_ts, ".jpg": self._write_one, ".jpeg": self._write_one}.get(
            self.path.suffix, self._write_all
        )
        while not self._ended.is_set():
            try:
                end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads
                self._ended.wait(_LOOK)
                continue
            with contextlib.suppress(OSError, av.FFmpegError):
                write(end)
            os.close(end)
            self._ended.wait(_LOOK)  # or a reader that has not noticed yet would be written to again

    def _put(self, end: int, data: bytes) -> None:
        """Write all of it; raises `BrokenPipeError` when the reader leaves, or the pipe is closed."""
        at = 0
        while at < len(data):
            if self._ended.is_set():
                raise BrokenPipeError
            if select.select([], [end], [], _LOOK)[1]:
                at += os.write(end, data[at : at + select.PIPE_BUF])

    def _write_one(self, end: int) -> None:
        self._put(end, self._picture())

    def _write_all(self, end: int) -> None:
        while True:
            self._put(end, self._picture())

    def _write_ts(self, end: int) -> None:
        encoder, made = Encoder(self._rate), io.BytesIO()
        with av.open(made, "w", format="mpegts") as container:
            stream = container.add_stream("h264", rate=self._rate)
            stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
            for number in range(1 << 30):
                packet = av.Packet(encoder.encode(self._planes()))
                packet.stream, packet.pts, packet.dts = stream, number, number
                packet.time_base = Fraction(1, self._rate)
                container.mux(packet)
                self._put(end, made.getvalue())
                made.seek(0)
                made.truncate()

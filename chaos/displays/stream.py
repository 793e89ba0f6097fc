"""A screen as a video: whatever PyAV opens. An encoder behind a capture card, an RTSP or SRT stream, a pipe, a file.

What comes was on the screen `late` seconds before it comes: an encoder and a network take that long. It has to be told.
Too little, and a picture of before a change of account is held against the account after it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaos import frames, media
from chaos.displays import Gap
from chaos.displays.watching import Watching
from chaos.identity import Box

if TYPE_CHECKING:
    from chaos.frames import Picture

AGAIN = 0.2
"""Seconds until a stream that ended is opened again."""
SILENT = 2.0
"""Seconds without a frame after which nobody knows what is on the screen. Encoders repeat what does not change."""
QUALITY = 100
"""Of the JPEG that a frame is kept as: 1.8 MB of pixels, thirty times a second, are too much to keep."""


class Stream(Watching):
    """The first video in what `source` names, watched until it ends and then opened again."""

    def __init__(self, hub: str, source: str, *, box: Box | None = None, late: float = 0.0) -> None:
        super().__init__(hub, box, frames.rgb_of_jpeg, f"a video that PyAV opens at {source}")
        self._source = source
        self._late = late
        self._last: Picture | None = None
        self._came = time.monotonic()
        self.begin()

    def gaps(self) -> list[Gap]:
        """Return when the screen could not be seen; since when a source is silent that does not end, such as a pipe."""
        came = self._came
        if time.monotonic() - came > 2 * SILENT:
            self.lost(came, f"nothing came for {2 * SILENT:.0f} s")
        return super().gaps()

    def watch(self) -> None:
        """Open the source, and take each of its frames, again and again."""
        while not self.closing.is_set():
            seen = time.monotonic()
            damaged = False
            try:
                for picture in media.live(self._source, SILENT):
                    if self.closing.is_set():
                        return
                    self.began_again()
                    if picture is None:
                        self.lost(seen, "a part of the video could not be decoded")
                        damaged = True
                        continue
                    self._came = time.monotonic()
                    now = self._came - self._late
                    self._take(now, picture, anew=damaged)
                    seen, damaged = now, False
                self.lost(seen, "the video ended")
            except media.Unopened as broken:
                self.lost(seen, str(broken))
            self.began_again()
            self._last = None
            self.closing.wait(AGAIN)

    def _take(self, now: float, picture: Picture, *, anew: bool) -> None:
        last = self._last
        same = last is not None and last.shape == picture.shape and bool((last == picture).all())
        if same and not anew and self.stands:
            return  # the same is no new raster
        self._last = picture
        self.saw(now, frames.encode_jpeg(picture, QUALITY))

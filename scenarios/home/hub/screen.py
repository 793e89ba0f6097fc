"""The screen of a headless display, and its journal: every raster that was painted, and when it stood there.

Nothing but pixels: who asked, whose camera it was and what the hub thought of it is not written down here.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1024, 600
BLACK = (0, 0, 0)
BACKGROUND = (18, 22, 28)
INK = (196, 202, 210)


class JournalFull(Exception):  # noqa: N818 - a state, told to whoever asks for more
    """The journal holds as many rasters as it may: somebody has to collect and forget them first."""


@dataclass(slots=True)
class Entry:
    """A raster by its hash, with the seconds (monotonic) between which it was on screen; None: it still is."""

    seq: int
    since: float
    until: float | None
    raster: str

    def as_json(self) -> dict[str, object]:
        """Return the entry as the control endpoint tells it."""
        return {
            "seq": self.seq,
            "from": self.since,
            "until": self.until,
            "raster": self.raster,
            "width": WIDTH,
            "height": HEIGHT,
        }


class Screen:
    """1024x600 pixels. What is painted stands until the next thing is painted: there is no gap.

    `limit` is the number of different rasters that are kept, 1.8 MB each. Nothing is ever dropped by itself.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rasters: dict[str, bytes] = {}
        self._uses: dict[str, int] = {}
        self._entries: list[Entry] = []
        self._messages: dict[str, tuple[str, bytes]] = {}
        self._next = 1
        self.home()

    # What can be on it.

    def home(self) -> None:
        """Paint the home screen: nobody's camera is open."""
        self._message("Good evening")

    def loading(self) -> None:
        """Paint that a camera was summoned."""
        self._message("Loading camera")

    def unavailable(self) -> None:
        """Paint that the camera does not answer."""
        self._message("Camera unavailable")

    def picture(self, picture: Image.Image) -> None:
        """Paint a picture as large as it fits, on black. The same pixels again are no new raster."""
        scale = min(WIDTH / picture.width, HEIGHT / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        if picture.mode != "RGB":
            picture = picture.convert("RGB")
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        canvas = Image.new("RGB", (WIDTH, HEIGHT), BLACK)
        canvas.paste(picture, ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
        rgb = canvas.tobytes()
        self._paint(hashlib.sha256(rgb).hexdigest(), rgb)

    def _message(self, words: str) -> None:
        if words not in self._messages:
            canvas = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
            font = ImageFont.load_default(24)
            ImageDraw.Draw(canvas).text((WIDTH // 2, HEIGHT // 2), words, fill=INK, font=font, anchor="mm")
            rgb = canvas.tobytes()
            self._messages[words] = (hashlib.sha256(rgb).hexdigest(), rgb)
        self._paint(*self._messages[words])

    def _paint(self, digest: str, rgb: bytes) -> None:
        now = time.monotonic()
        if self._entries:
            if self._entries[-1].raster == digest:
                return
            self._entries[-1].until = now
        self._rasters.setdefault(digest, rgb)
        self._uses[digest] = self._uses.get(digest, 0) + 1
        self._entries.append(Entry(self._next, now, None, digest))
        self._next += 1

    ready = True

    async def painted(self) -> None:
        """Do nothing: what was painted is on the screen."""

    async def tapped(self) -> None:
        """Do nothing: whoever taps on nothing is heard."""

    # The journal.

    @property
    def seq(self) -> int:
        """Number of the entry that is on screen."""
        return self._entries[-1].seq

    @property
    def full(self) -> bool:
        """Whether nothing more should be shown until somebody forgets what was."""
        return len(self._rasters) >= self._limit or len(self._entries) >= 50 * self._limit

    def entries(self, since: int) -> tuple[int, list[Entry]]:
        """Return the number to ask from next time, and the entries from `since` on.

        That number is the last entry's own, which is still open: the next answer has it again, with its end.
        """
        return self.seq, [e for e in self._entries if e.seq >= since]

    def raster(self, digest: str) -> bytes | None:
        """Return a raster's RGB24 bytes, if the journal still has it."""
        return self._rasters.get(digest)

    def forget(self, before: int) -> None:
        """Drop the entries before that number, and every raster that only they had. The last entry stays."""
        keep = [e for e in self._entries[:-1] if e.seq >= before] + self._entries[-1:]
        for entry in self._entries[: len(self._entries) - len(keep)]:
            self._uses[entry.raster] -= 1
            if not self._uses[entry.raster]:
                del self._uses[entry.raster], self._rasters[entry.raster]
        self._entries = keep

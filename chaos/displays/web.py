"""A screen that is a picture at an address: a still that is asked for again and again, or MJPEG.

Like a browser that stands on that address, in a room with the hub: on a network that no fault touches. What is not yet
loaded, or could not be, is a dark screen; what came of a picture that broke off is shown for the moment that it stood.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Literal, TypeAlias

import urllib3

from chaos import frames
from chaos.displays import Gap, Raster, Shown
from chaos.errors import Surroundings
from chaos.identity import Box

PERIOD = 0.2
"""Seconds between two loads of a still that is looked at as a stream."""
LARGEST = 16 << 20
"""A picture of more bytes is none."""
_TIMES = urllib3.Timeout(connect=2.0, read=2.0)
_CHUNK = 1 << 16
_DARK = (64, 36)
_END = re.compile(rb"\r?\n\r?\n")

Feed: TypeAlias = Literal["still", "stream"]


class Web:
    """What stands on the screen while somebody looks at `url`; dark from `shut` on, and before `look`.

    Pictures are kept as they came, until `forget`. Threads may share it. What this reads is the screen itself, unless
    it is only `watched`: the screen of a hub whose address tells what it shows. Where such a one does not let itself be
    watched, nobody knows what is on it (a gap); where it does not answer in time, it stands still.
    """

    box: Box | None = None

    def __init__(self, hub: str, url: str, *, watched: bool = False) -> None:
        self.hub = hub
        self._url = url
        self._watched = watched
        self._gaps: list[Gap] = []
        self._blind: tuple[float, str] | None = None
        self._http = urllib3.PoolManager(maxsize=2, timeout=_TIMES, retries=False)
        self._changed = threading.Condition()
        self._shown: list[Shown] = []
        self._bytes: dict[str, bytes] = {}
        self._looks = 0
        self._looker: threading.Thread | None = None
        self._settled: Literal["open", "picture", "unavailable"] = "unavailable"
        self._show(b"")

    # What a person does.

    def look(self, feed: Feed) -> None:
        """Begin to look: a ``still`` is loaded once, a ``stream`` again and again until `shut`."""
        self.shut()
        with self._changed:
            self._looks += 1
            self._settled = "open"
            mine = self._looks
        self._looker = threading.Thread(target=self._look, args=(mine, feed), name=f"screen-{self.hub}", daemon=True)
        self._looker.start()

    def shut(self) -> None:
        """Look away: the screen is dark when this returns."""
        with self._changed:
            self._looks += 1
            self._settled = "unavailable"
            self._stand(b"")

    def wait_settled(self, seconds: float) -> Literal["open", "picture", "unavailable"]:
        """Wait up to `seconds` until a whole picture stands, or the address gave none; return what it came to."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled != "open", seconds)
            return self._settled

    def now(self) -> Shown:
        """Return what stands on the screen now."""
        with self._changed:
            return self._shown[-1]

    # What the harness sees.

    def collect(self) -> list[Shown]:
        """Return what was shown since the last call, what stands there now included."""
        with self._changed:
            found, self._shown = self._shown, [self._shown[-1]]
            return found

    def raster(self, digest: str) -> Raster:
        """Return a raster; raises `Surroundings` for one that was let go."""
        with self._changed:
            if digest not in self._bytes:
                raise Surroundings(f"{self.hub}'s screen has let go of the picture {digest[:12]}")
            data = self._bytes[digest]
        picture = frames.picture_of_encoded(data) if data else None
        if picture is None:
            width, height = _DARK
            return Raster(digest, width, height, bytes(3 * width * height))
        return Raster(digest, picture.shape[1], picture.shape[0], picture.tobytes())

    def forget(self) -> None:
        """Let go of every picture that is no longer on the screen."""
        with self._changed:
            kept = {s.digest for s in self._shown}
            self._bytes = {d: data for d, data in self._bytes.items() if d in kept}

    def gaps(self) -> list[Gap]:
        """Return the times since the last call in which a watched screen could not be seen."""
        with self._changed:
            self._see()
            found, self._gaps = self._gaps, []
            return found

    def restarted(self) -> None:
        """Look away, or begin to watch anew: what was shown before was collected, and meanwhile it was off."""
        if self._watched:
            with self._changed:
                self._blind, self._gaps = None, []
                self._stand(b"")
        else:
            self.shut()

    def close(self) -> None:
        """Look away, and drop the connections."""
        self.shut()
        self._http.clear()
        if self._looker is not None:
            self._looker.join(3.0)

    # How.

    def _look(self, mine: int, feed: Feed) -> None:
        while self._goes_on(mine):
            began = time.monotonic()
            whole = self._load(mine)
            with self._changed:
                if self._looks == mine and self._settled == "open" and (whole or feed == "still"):
                    self._settled = "picture" if whole else "unavailable"
                    self._changed.notify_all()
            if feed == "still":
                return
            self._pause(mine, began + PERIOD)

    def _pause(self, mine: int, until: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._looks != mine, max(0.0, until - time.monotonic()))

    def _goes_on(self, mine: int) -> bool:
        with self._changed:
            return self._looks == mine

    def _load(self, mine: int) -> bool:
        """Load once, or as long as a stream lasts; return whether a whole picture came of it."""
        whole = False
        try:
            with self._http.request("GET", self._url, preload_content=False) as answer:
                kind = answer.headers.get("Content-Type", "")
                if answer.status != 200:
                    self._show(b"", mine)
                elif kind.startswith("multipart/"):
                    for picture in _parts(answer, kind):
                        if not self._goes_on(mine):
                            return whole
                        whole |= self._show(picture, mine)
                        self._tell_stream(mine)
                    self._show(b"", mine)
                else:
                    whole = self._show(self._whole(answer, mine), mine)
        except urllib3.exceptions.ReadTimeoutError:
            if not self._watched:
                self._show(b"", mine)
        except (urllib3.exceptions.HTTPError, OSError) as broken:
            self._lose(mine, str(broken))
        return whole

    def _lose(self, mine: int, why: str) -> None:
        if not self._watched:
            self._show(b"", mine)
            return
        with self._changed:
            if self._looks == mine and self._blind is None:
                self._blind = time.monotonic(), why

    def _see(self) -> None:
        if self._blind is not None:
            self._gaps.append(Gap(self._blind[0], time.monotonic(), self._blind[1]))
            self._blind = None

    def _tell_stream(self, mine: int) -> None:
        with self._changed:
            if self._looks == mine and self._settled == "open":
                self._settled = "picture"
                self._changed.notify_all()

    def _whole(self, answer: urllib3.BaseHTTPResponse, mine: int) -> bytes:
        data = b""
        try:
            while chunk := answer.read1(_CHUNK):
                data += chunk
                if len(data) > LARGEST:
                    return b""
        except (urllib3.exceptions.HTTPError, OSError):
            self._show(data, mine)  # a browser paints what it has while it waits for the rest
            raise
        return data

    def _show(self, data: bytes, mine: int | None = None) -> bool:
        """Put a picture on the screen unless it is no longer looked at; return whether it is a picture."""
        is_picture = bool(data) and frames.picture_of_encoded(data) is not None
        with self._changed:
            if mine is None or self._looks == mine:
                self._see()
                self._stand(data if is_picture else b"")
        return is_picture

    def _stand(self, data: bytes) -> None:
        digest = hashlib.sha256(data or b"dark").hexdigest()
        now = time.monotonic()
        if self._shown and self._shown[-1].digest == digest:
            return
        if self._shown:
            last = self._shown[-1]
            self._shown[-1] = Shown(last.at, now, last.digest)
        self._bytes[digest] = data
        self._shown.append(Shown(now, None, digest))
        self._changed.notify_all()


def _parts(answer: urllib3.BaseHTTPResponse, kind: str) -> Iterator[bytes]:
    """Yield the pictures of a multipart stream as each is whole: by its length, or by the boundary after it."""
    found = re.search(r'boundary="?([^";]+)', kind)
    mark = b"--" + (found[1].removeprefix("--") if found else "").encode()
    waiting = b""
    while chunk := answer.read1(_CHUNK):
        waiting += chunk
        while (part := _first_part(waiting, mark)) is not None:
            picture, waiting = part
            if picture:
                yield picture
        if len(waiting) > LARGEST:
            return


def _first_part(data: bytes, mark: bytes) -> tuple[bytes, bytes] | None:
    """Return the first whole part and what comes after it, or None while there is none."""
    start = data.find(mark)
    head = _END.search(data, start + len(mark)) if start >= 0 else None
    if head is None:
        return None
    length = re.search(rb"(?i)content-length:\s*(\d+)", data[start : head.start()])
    end = head.end() + int(length[1]) if length else data.find(mark, head.end())
    if end < head.end() or end > len(data):
        return None
    return data[head.end() : end], data[end:]

"""`ownframe stamp`: pictures and videos in, the same with a badge in every frame out."""

from __future__ import annotations

import copy
import io
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import cv2
import msgspec
import numpy as np
import simplejpeg
from PIL import Image

from chaos import frames, media
from chaos.errors import Misuse, Surroundings
from chaos.identity import Badge, Key, stamp
from chaos.identity.badge import FRAMES, TIMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

PICTURES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}
VIDEOS = (".mp4", ".mkv", ".mov")
QUALITY = 92
CRF = "20"
"""libx264's constant quality of stamped videos; 23 is its default."""
_TOO_MANY = f"it has too many pixels; expected at most {frames.MAX_PIXELS // 10**6} million"


class Stamper:
    """Stamps one frame after another for an owner's camera: each has the next frame number."""

    def __init__(self, key: Key, case: int, owner: int, camera: int, *, time_ms: int | None = None) -> None:
        now = time.monotonic_ns() // 1_000_000 if time_ms is None else time_ms
        self._first = Badge(case, owner, camera, 0, now % TIMES)
        self._key = key
        self._number = 0

    def beginning_at(self, number: int) -> Stamper:
        """Return one of its own for a file that is stamped beside others."""
        other = copy.copy(self)
        other._number = number
        return other

    def stamp(self, luma: NDArray[np.uint8], seconds: float = 0.0) -> None:
        """Stamp a luma plane in place, as captured `seconds` after the first."""
        badge = msgspec.structs.replace(
            self._first,
            frame=self._number % FRAMES,
            time_ms=(self._first.time_ms + max(0, round(seconds * 1000))) % TIMES,
        )
        stamp(luma, badge, self._key)
        self._number += 1


def stamp_files(
    stamper: Stamper,
    sources: list[Path],
    target: Path,
    done: Callable[[], object] = lambda: None,
    say: Callable[[str], object] = lambda _: None,
    jobs: int = 1,
) -> list[str]:
    """Stamp one file into the file `target`, or several into the folder `target` under their own names.

    The n-th file's frames count from n, so that pictures are numbered in their order. `jobs` files are stamped at once,
    on threads: codecs don't hold the interpreter. `say` gets what a copy lacks. Returns what could not be stamped, a
    sentence each; nothing is left of those. Raises `Misuse` for no sources, two sources of one name, and a target of
    another kind.
    """
    several = len(sources) > 1 or target.is_dir() or not target.suffix
    names = [s.name for s in sources]
    if not sources:
        raise Misuse("there is nothing to stamp; expected pictures or videos")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise Misuse(
            f"two of the files are called {twice}, and one would replace the other; stamp them into two folders"
        )
    if several:
        target.mkdir(parents=True, exist_ok=True)
    both = [(source, target / source.name if several else target) for source in sources]
    for source, into in both:
        if into.exists() and into.samefile(source):
            raise Misuse(f"{source} would be replaced by its stamped copy; name another place to write to")

    def one(number: int) -> str | None:
        source, into = both[number]
        try:
            for lack in _stamp_one(stamper.beginning_at(number), source, into):
                say(f"{source}: {lack}")
        except (Misuse, Surroundings) as refused:
            into.unlink(missing_ok=True)
            return f"{source} was not stamped: {refused}"
        finally:
            done()
        return None

    with ThreadPoolExecutor(max(1, jobs)) as threads:
        return [wrong for wrong in threads.map(one, range(len(both))) if wrong is not None]


def _stamp_one(stamper: Stamper, source: Path, into: Path) -> list[str]:
    kind = into.suffix.lower()
    if kind not in PICTURES and kind not in VIDEOS:
        raise Misuse(f"{into.name} is to be written; expected one of {' '.join((*PICTURES, *VIDEOS))}")
    try:
        if kind not in PICTURES:
            return _stamp_video(stamper, source, into)
        into.write_bytes(stamped_picture(stamper, source.read_bytes(), PICTURES[kind]))
    except OSError as refused:
        raise Surroundings(f"{refused.strerror or refused}; look at the disk and at the files' modes") from refused
    return []


def stamped_picture(stamper: Stamper, data: bytes, kind: str = "JPEG") -> bytes:
    """Return an encoded picture, stamped, as `kind`. Raises `Misuse` for what is no picture, or too small."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > frames.MAX_PIXELS:
                raise Misuse(
                    f"{picture.width}x{picture.height} is more than {frames.MAX_PIXELS // 10**6} million pixels"
                )
            rgb = np.asarray(picture.convert("RGB"), np.uint8)
    except Image.DecompressionBombError:
        raise Misuse(_TOO_MANY) from None
    except (OSError, ValueError, SyntaxError):
        raise Misuse("it is no picture that can be decoded; expected a JPEG, PNG, WebP or BMP") from None
    luma, red, blue = (np.ascontiguousarray(c, np.uint8) for c in cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)))
    stamper.stamp(luma)
    if kind == "JPEG":
        half = (-(-luma.shape[1] // 2), -(-luma.shape[0] // 2))
        chroma = [np.asarray(cv2.resize(c, half, interpolation=cv2.INTER_AREA), np.uint8) for c in (blue, red)]
        return bytes(simplejpeg.encode_jpeg_yuv_planes(luma, *chroma, QUALITY, fastdct=True))
    stamped = cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2RGB)
    written = io.BytesIO()
    Image.fromarray(stamped).save(written, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return written.getvalue()


def _stamp_video(stamper: Stamper, source: Path, into: Path) -> list[str]:
    try:
        with source.open("rb") as opened, media.container_of(opened) as video, av.open(str(into), "w") as written:
            return _encode(stamper, video, written, into.suffix)
    except (av.FFmpegError, ValueError, EOFError) as broken:
        why = getattr(broken, "strerror", None) or str(broken)
        raise Misuse(
            f"it is no video that can be decoded and encoded again ({why}); expected what PyAV opens"
        ) from None


def _encode(
    stamper: Stamper, video: av.container.InputContainer, written: av.container.OutputContainer, suffix: str
) -> list[str]:
    """Write a video's frames stamped and its sound as it is; return what else it had that is left out."""
    if not video.streams.video:
        raise Misuse("there is no video in it; expected pictures or videos")
    source = video.streams.video[0]
    source.codec_context.options = {"max_pixels": str(frames.MAX_PIXELS)}
    stream = written.add_stream("libx264", rate=source.average_rate or Fraction(25))
    stream.width, stream.height, stream.pix_fmt = source.width, source.height, "yuv420p"
    stream.options = {"crf": CRF, "preset": "veryfast"}
    kept: dict[int, av.AudioStream] = {}
    lacks = []
    for other in (s for s in video.streams if s is not source):
        codec = getattr(other.codec_context, "codec", None)
        name = "unknown" if codec is None else codec.canonical_name
        if isinstance(other, av.AudioStream) and name in written.supported_codecs:
            kept[other.index] = written.add_stream_from_template(other)
        else:
            lacks.append(f"its {other.type} ({name}) has no place in a stamped {suffix} and was left out")
    first: float | None = None
    for packet in video.demux(source, *(video.streams[i] for i in kept)):
        if packet.stream.index in kept:
            if packet.dts is not None:  # not the empty one at the end
                packet.stream = kept[packet.stream.index]
                written.mux(packet)
            continue
        for picture in cast("list[av.VideoFrame]", packet.decode()):
            first = picture.time if first is None else first
            planes = np.asarray(picture.to_ndarray(format="yuv420p"), np.uint8)
            seconds = 0.0 if first is None or picture.time is None else picture.time - first
            stamper.stamp(planes[: picture.height], seconds)
            out = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            out.pts, out.time_base = picture.pts, picture.time_base
            written.mux(stream.encode(out))
    written.mux(stream.encode(None))
    return lacks

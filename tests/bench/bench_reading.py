"""What judging a frame costs beside decoding it: interleaved in one process, so that a busy machine slows all alike.

Each round does everything once in a new order: in a fixed one each judging would follow the bare decode of the same
picture, which leaves nothing of it in the caches.

Seconds are the processor's. The bare decode is libjpeg-turbo's (simplejpeg) to RGB with its fast options. Peers read a
QR code that stands in the scene instead of a badge: zxing-cpp, and pyzbar as CTA WAVE's device observation framework
uses it (a full decode to BGR, made grey and inverted, one scan for QR codes).
"""

from __future__ import annotations

import os
import statistics
import time
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import simplejpeg

from chaos import frames, media
from chaos.identity import Badge, Key, read, search, stamp
from chaos.scene.painting import paint, planes
from tests.bench.damage import filmed

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = int(os.environ.get("OWNFRAME_BENCH_ROUNDS", "60"))
BADGE = Badge(case=3, owner=1, camera=1, frame=7, time_ms=700)
FILM = 40
"""Frames of the H.264 film: 1080p, libx264 at its default quality."""


def interleaved(works: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each work, all of them done `rounds` times in turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    shuffled = np.random.default_rng(1226)
    for _ in range(rounds):
        for name in shuffled.permutation(list(works)).tolist():
            began = time.process_time()
            works[name]()
            taken[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def encoded(luma: np.ndarray, quality: int) -> bytes:
    """Return the first scene as a colour JPEG with `luma` for its luma."""
    scene = planes(1, 1)
    return bytes(simplejpeg.encode_jpeg_yuv_planes(luma, scene.blue, scene.red, quality, fastdct=True))


def of_size(luma: np.ndarray, kib: int) -> bytes:
    """Return the JPEG whose size is nearest."""
    return min((encoded(luma, q) for q in range(60, 99)), key=lambda data: abs(len(data) - kib * 1024))


def pictures(key: Key) -> dict[str, bytes]:
    """Return the JPEGs that are judged, by what they are."""
    bare = planes(1, 1).luma
    luma = bare.copy()
    stamp(luma, BADGE, key)
    rng = np.random.default_rng(1226)
    lines = luma.copy()
    rows = rng.choice(1080, 324, replace=False)
    lines[rows] = rng.integers(0, 256, (324, 1920), np.uint8)
    strangers = bare.copy()
    stamp(strangers, BADGE, Key(bytes(32)))
    shown = simplejpeg.decode_jpeg(of_size(luma, 190))
    small = [cv2.resize(shown, size, interpolation=cv2.INTER_AREA) for size in ((1024, 600), (640, 360))]
    whole = of_size(luma, 190)
    return {
        "1080p, 190 KiB": whole,
        "1080p, 450 KiB": of_size(luma, 450),
        "1024x600": frames.encode_jpeg(small[0], 85),
        "640x360": frames.encode_jpeg(small[1], 85),
        "1080p, no badge": encoded(bare, 85),
        "1080p, another key": of_size(strangers, 190),
        "1080p, cut to 60 %": whole[: len(whole) * 6 // 10],
        "1080p, 30 % of rows replaced": encoded(lines, 60),
        "1080p, noise": encoded(rng.integers(0, 256, (1080, 1920), np.uint8), 20),
    }


def film(key: Key, folder: Path) -> Path:
    """Write a stamped film of a moving scene."""
    rng = np.random.default_rng(1226)
    file = folder / "film.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.options = {"preset": "veryfast"}
        for i in range(FILM):
            luma = filmed(BADGE, i, rng)
            stamp(luma, BADGE, key)
            grey = np.concatenate([luma, np.full((540, 1920), 128, np.uint8)])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="yuv420p")))
        container.mux(stream.encode(None))
    return file


def filming(*, grain: bool, stamped: bool, key: Key) -> Callable[[], int]:
    """Return what encodes `FILM` frames of 1080p with libx264, as `ownframe stamp` does, on one thread."""
    rng = np.random.default_rng(1226)
    scene = planes(1, 1).luma
    noise = rng.normal(0, 5, scene.shape).astype(np.int8)
    rooms = [cv2.add(scene, np.roll(noise, 7 * i), dtype=cv2.CV_8U) if grain else scene for i in range(FILM)]
    flat = np.full((540, 1920), 128, np.uint8)

    def work() -> int:
        encoder = av.CodecContext.create("libx264", "w")
        assert isinstance(encoder, av.VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = 1920, 1080, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
        encoder.options, encoder.thread_count = {"crf": "20", "preset": "veryfast"}, 1
        size = 0
        for i, room in enumerate(rooms):
            grey = np.concatenate([room, flat])
            if stamped:
                stamp(grey[:1080], Badge(1, 1, 1, i, 100 * i), key)
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            frame.pts = i
            size += sum(p.size for p in encoder.encode(frame))
        return size + sum(p.size for p in encoder.encode(None))

    return work


def peers() -> dict[str, Callable[[], object]]:
    """Return the readers of QR codes that are installed, each on a JPEG of a scene with a code and on one without."""
    luma = planes(1, 1).luma.copy()
    code = cv2.QRCodeEncoder.create().encode("S=ada;F=123456;T=00:01:02.345;R=10")
    side = 540  # as large as CTA WAVE's test films have it: half of the height
    quiet = cv2.copyMakeBorder(np.asarray(code), 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=255)
    luma[270 : 270 + side, 690 : 690 + side] = cv2.resize(quiet, (side, side), interpolation=cv2.INTER_NEAREST)
    works: dict[str, Callable[[], object]] = {}
    for name, data in {"a code": of_size(luma, 190), "no code": encoded(planes(1, 1).luma, 85)}.items():
        works |= _zxing(name, data) | _zbar(name, data)
    return works


def _zxing(name: str, data: bytes) -> dict[str, Callable[[], object]]:
    try:
        import zxingcpp
    except ImportError:
        return {}

    def work() -> object:
        grey = simplejpeg.decode_jpeg(data, "GRAY", fastdct=True)[:, :, 0]
        return zxingcpp.read_barcodes(grey, formats=zxingcpp.BarcodeFormat.QRCode)

    assert bool(work()) == (name == "a code")
    return {f"zxing-cpp, {name}": work}


def _zbar(name: str, data: bytes) -> dict[str, Callable[[], object]]:
    try:
        from pyzbar.pyzbar import ZBarSymbol, decode
    except ImportError:  # also where the library zbar itself is not installed
        return {}

    def work() -> object:
        grey = cv2.cvtColor(simplejpeg.decode_jpeg(data, "BGR", fastdct=True, fastupsample=True), cv2.COLOR_BGR2GRAY)
        return decode(np.bitwise_not(grey, out=grey), symbols=[ZBarSymbol.QRCODE])

    return {f"pyzbar, {name}": work}


def run() -> dict[str, float | int | str]:
    """Measure and return ratios (above 1: cheaper than what it is compared with), milliseconds and frames a second."""
    cv2.setNumThreads(1)  # figures are per core
    key = Key.fresh()
    files = pictures(key)
    bare = planes(1, 1).luma

    def judge(data: bytes) -> Callable[[], object]:
        def work() -> object:
            plane = frames.luma_of_jpeg(data)
            assert plane is not None
            # as `ownframe judge` does it
            return read(plane, [key]) or search(frames.quick_size(plane), [key])[0] or frames.is_blank(plane)

        return work

    def decode(data: bytes) -> Callable[[], object]:
        return lambda: simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True, strict=False)

    def stamp_and_encode() -> object:
        copy = bare.copy()
        stamp(copy, BADGE, key)
        return encoded(copy, 92)

    works: dict[str, Callable[[], object]] = {}
    for name, data in files.items():
        works[f"decode {name}"] = decode(data)
        works[f"judge {name}"] = judge(data)
    for name, shown in {"": simplejpeg.decode_jpeg(files["1024x600"]), ", no badge": paint(1, 1, (1024, 600))}.items():
        raw = shown.tobytes()
        works[f"raw 1024x600{name}"] = lambda raw=raw: read(frames.luma_of_rgb(raw, 1024, 600), [key])  # type: ignore[misc]
    works["encode"] = lambda: encoded(bare, 92)
    works["stamp and encode"] = stamp_and_encode
    works |= peers()
    took = interleaved(works)
    with TemporaryDirectory() as folder:
        video = interleaved(_of_video(film(key, Path(folder)), key), max(3, ROUNDS // 10))
    filmed_as = {f"{g} {s}": filming(grain=bool(g), stamped=bool(s), key=key) for g in (0, 1) for s in (0, 1)}
    filming_took = interleaved(filmed_as, max(3, ROUNDS // 20))

    result: dict[str, float | int | str] = {}
    for name, data in files.items():
        result[f"{name}: KiB"] = round(len(data) / 1024)
        result[f"{name}: bare colour decode, ms"] = took[f"decode {name}"] * 1e3
        result[f"{name}: decode and judge, ms"] = took[f"judge {name}"] * 1e3
        result[f"{name}: rate of judging / rate of bare decode"] = took[f"decode {name}"] / took[f"judge {name}"]
    for name in [n for n in took if n.startswith(("zxing", "pyzbar"))]:
        result[f"{name}: rate / rate of bare decode of 190 KiB"] = took["decode 1080p, 190 KiB"] / took[name]
    for name in ("raw 1024x600", "raw 1024x600, no badge"):
        result[f"{name}: frames judged a second"] = 1 / took[name]
    result["H.264 1080p: rate of judging / rate of bare decode"] = video["bare"] / video["judged"]
    result["H.264 1080p: frames judged a second"] = FILM / video["judged"]
    result["stamp and encode: rate / rate of encoding alone"] = took["encode"] / took["stamp and encode"]
    for g, scene in enumerate(("a still painting", "a sensor's grain")):
        ratio = filming_took[f"{g} 0"] / filming_took[f"{g} 1"]
        result[f"stamp and encode H.264 1080p, {scene}: rate / rate of encoding alone"] = ratio
    result["stamp and encode 1080p, ms"] = took["stamp and encode"] * 1e3
    return result


def _of_video(file: Path, key: Key) -> dict[str, Callable[[], object]]:
    def bare() -> int:
        with av.open(str(file)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            return sum(1 for _ in container.decode(video=0))

    def judged() -> int:
        return sum(bool(read(shot.plane, [key])) for shot in media.shots(file) if shot.plane is not None)

    assert bare() == judged() == FILM
    return {"bare": bare, "judged": judged}

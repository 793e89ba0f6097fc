"""How much of a badge survives what: `python -m tests.bench.readability [frames]` prints the table of docs/badge.md.

Frames are stamped scenes of ten homes with motion and grain, seeded by condition and part, so that a table can be made
again. `--only TEXT` takes the conditions that contain it, `--processes N` so many cores (1).
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from chaos.identity import Box, Registered, Seen, Slivers, read, search
from tests.bench import damage as d
from tests.bench import video

if TYPE_CHECKING:
    from collections.abc import Iterator


PART = 100
"""Frames of one seed, and of one H.264 sequence."""

CONDITIONS: dict[str, d.Damage] = {
    **{f"JPEG quality {q}, 1920×1080": d.jpeg(q) for q in (95, 75, 50, 30, 10)},
    **{
        f"JPEG quality {q}, {w}×{h}": d.jpeg(q, (w, h))
        for w, h in ((1024, 576), (640, 360), (320, 180))
        for q in (75, 10)
    },
    **{f"down to {w}×{w * 9 // 16} and back up": d.down_and_up(w) for w in (640, 320)},
    "a quarter of the light": d.tone(0.25, 8, 1),
    "a tenth of the light": d.tone(0.1, 8, 1),
    "washed out": d.tone(0.3, 170, 1),
    "hard contrast": d.tone(1.6, -40, 1),
    "gamma 2.2": d.tone(1, 0, 2.2),
    "gamma 0.45": d.tone(1, 0, 0.45),
    "night mode, grain and vignette": d.one(d.night),
    "letterboxed on 1024×600": d.one(d.letterboxed, Box(0, 12, 1024, 576)),
    "crop of up to 30% a side": d.cropped(0.3),
    "crop of up to 30% a side, nobody says where": d.cropped(0.3, known=False),
    "the same as of 1024×576, JPEG quality 50": d.cropped(0.3, known=False, scale=1024 / 1920, quality=50),
    "on a screenshot, nobody says where": d.one(d.on_a_page, search="find"),
    "clock, name and button over it": d.one(d.overlays),
    **{
        f"{share:.0%} of rows replaced, {w}×{h}": d.lines(share, (w, h))
        for share in (0.1, 0.3)
        for w, h in ((1920, 1080), (1024, 576), (320, 180))
    },
    **{
        f"file cut to {s:.0%} of its bytes": d.bytes_of(lambda x, _, s=s: x[: int(len(x) * s)]) for s in (0.9, 0.6, 0.3)
    },
    **{f"{n} bits of the file flipped": d.bytes_of(d.bits(n)) for n in (1, 10, 100)},
    **{f"{s:.0%} of restart intervals lost or garbled": d.bytes_of(d.restarts(s)) for s in (0.05, 0.2)},
    **{f"{s:.0%} of macroblocks damaged": d.one(d.macroblocks(s)) for s in (0.05, 0.1, 0.2)},
    "torn: 256 rows of another": d.torn(256),
    "torn: 256 rows of another, 640×360": d.torn(256, (640, 360)),
    "torn: 64 rows of another": d.torn(64),
    "torn: 64 rows of another, 640×360": d.torn(64, (640, 360)),
    "torn down the middle": d.torn_down(0.5),
    "lower half of the last picture kept": d.lower_half_kept,
    **{
        f"test card filmed at up to {a}°, {w}×{w * 9 // 16}": d.test_card((w, w * 9 // 16), a)
        for w in (1920, 1280)
        for a in (10, 30)
    },
    "blended 80 : 20": d.blended(0.8),
    "blended 65 : 35": d.blended(0.65),
    "blended 50 : 50": d.blended(0.5),
}
VIDEO = {
    f"H.264 576p, {rate // 1000} kbit/s{f', {lost:.0%} of packets lost' if lost else ''}": (rate, lost)
    for rate in (1_000_000, 300_000, 100_000)
    for lost in (0.0, 0.02)
}
EVERYBODY = tuple(Registered(owner, 1) for owner in range(1, d.OWNERS + 1))


@lru_cache(maxsize=1)
def slivers(case: int) -> Slivers:
    """Everybody, as one run knows them: one case at a time here, since a sheet of 1,044 costs 80 ms."""
    return Slivers(d.KEY, EVERYBODY, [case])


def frames(name: str, part: int) -> Iterator[d.Shown]:
    """Yield the frames of one part of a condition."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), part])
    if name in VIDEO:
        yield from video.shown(*VIDEO[name], part * PART + part, rng)
    else:
        for i in range(part * PART, (part + 1) * PART):
            yield CONDITIONS[name](i, rng)


def measured(part: int, name: str) -> Counter[str]:
    """Count one part of a condition."""
    cv2.setNumThreads(1)
    tally: Counter[str] = Counter()
    for shown in frames(name, part):
        seen = () if shown.plane is None else read_shown(shown.plane, shown)
        named = {(s.owner, s.camera, s.case) for s in seen}
        expected = {(b.owner, b.camera, b.case) for b in shown.badges}
        tally["frames"] += 1
        tally[
            "right" if named == expected else "unreadable" if not named else "partly" if named < expected else "wrong"
        ] += 1
        tally["by MAC"] += {(s.owner, s.camera, s.case) for s in seen if s.tiles} == expected
        tally["tiles"] += sum(s.tiles for s in seen)
        tally["aged"] += any(s.time_ms is not None for s in seen)
    return tally


def read_shown(plane: d.Plane, shown: d.Shown) -> tuple[Seen, ...]:
    """Return whom a frame names, as `ownframe judge` reads it."""
    known = slivers(shown.badges[0].case)
    seen = read(plane, [d.KEY], shown.box, known)
    if shown.search and not seen:
        seen, _ = search(plane, [d.KEY], known, thorough=shown.search == "find")
    return seen


def how_well(named: set[tuple[int, int, int]], expected: set[tuple[int, int, int]]) -> str:
    """Return 'right', 'partly' (one of two), 'unreadable' or 'wrong'."""
    if named == expected:
        return "right"
    if not named:
        return "unreadable"
    return "partly" if named < expected else "wrong"


def lower_bound(right: int, frames: int) -> float:
    """Return the exact (Clopper-Pearson) one-sided lower bound of the share at 95 % confidence, by bisection."""
    if not right:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        tail = sum(  # probability of at least `right`
            math.exp(_log_choose(frames, k) + k * math.log(p) + (frames - k) * math.log1p(-p)) if p < 1 else 1.0
            for k in range(right, frames + 1)
        )
        low, high = (p, high) if tail < 0.05 else (low, p)
    return low


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


HEAD = (
    "| condition | frames | right | at least, at 95 % | of them by MAC | one of two | unreadable | wrong"
    " | tiles (mean) | age known |"
)


def row(name: str, t: Counter[str]) -> str:
    """Return one line of the table."""
    share = f"{math.floor(1e4 * lower_bound(t['right'], t['frames'])) / 100:.2f} %"
    cells = (name, t["frames"], t["right"], share, t["by MAC"], t["partly"], t["unreadable"], t["wrong"])
    return "| " + " | ".join(map(str, (*cells, f"{t['tiles'] / t['frames']:.1f}", t["aged"]))) + " |"


def main() -> None:
    """Print one row per condition."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("frames", nargs="?", type=int, default=100)
    asked.add_argument("--only", default="")
    asked.add_argument("--processes", type=int, default=1)
    options = asked.parse_args()
    print(HEAD)
    print("|---" * (HEAD.count("|") - 1) + "|")
    parts = range(math.ceil(options.frames / PART))
    with ProcessPoolExecutor(options.processes) as pool:
        for name in [n for n in (*CONDITIONS, *VIDEO) if options.only in n]:
            tally: Counter[str] = Counter()
            for counted in pool.map(partial(measured, name=name), parts):
                tally.update(counted)
            print(row(name, tally), flush=True)


if __name__ == "__main__":
    main()

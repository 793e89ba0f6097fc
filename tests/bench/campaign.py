"""No false identity: `python -m tests.bench.campaign 1000000` reads so many frames and counts those that name anybody
who is not in the picture.

Three in five frames are adversarial. Each is also matched with 1,044 registered owners, in each of the cases of its
part. A part is 10,000 frames of one seed, so that any frame can be made again; `--processes N` reads so many at once,
and `--parts A:B` some of them. A line of JSON a part, and a sum.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np

from chaos.frames import luma_of_jpeg
from chaos.identity import Badge, Key, Registered, Slivers, layout, read, stamp
from chaos.identity.stamping import BRIGHT, DARK
from tests.bench.damage import encoded, scaled
from tests.pictures import textured

if TYPE_CHECKING:
    from numpy.typing import NDArray

Plane: TypeAlias = "NDArray[np.uint8]"
Rng: TypeAlias = np.random.Generator
Who: TypeAlias = tuple[int, int, int]

SEED = 20191226
PART = 10_000
OWNERS = 1_044
CASES = 3
"""Cases of one part. A picture names owner, camera and case; the same owner in another case is somebody else here."""
SIZES = ((240, 135), (240, 135), (240, 135), (256, 144), (320, 180))
"""What a quick decode leaves of 1080p, 1024x576 and 320x180."""
EVERYBODY = tuple(Registered(owner, 1) for owner in range(1, OWNERS + 1))
ADVERSARIAL = (
    "noise", "noise on the very grid", "checkerboard", "QR code in a scene", "no badge", "wrong key",
    "blend of two to four", "torn into many", "near-valid: payload changed", "near-valid: too many bytes wrong",
    "tiles at wrong places", "a sliver of a stranger",
)  # fmt: skip
GENUINE = ("whole", "JPEG", "scan lines", "blocks lost", "torn in two", "a sliver", "faint", "cut file")


class Studio:
    """Makes the frames of one part."""

    def __init__(self, seed: int, part: int) -> None:
        self.rng = np.random.default_rng([seed, part])
        self.key = Key(self.rng.bytes(32))
        self.cases = [int(c) for c in self.rng.choice(1 << 24, CASES, replace=False)]

    def frame(self, i: int) -> tuple[str, Plane, set[Who]]:
        """Return the kind of frame `i`, its plane, and whom it may name."""
        kinds, turn = (GENUINE, i // 5 * 2 + i % 5 - 3) if i % 5 > 2 else (ADVERSARIAL, i // 5 * 3 + i % 5)
        kind = kinds[turn % len(kinds)]
        size = SIZES[int(self.rng.integers(len(SIZES)))]
        plane, badges = self._made(kind, size)
        return kind, plane, {(b.owner, b.camera, b.case) for b in badges}

    def badge(self, owner: int | None = None) -> Badge:
        """Return the badge of any registered owner, or of `owner`, in any of the cases."""
        rng = self.rng
        owner = owner or int(rng.integers(1, OWNERS + 1))
        return Badge(
            self.cases[int(rng.integers(CASES))], owner, 1, int(rng.integers(1 << 16)), int(rng.integers(1 << 40))
        )

    def stamped(self, size: tuple[int, int], badge: Badge, key: Key | None = None) -> Plane:
        """Return a textured plane with a badge."""
        plane = room(int(self.rng.integers(12)), size).copy()
        stamp(plane, badge, key or self.key)
        return plane

    def _made(self, kind: str, size: tuple[int, int]) -> tuple[Plane, list[Badge]]:
        rng, (width, height) = self.rng, size
        first, second = self.badge(), self.badge()
        match kind:
            case "noise":
                return rng.integers(0, 256, (height, width), np.uint8), []
            case "noise on the very grid":
                grid = rng.integers(0, 2, (67, layout.MODULES_ACROSS), np.uint8) * 255
                return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_NEAREST), np.uint8), []
            case "checkerboard":
                side = int(rng.integers(1, 20))
                y, x = np.indices((height, width))
                return (((y // side + x // side) % 2) * 255).astype(np.uint8), []
            case "QR code in a scene":
                plane = room(int(rng.integers(12)), size).copy()
                side = int(rng.integers(60, height))
                code = cv2.resize(qr(int(rng.integers(50))), (side, side), interpolation=cv2.INTER_NEAREST)
                y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
                plane[y : y + side, x : x + side] = code
                return plane, []
            case "no badge":
                return room(int(rng.integers(24)), size), []
            case "wrong key":
                return self.stamped(size, first, Key(rng.bytes(32))), []
            case "blend of two to four":
                badges = [self.badge() for _ in range(int(rng.integers(2, 5)))]
                shares = rng.dirichlet(np.ones(len(badges)))
                mixed = sum(s * self.stamped(size, b).astype(np.float32) for s, b in zip(shares, badges, strict=True))
                return np.asarray(mixed).astype(np.uint8), badges
            case "torn into many":
                badges = [self.badge() for _ in range(int(rng.integers(3, 9)))]
                plane = self.stamped(size, badges[0])
                for b in badges[1:]:
                    y, x = int(rng.integers(height)), int(rng.integers(width))
                    tall, wide = int(rng.integers(2, 60)), width if rng.integers(2) else int(rng.integers(20, width))
                    plane[y : y + tall, x : x + wide] = self.stamped(size, b)[y : y + tall, x : x + wide]
                return plane, badges
            case "near-valid: payload changed" | "near-valid: too many bytes wrong":
                return self._tampered(kind, first), []
            case "tiles at wrong places":
                plane = scaled(self.stamped((240, 135), first), *size)
                down, across = int(rng.integers(1, 128)), int(rng.integers(1, 230))
                return np.roll(plane, (down, across) if rng.integers(2) else (0, across), (0, 1)), [first]
            case "a sliver of a stranger":
                stranger = self.badge(int(rng.integers(OWNERS + 1, 65_000)))
                return self._sliver(size, first, stranger), [first, stranger]
            case "whole":
                return self.stamped(size, first), [first]
            case "JPEG":
                plane = luma_of_jpeg(encoded(self.stamped(size, first), int(rng.integers(8, 96))))
                assert plane is not None
                return plane, [first]
            case "scan lines":
                plane = self.stamped(size, first)
                rows = rng.choice(height, int(height * rng.uniform(0.05, 0.7)), replace=False)
                plane[rows] = rng.integers(0, 256, (rows.size, width), np.uint8)
                return plane, [first]
            case "blocks lost":
                plane = self.stamped(size, first)
                for _ in range(int(rng.integers(10, 200))):
                    y, x = int(rng.integers(height)), int(rng.integers(width))
                    plane[y : y + 8, x : x + 8] = rng.integers(256)
                return plane, [first]
            case "torn in two":
                plane, at = self.stamped(size, first), int(rng.integers(height))
                plane[at:] = self.stamped(size, second)[at:]
                return plane, [first, second]
            case "a sliver":
                return self._sliver(size, first, second), [first, second]
            case "faint":
                light = float(rng.uniform(0.02, 0.3))
                noisy = self.stamped(size, first) * light + rng.normal(20, 6, (height, width))
                return np.clip(noisy, 0, 255).astype(np.uint8), [first]
            case _:
                data = encoded(self.stamped(size, first))
                cut = luma_of_jpeg(data[: int(len(data) * rng.uniform(0.1, 1))])
                return (cut if cut is not None else np.zeros((height, width), np.uint8)), [first]

    def _sliver(self, size: tuple[int, int], first: Badge, second: Badge) -> Plane:
        plane, tall = self.stamped(size, first), int(self.rng.integers(2, 12))
        at = int(self.rng.integers(size[1] - tall))
        plane[at : at + tall] = self.stamped(size, second)[at : at + tall]
        return plane

    def _tampered(self, kind: str, badge: Badge) -> Plane:
        """Return tiles that are almost somebody's: Reed-Solomon is right and the MAC is not, or too much is wrong."""
        from chaos.identity.badge import dynamic_payload, static_payload
        from chaos.identity.repair import encode
        from chaos.identity.stamping import codeword

        rng, plane = self.rng, room(int(self.rng.integers(12)), (240, 135)).copy()
        at, change = (
            int(rng.integers(22)),
            int(rng.integers(1, 256)),
        )  # in every tile: together they say nobody too
        for place, (row, column) in enumerate(layout.PLACES):
            payload = dynamic_payload(badge) if layout.DYNAMIC[place] else static_payload(badge, self.key)
            word = codeword(payload, self.key).copy()
            if kind == "near-valid: payload changed":
                message = bytearray(word[:22].tobytes())
                message[at] ^= change
                word = np.frombuffer(encode(bytes(message)), np.uint8)
            else:
                # every row of modules is far from the one that is right, so that no sliver of it is left either
                word[rng.choice(40, 36, replace=False)] ^= rng.integers(1, 256, 36, np.uint8)
            tile = np.empty(40, np.uint8)
            tile[layout.POSITION] = word
            bits = np.unpackbits(tile ^ layout.MASK_BYTES[place]).reshape(8, 40)
            y, x = 4 + row * 16, column * 80
            plane[y : y + 16, x : x + 80] = (bits * (BRIGHT - DARK) + DARK).repeat(2, 0).repeat(2, 1)
        return plane


@lru_cache(maxsize=256)
def room(seed: int, size: tuple[int, int]) -> Plane:
    """Return a small textured plane."""
    return scaled(textured(seed), *size)


@lru_cache(maxsize=50)
def qr(number: int) -> Plane:
    """Return a QR code, a pixel a module."""
    return np.asarray(cv2.QRCodeEncoder.create().encode(f"QR code {number}"), np.uint8)


def read_part(part: int, seed: int = SEED, frames: int = PART) -> dict[str, Any]:
    """Read one part and return what was counted."""
    cv2.setNumThreads(1)
    began = time.monotonic()
    studio = Studio(seed, part)
    slivers = Slivers(studio.key, EVERYBODY, studio.cases)
    kinds: Counter[str] = Counter()
    named: Counter[str] = Counter()
    false = []
    for i in range(frames):
        kind, plane, there = studio.frame(i)
        seen = read(plane, [studio.key], None, slivers)
        kinds[kind] += 1
        named[kind] += bool(seen)
        if not {(s.owner, s.camera, s.case) for s in seen} <= there:
            false.append({"frame": i, "kind": kind, "seen": [repr(s) for s in seen], "there": sorted(there)})
    adversarial = sum(kinds[k] for k in ADVERSARIAL)
    return {
        "part": part, "seed": seed, "frames": frames, "adversarial": adversarial, "false": false,
        "kinds": dict(kinds), "named": dict(named), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def main() -> None:
    """Read the frames that were asked for."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("frames", nargs="?", type=int, default=PART)
    asked.add_argument("--seed", type=int, default=SEED)
    asked.add_argument("--processes", type=int, default=1)
    asked.add_argument("--parts", default="", help="A:B, those parts of it alone")
    asked.add_argument("--kept", type=Path, help="a file of lines: parts that are in it are counted, not read again")
    options = asked.parse_args()
    first, last = (int(n) for n in (options.parts or f"0:{-(-options.frames // PART)}").split(":"))
    lines = options.kept.read_text().splitlines() if options.kept and options.kept.exists() else []
    done = {counted["part"]: counted for counted in map(json.loads, lines) if counted["seed"] == options.seed}
    with ProcessPoolExecutor(options.processes) as pool:
        missing = [part for part in range(first, last) if part not in done]
        for counted in pool.map(read_part, missing, [options.seed] * len(missing)):
            line = json.dumps(counted)
            print(line, flush=True)
            done[counted["part"]] = counted
            if options.kept:
                with options.kept.open("a") as kept:
                    kept.write(line + "\n")
    parts = [done[part] for part in range(first, last)]
    false = sum(len(p["false"]) for p in parts)
    print(
        f"seed {options.seed}, parts {first} to {last - 1}: {sum(p['frames'] for p in parts)} frames,"
        f" {sum(p['adversarial'] for p in parts)} of them adversarial, {false} false identities,"
        f" {sum(p['seconds'] for p in parts):.0f} s of processes",
    )
    sys.exit(bool(false))


if __name__ == "__main__":
    main()

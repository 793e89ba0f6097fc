"""A finding as a file that replays it, and the register of all findings that an evidence folder has seen.

A *replay file* holds one plan and all that is needed to execute exactly it again, and names what was under test. The
*register* is a folder beside the runs, one file a fingerprint, that many processes may write at once. A finding is
never taken out of it: after clean executions it is 'not yet' reproduced, at a bound, and 'fixed' at a bound only once
what is under test has changed and the bound is far enough below the rate that it was known at.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from chaos.errors import Misuse
from chaos.evidence import disk
from chaos.fingerprints import Mechanism
from chaos.plan import Plan
from chaos.verdict import Rules

FORMAT = 1
CONFIDENCE = 0.95
FIXED_BELOW = 0.25
"""A finding counts as fixed when its rate is at most this part of what it was: the p0 that shrinking tests against."""

State: TypeAlias = Literal["reproduced", "not yet", "fixed"]


class UnderTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan was executed on: a stack, an update or none, and digests of their parts by name."""

    stack: str
    update: str | None
    ownframe: str
    parts: dict[str, str]

    def differences(self, now: UnderTest) -> tuple[str, ...]:
        """Say in what way `now` is something else."""
        told = [
            f"{what} is {new or 'none'}, was {old or 'none'}"
            for what, old, new in (
                ("the stack", self.stack, now.stack),
                ("the update", self.update, now.update),
                ("ownframe", self.ownframe, now.ownframe),
            )
            if old != new
        ]
        for name in sorted(self.parts.keys() | now.parts.keys()):
            old, new = self.parts.get(name), now.parts.get(name)
            if old != new and not (self.stack != now.stack and None in (old, new)):
                told.append(f"{name} is {new or 'not there'}, was {old or 'not there'}")
        return tuple(told)


class Replay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding, to be executed again. `update` is a name or, for a folder of somebody's own, a path.

    `compose` are the files of somebody's own home system, by their paths where it was found. `rooms` are those in which
    every owner had a camera more.
    `earlier` is the plan of the case that a carried-over picture came from, or whose state it needs: it is executed
    first, on restarted nodes.
    `anew` means on restarted nodes each time: it depends on what they keep over cases.
    """

    fingerprint: str
    scenario: str
    sentence: str
    plan: Plan
    rules: Rules
    update: str | None
    under_test: UnderTest
    hits: int
    tries: int
    earlier: Plan | None = None
    anew: bool = False
    compose: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    format: int = FORMAT

    @property
    def rate(self) -> float:
        """How often it happened, when it last did."""
        return max(self.hits, 1) / max(self.tries, 1)

    @property
    def times(self) -> int:
        """How many clean executions say that it is gone: at 95 % its rate is then less than it was."""
        return max(3, min(30, clean_needed(self.rate)))

    def to_json(self) -> bytes:
        """Return the file: sorted and indented, since people commit it."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    @classmethod
    def read(cls, file: Path) -> Replay:
        """Read a replay file; `Misuse` says what is wrong with it."""
        try:
            data = file.read_bytes()
        except OSError as failed:
            raise Misuse(f"the replay file {file} cannot be read ({failed.strerror or failed})") from None
        try:
            raw = json.loads(data)
        except ValueError as wrong:
            raise Misuse(
                f"{file} is no replay file, or the rest of it is missing: {wrong}; a run leaves one in "
                "findings/1/replay.json"
            ) from None
        if not isinstance(raw, dict) or "format" not in raw or "plan" not in raw:
            raise Misuse(f"{file} is JSON and no replay file; a run leaves one in findings/1/replay.json")
        if raw["format"] != FORMAT:
            by = raw["under_test"].get("ownframe", "another") if isinstance(raw.get("under_test"), dict) else "another"
            raise Misuse(
                f"{file} has format {raw['format']!r}, written by version {by} of ownframe; this version reads format "
                f"{FORMAT}: replay it with that version"
            )
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, Misuse) as wrong:
            raise Misuse(f"{file} is no replay file of this version: {wrong}") from None


def bound_95(clean: int) -> float:
    """Return the rate that `clean` executions without a leak exclude at 95 %."""
    return 1.0 if clean <= 0 else 1 - (1 - CONFIDENCE) ** (1 / clean)


def clean_needed(rate: float) -> int:
    """Return how many clean executions exclude `rate` at 95 %: 0.3 needs 9, 0.05 needs 59."""
    return 1 if rate >= CONFIDENCE else math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - rate))


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finding of the register, and what became of it. Times are UTC, ISO 8601.

    `hits` of `tries` is how often it happened when it was last measured; `clean` counts executions without it since,
    all on `clean_on`.
    """

    fingerprint: str
    mechanism: Mechanism
    replay: Replay
    first_seen: str
    last_reproduced: str
    found: int
    hits: int
    tries: int
    clean: int = 0
    clean_on: UnderTest | None = None
    last_tried: str = ""
    format: int = FORMAT

    @property
    def bound(self) -> float:
        """The rate above which it certainly is not any more, at 95 %."""
        return bound_95(self.clean)

    @property
    def state(self) -> State:
        """What is known: it was reproduced last; or not yet again; or it is fixed, at `bound`."""
        if not self.clean or self.clean_on is None:
            return "reproduced"
        changed = self.clean_on.parts != self.replay.under_test.parts
        enough = self.bound <= FIXED_BELOW * self.hits / max(self.tries, 1)
        return "fixed" if changed and enough else "not yet"

    def describe(self) -> str:
        """Say it in one line."""
        was = f"reproduced {self.hits} of {self.tries} on {self.last_reproduced[:10]}"
        now = {
            "reproduced": was,
            "not yet": f"not yet again: {self.clean} clean, so at 95 % in fewer than {self.bound:.0%}; {was}",
            "fixed": f"fixed at {self.bound:.0%} ({self.clean} clean); {was}",
        }[self.state]
        return f"{self.fingerprint} {now}; first seen {self.first_seen[:10]}. {self.replay.sentence}"


class Register:
    """All findings of an evidence folder, one file each: ``findings/FINGERPRINT.json``."""

    def __init__(self, evidence: Path) -> None:
        self.folder = evidence / "findings"

    def all(self) -> tuple[Known, ...]:
        """Return every finding, the last reproduced first. A file that cannot be read is passed over, never removed."""
        known = [k for k in map(self._read, sorted(self.folder.glob("*.json"))) if k is not None]
        return tuple(sorted(known, key=lambda k: k.last_reproduced, reverse=True))

    def get(self, fingerprint: str) -> Known | None:
        """Return one finding, if it is known."""
        return self._read(self._file(fingerprint))

    def reproduced(self, replay: Replay, mechanism: Mechanism, hits: int, tries: int) -> Known:
        """Write down that a finding happened, `hits` times of `tries`. The smallest plan of all is kept."""
        now = _now()
        with self._alone():
            old = self.get(replay.fingerprint)
            if old is not None and len(old.replay.plan.elements) < len(replay.plan.elements):
                replay = old.replay
            return self._write(
                Known(
                    fingerprint=replay.fingerprint,
                    mechanism=mechanism,
                    replay=replay,
                    first_seen=old.first_seen if old else now,
                    last_reproduced=now,
                    found=old.found + 1 if old else 1,
                    hits=hits,
                    tries=tries,
                    last_tried=now,
                )
            )

    def tried(self, fingerprint: str, hits: int, tries: int, on: UnderTest) -> Known | None:
        """Write down what executing a known finding again came to; None when it is not in the register.

        Clean executions on another update, or on the home system without it, say nothing of this one.
        """
        with self._alone():
            old = self.get(fingerprint)
            if old is None or not tries or (not hits and on.update != old.replay.under_test.update):
                return old
            now = _now()
            if hits:
                new = msgspec.structs.replace(
                    old, last_reproduced=now, last_tried=now, hits=hits, tries=tries, clean=0, clean_on=None
                )
            else:  # what was clean on something else says nothing of this
                before = old.clean if old.clean_on == on else 0
                new = msgspec.structs.replace(old, last_tried=now, clean=before + tries, clean_on=on)
            return self._write(new)

    def _file(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.json"

    def _read(self, file: Path) -> Known | None:
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, Misuse):
            known = msgspec.json.decode(file.read_bytes(), type=Known)
            return known if known.format == FORMAT else None
        return None

    def _write(self, known: Known) -> Known:
        file = self._file(known.fingerprint)
        with disk(self.folder):
            part = file.with_name(file.name + ".part")
            part.write_bytes(msgspec.json.format(msgspec.json.encode(known, order="sorted"), indent=2) + b"\n")
            part.replace(file)
        return known

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process write meanwhile; a process that dies lets go."""
        with disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("a")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")

"""A stored run judged again: from its recorded readings, and from its pixels where the key is had.

An evidence folder comes from somewhere: half written, of another version, or made by somebody who means harm. Nothing
of it is executed, no link in it is followed, pictures are decoded in processes of their own; what is missing is said,
and the rest is judged.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from chaos import evidence, judging
from chaos.history import CaseStarted, Displayed, Event
from chaos.identity import Key, Register
from chaos.plan import DEFAULT_CAMERA
from chaos.run import sentence
from chaos.verdict import Judged, Outcome, Rules, Verdict, by_case, conclude, judge

TOLD = 10
"""Differences, damaged lines and leaks of each kind that are told one by one; the rest is counted."""
_CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "�")


class Found(msgspec.Struct):
    """What one run's folder came to. `differs` are the sentences in which today's word is another than the stored."""

    folder: Path
    outcome: Outcome = Outcome.INCONCLUSIVE
    lines: list[str] = []
    differs: list[str] = []
    missing: list[str] = []


def is_evidence(path: Path) -> bool:
    """Whether a path is an evidence folder, rather than a folder of pictures."""
    return path.is_dir() and bool(evidence.runs(path))


def tell(folders: Sequence[Path], keys: tuple[Key, ...], jobs: int, say: Callable[[str], object]) -> int:
    """Judge every run in these folders again and say what it came to.

    Returns 1 for a leak, 2 when something is missing, differs or is unknown, 0 otherwise.
    """
    outcomes: list[int] = []
    for folder in folders:
        for run in evidence.runs(folder):
            found = rejudged(run, keys, jobs)
            say(f"{_clean(str(run))}: {found.outcome.name.lower()}")
            for line in found.lines:
                say(f"  {_clean(line)}")
            for line in _some(found.differs):
                say(f"  DIFFERS: {_clean(line)}")
            for line in _some(found.missing):
                say(f"  missing: {_clean(line)}")
            leak = found.outcome is Outcome.LEAK
            outcomes.append(1 if leak else 2 if found.outcome or found.differs or found.missing else 0)
    return 1 if 1 in outcomes else max(outcomes, default=2)


def rejudged(folder: Path, keys: tuple[Key, ...], jobs: int = 1) -> Found:
    """Judge one stored run again."""
    found = Found(folder)
    about = _about(folder, found)
    events = tuple(evidence.stored_events(folder, found.missing))
    judged = judge(events)
    concluded = conclude(events, Rules(minimum_strong_asks=0))
    found.outcome = concluded.outcome
    counts = ", ".join(f"{n:,} {word}" for word, n in concluded.counts.items()) or "no displayed frame"
    found.lines.append(f"from {len(events):,} recorded events: {counts}")
    if concluded.outcome is Outcome.INCONCLUSIVE:
        found.lines += [f"- {reason}" for reason in concluded.reasons]
    for leak in _first_of_each_case(concluded.leaks):
        found.lines.append(f"case {leak.case}: {sentence(leak)}")
    _compare(about, concluded.outcome, concluded.counts, concluded.leaks, found)
    _look_at_pixels(folder, about, events, judged, keys, jobs, found)
    return found


# What is there.


def _about(folder: Path, found: Found) -> dict[str, object]:
    data = evidence.stored_file(folder / "run.json", evidence.LARGEST_ABOUT, found.missing)
    if data is None:
        return {}
    try:
        about = json.loads(data)
    except (ValueError, RecursionError) as wrong:
        found.missing.append(f"run.json is damaged ({wrong}); what the run came to then is not known")
        return {}
    if not isinstance(about, dict):
        found.missing.append("run.json is no object; what the run came to then is not known")
        return {}
    if about.get("format") != evidence.FORMAT:
        found.missing.append(
            f"run.json has format {about.get('format')!r}, this version reads {evidence.FORMAT}; the rest is read as "
            "far as it goes"
        )
    if about.get("outcome") is None:
        found.missing.append("an end: the run was killed, or is still going on")
    return about


# What was said then, and what is said now.


def _compare(
    about: dict[str, object], outcome: Outcome, counts: dict[str, int], leaks: Sequence[Judged], found: Found
) -> None:
    stored = about.get("outcome")
    leaked_then = stored == "leak"
    if stored is not None and leaked_then is not bool(leaks):
        found.differs.append(f"the run said {stored!r} then, and it is {outcome.name.lower()!r} now")
    chapters = about.get("chapters")
    if not isinstance(chapters, dict) or not chapters or stored is None:
        return
    then: Counter[str] = Counter()
    for chapter in chapters.values():
        frames = chapter.get("frames") if isinstance(chapter, dict) else None
        for word, n in frames.items() if isinstance(frames, dict) else ():
            if isinstance(word, str) and isinstance(n, int):
                then[word] += n
    for word in sorted(then.keys() | counts.keys()):
        if then[word] != counts.get(word, 0):
            found.differs.append(f"{counts.get(word, 0):,} frames are {word} now, {then[word]:,} were then")


def _first_of_each_case(leaks: Iterable[Judged]) -> list[Judged]:
    cases: dict[int, Judged] = {}
    for leak in leaks:
        cases.setdefault(leak.case, leak)
    return list(cases.values())[:TOLD]


# Pixels.


def _look_at_pixels(
    folder: Path,
    about: dict[str, object],
    events: Sequence[Event],
    judged: Sequence[Judged],
    keys: tuple[Key, ...],
    jobs: int,
    found: Found,
) -> None:
    """Read the full pictures that were kept and compare what they say with what was recorded of them."""
    mine = [key for key in keys if key.id == about.get("key_id")]
    recorded = {e.digest[:16]: (case, e) for case, e in by_case(events) if isinstance(e, Displayed)}
    pictures = [p for p in _pictures(folder, found) if p.stem in recorded]
    _look_for_leaks_pictures(folder, judged, found)
    if not mine:
        found.lines.append(f"{len(pictures)} full pictures were not read again: this run's key is not had here")
        return
    seen = {s.camera for _, e in recorded.values() for s in e.reading.sightings}
    rooms = sorted(c for c in seen if c != DEFAULT_CAMERA and not c.startswith("unknown"))
    owners = {e.case: e.plan.homes for e in events if isinstance(e, CaseStarted) and e.plan is not None}
    by_owners: dict[tuple[str, ...], list[Path]] = {}
    for picture in pictures:
        homes = owners.get(recorded[picture.stem][0])
        if homes is not None:
            by_owners.setdefault(homes, []).append(picture)
    told = 0
    for homes, files in by_owners.items():
        register = Register(homes, (DEFAULT_CAMERA, *rooms))
        task = judging.Task(tuple(mine), register)
        lines: list[bytes] = []
        judging.judge(task, [str(f) for f in files], min(jobs, len(files)), lines.append)
        for line in msgspec.json.decode(b"[" + b",".join(b"".join(lines).splitlines()) + b"]", type=list[judging.Line]):
            told += 1
            case, shown = recorded[Path(line.file).stem]
            now = {(o.name or str(o.owner), o.case) for o in line.owners}
            then = {(s.owner, s.case) for s in shown.reading.sightings}
            if now != then:
                found.differs.append(
                    f"frames/{Path(line.file).name}, case {case} on {shown.hub}'s hub: its pixels name "
                    f"{_named(now)}, recorded was {_named(then)}"
                )
    found.lines.append(f"{told} full pictures were read again with the run's key")


def _pictures(folder: Path, found: Found) -> list[Path]:
    frames = folder / "frames"
    if frames.is_symlink() or not frames.is_dir():
        found.missing.append("frames: no picture was kept, or the folder is a link")
        return []
    kept: list[Path] = []
    for path in sorted(frames.glob("*.png")):
        if path.is_symlink() or not path.is_file() or not re.fullmatch(r"[0-9a-f]{16}", path.stem):
            found.missing.append(f"frames/{path.name} is no picture of a run, and is left alone")
        elif path.stat().st_size > evidence.LARGEST_PICTURE:
            found.missing.append(f"frames/{path.name} is larger than any picture of a run, and is left alone")
        else:
            kept.append(path)
    return kept


def _look_for_leaks_pictures(folder: Path, judged: Sequence[Judged], found: Found) -> None:
    leaks = {j.frame.digest[:16] for j in judged if j.verdict in (Verdict.FOREIGN, Verdict.REVOKED)}
    gone = [
        d for d in sorted(leaks) if not any((folder / "frames" / f"{d}.{kind}").is_file() for kind in ("png", "jpg"))
    ]
    if gone and (folder / "frames").is_dir():
        found.missing.append(f"the pictures of {len(gone)} foreign frames, such as frames/{gone[0]}.png")


def _named(who: set[tuple[str, int]]) -> str:
    return ", ".join(f"{owner} in case {case}" for owner, case in sorted(who)) or "nobody"


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:TOLD]
    if len(lines) > TOLD:
        yield f"… and {len(lines) - TOLD:,} more"


def _clean(text: str) -> str:
    """Return text that can do nothing to a terminal."""
    return text.encode(errors="replace").decode().translate(_CONTROL)

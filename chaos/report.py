"""Evidence to a page that a person reads: plain HTML beside the pictures, no script, no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
import msgspec

from chaos.evidence import Evidence, read_history
from chaos.history import Asked, CaseStarted, ConditionsSet, ControlSeen, NodeFaultSet, Restarted, SignedIn
from chaos.run import Finding
from chaos.verdict import Judged, Rules, Verdict, by_case, judge

MOST_FRAMES = 400
"""Frames that a page shows for one run; the rest is counted. A page of 400 small pictures opens at once."""


class _Line(msgspec.Struct, frozen=True):
    """Something that happened in a case, for its list."""

    seconds: float
    text: str
    frame: Judged | None = None


class _Case(msgspec.Struct, frozen=True):
    """One case: what happened, in order, and its worst verdict."""

    number: int
    kind: str
    worst: Verdict
    lines: tuple[_Line, ...]


class _Part(msgspec.Struct, frozen=True):
    """One run of the page."""

    title: str
    folder: str
    about: dict[str, object]
    findings: tuple[tuple[Finding, str | None, str | None], ...]
    cases: tuple[_Case, ...]
    left_out: int


def write_page(page: Path, runs: Sequence[tuple[str, Evidence, Sequence[Finding]]]) -> Path:
    """Write one page about several runs whose folders lie beside or below it, and return its path.

    `runs` are (title, evidence, findings). Pictures are linked, not embedded.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chaos"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = [_part(page.parent, title, evidence, findings) for title, evidence, findings in runs]
    html = environment.get_template("report.html").render(parts=parts, Verdict=Verdict)
    part = page.with_name(page.name + ".part")
    part.write_text(html)
    part.replace(page)
    return page


def _part(base: Path, title: str, evidence: Evidence, findings: Sequence[Finding]) -> _Part:
    folder = evidence.folder
    relative = str(folder.relative_to(base)) if folder != base else "."
    history = read_history(folder)
    judged = judge(history, Rules())
    cases = _cases(history, judged)
    shown: list[_Case] = []
    left_out = 0
    budget = MOST_FRAMES
    for case in sorted(cases, key=lambda c: (c.worst, c.number)):
        frames = sum(line.frame is not None for line in case.lines)
        if budget - frames < 0 and shown:
            left_out += 1
            continue
        budget -= frames
        shown.append(case)
    about = json.loads((folder / "run.json").read_text())
    told = tuple((f, _picture(evidence, f.leak.frame.digest), _own(evidence, judged, f)) for f in findings)
    return _Part(title, relative, about, told, tuple(sorted(shown, key=lambda c: c.number)), left_out)


def _cases(history: Sequence[object], judged: Sequence[Judged]) -> list[_Case]:
    frames: dict[int, list[Judged]] = {}
    for j in judged:
        frames.setdefault(j.case, []).append(j)
    events: dict[int, list[_Line]] = {}
    starts: dict[int, CaseStarted] = {}
    for number, event in by_case(history):  # type: ignore[arg-type]
        if isinstance(event, CaseStarted):
            starts[number] = event
        line = _line(event)
        if line is not None and number:
            events.setdefault(number, []).append(line)
    cases = []
    for number, start in starts.items():
        lines = events.get(number, []) + [
            _Line(j.frame.at, f"{j.frame.hub}'s hub", j)
            for j in frames.get(number, ())
            if j.verdict is not Verdict.BLANK
        ]
        lines = [
            _Line(max(0.0, line.seconds - start.at), line.text, line.frame)
            for line in sorted(lines, key=lambda line: line.seconds)
        ]
        worst = min((j.verdict for j in frames.get(number, ())), default=Verdict.BLANK)
        cases.append(_Case(number, start.kind, worst, tuple(lines)))
    return cases


def _line(event: object) -> _Line | None:  # noqa: PLR0911 - one return an event
    match event:
        case Asked():
            took = event.settled - event.began
            return _Line(
                event.began,
                f"{event.hub} asks for {event.camera} ({event.feed}): {event.outcome} after {took:.2f} s",
            )
        case SignedIn():
            who = f"signed in as {event.owner}" if event.owner else "could not sign in"
            return _Line(event.began, f"{event.hub}'s hub: {who}")
        case ConditionsSet():
            return _Line(event.began, f"{event.link} is {event.conditions.describe()}")
        case NodeFaultSet():
            detail = f" ({event.detail})" if event.detail else ""
            return _Line(event.began, f"{event.node}: {event.kind if event.on else f'no longer {event.kind}'}{detail}")
        case Restarted():
            return _Line(event.began, f"{event.node} restarted ({event.why})")
        case ControlSeen():
            return _Line(event.at, f"control {event.what}: {'seen' if event.seen else 'NOT SEEN'}; {event.detail}")
        case _:
            return None


def _picture(evidence: Evidence, digest: str) -> str | None:
    """Return the stored picture's path inside the evidence folder, the full one where there is one."""
    for name in (f"frames/{digest[:16]}.png", f"frames/{digest[:16]}.jpg"):
        if (evidence.folder / name).exists():
            return name
    return None


def _own(evidence: Evidence, judged: Sequence[Judged], finding: Finding) -> str | None:
    """Return a picture of what should have been there: one of the same hub that was its owner's own."""
    own = (j for j in judged if j.verdict is Verdict.OWN and j.frame.hub == finding.leak.frame.hub)
    best = max(own, key=lambda j: j.guilty.tiles if j.guilty else 0, default=None)
    return _picture(evidence, best.frame.digest) if best is not None else None

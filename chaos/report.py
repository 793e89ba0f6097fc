"""Evidence to a page that a person reads: one file with its pictures, no script, no network."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import jinja2
import msgspec
from PIL import Image, ImageFilter

from chaos.conditions import REFUSED, TOXICS
from chaos.errors import Misuse
from chaos.evidence import FORMAT, LARGEST_ABOUT, LARGEST_PICTURE, Evidence, is_plain, runs, stored_events, stored_file
from chaos.history import (
    Asked,
    CaseEnded,
    CaseStarted,
    ConditionsSet,
    ControlSeen,
    Event,
    NodeFaultSet,
    Restarted,
    SignedIn,
)
from chaos.run import Finding
from chaos.verdict import Judged, Rules, Verdict, by_case, judge
from chaos.whence import described

MOST_FRAMES = 200
"""Frames that a page shows for one run; the rest is counted. A small picture is 5 KB: two runs stay below 5 MB."""
MOST_CASES = 400
"""Cases of one run that a page lists, and `_MOST_EVENTS` of one; a run of blank screens has any number."""
_MOST_EVENTS = 500
_MOST_PIXELS = 60_000_000
"""Pixels of a stored picture that is opened; a screen of 8K has 33 million."""
_TOLD = 10
"""Sentences about what cannot be read that a page shows."""
_DIGEST = re.compile(r"[0-9A-Za-z_-]{1,64}")
_SMALL, _LARGE = 240, 1280
"""Pixels of width, at most, of pictures on a page."""
_AROUND = (-1.5, 0.5)
"""Seconds around the moment of a finding whose log lines are shown: the longest time-out of the reference home is 1."""
_MOST_LINES = 12


class _Line(msgspec.Struct, frozen=True):
    """Something that happened in a case, for its list; `picture` is the class of its small picture."""

    seconds: float
    text: str
    frame: Judged | None = None
    picture: str = ""


class _Bar(msgspec.Struct, frozen=True):
    """Something on the time axis: percent from the left, percent wide."""

    kind: str
    left: float
    width: float
    text: str
    picture: str = ""


class _Lane(msgspec.Struct, frozen=True):
    """What happened to one hub, link or node."""

    name: str
    bars: tuple[_Bar, ...]


class _Case(msgspec.Struct, frozen=True):
    """One case: what happened, in order, and its worst verdict."""

    number: int
    kind: str
    worst: Verdict
    lines: tuple[_Line, ...]
    lanes: tuple[_Lane, ...]
    seconds: float


class _Told(msgspec.Struct, frozen=True):
    """A finding with the addresses of its two pictures and the log lines around its moment."""

    finding: Finding
    picture: str | None
    own: str | None
    logs: tuple[tuple[str, str], ...]
    hops: tuple[str, ...]
    """What the hops carried, the hub's first."""


class _Unmet(msgspec.Struct, frozen=True):
    """What no ask met: kinds of fault anywhere, and links with any."""

    kinds: tuple[str, ...]
    links: tuple[str, ...]


class _Part(msgspec.Struct, frozen=True):
    """One run of the page. `damage` says what of it cannot be read, `dropped` what the run itself left out."""

    title: str
    folder: str
    about: dict[str, Any]
    findings: tuple[_Told, ...]
    cases: tuple[_Case, ...]
    left_out: int
    numbers: dict[str, str]
    unmet: _Unmet
    damage: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def found(self) -> set[int]:
        """The cases of its findings."""
        return {t.finding.leak.case for t in self.findings}


def write_page(
    page: Path, runs: Sequence[tuple[str, Evidence | Path, Sequence[Finding]]], *, blurred: bool = False
) -> Path:
    """Write one page about several runs, and return its path.

    `runs` are (title, evidence or its folder, findings). The page is one file: pictures are in it, and it asks nobody
    for anything. With `blurred`, nobody can be recognised in them: the pixels that are written are the blurred ones.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chaos"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = _Pictures(blurred=blurred)
    folders = [(t, e if isinstance(e, Path) else e.folder, f) for t, e, f in runs]
    parts = [_part(pictures, title, folder, findings) for title, folder, findings in folders]
    html = environment.get_template("report.html").render(
        parts=parts, Verdict=Verdict, styles=pictures.styles, blurred=blurred
    )
    part = page.with_name(page.name + ".part")
    part.write_text(html)
    part.replace(page)
    return page


def tell(folder: Path, out: Path | None, *, blurred: bool, say: Callable[[str], object]) -> int:
    """Write the page of a stored run, gate or demo again; says what is missing or damaged, and shows the rest.

    Of several runs, as a gate's workers leave them, one page shows all. Returns 0, or 3 if anything was missing. Raises
    `Misuse` where there is no evidence.
    """
    found = runs(folder)
    if not found:
        raise Misuse(f"{folder} is no evidence folder: neither it nor a folder in it has a run.json or history.jsonl")
    missing: list[str] = []
    parts = [(_title(run), run, _stored_findings(run, missing)) for run in found]
    if found != [folder]:
        parts = [(f"{run.name}: {title}", run, findings) for title, run, findings in parts]
    page = write_page(out or folder / ("index.html" if found == [folder] else "cases.html"), parts, blurred=blurred)
    for line in missing:
        say("".join(c if c.isprintable() else "\ufffd" for c in line))
    say(f"page: {page}")
    return 3 if missing else 0


def _stored_findings(folder: Path, missing: list[str]) -> list[Finding]:
    findings = []
    numbered = (p for p in folder.glob("findings/*/finding.json") if re.fullmatch(r"\d{1,6}", p.parent.name))
    for stored in sorted(numbered, key=lambda p: int(p.parent.name)):
        where = stored.relative_to(folder)
        wrong: list[str] = []
        try:
            content = stored_file(stored, LARGEST_ABOUT, wrong)
            finding = msgspec.json.decode(content or b"", type=Finding, dec_hook=_path)
        except (msgspec.MsgspecError, UnicodeDecodeError, Misuse, RecursionError) as damaged:
            missing.append(f"{where} cannot be read: {'; '.join(wrong) or damaged}")
            continue
        if finding.leak.guilty is None:
            missing.append(f"{where} cannot be read: it names nobody whose camera was seen")
            continue
        findings.append(finding)
    return findings


def _path(kind: type, value: object) -> object:
    if issubclass(kind, Path):
        return kind(str(value))
    raise NotImplementedError(f"{kind.__name__} is in no finding")


def _title(folder: Path) -> str:
    about = _about(folder)
    update, own = about["update"], about["compose"]
    if isinstance(own, dict):
        return str(own.get("name", "containers"))
    return f"with the update {update.get('name', '?')}" if isinstance(update, dict) else "the home system as it is"


def _about(folder: Path) -> dict[str, Any]:
    """Return what ``run.json`` says, with what a page needs where it says nothing."""
    about: dict[str, Any] = {
        "outcome": None, "chapters": {}, "update": None, "compose": None, "stack": "", "links": [], "wall": None,
        "dropped": [],
    }  # fmt: skip
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(stored_file(folder / "run.json", LARGEST_ABOUT, []) or b"")
        about |= found if isinstance(found, dict) else {}
    chapters = about["chapters"] if isinstance(about["chapters"], dict) else {}
    about["chapters"] = {n: _chapter(c) for n, c in chapters.items() if isinstance(c, dict)}
    return _as({"links": [], "chapters": {}, "dropped": []}, about)


def _chapter(found: dict[str, Any]) -> dict[str, Any]:
    chapter = _as(_CHAPTER, found)
    if not isinstance(chapter["bound_95"], float):
        chapter["bound_95"] = None
    chapter["states"] = {n: s for n, s in chapter["states"].items() if isinstance(s, list) and len(s) == 2}
    return chapter


_CHAPTER: dict[str, Any] = {
    "outcome": "unknown", "cases": 0, "asks": 0, "strong_asks": 0, "bound_95": None,
    "frames": {}, "reasons": [], "met": {}, "states": {},
}  # fmt: skip


def _as(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return what was found, with what was expected where it is missing or of another kind."""
    kept = {k: v for k, v in found.items() if expected.get(k) is None or isinstance(v, type(expected[k]))}
    return expected | kept


class _Pictures:
    """Pictures as they are written into a page, each once."""

    def __init__(self, *, blurred: bool) -> None:
        self._blurred = blurred
        self._small: dict[str, str] = {}

    @property
    def styles(self) -> list[tuple[str, str]]:
        """The classes of small pictures, with their addresses."""
        return [(name, address) for name, address in self._small.items() if address]

    def small(self, folder: Path, digest: str) -> str:
        """Return the class whose background is the small picture of a raster."""
        if not _DIGEST.fullmatch(digest):
            return ""  # its first letters would be a file's name, and a class in the page's style
        name = f"f{digest[:16]}"
        if name not in self._small:
            self._small[name] = self._address(folder / "frames" / f"{digest[:16]}.jpg", _SMALL, 55, 8) or ""
        return name

    def large(self, folder: Path, digest: str) -> str | None:
        """Return the address of a raster's picture, in full size where it was kept so; None where there is none."""
        if not _DIGEST.fullmatch(digest):
            return None
        frames = folder / "frames"
        full = self._address(frames / f"{digest[:16]}.png", _LARGE, 88, 28)
        return full or self._address(frames / f"{digest[:16]}.jpg", _SMALL, 80, 8)

    def _address(self, path: Path, width: int, quality: int, radius: int) -> str | None:
        if not is_plain(path, []) or path.stat().st_size > LARGEST_PICTURE:
            return None
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > _MOST_PIXELS:
                    return None
                picture.draft("RGB", (width, width))
                pixels = picture.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        pixels.thumbnail((width, width))
        if self._blurred:
            pixels = pixels.filter(ImageFilter.GaussianBlur(radius))
        out = io.BytesIO()
        pixels.save(out, "WEBP", quality=quality)
        return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"


def address(picture: Path) -> str | None:
    """Return a stored picture as an address that holds it, large; None where there is none."""
    return _Pictures(blurred=False)._address(picture, _LARGE, 88, 28)


def _part(pictures: _Pictures, title: str, folder: Path, findings: Sequence[Finding]) -> _Part:
    damage: list[str] = []
    about = _about(folder)
    if about.get("format") not in (None, FORMAT):
        damage.append(f"run.json has format {about['format']!r}, this version reads {FORMAT}")
    history = tuple(stored_events(folder, damage))
    judged = judge(history, Rules())
    rough = _rough(history, judged)
    shown: list[_Rough] = []
    left_out = 0
    budget = MOST_FRAMES
    found = {f.leak.case for f in findings}
    for case in sorted(rough, key=lambda c: (c.start.case not in found, c.worst, c.start.case)):
        if (budget - len(case.lit) < 0 and shown) or len(shown) >= MOST_CASES:
            left_out += 1
            continue
        budget -= len(case.lit)
        shown.append(case)
    told = tuple(_told(pictures, folder, about, judged, f) for f in findings)
    numbers = {e.conditions.name: e.conditions.describe() for e in history if isinstance(e, ConditionsSet)}
    numbers = {name: what for name, what in sorted(numbers.items()) if name not in (what, "CLEAR")}
    met = {f for chapter in about["chapters"].values() for f in chapter.get("met", {})}
    unmet = _Unmet(
        tuple(k for k in (*TOXICS, REFUSED) if not any(f.startswith(f"{k} on ") for f in met)),
        tuple(k for k in about["links"] if not any(f.endswith(f" on {k}") for f in met)),
    )
    in_order = tuple(_case(pictures, folder, c) for c in sorted(shown, key=lambda c: c.start.case))
    dropped = tuple(str(sentence) for sentence in about["dropped"][:_TOLD])
    more = (f"and {len(damage) - _TOLD} more",) if len(damage) > _TOLD else ()
    shown_damage = (*damage[:_TOLD], *more)
    return _Part(title, str(folder), about, told, in_order, left_out, numbers, unmet, shown_damage, dropped)


def _told(
    pictures: _Pictures, folder: Path, about: dict[str, Any], judged: Sequence[Judged], finding: Finding
) -> _Told:
    own = _own(folder, judged, finding)
    return _Told(
        finding,
        pictures.large(folder, finding.leak.frame.digest),
        pictures.large(folder, own) if own is not None else None,
        tuple(_logs(folder, about["wall"], finding.leak.frame.at)),
        tuple(described(hop) for hop in finding.whence.hops) if finding.whence is not None else (),
    )


def _logs(folder: Path, wall: object, at: float) -> Iterator[tuple[str, str]]:
    """Yield each node's lines around an instant; `wall` is the time of day at the monotonic clock's zero."""
    if not isinstance(wall, int | float):
        return
    try:
        moments = [datetime.fromtimestamp(wall + at + d, UTC) for d in _AROUND]
    except (ValueError, OverflowError, OSError):
        return  # no time of day
    first, last = (moment.isoformat(timespec="milliseconds")[:23] for moment in moments)
    for log in sorted((folder / "logs").glob("*.log")):
        if not is_plain(log, []):
            continue
        with contextlib.suppress(OSError), log.open(errors="replace") as lines:
            near = [line.rstrip()[:300] for line in _lines(lines) if first <= line[:23] <= last]
            near = [line for line in near if "/control/" not in line and "/healthz" not in line]
            if near:
                yield log.stem, "\n".join(near[-_MOST_LINES:])


def _lines(log: TextIO) -> Iterator[str]:
    """Yield the beginning of each line, whatever its length."""
    while line := log.readline(10_000):
        yield line


class _Rough(msgspec.Struct, frozen=True):
    """A case before it is drawn: what happened, and the frames that were not blank."""

    start: CaseStarted
    events: tuple[Event, ...]
    lit: tuple[Judged, ...]
    worst: Verdict


def _rough(history: Sequence[Event], judged: Sequence[Judged]) -> list[_Rough]:
    frames: dict[int, list[Judged]] = {}
    for j in judged:
        frames.setdefault(j.case, []).append(j)
    events: dict[int, list[Event]] = {}
    starts: dict[int, CaseStarted] = {}
    for number, event in by_case(history):
        if isinstance(event, CaseStarted):
            starts[number] = event
        elif number:
            events.setdefault(number, []).append(event)
    return [
        _Rough(
            start,
            tuple(events.get(number, ())),
            tuple(j for j in frames.get(number, ()) if j.verdict is not Verdict.BLANK),
            min((j.verdict for j in frames.get(number, ())), default=Verdict.BLANK),
        )
        for number, start in starts.items()
    ]


def _case(pictures: _Pictures, folder: Path, rough: _Rough) -> _Case:
    start, events = rough.start, rough.events[:_MOST_EVENTS]
    rough = msgspec.structs.replace(rough, events=events, lit=rough.lit[:_MOST_EVENTS])
    lines = [line for e in events if (line := _line(e)) is not None]
    lines += [_Line(j.frame.at, f"{j.frame.hub}'s hub", j, pictures.small(folder, j.frame.digest)) for j in rough.lit]
    in_order = (
        msgspec.structs.replace(line, seconds=max(0.0, line.seconds - start.at))
        for line in sorted(lines, key=lambda line: line.seconds)
    )
    ended = max((e.at for e in events if isinstance(e, CaseEnded)), default=start.at + 1)
    lanes = _lanes(pictures, folder, rough, _Axis(start.at, max(ended, start.at + 0.1)))
    return _Case(start.case, start.kind, rough.worst, tuple(in_order), lanes, ended - start.at)


class _Axis(msgspec.Struct, frozen=True):
    """The time of one case, as percent of its width."""

    first: float
    last: float

    def bar(self, lane: str, kind: str, at: float, until: float, text: str, picture: str = "") -> tuple[str, _Bar]:
        """Return a bar in a lane, at least wide enough to be seen."""
        whole = self.last - self.first
        left = min(99.4, max(0.0, 100 * (at - self.first) / whole))
        width = max(0.6, min(100 - left, 100 * (until - at) / whole))
        where = f"{max(0.0, at - self.first):.2f} s"
        return lane, _Bar(kind, round(left, 2), round(width, 2), f"{where}: {text}", picture)


def _lanes(pictures: _Pictures, folder: Path, rough: _Rough, axis: _Axis) -> tuple[_Lane, ...]:
    """Return one lane for each hub, link and node to which something happened, on one time axis; hubs first."""
    events = rough.events
    bars = [*_asks(events, axis), *_bands(events, axis), *_nodes(events, axis)]
    for j in rough.lit:
        whose = f", {j.guilty.owner}'s" if j.guilty else ""
        text = f"displayed for {1000 * (j.frame.until - j.frame.at):.0f} ms: {j.verdict.word}{whose}"
        kind = "bad" if j.verdict <= Verdict.MISDIRECTED else "own" if j.verdict >= Verdict.AGE_UNKNOWN else "odd"
        picture = pictures.small(folder, j.frame.digest)
        bars.append(axis.bar(f"{j.frame.hub}: displayed", kind, j.frame.at, j.frame.until, text, picture))
    lanes: dict[str, list[_Bar]] = {}
    for lane, bar in bars:
        lanes.setdefault(lane, []).append(bar)
    order = sorted(lanes, key=lambda name: (": " not in name, name))
    return tuple(_Lane(name, tuple(lanes[name])) for name in order)


def _asks(events: Sequence[Event], axis: _Axis) -> Iterator[tuple[str, _Bar]]:
    for e in events:
        match e:
            case Asked():
                text = f"asks for {e.camera} ({e.feed}): {e.outcome} after {e.settled - e.began:.2f} s"
                yield axis.bar(f"{e.hub}: asks", "ask", e.began, e.settled, text)
            case SignedIn():
                who = f"signed in as {e.owner}" if e.owner else "signed out"
                yield axis.bar(f"{e.hub}: asks", "sign", e.began, e.ended, who)
            case _:
                pass


def _bands(events: Sequence[Event], axis: _Axis) -> Iterator[tuple[str, _Bar]]:
    changes: dict[str, list[ConditionsSet]] = {}
    for e in events:
        if isinstance(e, ConditionsSet):
            changes.setdefault(e.link, []).append(e)
    for link, mine in changes.items():
        mine.sort(key=lambda c: c.began)
        ends = [*(c.began for c in mine[1:]), axis.last]
        for change, end in zip(mine, ends, strict=True):
            if not change.conditions.calm:
                yield axis.bar(link, "band", change.began, end, change.conditions.describe())


def _nodes(events: Sequence[Event], axis: _Axis) -> Iterator[tuple[str, _Bar]]:
    on: dict[tuple[str, str], float] = {}
    for e in events:
        match e:
            case Restarted():
                yield axis.bar(e.node, "node", e.began, e.ended, e.why if e.why != "drawn" else "restarted")
            case NodeFaultSet(on=True):
                on[e.node, e.kind] = e.began
            case NodeFaultSet():
                yield axis.bar(e.node, "node", on.pop((e.node, e.kind), e.began), e.ended, e.kind)
            case _:
                pass
    for (node, kind), since in on.items():
        yield axis.bar(node, "node", since, axis.last, kind)


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


def _own(folder: Path, judged: Sequence[Judged], finding: Finding) -> str | None:
    """Return the raster of what should have been there: one of the same hub that was its owner's own, large if kept."""
    own = [j for j in judged if j.verdict is Verdict.OWN and j.frame.hub == finding.leak.frame.hub]
    large = {p.stem for p in (folder / "frames").glob("*.png")}
    best = max(own, key=lambda j: (j.frame.digest[:16] in large, j.guilty.tiles if j.guilty else 0), default=None)
    return best.frame.digest if best is not None else None

"""The gate on a terminal: numbers while it works, its headline first when it has an answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from chaos.gate import ci
from chaos.gate.holding import Gate
from chaos.gate.options import Options
from chaos.gate.result import Finding, Result
from chaos.progress import Progress
from chaos.verdict import Verdict

_COLOURS = {"passed": "green", "leak": "red", "inconclusive": "yellow", "unusable": "yellow"}
_WORDS = {v.word: v for v in Verdict}


def hold(options: Options) -> int:
    """Hold a gate, tell of it, and return its exit code."""
    console = Console(highlight=False)
    progress = Progress(console)
    gate = Gate(options, lambda gate: _watch(gate, progress))
    own = " with ".join(file.name for file in options.compose)
    update = own or (f"with the update {options.update}" if options.update else "the home system as it is")
    workers = f"{options.workers} workers" if options.workers > 1 else "one worker"
    progress.begin(f"ownframe gate: {update}, stack {'docker' if own else options.stack}, {workers}")
    progress.share = lambda: _share(gate)
    with progress.live():
        result = gate.hold()
    show(console, result, gate.folder)
    for line in ci.tell_github(result):
        console.print(line, soft_wrap=True, markup=False)
    return result.exit_code


def _watch(gate: Gate, progress: Progress) -> None:
    crew = gate.crew
    progress.cases, progress.asks, progress.frames = crew.cases, crew.asks, crew.frames.total()
    leaks = [_WORDS[leak.verdict] for _, leak in crew.leaks]
    progress.worst = min([*(_WORDS[word] for word, n in crew.frames.items() if n), *leaks], default=Verdict.BLANK)
    for number in list(progress.doing.keys() - crew.doing.keys()):
        del progress.doing[number]
    for number, line in crew.doing.items():
        progress.say(line, number)
    progress.now_and_then()


def _share(gate: Gate) -> tuple[float, float, str]:
    budget = gate.options.budget
    if budget.cases is not None:
        return gate.crew.cases, budget.cases, "cases"
    assert gate.until is not None, "a budget is of cases or of time"
    whole = budget.seconds or 0.0
    return whole - (gate.until - time.monotonic()), whole, "s"


def show(console: Console, result: Result, folder: Path) -> None:
    """Print a result, its headline first."""
    colour = _COLOURS[result.verdict]
    console.print(Panel(Text(result.headline, style="bold"), title=result.verdict, border_style=colour))
    for finding in result.findings:
        _show_finding(console, finding)
    _print(console, _numbers(result))
    if result.verdict != "passed":
        _print(console, (f"- {reason}" for reason in result.reasons))
    _print(console, (f"not exercised: {line}" for line in ci.not_exercised(result)))
    _print(console, (f"note: {line}" for line in result.notes))
    _print(console, [f"evidence: {folder}", f"  to look at: {folder / 'index.html'}"])
    _print(console, (f"  every case: {page}" for page in _pages(result, folder)))


def _pages(result: Result, folder: Path) -> list[Path]:
    """Return the pages to look at: those of the workers that found something, else all."""
    pages = sorted(folder.glob("worker-*/index.html"))
    found = {Path(f.picture).parents[1] for f in result.findings if f.picture}
    return [p for p in pages if p.parent in found] or pages


def _show_finding(console: Console, finding: Finding) -> None:
    often = finding.reproduction
    _print(console, [finding.where] if finding.where else [])
    _print(console, [f"    {line}" for line in finding.program.splitlines()])
    how_often = f"reproduced {often.hits} of {often.tries} times; " if often.tries else ""
    _print(console, [f"{how_often}picture: {finding.picture or 'kept small only'}"])
    again = f"; again: ownframe replay {finding.replay}" if finding.replay else ""
    _print(console, [f"finding {finding.fingerprint}{again}"] if finding.fingerprint else [])
    _print(console, [finding.note] if finding.note else [])


def _numbers(result: Result) -> Iterable[str]:
    yield (
        f"{result.cases} cases, {result.asks} asks, {result.displayed} displayed frames in {result.seconds:.0f} s "
        f"(seed {result.seed}); foreign {result.foreign}, revoked {result.revoked}, misdirected {result.misdirected}, "
        f"unreadable {result.unreadable}"
    )
    for scenario in result.scenarios:
        yield f"{scenario.name}: {scenario.verdict}; {scenario.cases} cases, {scenario.strong_asks} asks that count"


def _print(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)

"""The demo: the December-26 leak found on real parts, then all scenarios passing without the update."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from chaos import evidence, report
from chaos.household import Household
from chaos.progress import Progress
from chaos.run import CaseResult, Finding, Run, Settings
from chaos.scenarios import load, scenario_folder
from chaos.verdict import Conclusion, Outcome

UPDATE = "december-26"
PICTURE_COLUMNS = 72
DEMO_SHRINK_BUDGET = 40
"""Executions for shrinking in the demo; a gate or a pytest run takes more and gets smaller programs."""
DEMO_CLEAN_CASES = 6
"""Cases of each scenario without the update: the demo shows the way, `pytest scenarios` tries hard."""


def tell(root: Path, *, cases: int, seed: int | None) -> Outcome:
    """Run the demo and return its outcome.

    `PASSED` only if the leak was found with the update and nothing without it; `LEAK` if the reference leaked,
    `INCONCLUSIVE` if the update's leak was not found or the reference's run says nothing.
    """
    console = Console(highlight=False)
    scenarios = [s for file in sorted(scenario_folder().glob("test_*.py"), reverse=True) for s in load(file)]
    folder = evidence.new_folder(root.resolve(), "demo")
    progress = Progress(console)
    first: list[float] = []

    def on_case(result: CaseResult) -> None:
        progress.on_case(result)
        if result.leaks and not first:
            first.append(time.monotonic() - progress.began)

    with progress.live():
        settings = Settings(update=UPDATE, evidence=root, cases=cases, shrink_budget=DEMO_SHRINK_BUDGET, known=False)
        with_update = _half(folder / f"with-{UPDATE}", settings, scenarios, seed, progress, on_case)
        settings = Settings(evidence=root, cases=min(cases, DEMO_CLEAN_CASES), known=False)
        reference = _half(folder / "reference", settings, scenarios, seed, progress, on_case)
    page = report.write_page(
        folder / "index.html",
        [
            (f"With the update {UPDATE}", with_update[0], with_update[1]),
            ("The home system without it", *reference[:2]),
        ],
    )
    _show(console, with_update, reference, first)
    console.print(f"\nEvidence and pictures: {page}", soft_wrap=True)
    return _outcome(with_update[1], reference)


_Half = tuple[evidence.Evidence, list[Finding], dict[str, Conclusion]]


def _half(
    folder: Path,
    settings: Settings,
    scenarios: Sequence[type[Household]],
    seed: int | None,
    progress: Progress,
    on_case: Callable[[CaseResult], None],
) -> _Half:
    """Run the scenarios against one home system, until the first finding."""
    what = f"with {settings.update}" if settings.update else "without an update"
    with Run(settings, folder=folder, say=progress.say, on_case=on_case) as run:
        for scenario in scenarios:
            progress.begin(f"{scenario.__name__} {what}")
            finding, _ = scenario.search(run, name=scenario.__name__, seeded=seed)
            if finding is not None:
                break
        return run.evidence, run.findings, run.conclusions


def _outcome(found: Sequence[Finding], reference: _Half) -> Outcome:
    if reference[1]:
        return Outcome.LEAK
    clean = all(c.outcome is Outcome.PASSED for c in reference[2].values())
    return Outcome.PASSED if found and clean else Outcome.INCONCLUSIVE


def _show(console: Console, with_update: _Half, reference: _Half, first: Sequence[float]) -> None:
    for finding in with_update[1]:
        console.print(Panel(Text(finding.sentence, style="bold"), title=f"leak, with {UPDATE}", border_style="red"))
        if finding.picture is not None and console.is_terminal:
            console.print(_in_blocks(finding.picture, min(PICTURE_COLUMNS, console.width)))
        for line in finding.text().splitlines()[1:]:
            console.print(line, soft_wrap=True, markup=False)
    if not with_update[1]:
        console.print(f"[bold yellow]The leak of {UPDATE} was not found within the budget; try more --cases.[/]")
    elif first:
        console.print(f"The first foreign frame was displayed {first[0]:.0f} s after the start.")
    console.print()
    for name, conclusion in reference[2].items():
        tried = conclusion.exercise
        style = {Outcome.PASSED: "green", Outcome.LEAK: "red"}.get(conclusion.outcome, "yellow")
        console.print(
            f"[bold {style}]{conclusion.outcome.name.lower()}[/] without the update: {name}, {tried.cases} cases, "
            f"{tried.asks} asks, {tried.strong_asks} of them met a fault and displayed their owner's own picture"
        )
        for reason in conclusion.reasons:
            console.print(f"  {reason}", markup=False, soft_wrap=True)


def _in_blocks(picture: Path, columns: int) -> Text:
    """Return a picture as coloured half blocks, two pixels a character."""
    stored = cv2.imread(str(picture))
    assert stored is not None, "the evidence has just written it"
    pixels = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    rows = max(2, round(columns * pixels.shape[0] / pixels.shape[1] / 2) * 2)
    small = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    text = Text()
    for y in range(0, rows, 2):
        for x in range(columns):
            up, down = (",".join(map(str, small[y + i, x].tolist())) for i in (0, 1))
            text.append("▀", style=f"rgb({up}) on rgb({down})")
        text.append("\n")
    return text

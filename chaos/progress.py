"""What a terminal shows while cases run: numbers that move, the worst verdict so far; plain lines where it is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chaos.run import CaseResult
from chaos.verdict import Verdict

PLAIN_EVERY = 15.0
"""Seconds between two plain lines of numbers, for a log that somebody scrolls through."""


class Progress:
    """The numbers of a search. Change its attributes; a terminal is drawn eight times a second from them.

    `whole` is what `share` of is done: ``lambda: (34.0, 120.0, "s")`` draws a bar.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title = ""
        self.doing: dict[int, str] = {}
        self.cases = self.asks = self.frames = 0
        self.worst = Verdict.BLANK
        self.began = time.monotonic()
        self.share: Callable[[], tuple[float, float, str]] | None = None
        self._told = self.began

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw while it lasts, where there is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Live(self, console=self.console, refresh_per_second=8, transient=True, redirect_stdout=False):
            yield

    def begin(self, title: str) -> None:
        """Begin to count something else."""
        self.title, self.cases, self.asks, self.frames = title, 0, 0, 0
        self.worst = Verdict.BLANK
        self.plain(f"== {title}")

    def say(self, line: str, who: int = 0) -> None:
        """Say what is done now, by a worker where there are several."""
        if self.doing.get(who) != line:
            self.doing[who] = line
            self.plain(f"   worker {who}: {line}" if who else f"   {line}")

    def on_case(self, result: CaseResult) -> None:
        """Count a case of the one search that this process does."""
        worst = min((j.verdict for j in result.frames), default=Verdict.BLANK)
        self.cases += 1
        self.asks += result.plan.asks
        self.frames += len(result.frames)
        self.worst = min(self.worst, worst)
        self.plain(f"   case {self.cases}: {result.plan.asks} asks, {len(result.frames)} frames, worst {worst.word}")

    def plain(self, line: str) -> None:
        """Print a line where nothing is drawn."""
        if not self.console.is_terminal:
            self.console.print(line, soft_wrap=True, markup=False)

    def now_and_then(self) -> None:
        """Print the numbers, where nothing is drawn, if they were not for a while."""
        if time.monotonic() - self._told >= PLAIN_EVERY:
            self._told = time.monotonic()
            self.plain(f"   {self.line()}")

    def line(self) -> str:
        """Return the numbers as one line."""
        return (
            f"{time.monotonic() - self.began:.0f} s: {self.cases} cases, {self.asks} asks, {self.frames} frames "
            f"judged, worst verdict {self.worst.word}{self._left()}"
        )

    def _left(self) -> str:
        if self.share is None:
            return ""
        done, whole, unit = self.share()
        left = round(whole - done)
        return f", {left} {unit} left" if left > 0 else ", the budget is spent"

    def __rich__(self) -> Panel:
        """Return what is drawn."""
        bad = self.worst <= Verdict.MISDIRECTED
        numbers = Table.grid(padding=(0, 1))
        for what, value, style in (
            ("cases", f"{self.cases:,}", "bold"),
            ("asks", f"{self.asks:,}", "bold"),
            ("frames judged", f"{self.frames:,}", "bold"),
            ("worst verdict", self.worst.word, "bold red" if bad else "bold green"),
        ):
            numbers.add_row(Text(what, style="dim"), Text(value, style=style))
        rows: list[object] = [numbers]
        if self.share is not None:
            done, whole, _ = self.share()
            bar = Table.grid(padding=(0, 1), expand=True)
            bar.add_column(ratio=1)
            bar.add_column(no_wrap=True)
            bar.add_row(ProgressBar(total=max(whole, 1e-9), completed=min(done, whole)), self._left().lstrip(", "))
            rows.insert(0, bar)
        else:
            numbers.add_row(Text("seconds", style="dim"), Text(f"{time.monotonic() - self.began:.0f}", style="bold"))
        for who, line in sorted(self.doing.items()):
            rows.append(Text(f"worker {who}  {line}" if who else line, style="dim", no_wrap=True, overflow="ellipsis"))
        return Panel(Group(*rows), title=Text(self.title), border_style="red" if bad else "blue")  # type: ignore[arg-type]

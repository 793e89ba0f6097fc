"""The gate on the reference: asks that count in 120 s, the bound that they give, and what the time of a case goes into.

``OWNFRAME_BENCH_WORKERS`` are numbers of workers (``2,4``), ``OWNFRAME_BENCH_LOOKS`` how often everybody looks again at
the end of a plan (``0,3``), ``OWNFRAME_BENCH_SECONDS`` the budget.
"""

from __future__ import annotations

import itertools
import os
import resource
import tempfile
from collections import Counter
from pathlib import Path

import psutil

from chaos.evidence import read_history
from chaos.gate.crew import LOOKS
from chaos.gate.holding import Gate
from chaos.gate.options import Options, default_workers
from chaos.gate.result import Budget
from chaos.history import Asked, CaseEnded, CaseStarted, ConditionsSet, Event, Met, NodeFaultSet, Restarted, SignedIn
from chaos.verdict import Rules, by_case, judge, planned_cases

WORKERS = tuple(int(n) for n in os.environ.get("OWNFRAME_BENCH_WORKERS", str(default_workers())).split(","))
LOOKS_ = tuple(int(n) for n in os.environ.get("OWNFRAME_BENCH_LOOKS", str(LOOKS)).split(","))
SECONDS = float(os.environ.get("OWNFRAME_BENCH_SECONDS", "120"))
_TOOK = (Asked, SignedIn, ConditionsSet, Restarted, NodeFaultSet)


def run() -> dict[str, float | int | str]:
    """Hold a gate with each number of workers."""
    measured: dict[str, float | int | str] = {}
    for workers, looks in itertools.product(WORKERS, LOOKS_):
        with tempfile.TemporaryDirectory() as folder:
            held = _held(Path(folder), workers, looks)
            measured |= {f"{what}, {workers} workers, {looks} looks": value for what, value in held.items()}
    return measured


def _held(folder: Path, workers: int, looks: int) -> dict[str, float | int | str]:
    psutil.cpu_percent()
    before = _processor_seconds()
    told = Options(budget=Budget(seconds=SECONDS), workers=workers, looks=looks, evidence=folder, seed=1)
    result = Gate(told).hold()
    busy = psutil.cpu_percent()
    histories = [read_history(f.parent) for f in sorted(folder.glob("*-gate-*/worker-*/history.jsonl"))]
    return {
        "verdict": f"{result.verdict} {'; '.join(result.reasons)}".strip(),
        "cases": result.cases,
        "asks": result.asks,
        "asks that count": result.strong_asks,
        "1 in": 0 if result.bound_95 is None else int(1 / result.bound_95),
        "processor seconds of the gate's own": round(_processor_seconds() - before, 1),
        "processor used by everybody, %": busy,
        "load at the end": os.getloadavg()[0],
    } | _spent(histories)


def _processor_seconds() -> float:
    """Return what all processes that ended have used, theirs included: on a busy machine seconds say little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _spent(histories: list[tuple[Event, ...]]) -> dict[str, float | int | str]:
    """Return the seconds of all workers by what happened in them, and what became of asks."""
    spent: Counter[str] = Counter()
    asks: Counter[str] = Counter()
    first, last = [], []
    for history in histories:
        planned = planned_cases(history)
        events: dict[int, list[Event]] = {}
        for case, event in by_case(history):
            events.setdefault(case, []).append(event)
        ended = None
        for case, mine in events.items():
            began = next((e.at for e in mine if isinstance(e, CaseStarted)), None)
            over = next((e.at for e in mine if isinstance(e, CaseEnded)), None)
            if began is None or over is None:
                continue
            if case not in planned:
                spent["controls"] += over - began
                ended = over
                continue
            first.append(began)
            last.append(over)
            spent["between cases (judged, drawn, reset)"] += began - ended if ended is not None else 0
            ended = over
            covered: list[tuple[float, float, str]] = []
            for event in mine:
                if isinstance(event, _TOOK):
                    until = event.settled if isinstance(event, Asked) else event.ended
                    kind = type(event).__name__.lower()
                    what = f"asks: {event.outcome}" if isinstance(event, Asked) else kind
                    covered.append((event.began, until, what))
            at = began
            for low, high, what in sorted(covered):  # what overlaps counts once, for who began first
                if high > at:
                    spent["within cases, the rest"] += max(0.0, low - at)
                    spent[what] += high - max(low, at)
                    at = high
            spent["within cases, the rest"] += max(0.0, over - at)
        met = {e.ask for e in history if isinstance(e, Met) and e.amount > 0}
        shown = {j.ask.ask for j in judge(history, Rules()) if j.ask is not None and j.verdict.word != "blank"}
        for case, event in by_case(history):
            if case in planned and isinstance(event, Asked):
                asks[
                    f"{'met' if event.ask in met else 'met nothing'}, {'shown' if event.ask in shown else 'blank'}"
                ] += 1
    return {f"seconds: {what}": round(value, 1) for what, value in spent.most_common()} | {
        f"asks that {what}": n for what, n in asks.most_common()
    }

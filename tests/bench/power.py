"""``tox -e power``: how fast each update is found, how small it is shrunk, and that nothing else is called a leak.

For every update, way of searching and seed: cases and seconds to the first foreign frame, or that there was none
within the budget; then the size of the shrunk program and how often it leaks again. For the reference and every
control: frames displayed and foreign over the same budget. Each result is a line in a file, so that what was stopped
goes on.

Ways of searching, on the same homes in the same run:

* ``guided``: a scenario as it ships, ``test_everything_at_once.py``; for what only the kill switch, the assistant or a
  sale brings out, the one that has these;
* ``unguided``: the same verbs drawn one by one by Hypothesis's own engine, several owners in flight, no motifs;
* ``one at a time``: random faults, one ask at a time, as a Chaos Toolkit experiment with its Toxiproxy extension does.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import rule
from rich.console import Console
from rich.table import Column, Table

from chaos import any_home, any_link, any_node_fault, any_room, conditions, household, lean, updates
from chaos.demo import load, scenario_folder
from chaos.history import Asked, Event, Met
from chaos.household import Household
from chaos.plan import Ask, AskTogether, Clear, Meanwhile, Plan, Resume, Say
from chaos.run import CaseResult, Chapter, Run, Settings
from chaos.verdict import Verdict
from tests.planted.directed import MADE_FOR, PLANS, STEPS

SEEDS, CASES = 10, 100
RATE = 10
"""Executions by which the rate of a shrunk program, and of what a person wrote, is measured."""
BY_HAND = "by hand"
ENOUGH = 0.8
"""Of the rate of the smallest known program a shrunk one may not leak less often."""
SHRINK_SECONDS = 300.0
"""More than a run takes by itself (`chaos.run.SHRINK_SECONDS`), since several searches share the processors here."""
OWNERS = ("ada", "grace", "lin")
SCENARIOS = {s.__name__: s for file in sorted(scenario_folder().glob("test_*.py")) for s in load(file)}
EVERYTHING = SCENARIOS["EverythingAtOnce"]


class Unguided(Household):
    """Every verb that the motifs use, drawn one by one."""

    homes = OWNERS
    motifs = ()

    @rule(home=any_home, feed=st.sampled_from(["still", "still", "stream"]))
    def asks(self, home, feed):
        self.ask(home, feed=feed)

    @rule(homes=st.lists(any_home, min_size=2, max_size=3, unique=True))
    def several_ask(self, homes):
        self.ask_together(*homes)

    @rule(home=any_home, after_ms=st.sampled_from([20, 60, 150, 350]))
    def gives_up(self, home, after_ms):
        self.give_up(home, after_ms=after_ms)

    @rule(home=any_home, owner=any_home)
    def account_changes(self, home, owner):
        self.change_account(home, owner=owner)

    @rule(link=any_link, under=conditions.poor())
    def turns(self, link, under):
        self.set_conditions(link, under)

    @rule(link=any_link)
    def clears(self, link):
        self.clear(link)

    @rule(link=any_link)
    def drops(self, link):
        self.reconnect(link)

    @rule(home=any_home, ms=st.sampled_from([300, 1200]))
    def ages(self, home, ms):
        self.let_age(home, ms=ms)

    @rule(asking=any_home, other=any_home)
    def overlaps(self, asking, other):
        self.meanwhile(Ask(asking), Ask(other))

    @rule(fault=any_node_fault)
    def a_node_is_in_trouble(self, fault):
        self.add(fault)


class OneAtATime(Household):
    """Random faults of links, and nobody asks while somebody else does."""

    homes = OWNERS
    motifs = ()

    @rule(home=any_home)
    def asks(self, home):
        self.ask(home)

    @rule(link=any_link, under=conditions.poor())
    def turns(self, link, under):
        self.set_conditions(link, under)

    @rule(link=any_link)
    def clears(self, link):
        self.clear(link)


class Switch:
    """What the vendor does."""

    @rule()
    def suspends(self):
        self.suspend()

    @rule(cameras=st.booleans())
    def restores(self, cameras):
        self.restore(cameras=cameras)


class Voice:
    """What is said to the hub's assistant."""

    rooms = ("nursery",)

    @rule(home=any_home, room=any_room)
    def says(self, home, room):
        self.say(home, camera=room)


class Sale:
    """What owners do with a camera."""

    @rule(owner=any_home, to=any_home)
    def sells(self, owner, to):
        if owner != to:
            self.sell(owner, to=to)


VERBS: dict[str, type] = {"access-grace": Switch, "asked-twice": Voice, "still-by-device": Sale}
"""Of the updates that only one part of the incident brings out, which have a scenario of their own."""
PARTS = {broken: SCENARIOS[name] for name, broken in MADE_FOR.items()}
WAYS = ("guided", "unguided", "one at a time")


def way_of(way: str, update: str) -> tuple[type[Household], str]:
    """Return what is searched with, and which of Hypothesis's engines draws it."""
    part = next((broken for broken in PARTS if update in (broken, f"{broken}-fixed")), None)
    scenario = EVERYTHING if part is None else PARTS[part]
    if way == "guided":
        return scenario, lean.BACKEND
    base = Unguided if way == "unguided" else OneAtATime
    if part is not None:
        base = type(base.__name__, (VERBS[part], base), {"rules_of_age": scenario.rules_of_age})
    return base, "hypothesis"


class Measured(Chapter):
    """A chapter without controls, which the seeds of one home would repeat: what is measured is the search."""

    def __init__(self, run: Run, name: str, scenario: type[Household], *, together: bool) -> None:
        super().__init__(run, name, OWNERS, scenario.rules_of_age, rooms=scenario.rooms)
        self.cases, self.frames, self.foreign, self.failed = 0, 0, 0, 0
        self.seconds: float | None = None
        self._began = time.monotonic()
        self._together = together

    def execute(self, plan: Plan) -> CaseResult:
        """Execute the plan, everybody's last asks one after the other where they may not be together."""
        if not self._together:
            asks = [a for step in plan.steps for a in step.elements()]
            plan = plan.with_steps(tuple(asks))
        known = plan.digest in self._ledger
        before = len(self.events)
        result = super().execute(plan)
        if not known:
            self.cases += 1
            if self.seconds is None:
                self.failed += failed_uplinks(self.events[before:], result.leaks[0].ask if result.leaks else None)
            self.frames += sum(j.verdict is not Verdict.BLANK for j in result.frames)
            self.foreign += len(result.leaks)
            if result.leaks and self.seconds is None:
                self.seconds = time.monotonic() - self._began
        return result

    def _control(self) -> None:
        self.events.clear()


def failed_uplinks(events: Iterable[Event], until: Asked | None) -> int:
    """Count asks that met a fault on a camera's link and ended without a picture, up to the one that leaked."""
    events = list(events)
    met = {e.ask for e in events if isinstance(e, Met) and e.fault.link.endswith(".camera")}
    last = math.inf if until is None else until.ask
    return sum(isinstance(e, Asked) and e.ask in met and e.ask < last and e.outcome != "picture" for e in events)


def measure(run: Run, update: str, way: str, seed: int, cases: int, *, shrunk: bool) -> dict[str, object]:
    """Search once, shrink what was found if that is wanted, and return what is to be stored."""
    scenario, backend = way_of(way, update)
    chapter = Measured(run, f"{update}, {way}, {seed}", scenario, together=way != "one at a time")
    with backend_of(backend):
        leaked = scenario.hunt(chapter, cases, seeded=seed)
    found: dict[str, object] = {
        "update": update,
        "way": way,
        "seed": seed,
        "budget": cases,
        "cases": chapter.cases,
        "found": leaked is not None,
        "seconds": chapter.seconds,
        "failed uplinks": chapter.failed,
        "executions": chapter.executions,
        "frames": chapter.frames,
        "foreign": chapter.foreign,
    }
    if leaked is not None and shrunk:
        began = time.monotonic()
        finding = chapter.investigate(leaked)
        seconds = time.monotonic() - began
        found |= {
            "size": size(finding.plan),
            "drawn": size(finding.drawn),
            "hits": finding.hits,
            "tries": finding.tries,
            "rate": rate(chapter, finding.plan, finding.earlier, anew=finding.anew),
            "how": finding.how,
            "shrinking": seconds,
            "program": finding.plan.program(),
            "folder": sum(1 for _ in run.evidence.folder.glob("findings/*/plan.json")),
        }
    return found


def rate(chapter: Chapter, plan: Plan, earlier: Plan | None = None, *, anew: bool = False) -> float:
    """Return how often a plan leaks, of executions that nothing was decided by."""
    return sum(bool(chapter.again(plan, earlier, anew=anew).leaks) for _ in range(RATE)) / RATE


def measure_by_hand(run: Run, update: str) -> dict[str, object]:
    """Execute what a person wrote for this update, and return what is to be stored: its size and rate."""
    chapter = Measured(run, f"{update}, {BY_HAND}", way_of("guided", update)[0], together=True)
    measured = rate(chapter, PLANS[update])
    return {"update": update, "way": BY_HAND, "seed": 0, "size": by_hand(update), "rate": measured}


@contextlib.contextmanager
def backend_of(name: str) -> Iterable[None]:
    """Let a household draw with another of Hypothesis's engines."""
    before, household.lean.BACKEND = household.lean.BACKEND, name
    try:
        yield
    finally:
        household.lean.BACKEND = before


def by_hand(update: str) -> int:
    """Return the size of what a person wrote for this update, without what mends the home at its end.

    Where the last of it is no ask, one of those that every plan ends with is what shows the leak.
    """
    steps = STEPS[update]
    while isinstance(steps[-1], Clear | Resume):
        steps = steps[:-1]
    shows = isinstance(steps[-1], Ask | AskTogether | Meanwhile | Say)
    return size(Plan(OWNERS, steps)) + (not shows)


def size(plan: Plan) -> int:
    """Count elementary asks and faults."""
    return len(plan.elements)


def jobs(chosen: Iterable[str]) -> list[tuple[str | None, tuple[str, ...]]]:
    """Return each update with the ways in which it is searched for; what does not leak is searched guided only."""
    known = {u.name: u.description for u in updates.known().values() if "process" in u.description.stacks}
    wanted = list(chosen) or [n for n, d in known.items() if d.control]
    controls = [c for n in wanted if n in known and (c := known[n].control)]
    return [(n, WAYS) for n in wanted] + [(c, ("guided",)) for c in dict.fromkeys(controls)] + [(None, ("guided",))]


def work(store: Path, update: str | None, ways: Iterable[str], seeds: int, cases: int, shrunk: int) -> None:
    """Measure one update in every way and seed that the store does not have yet; in a process of its own."""
    name = update or "reference"
    done = {(r["update"], r["way"], r["seed"]) for r in read(store)}
    todo = [(w, s) for w, s in itertools.product(ways, range(seeds)) if (name, w, s) not in done]
    if shrunk and "guided" in ways and name in STEPS and (name, BY_HAND, 0) not in done:
        todo.append((BY_HAND, 0))
    if not todo:
        return
    evidence = store.parent / "evidence" / name
    settings = Settings(update=update, evidence=evidence, cases=cases, shrink_seconds=SHRINK_SECONDS)
    with Run(settings, folder=evidence / str(os.getpid())) as run:
        for way, seed in todo:
            if way == BY_HAND:
                result = measure_by_hand(run, name)
            else:
                result = measure(run, name, way, seed, cases, shrunk=way == "guided" and seed < shrunk)
            line = json.dumps(result)
            with store.open("a") as out:
                out.write(line + "\n")
            print(line[:160], flush=True)


def read(store: Path) -> list[dict[str, Any]]:
    """Return the stored results; a line that was cut short is none."""
    found = []
    for line in store.read_text().splitlines() if store.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def summed(results: list[dict[str, Any]]) -> dict[str, object]:
    """Return what the issue of a release is about: shares, medians, ratios; misses are censored at the budget."""
    searched = [r for r in results if r["way"] != BY_HAND]
    guided = [r for r in searched if r["way"] == "guided" and broken(r["update"])]
    clean = [r for r in searched if not broken(r["update"])]
    shrunk = [r for r in guided if "rate" in r]
    smallest = {u: known(results, u) for u in {r["update"] for r in shrunk}}
    small = [r for r in shrunk if r["size"] <= smallest[r["update"]][0] + 1]
    often = [r for r in shrunk if r["rate"] >= ENOUGH * smallest[r["update"]][1]]
    out: dict[str, object] = {
        "pairs": len(guided),
        "found within 100 cases": share(r["found"] and r["cases"] <= 100 for r in guided),
        "found within 300 cases": share(r["found"] and r["cases"] <= 300 for r in guided),
        "found within 60 s": share(r["found"] and r["seconds"] <= 60 for r in guided),
        "shrunk to within one of the smallest known": share(r in small for r in shrunk),
        "at 0.8 of its rate": share(r in often for r in shrunk),
        "both": share(r in small and r in often for r in shrunk),
        "shrunk programs that never leaked again": sum(r["hits"] == r["rate"] == 0 for r in shrunk),
        "asks that failed at a camera's link until december-26 leaked, median": median(
            r["failed uplinks"] for r in guided if r["update"] == "december-26" and r["found"]
        ),
        "searches without a leak that did not execute their budget exactly": sum(
            r["executions"] != r["budget"] for r in searched if not r["found"]
        ),
        "frames of reference": sum(r["frames"] for r in clean if r["update"] == "reference"),
        "frames of reference and controls": sum(r["frames"] for r in clean),
        "foreign among them": sum(r["foreign"] for r in clean),
    }
    for way in ("unguided", "one at a time"):
        out[f"cases {way} / guided, geometric mean"] = ratio(results, way)
    return out


def known(results: list[dict[str, Any]], update: str) -> tuple[int, float]:
    """Return size and rate of the smallest program known: a person's, or a smaller one that leaks nearly as often."""
    mine = [r for r in results if r["update"] == update and "rate" in r]
    least = ENOUGH * next((r["rate"] for r in mine if r["way"] == BY_HAND), 1.0)
    programs = [(r["size"], r["rate"]) for r in mine if r["way"] == BY_HAND or r["rate"] >= least]
    return min(programs, key=lambda known: (known[0], -known[1]), default=(0, 1.0))


def ratio(results: list[dict[str, Any]], way: str) -> float | None:
    """Return how many times more cases a way takes, over the medians of each update; a miss counts as its budget."""
    logs = []
    for update in {r["update"] for r in results if broken(r["update"])}:
        mid = {w: median_cases(results, update, w) for w in (way, "guided")}
        if None not in mid.values():
            logs.append(math.log(mid[way] / mid["guided"]))  # type: ignore[operator]
    return math.exp(statistics.fmean(logs)) if logs else None


def median_cases(results: list[dict[str, Any]], update: str, way: str) -> float | None:
    """Return the median of cases to the first foreign frame."""
    return median(
        r["cases"] if r["found"] else r["budget"] for r in results if (r["update"], r["way"]) == (update, way)
    )


def broken(name: str) -> bool:
    """Whether this is an update that leaks, not a control or the reference."""
    known = updates.known()
    return name in known and known[name].description.control is not None


def median(values: Iterable[float]) -> float | None:
    """Return the median, None of nothing."""
    all_ = list(values)
    return statistics.median(all_) if all_ else None


def share(held: Iterable[bool]) -> str:
    """Return how many of all, in words."""
    all_ = list(held)
    return f"{sum(all_) / len(all_):.3f} ({sum(all_)} of {len(all_)})" if all_ else "none"


def rows(results: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    """Yield a row for each update and way."""
    for update, way in dict.fromkeys((r["update"], r["way"]) for r in results if r["way"] != BY_HAND):
        mine = [r for r in results if (r["update"], r["way"]) == (update, way)]
        hand = next((r for r in results if (r["update"], r["way"]) == (update, BY_HAND)), None)
        cases = sorted(r["cases"] if r["found"] else r["budget"] for r in mine)
        seconds = sorted(r["seconds"] for r in mine if r["seconds"] is not None)
        shrunk = [r for r in mine if "rate" in r]
        yield (
            update,
            way,
            f"{sum(r['found'] for r in mine)}/{len(mine)}",
            f"{statistics.median(cases):g}, {ninth(cases):g}",
            f"{statistics.median(seconds):.1f}, {ninth(seconds):.1f}" if seconds else "",
            f"{min(r['size'] for r in shrunk)}–{max(r['size'] for r in shrunk)}" if shrunk else "",
            "/".join(f"{r['rate']:g}" for r in shrunk),
            f"{hand['size']}, {hand['rate']:g}" if shrunk and hand else "",
            str(sum(r["frames"] for r in mine)),
            str(sum(r["foreign"] for r in mine)),
        )


def ninth(values: list[float]) -> float:
    """Return the 90th percentile: the smallest value that nine of ten do not exceed."""
    return values[math.ceil(0.9 * len(values)) - 1]


def show(results: list[dict[str, Any]], console: Console) -> Mapping[str, object]:
    """Print the table and the sums, and return the sums."""
    heads = (
        Column("update", no_wrap=True),
        "way",
        "found",
        "cases: median, 90 %",
        "seconds",
        "size",
        "rate",
        "by hand",
        "frames",
        "foreign",
    )
    table = Table(*heads, box=None)
    for row in rows(results):
        table.add_row(*row)
    console.print(table)
    sums = summed(results)
    for what, value in sums.items():
        console.print(f"{what}: {value:.3g}" if isinstance(value, float) else f"{what}: {value}")
    return sums


def main(words: list[str]) -> None:
    """Measure what was asked for in several processes, each with a home of its own, and print everything stored."""
    parser = argparse.ArgumentParser(prog="power", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("updates", nargs="*", help="updates by name (default: all that run as processes)")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cases", type=int, default=CASES, help="budget of one search")
    parser.add_argument(
        "--shrunk", type=int, metavar="N", help="shrink what was found by the first N seeds (default: all), guided"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--store", type=Path, default=Path("power.jsonl"))
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a process that was started by this one
    options = parser.parse_args(words)
    shrunk = options.seeds if options.shrunk is None else options.shrunk
    if options.one is not None:
        work(options.store, options.one or None, options.ways, options.seeds, options.cases, shrunk)
        return
    console = Console(highlight=False)
    waiting = [(u or "", [w for w in ways if w in options.ways]) for u, ways in jobs(options.updates)]
    running: list[subprocess.Popen[bytes]] = []
    failed = 0
    same = ["--seeds", str(options.seeds), "--cases", str(options.cases), "--shrunk", str(shrunk)]
    same += ["--store", str(options.store)]
    while waiting or running:
        while waiting and len(running) < options.workers:
            name, ways = waiting.pop(0)
            running.append(
                subprocess.Popen([sys.executable, "-m", "tests.bench.power", "--one", name, *same, "--ways", *ways])
            )
        for process in [p for p in running if p.poll() is not None]:
            failed += process.returncode != 0
            running.remove(process)
        time.sleep(0.2)  # between two looks at the processes
    sums = show(read(options.store), console)
    options.store.with_suffix(".json").write_text(json.dumps(msgspec.to_builtins(dict(sums)), indent=2) + "\n")
    if failed:
        sys.exit(f"{failed} processes failed; what they said is above, and the numbers lack theirs")


if __name__ == "__main__":
    main(sys.argv[1:])

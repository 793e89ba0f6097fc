"""A worker without a home: speaks the protocol, and has the accidents that the environment tells it to have.

``OWNFRAME_FAKE`` is JSON: ``{"2": {"dies_in_task": 1}}`` lets the second worker be killed in its first task.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from chaos.conditions import Fault
from chaos.gate.messages import (
    Brief,
    Broken,
    Close,
    Closed,
    Collected,
    Done,
    Executed,
    Found,
    Leaked,
    Line,
    Once,
    Order,
    Said,
    Scenario,
    Search,
    Told,
    UnderTest,
)
from chaos.history import ControlSeen
from chaos.verdict import Exercise

SCENARIOS = (
    Scenario("test_a.py::TestA::runTest", "Alpha", "/somewhere/test_a.py", 7, 25, 3),
    Scenario("test_b.py::TestB::runTest", "Beta", "/somewhere/test_b.py", 9, 25, 3),
)
PLAIN = Scenario("test_c.py::test_plain", "test_plain", "/somewhere/test_c.py", 3, 0, 0)
LATENCY = Fault("ada.camera", "latency")
CONTROLS = tuple(ControlSeen(at=0.0, what=w, seen=True, detail="") for w in ("crossed scenes", "cut links") * 2)


def told(scenario: str, cases: int, *, finished: bool = True, controls: tuple[ControlSeen, ...] = CONTROLS) -> Told:
    """Return what a chapter of so many cases came to: three asks a case, each met a fault and showed its own."""
    exercise = Exercise(cases, 3 * cases, 3 * cases, 3 * cases, (LATENCY,), ((LATENCY, 3 * cases),))
    return Told(scenario, exercise, {"blank": cases, "own": 3 * cases}, (), controls, finished=finished)


class Fake:
    def __init__(self) -> None:
        self.line = Line(Connection(int(sys.argv[1])), Order)
        self.brief = brief = msgspec.json.decode(sys.stdin.buffer.read(), type=Brief)
        self.number = Path(brief.evidence).name.removeprefix("worker-")
        everybody = json.loads(os.environ.get("OWNFRAME_FAKE", "{}"))
        self.accident = everybody.get(self.number, everybody.get("*", {}))
        self.cases: dict[str, int] = {}
        self.tasks = 0
        self.log = Path(brief.evidence).parent / f"told-{self.number}.jsonl"

    def work(self) -> None:
        signal.signal(signal.SIGTERM, self.stopped)
        print("the fake worker's log")
        if "breaks" in self.accident:
            trouble, sentence = self.accident["breaks"]
            self.line.say(Broken(trouble, sentence))
            return
        if "scenarios" in self.accident:
            self.line.say(Collected(()))
        else:
            self.line.say(Collected((*SCENARIOS, PLAIN), ("a note",)))
        while True:
            order = self.line.hear()
            with self.log.open("ab") as log:
                log.write(msgspec.json.encode(order) + b"\n")
            match order:
                case Search() | Once():
                    self.tasks += 1
                    self.do(order)
                case Close():
                    self.close(quick=order.quick)
                    return

    def do(self, task: Search | Once) -> None:
        name = task.scenario if isinstance(task, Search) else task.test
        self.line.say(Said(f"doing {name}"))
        if self.accident.get("dies_in_task") == self.tasks:
            self.line.say(Executed(name, "search", 3, {"own": 3}))
            os.kill(os.getpid(), signal.SIGKILL)
        if self.accident.get("garbled_in_task") == self.tasks:
            self.line.connection.send_bytes(b"what?")
            time.sleep(60)
        if self.accident.get("silent_in_task") == self.tasks:
            time.sleep(60)
        if isinstance(task, Once):
            self.line.say(Executed(name, "search", 3, {"own": 3}))
            self.line.say(Done(1, 0.1, told=told(name, 1)))
            return
        for _ in range(task.cases):
            time.sleep(self.accident.get("seconds_a_case", 0.0))
            leaks = self.accident.get("leaks_in_task") == self.tasks
            self.cases[name] = self.cases.get(name, 0) + 1
            self.line.say(
                Executed(name, "search", 3, {"own": 2, "foreign": 1} if leaks else {"own": 3}, self.leak(leaks))
            )
            if leaks:
                if self.accident.get("dies_shrinking"):
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(self.accident.get("shrinks_for", 0.0))
                self.line.say(Executed(name, "again", 2, {"foreign": 1}, self.leak(leaks)))
                seen = time.monotonic()
                found = Found(name, "ada saw grace", "foreign", seen, "self.ask('ada')", "{}", "/p.png", 4, 5)
                self.line.say(msgspec.structs.replace(found, fingerprint=self.accident.get("fingerprint", "0" * 12)))
                break
        skipped = "not today" if self.accident.get("skips") == name else None
        executed = 0 if skipped or self.accident.get("barren") else task.cases
        self.line.say(Done(executed, 0.1, (LATENCY,), (LATENCY,), skipped=skipped))

    def leak(self, leaks: bool) -> Leaked | None:
        return Leaked("ada saw grace, at first", time.monotonic(), "foreign", "/first.png") if leaks else None

    def close(self, *, quick: bool) -> None:
        controls = CONTROLS[:2] if quick else CONTROLS
        if self.accident.get("control_unseen"):
            controls = (*CONTROLS[:3], ControlSeen(at=0.0, what="cut links", seen=False, detail="a way around"))
        chapters = [told(name, n, finished=not quick, controls=controls) for name, n in self.cases.items()]
        if self.accident.get("control_unseen"):
            chapters = [msgspec.structs.replace(c, doubts=("control cut links was not seen",)) for c in chapters]
        if self.accident.get("dies_closing"):
            os.kill(os.getpid(), signal.SIGKILL)
        composed = tuple(self.accident.get("composed", ())) if self.brief.compose else ()
        images = {"relay": "sha256:2"} if composed else {}
        under_test = UnderTest(images, {"hub": "sha256:1"}, ("ada.camera",), ("latency",), composed)
        self.line.say(Closed(tuple(chapters), under_test))

    def stopped(self, *_: object) -> None:
        self.close(quick=True)
        sys.exit(0)


if __name__ == "__main__":
    Fake().work()

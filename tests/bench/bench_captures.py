"""What captures of every hop cost in cases a minute, how long a finding is followed, what is lost at 30,000 a second.

Two homes stand beside each other, one captured and one not, and execute the same case in turns.
``OWNFRAME_BENCH_STACK=docker`` measures containers. On processes it takes root.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos import captures
from chaos.captures import Captures
from chaos.conditions import EDGE
from chaos.fates import Halves
from chaos.plan import Ask, AskTogether, Plan, SetConditions
from chaos.run import Run, Settings
from chaos.traces import Traces
from chaos.verdict import Rules, is_leak, judge
from tests.planted.directed import OWNERS, PLANS

STACK = os.environ.get("OWNFRAME_BENCH_STACK", "process")
TURNS, CASES = 12, 10
FINDINGS = 10
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))
PLAN = Plan(OWNERS, (EVERYBODY, SetConditions("ada.camera", EDGE), EVERYBODY))
"""That of ``workers``: three owners, six asks, one fault."""
RATE, SECONDS = 30_000, 4
BLAST = """
import socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
rate, count, began = int(sys.argv[2]), int(sys.argv[3]), time.monotonic()
for n in range(count):
    if n % 30 == 0:
        while time.monotonic() < began + n / rate:
            pass
    out.sendto(bytes(200), ("127.0.0.1", int(sys.argv[1])))
print(count / (time.monotonic() - began))
"""


def run() -> dict[str, float | int | str]:
    """Measure all three."""
    return {"stack": STACK} | _cost() | _localisation() | _lost()


def _cost() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        captured = Run(Settings(stack=STACK, evidence=Path(folder)))
        plain = Run(Settings(stack=STACK, evidence=Path(folder)))
        with captured, plain:
            homes = {"captured": captured.home(OWNERS)}
            homes["not captured"] = other = plain.home(OWNERS)
            assert isinstance(other.stack.captures, Captures), other.stack.captures
            other.stack.captures.stop()
            other.stack.captures = "this home is not captured"
            seconds: dict[str, list[float]] = {name: [] for name in homes}
            for home in homes.values():
                home.execute(PLAN)
            for turn in range(TURNS):
                for name in sorted(homes, reverse=bool(turn % 2)):
                    began = time.monotonic()
                    for _ in range(CASES):
                        homes[name].execute(PLAN)
                    seconds[name].append((time.monotonic() - began) / CASES)
            taken = homes["captured"].stack.captures
            assert isinstance(taken, Captures), taken
            last = taken.taken()
    rates = {name: 60 / statistics.median(each) for name, each in seconds.items()}
    ratios = [c / p for c, p in zip(seconds["captured"], seconds["not captured"], strict=True)]
    return {
        **{f"cases a minute, {name}": rate for name, rate in rates.items()},
        f"cost of captures, %, median of {TURNS} turns": 100 * (statistics.median(ratios) - 1),
        "packets of a case": len(last.packets),
        "megabytes of a case": last.size / 1e6,
        "packets that the kernel lost": last.lost,
    }


def _localisation() -> dict[str, float | str]:
    times, sizes, nodes = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        Run(Settings(stack=STACK, update="december-26", evidence=Path(folder))) as bench,
    ):
        home = bench.home(OWNERS)
        traces = Traces(home.topology, home.stack.captures, home.reader)
        for _ in range(FINDINGS):
            leak = next(j for j in judge(home.execute(PLANS["december-26"])) if is_leak(j, Rules()))
            began = time.monotonic()
            traces.keep(leak.case)
            word = traces.whence(leak)
            file = traces.file(leak, "")
            times.append(time.monotonic() - began)
            assert word is not None, "it was just kept"
            assert file is not None, "the same"
            nodes.append(word.node)
            sizes.append(len(file))
    return {
        f"seconds of localisation and file, median of {FINDINGS}": statistics.median(times),
        "seconds of localisation and file, longest": max(times),
        "megabytes of a finding's file": statistics.median(sizes) / 1e6,
        "nodes named": ", ".join(sorted({str(n) for n in nodes})),
    }


def _lost() -> dict[str, float | int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        port, count = sink.getsockname()[1], RATE * SECONDS
        made = captures.loopback(
            {"x": Halves(True, "127.0.0.1", port, "127.0.0.1", 1, "127.0.0.1", datagrams=True)}, {"x": ("a", "b")}
        )
        try:
            made.begin()
            command = [sys.executable, "-c", BLAST, str(port), str(RATE), str(count)]
            sent = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            taken = made.taken()
        finally:
            made.stop()
    return {"packets a second sent": sent, "of them sent": count, "taken": len(taken.packets), "lost": taken.lost}

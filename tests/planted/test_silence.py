"""No update that says so leaks on a healthy network, and neither does the reference: eight owners at once, clear links.

An update that leaked when healthy would be found by any test, and would prove nothing about faults. Not one request at
a time: a cache setting once leaked 157 of 400 on a perfect network as soon as eight asked at once (design, section 6).
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from chaos import updates
from chaos.plan import Ask, AskTogether, Plan
from chaos.run import Run, Settings
from chaos.verdict import Verdict, judge
from tests.live.docker_home import changed, engine, patient_with_players, wanted

pytestmark = pytest.mark.live

GROUPS = {"process": "eight homes", "docker": "docker"}
"""Eight homes at once starve two cores, and so would two such; what needs the engine runs beside nothing that does."""
EIGHT = ("ada", "grace", "lin", "joan", "mary", "rosa", "tove", "vera")
DISPLAYED = int(os.environ.get("OWNFRAME_SILENCE_FRAMES", "160"))
"""Frames; ``OWNFRAME_SILENCE_FRAMES=2000 pytest tests/planted/test_silence.py`` is what the documentation quotes."""
AT_LENGTH = {None: 2_000}
"""Watched for so many frames in any case: the reference."""
ROUNDS = 10
"""Rounds a case: a hub keeps every raster of a case, and a case of eight hubs and ten rounds is 150 MB of them."""

FEWER = {"rtsp-over-udp": (3, 60)}
"""Homes, and frames: eight cameras that encode and eight players are more than two cores can do."""


def marks(update: str | None, stack: str) -> list[pytest.MarkDecorator]:
    """Return with whom a test runs, and that it needs the camera which its update needs."""
    needs = updates.find(update).description.needs if update else {}
    return [pytest.mark.xdist_group(GROUPS[stack]), *(wanted(camera) for camera in needs.values())]


SILENT = [
    pytest.param(name, stack, id=name or "reference", marks=marks(name, stack))
    for name, stack in [
        (None, "process"),
        *(
            (u.name, u.description.stacks[0])
            for u in updates.known().values()
            if u.description.silent_when_healthy and u.description.control
        ),
    ]
]
"""The reference, and every update that breaks something; of a fixed one, the search that must pass tells."""


@pytest.fixture(autouse=True)
def patient_relay(monkeypatch):
    """Nodes wait 10 s where they have half a second: a machine that is starved as long is a slow network to them.

    At load 13 on two cores 8 of 2,000 frames were foreign with december-26, and 161 with edge-cache. What is left is
    what a healthy network is about: eight who ask at once. (Processes have our environment, containers have not.)
    """
    for setting in (
        *("UPLINK_CONNECT", "UPLINK_TOTAL", "ACCOUNTS_TOTAL", "CACHE_SOCKET", "LENS_TOTAL", "ASK_TOTAL"),
        *("JOIN_AFTER", "SLOW_AFTER", "GATEWAY_PATIENCE"),  # what updates have of that kind
    ):
        monkeypatch.setenv(setting, "10")


EDGE = ("environment = { LISTEN", 'environment = { EDGE_PATIENCE = "10s", LISTEN')


def patient(update: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Return the update, or a copy of it, that is patient in containers too, which do not have our environment."""
    if update == "edge-cache":
        return str(changed(updates.find(update).folder, folder, "update.toml", EDGE))
    if update == "rtsp-over-udp":
        patient_with_players(folder, monkeypatch)
    return update


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("update", "stack"), SILENT)
def test_on_clear_links_nobody_sees_a_stranger(tmp_path, monkeypatch, crowd, update, stack):
    if stack == "docker":
        engine()
    elif update and not SpecifierSet(updates.find(update).description.python).contains(platform.python_version()):
        pytest.skip(f"{update} needs another Python")
    given = patient(update, tmp_path / "patient", monkeypatch)
    count, wanted = FEWER.get(update, (len(EIGHT), max(AT_LENGTH.get(update, 0), DISPLAYED)))
    owners = EIGHT[:count]
    healthy = Plan(owners, (AskTogether(tuple(Ask(o) for o in owners)),) * ROUNDS)
    needs = updates.find(update).description.needs if update else {}
    with crowd, Run(Settings(update=given, stack=stack, evidence=tmp_path, **needs)) as run:
        home = run.home(owners)
        counts = dict.fromkeys(Verdict, 0)
        while sum(n for v, n in counts.items() if v is not Verdict.BLANK) < wanted:
            for judged in judge(home.execute(healthy)):
                counts[judged.verdict] += 1
    assert {v.word: n for v, n in counts.items() if n and v not in (Verdict.OWN, Verdict.BLANK)} == {}
    assert counts[Verdict.OWN] >= wanted

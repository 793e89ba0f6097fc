"""Every update must be found, and its control must not be: by a plan that was made for it, some by the scenarios too.

A directed plan proves the mechanism within seconds. Whether scenarios that know nothing of it find it, how soon and how
surely, is measured for each update by ``tox -e power``; here they search for one that needs nothing but poor
conditions, and on the docker stack.
"""

from __future__ import annotations

import os
import platform
import shutil

import pytest
from packaging.specifiers import SpecifierSet

from chaos import updates
from chaos.demo import load, scenario_folder
from chaos.plan import Sell
from chaos.run import Chapter, Finding, Run, Settings
from chaos.traces import Traces
from chaos.verdict import Judged, Outcome, Rules, Verdict, is_leak, judge
from chaos.whence import Whence
from tests.live.docker_home import engine
from tests.planted.directed import MADE_FOR, OWNERS, PLANS, TRIES

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

SCENARIOS = sorted(
    (s for file in sorted(scenario_folder().glob("test_*.py")) for s in load(file)),
    key=lambda s: s.__name__ != "ThreeHomesOneRelay",
)
"""First the one that needs nothing but poor conditions: a node that is started again takes a container 1.5 s."""
NOT_SHRUNK = {"AccountsChangeHands": 1}
"""Scenarios whose cases take many seconds: they are searched by this seed, and what they find is left as it is."""
SEARCHED_IN_CONTAINERS = ("december-26", "edge-cache")
"""A file that changes, a node that is added; a package that is pinned is shown in containers by its plan alone
(``tests/live/test_screens_and_cameras.py``)."""
SHRUNK = [s for s in SCENARIOS if s.__name__ in MADE_FOR.keys() - NOT_SHRUNK.keys()]
BROKEN = [u.description for u in updates.known().values() if u.description.control]
RUNS = [
    pytest.param(d, stack, id=f"{d.name}-{stack}", marks=[pytest.mark.xdist_group("docker")] * (stack == "docker"))
    for d in BROKEN
    for stack in d.stacks
    if (d.name, stack) == ("december-26", "process") or (stack == "docker" and d.name in SEARCHED_IN_CONTAINERS)
]
REVOKED = ("access-grace",)
"""Nobody sees a stranger by these: a camera is shown that may be shown no more."""
ROOMS = dict.fromkeys(("asked-twice", "asked-twice-fixed"), ("nursery",))
DIRECTED = os.environ.get("OWNFRAME_TEST_DIRECTED", "process").split()
"""Stacks on which the plan made for it is executed for every update; in containers each takes half a minute."""


def check(run: Run, finding: Finding) -> None:
    assert finding.leak.verdict in (Verdict.FOREIGN, Verdict.REVOKED, Verdict.MISDIRECTED)
    assert finding.picture is not None
    assert finding.picture.stat().st_size > 10_000, "a person can see it"
    assert finding.hits >= 1
    assert finding.plan.asks <= finding.drawn.asks
    for name in ("plan.json", "finding.txt", "finding.json"):
        assert (run.evidence.folder / "findings" / "1" / name).is_file()


def shown(update: str | None, tmp_path, plan, cases: int, stack: str = "process") -> tuple[list[Judged], Whence | None]:
    """Execute `plan` up to so many times, until it leaks; return every displayed frame, and where it turned foreign."""
    word = None
    with Run(Settings(update=update, stack=stack, evidence=tmp_path)) as run:
        home, frames = run.home(OWNERS, rooms=ROOMS.get(update or "", ())), []
        traces = Traces(home.topology, home.stack.captures, home.reader)
        for _ in range(cases):
            frames += judge(home.execute(plan))
            leak = next((frame for frame in frames if is_leak(frame, Rules())), None)
            if leak is not None:
                traces.keep(leak.case)
                word = traces.whence(leak)
                break
    return frames, word


def check_word(word: Whence | None, guilty: str) -> None:
    """A node's folder is what ``update.toml`` names; who may not read loopback's packets is told so."""
    assert word is not None
    if os.geteuid() != 0 and os.environ.get("CI", "").lower() not in ("true", "1"):
        assert word.nodes == ()
        return
    assert word.node is not None, word.sentence
    assert word.node.rpartition(".")[2] == guilty, word.sentence


def test_every_update_has_a_directed_plan():
    assert PLANS.keys() == {d.name for d in BROKEN if "process" in d.stacks}


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        pytest.param(stack, name, marks=[pytest.mark.xdist_group("docker")] * (stack == "docker"))
        for stack in DIRECTED
        for name in PLANS
    ],
)
def test_a_directed_plan_shows_the_leak_and_by_its_control_nobody_sees_a_stranger(tmp_path, stack, name):
    update = updates.find(name).description
    if stack == "docker":
        engine()
    elif not SpecifierSet(update.python).contains(platform.python_version()):
        pytest.skip(f"{name} needs Python {update.python}")
    frames, word = shown(name, tmp_path, PLANS[name], TRIES, stack)
    assert (Verdict.REVOKED if name in REVOKED else Verdict.FOREIGN) in [frame.verdict for frame in frames]
    check_word(word, update.guilty)
    frames, _ = shown(update.control, tmp_path, PLANS[name], 2, stack)
    seen = [frame.verdict for frame in frames]
    assert not [v.word for v in seen if v <= Verdict.UNREADABLE]
    assert seen.count(Verdict.OWN) >= 2


def test_where_it_turned_foreign_is_seen_and_not_read_in_the_update(tmp_path):
    into = tmp_path / "nameless"
    shutil.copytree(updates.find("december-26").folder, into)
    text = (into / "update.toml").read_text()
    (into / "update.toml").write_text(text.replace('guilty = "relay"\n', ""))
    assert updates.find(str(into)).description.guilty == ""
    _, word = shown(str(into), tmp_path, PLANS["december-26"], TRIES)
    check_word(word, "relay")


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.__name__ in NOT_SHRUNK], ids=lambda s: s.__name__)
def test_a_scenario_of_long_cases_finds_the_update_that_breaks_it(tmp_path, scenario):
    with Run(Settings(update=MADE_FOR[scenario.__name__], evidence=tmp_path)) as run:
        chapter = Chapter(run, scenario.__name__, scenario.homes, scenario.rules_of_age, begins_controlled=False)
        plan = scenario.hunt(chapter, 20, seeded=NOT_SHRUNK[scenario.__name__])
        print(f"found after {chapter.executions} cases")
    assert plan is not None
    assert any(isinstance(step, Sell) for step in plan.elements)


@pytest.mark.parametrize("scenario", SHRUNK, ids=lambda s: s.__name__)
def test_a_scenario_of_one_part_finds_the_update_that_breaks_it(tmp_path, scenario):
    settings = Settings(update=MADE_FOR[scenario.__name__], evidence=tmp_path, cases=20, shrink_budget=2)
    with Run(settings) as run:
        finding, conclusion = scenario.search(run, name=scenario.__name__)
    assert finding is not None, conclusion.reasons
    check(run, finding)


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.__name__ not in MADE_FOR], ids=lambda s: s.__name__)
def test_each_scenario_finds_december_26_and_tells_it_in_one_sentence(tmp_path, scenario):
    with Run(Settings(update="december-26", evidence=tmp_path)) as run:
        finding, conclusion = scenario.search(run, name=scenario.__name__)
    assert finding is not None, conclusion.reasons
    assert conclusion.outcome is Outcome.LEAK
    check(run, finding)


@pytest.mark.parametrize(("update", "stack"), [r for r in RUNS if r.id != "december-26-process"])  # above, each
def test_the_scenarios_find_the_update(tmp_path, update, stack):
    """As `pytest scenarios --update` does: one scenario that fails is a release that is stopped."""
    if stack == "docker":
        engine()
    with Run(Settings(update=update.name, stack=stack, evidence=tmp_path)) as run:
        searched = (scenario.search(run, name=scenario.__name__) for scenario in SCENARIOS)
        finding = next((found for found, _ in searched if found is not None), None)
    assert finding is not None, {name: c.reasons for name, c in run.conclusions.items()}
    assert run.outcome is Outcome.LEAK
    check(run, finding)
    check_word(finding.whence, update.guilty)
    assert finding.capture is not None
    assert finding.capture.read_bytes()


@pytest.mark.parametrize(("update", "stack"), RUNS)
def test_the_control_of_an_update_passes(tmp_path, update, stack):
    cases = None
    if stack == "docker":
        engine()
        cases = 12  # twice what finds the update
    with Run(Settings(update=update.control, stack=stack, evidence=tmp_path, cases=cases)) as run:
        finding, conclusion = SCENARIOS[0].search(run, name="control")
    assert finding is None, finding and finding.text()
    assert conclusion.outcome is Outcome.PASSED, conclusion.reasons

"""Every update must be found by the scenarios that ship, on each stack that it runs on, and its control must not be."""

from __future__ import annotations

import pytest

from chaos import updates
from chaos.demo import load, scenario_folder
from chaos.run import Finding, Run, Settings
from chaos.verdict import Outcome, Verdict
from tests.live.docker_home import engine

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

SCENARIOS = [s for file in sorted(scenario_folder().glob("test_*.py")) for s in load(file)]
BROKEN = [u.description for u in updates.known().values() if u.description.control]
RUNS = [
    pytest.param(d, stack, id=f"{d.name}-{stack}", marks=[pytest.mark.xdist_group("docker")] * (stack == "docker"))
    for d in BROKEN
    for stack in d.stacks
]


def check(run: Run, finding: Finding) -> None:
    assert finding.leak.verdict in (Verdict.FOREIGN, Verdict.MISDIRECTED)
    assert finding.picture is not None
    assert finding.picture.stat().st_size > 10_000, "a person can see it"
    assert finding.hits >= 1
    assert finding.plan.asks <= finding.drawn.asks
    for name in ("plan.json", "finding.txt", "finding.json"):
        assert (run.evidence.folder / "findings" / "1" / name).is_file()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
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


@pytest.mark.parametrize(("update", "stack"), RUNS)
def test_the_control_of_an_update_passes(tmp_path, update, stack):
    cases = None
    if stack == "docker":
        engine()
        cases = 12  # twice what finds the update; all of a scenario's cases take the docker stack two minutes
    with Run(Settings(update=update.control, stack=stack, evidence=tmp_path, cases=cases)) as run:
        finding, conclusion = SCENARIOS[0].search(run, name="control")
    assert finding is None, finding and finding.text()
    assert conclusion.outcome is Outcome.PASSED, conclusion.reasons

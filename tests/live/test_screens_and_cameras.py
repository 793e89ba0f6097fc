"""With a browser as the hub, and with each camera of somebody else's: the reference passes, and updates are found.

A scenario passes on the reference, and finds a file that changes and a node that is added; a package that is pinned is
shown by the plan that was made for it.
"""

from __future__ import annotations

import contextlib

import pytest

from chaos.demo import load, scenario_folder
from chaos.run import CaseResult, Chapter, Run, Settings
from chaos.verdict import Outcome, Rules, Verdict
from tests.planted.directed import OWNERS, PLANS, TRIES

from .docker_home import CAMERAS, engine

pytestmark = [
    pytest.mark.live,
    pytest.mark.docker,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(600),  # images are built by the first tests
]
SEARCHED = [camera for camera in CAMERAS if camera != "mediamtx"]
"""Behind MediaMTX each ask starts an FFmpeg, and a search takes three minutes; what it has of its own is in
``test_rtsp.py``."""
CHOICES = {"chromium": {"display": "chromium"}} | {camera: {"camera": camera} for camera in SEARCHED}
SEARCHED_FOR = ("december-26", "edge-cache")
"""By a scenario that needs nothing but poor conditions, in one case or two."""
PLANNED = "redis-4.5.3"
"""By the plan that was made for it: a search took six minutes with Chromium, 28 cases of 15 s."""
SCENARIO = "test_three_homes_one_relay.py"


@contextlib.contextmanager
def running(folder, chosen, **settings):
    engine()
    with Run(Settings(stack="docker", evidence=folder, **CHOICES[chosen], **settings)) as run:
        yield run


def scenario():
    (found,) = load(scenario_folder() / SCENARIO)
    return found


@pytest.mark.parametrize("chosen", CHOICES)
def test_a_scenario_passes_on_the_reference(tmp_path, chosen):
    with running(tmp_path, chosen, cases=8) as run:
        finding, conclusion = scenario().search(run, name=chosen)
    assert finding is None, finding and finding.text()
    assert conclusion.outcome is Outcome.PASSED, conclusion.reasons


def check(chapter: Chapter, leaked: CaseResult) -> None:
    assert leaked.leaks[0].verdict in (Verdict.FOREIGN, Verdict.MISDIRECTED)
    assert chapter.run.evidence.full(leaked.leaks[0].frame.digest).is_file(), "a person can see it"
    assert chapter.close().outcome is Outcome.LEAK


@pytest.mark.parametrize("update", SEARCHED_FOR)
@pytest.mark.parametrize("chosen", CHOICES)
def test_a_scenario_finds_the_update(tmp_path, chosen, update):
    """It is not shrunk here: that is tried with the hubs and cameras that cost less."""
    sought = scenario()
    with running(tmp_path, chosen, update=update) as run:
        chapter = Chapter(run, chosen, sought.homes, sought.rules_of_age)
        plan = sought.hunt(chapter, 40)
        assert plan is not None, f"in none of {chapter.executions} cases"
        check(chapter, chapter.execute(plan))  # what it came to is known


@pytest.mark.parametrize("chosen", CHOICES)
def test_the_plan_that_was_made_for_a_pinned_package_shows_its_leak(tmp_path, chosen):
    with running(tmp_path, chosen, update=PLANNED) as run:
        chapter = Chapter(run, chosen, OWNERS, Rules())
        results = (chapter.again(PLANS[PLANNED]) for _ in range(TRIES))
        leaked = next((r for r in results if r.leaks), None)
        assert leaked is not None, f"in none of {chapter.executions} executions"
        check(chapter, leaked)

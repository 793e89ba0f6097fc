"""With a browser as the hub, and with each camera of somebody else's: the reference passes, and updates are found.

A scenario passes on the reference, and each of the first three updates is found by one: a file that changes, a package
that is pinned, a node that is added.
"""

from __future__ import annotations

import pytest

from chaos.demo import load, scenario_folder
from chaos.run import Run, Settings
from chaos.verdict import Outcome, Verdict

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
FOUND_BY = {
    "december-26": "test_three_homes_one_relay.py",
    "redis-4.5.3": "test_an_impatient_evening.py",
    "edge-cache": "test_three_homes_one_relay.py",
}


def search(folder, chosen, scenario, **settings):
    engine()
    (scenario,) = load(scenario_folder() / scenario)
    with Run(Settings(stack="docker", evidence=folder, **CHOICES[chosen], **settings)) as run:
        return scenario.search(run, name=scenario.__name__)


@pytest.mark.parametrize("chosen", CHOICES)
def test_a_scenario_passes_on_the_reference(tmp_path, chosen):
    finding, conclusion = search(tmp_path, chosen, "test_three_homes_one_relay.py", cases=8)
    assert finding is None, finding and finding.text()
    assert conclusion.outcome is Outcome.PASSED, conclusion.reasons


@pytest.mark.parametrize("update", FOUND_BY)
@pytest.mark.parametrize("chosen", CHOICES)
def test_a_scenario_finds_the_update(tmp_path, chosen, update):
    """It is not shrunk here: that is tried with the hubs and cameras that cost less."""
    finding, conclusion = search(tmp_path, chosen, FOUND_BY[update], update=update, cases=40, shrink_budget=1)
    assert finding is not None, conclusion.reasons
    assert conclusion.outcome is Outcome.LEAK
    assert finding.leak.verdict in (Verdict.FOREIGN, Verdict.MISDIRECTED)
    assert finding.picture is not None

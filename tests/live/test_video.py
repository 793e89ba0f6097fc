"""Video through a real Toxiproxy: left for stills on a link that cannot carry it, and back; every frame the owner's."""

from __future__ import annotations

import time

import pytest

from chaos import conditions
from chaos.children import Scratch
from chaos.contracts.reference import Reference
from chaos.evidence import Evidence
from chaos.history import Asked
from chaos.home import Home
from chaos.identity import Key
from chaos.plan import Ask, Plan, SetConditions
from chaos.stacks.process import ProcessStack
from chaos.verdict import Rules, Verdict, judge

pytestmark = pytest.mark.live
OWNERS = ("ada", "grace", "lin")
NARROW = conditions.of(conditions.toxic("bandwidth", way="down", rate=93))
"""KB/s. A still of 75 KB takes 0.9 s, and a video that wants 120 falls behind."""
PATIENCE = 30.0


@pytest.fixture(scope="module")
def home(tmp_path_factory, toxiproxy_binary):
    scratch = Scratch()
    evidence = Evidence(tmp_path_factory.mktemp("home") / "evidence")
    made = Home(Reference(OWNERS), ProcessStack(scratch), (Key.fresh(),), evidence)
    try:
        made.start(scratch.folder / "home")
        yield made
    finally:
        made.stop()
        evidence.close()
        scratch.remove()


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s until {what}"
        time.sleep(0.05)


def shown(case) -> int:
    """How many different pictures of ada's were filmed for what her hub shows."""
    return len(set(case.captured("ada")))


def test_a_video_is_left_on_a_narrow_link_and_comes_back(home):
    case = home.case()
    assert case.ask("ada", feed="video").outcome == "picture"
    until(lambda: shown(case) > 5, "the video plays")
    mark = home.stack.log_mark("ada.hub")
    case.set_conditions("ada.hub", NARROW)
    until(lambda: "event=video-left" in home.stack.log_since("ada.hub", mark), "it is left")
    case.set_conditions("ada.hub", conditions.CLEAR)
    if "event=feed-failed" in home.stack.log_since("ada.hub", mark):  # a starved machine: not even a still came
        case.ask("ada", feed="video")
    before = shown(case)
    until(lambda: shown(case) > before + 10, "the video is back")
    assert "event=video-again" in home.stack.log_since("ada.hub", mark)
    frames = judge(home.finish(case), Rules())
    assert {j.verdict for j in frames} == {Verdict.OWN, Verdict.BLANK}
    assert sum(j.verdict is Verdict.OWN for j in frames) > 20


def test_a_video_of_a_camera_that_is_gone_is_unavailable(home):
    events = home.execute(Plan(OWNERS, (SetConditions("ada.camera", conditions.OUTAGE), Ask("ada", feed="video"))))
    assert [e.outcome for e in events if isinstance(e, Asked)] == ["unavailable"]
    assert {j.verdict for j in judge(events, Rules())} == {Verdict.BLANK}

"""Cameras made of software that no one here wrote: each owner sees the own one.

Whether scenarios find updates with them: ``test_screens_and_cameras.py``.
"""

from __future__ import annotations

import pytest

from chaos.displays.headless import PICTURE
from chaos.errors import Misuse
from chaos.history import Asked
from chaos.plan import Ask, AskTogether, Plan, SetClock
from chaos.verdict import Rules, Verdict, judge

from .docker_home import CAMERAS, OWNERS, engine, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.timeout(600)]  # images are built by the first tests
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))


@pytest.fixture(scope="module", params=[c for c in CAMERAS if c != "mediamtx"])
def home(request, tmp_path_factory):
    engine()
    with running_home(tmp_path_factory.mktemp("home"), camera=request.param) as (running, _, _):
        yield running


def judged(home, *steps):
    events = home.execute(Plan(OWNERS, steps))
    return events, judge(events, Rules())


def executed(home, *steps):
    """Execute until every ask gave a picture: on a busy machine the relay's patience runs out."""
    for _ in range(10):
        events, frames = judged(home, *steps)
        if {e.outcome for e in events if isinstance(e, Asked)} == {"picture"}:
            return frames
    pytest.fail("in none of ten cases everybody got a picture")


def test_each_owner_sees_their_own_camera_and_every_frame_is_read(home):
    frames = executed(home, Ask("ada"), Ask("lin", feed="stream"), EVERYBODY)
    assert {j.verdict for j in frames} == {Verdict.OWN, Verdict.BLANK}
    for owner in OWNERS:
        assert max(j.guilty.tiles for j in frames if j.frame.hub == owner and j.guilty) >= 10
    for display in home.displays.values():
        assert display.box == PICTURE, "whatever size the camera has, its picture is where the hub puts it"


def test_such_a_camera_has_no_clock_of_its_own(home):
    with pytest.raises(Misuse, match="clock"):
        home.check(Plan(OWNERS, (SetClock("ada.camera", offset_s=60),)))


def test_video_of_a_camera_that_encodes_it_is_shown_and_others_fall_back_to_stills(home):
    frames = executed(home, Ask("ada", feed="video"))
    assert {j.verdict for j in frames} == {Verdict.OWN, Verdict.BLANK}

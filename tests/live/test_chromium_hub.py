"""A browser as the hub: it shows what it must, what is foreign on it is found, and no frame of it is missed."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time

import msgspec
import numpy as np
import pytest

from chaos import conditions
from chaos.displays.chromium import Chromium
from chaos.displays.devtools import attached
from chaos.history import Asked, Unseen
from chaos.plan import Ask, AskTogether, ChangeAccount, Plan, SetConditions
from chaos.verdict import Rules, Verdict, judge

from .docker_home import OWNERS, engine, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.timeout(420)]  # the image is built by the first test
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    engine()
    with running_home(tmp_path_factory.mktemp("home"), display="chromium") as there:
        yield there


@pytest.fixture(autouse=True)
def nothing_is_lost(running):
    yield
    home, _, _ = running
    assert not [g for d in home.displays.values() for g in d.gaps()]


class _Value(msgspec.Struct):
    value: object = None


class _Result(msgspec.Struct):
    result: _Value


def in_page(display: Chromium, *scripts: str) -> list[object]:
    """Run scripts in a hub's page, each to the end of its promise, and return what they came to."""

    async def run() -> list[object]:
        async with attached(display._address, "", lambda *_: None) as page:
            values = [
                await page.call("Runtime.evaluate", _Result, expression=s, awaitPromise=True, returnByValue=True)
                for s in scripts
            ]
        return [v.result.value for v in values]

    return asyncio.run(run())


def verdicts(events):
    return {j.verdict for j in judge(events, Rules())}


def executed(home, *steps):
    """Execute until each of the last three asks gave a picture: on a busy machine the relay's patience runs out."""
    for _ in range(10):
        events = home.execute(Plan(OWNERS, (*steps, EVERYBODY)))
        if [e.outcome for e in events if isinstance(e, Asked)][-3:] == ["picture"] * 3:
            return events
    pytest.fail("in none of ten cases everybody got a picture")


def test_every_owner_sees_their_own_camera_as_still_and_as_stream(running):
    home, _, _ = running
    events = executed(home, Ask("ada", feed="stream"))
    judged = judge(events, Rules())
    assert {j.verdict for j in judged} == {Verdict.OWN, Verdict.BLANK}
    for owner in OWNERS:  # a part of a picture that was still coming has fewer
        assert max(j.guilty.tiles for j in judged if j.frame.hub == owner and j.guilty) >= 10


def test_a_video_plays_natively(running):
    """H.264 from the camera's encoder to the browser's own decoder: many pictures of one ask, each of them read."""
    home, _, _ = running
    for _ in range(5):
        case = home.case()
        case.ask("ada", feed="video")
        deadline = time.monotonic() + 10
        while len(set(case.captured("ada"))) < 15 and time.monotonic() < deadline:
            time.sleep(0.1)
        plays = "event=video-left" not in home.stack.tail("ada.hub", 40).rpartition("event=picture")[2]
        frames = judge(home.finish(case), Rules())
        assert not [j for j in frames if j.verdict not in (Verdict.OWN, Verdict.BLANK)]
        if plays and sum(j.verdict is Verdict.OWN for j in frames) >= 15:
            return
    pytest.fail("in none of five cases a video played on")


def test_a_guest_sees_their_own_camera_and_nothing_of_whose_hub_it_was(running):
    home, _, _ = running
    events = executed(home, Ask("ada"), ChangeAccount("ada", "lin"), Ask("ada"))
    assert verdicts(events) == {Verdict.OWN, Verdict.BLANK}
    seen = [s.owner for j in judge(events, Rules()) if j.frame.hub == "ada" for s in j.frame.reading.sightings]
    assert {"ada", "lin"} == set(seen)


def test_a_camera_that_cannot_be_reached_is_unavailable(running):
    home, _, _ = running
    events = home.execute(Plan(OWNERS, (SetConditions("ada.camera", conditions.OUTAGE), Ask("ada"))))
    assert [e.outcome for e in events if isinstance(e, Asked)] == ["unavailable"]
    assert verdicts(events) == {Verdict.BLANK}


def test_a_still_that_comes_slowly_is_seen_while_it_comes(running):
    """A picture stands half painted, and is known by what it grew into: the browser paints what came, every second."""
    home, _, _ = running
    slow = conditions.of(conditions.toxic("bandwidth", way="down", rate=93))
    for _ in range(10):
        events = home.execute(Plan(OWNERS, (SetConditions("ada.hub", slow), Ask("ada"))))
        frames = [j for j in judge(events, Rules()) if j.frame.hub == "ada" and j.verdict is not Verdict.BLANK]
        assert {j.verdict for j in frames} <= {Verdict.OWN, Verdict.UNREADABLE}
        assert not [j for j in frames if j.unexplained]
        if len(frames) >= 2:
            return
    pytest.fail("in none of ten cases a still was seen while it came")


FLASH = """
(async () => {
  const stranger = new Image(), shown = "position:fixed;inset:0;width:1024px;height:600px;z-index:9";
  stranger.decoding = "sync";
  stranger.src = "data:image/jpeg;base64,%s";
  stranger.style = shown + ";visibility:hidden";
  document.body.append(stranger);
  await stranger.decode();
  const refreshes = n => new Promise(done => {
    const next = () => n-- > 0 ? requestAnimationFrame(next) : done(); next();
  });
  await refreshes(5);
  for (const n of %s) {
    stranger.style = shown;
    await refreshes(n);
    stranger.style = shown + ";visibility:hidden";
    await refreshes(3);
  }
  stranger.remove();
  await refreshes(3);
})()
"""


def flashes(display: Chromium, stranger: bytes, lengths: list[int]) -> int:
    """Flash a picture on a hub for each of these numbers of refreshes, and return how often it came to be seen."""
    display.collect()
    display.forget()
    in_page(display, FLASH % (base64.b64encode(stranger).decode(), lengths))
    shown = display.collect()
    means = [np.frombuffer(display.raster(s.digest).rgb, np.uint8).mean() for s in shown]
    display.forget()
    bright = [mean > 60 for mean in means]  # a message on the dark screen has 20, the stranger's scene more than 100
    return sum(now and not before for before, now in itertools.pairwise(bright))


def test_a_strangers_still_is_caught_however_short_it_flashes(running):
    """Each refresh of the browser is ours. After one that was late the page's clock ticks once without being drawn."""
    home, _, _ = running
    screen = home.displays["ada"]
    stranger = home.scene._paint(("lin", "living-room"), 1, home.scene._world)
    lengths = [1] * 12 + [2] * 6 + [5] * 3 + [15]
    late = screen.late
    caught = flashes(screen, stranger, lengths)
    assert len(lengths) - (screen.late - late) <= caught <= len(lengths)


def test_a_browser_that_crashes_is_started_again_and_its_case_is_no_pass(running):
    home, stack, _ = running
    case = home.case()
    case.ask("ada")
    pid = "next(p for p in __import__('os').listdir('/proc') if p.isdigit() and b'--remote-debugging-port=0' in "
    program = f"import os; os.kill(int({pid}open(f'/proc/{{p}}/cmdline','rb').read().split(b'\\0'))), 9)"
    stack.run_beside("ada.hub", ("python3", "-c", program))
    deadline = time.monotonic() + 20
    while not home.displays["ada"]._journal._gaps:
        assert time.monotonic() < deadline, "the browser is not back"
        time.sleep(0.05)
    events = home.finish(case)
    (unseen,) = [e for e in events if isinstance(e, Unseen)]
    assert unseen.hub == "ada"
    assert "browser" in unseen.why
    executed(home)


def test_a_page_that_hangs_is_no_pass_and_is_started_again(running):
    home, _, _ = running
    case = home.case()
    case.ask("ada")
    in_page(home.displays["ada"], "setTimeout(() => { for (;;); }, 50), 1")
    time.sleep(0.2)  # until the page's own clock has let it hang: nothing else tells
    asked = case.ask("ada")
    assert asked.outcome == "lost"
    events = home.finish(case)
    assert any("did not take an ask" in e.why for e in events if isinstance(e, Unseen))
    executed(home)

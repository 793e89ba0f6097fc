"""The vendor's own app under the conditions under which the integration leaks: it stays clean, and that is said."""

from __future__ import annotations

import pytest

from chaos import bothways
from chaos.run import Run, Settings
from chaos.verdict import Rules, Verdict, is_leak, judge
from tests.planted.directed import OWNERS, PLANS

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def test_a_program_that_leaks_by_the_integration_alone_says_where_the_fault_is(tmp_path):
    with Run(Settings(update="december-26", evidence=tmp_path)) as run:
        frames = judge(run.home(OWNERS).execute(PLANS["december-26"]))
        assert any(is_leak(frame, Rules()) for frame in frames)
        both = bothways.compare(run, PLANS["december-26"], 5, 5)
        assert (both.app_hits, both.app_tries) == (0, bothways.TIMES)
        assert both.shown >= len(OWNERS), "the app displayed cameras while conditions were the same"
        assert both.sentence().startswith("The fault is in the integration")

        # the app's home can be suspended too, and is under the same judge
        app = run.home(OWNERS, path=bothways.APP)
        seen = {frame.verdict for frame in judge(app.execute(PLANS["access-grace"].without("relay")))}
        assert Verdict.OWN in seen
        assert seen <= {Verdict.OWN, Verdict.AGE_UNKNOWN, Verdict.BLANK, Verdict.UNREADABLE}

"""A leak that the headless hub showed, executed again on a real browser: december-26 is seen on it too."""

from __future__ import annotations

import pytest
from PIL import Image

from chaos import run as running
from chaos.conditions import OUTAGE
from chaos.plan import Ask, Clear, Plan, SetConditions
from chaos.run import Chapter, Run, Settings
from chaos.verdict import Rules

from .docker_home import OWNERS, engine

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.timeout(420)]
CAUSE = (Ask("grace"), SetConditions("ada.camera", OUTAGE), Ask("ada"), Clear("ada.camera"))


def test_a_finding_of_the_headless_hub_is_confirmed_on_a_browser(tmp_path, monkeypatch):
    engine()
    monkeypatch.setattr(running, "CONFIRMATIONS", 2)
    settings = Settings(
        stack="docker", update="december-26", evidence=tmp_path, shrink_budget=0, known=False, confirm_on="chromium"
    )
    plan = Plan(OWNERS, CAUSE)
    with Run(settings) as run:
        chapter = Chapter(run, "evening", OWNERS, Rules(minimum_strong_asks=0))
        assert chapter.execute(plan).leaks
        finding = chapter.investigate(plan)
    assert finding.confirmed is not None
    assert finding.confirmed.hits > 0, finding.confirmed.text()
    assert finding.confirmed.picture is not None
    with Image.open(finding.confirmed.picture) as picture:
        assert picture.size == (1024, 600)
    assert "confirmed on chromium: " in (run.evidence.folder / "findings/1/finding.txt").read_text()

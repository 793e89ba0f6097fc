"""A finding is executed again on another display, and every door tells what came of it; on homes that are played."""

from __future__ import annotations

import msgspec
import pytest

from chaos import report
from chaos.errors import Misuse, Surroundings
from chaos.gate.options import Options
from chaos.run import CONFIRMATIONS, Chapter, Confirmation, Finding, Run, Settings
from chaos.verdict import Rules
from tests.makers import OWNERS, both_controls
from tests.test_run import CAUSE, DRAWN, PlayedHome


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """Make a chapter that leaks each time; the home with another display does as `there` says."""

    def make(there=lambda number: True, **settings) -> Chapter:
        homes: dict[str, PlayedHome] = {}

        def home(run: Run, owners, rooms=()):
            display = run.settings.display
            if display not in homes:
                homes[display] = PlayedHome(run, (lambda number: True) if display == "headless" else there)
            return homes[display]

        monkeypatch.setattr(Run, "home", home)
        monkeypatch.setattr(Chapter, "_control", lambda self: self.events.extend(both_controls()))
        opened.append(Run(Settings(evidence=tmp_path, **settings)))
        made = Chapter(opened[-1], "evening", OWNERS, Rules())
        made.homes = homes
        return made

    opened: list[Run] = []
    yield make
    for each in opened:
        each.close()


def investigated(made: Chapter) -> Finding:
    made.execute(DRAWN)
    return made.investigate(DRAWN)


def test_a_finding_is_confirmed_with_the_shrunk_plan_on_the_other_display(chapter):
    made = chapter(confirm_on="chromium")
    finding = investigated(made)
    assert finding.confirmed is not None
    assert (finding.confirmed.hits, finding.confirmed.tries) == (CONFIRMATIONS, CONFIRMATIONS)
    assert [p.steps for p in made.homes["chromium"].executed] == [CAUSE] * CONFIRMATIONS
    assert finding.confirmed.picture is not None
    assert finding.confirmed.picture.exists()
    assert f"confirmed on chromium: {CONFIRMATIONS} of {CONFIRMATIONS} times; picture: " in finding.text()


def test_what_the_other_display_never_shows_is_told_as_not_confirmed_and_stays_a_finding(chapter):
    made = chapter(there=lambda number: False, confirm_on="chromium")
    finding = investigated(made)
    assert (finding.confirmed.hits, finding.confirmed.tries) == (0, CONFIRMATIONS)
    assert f"not confirmed on chromium: 0 of {CONFIRMATIONS} times" in finding.text()
    assert finding.hits == CONFIRMATIONS


def test_a_display_that_cannot_be_had_leaves_the_finding_and_its_reason(chapter):
    def gone(number: int) -> bool:
        raise Surroundings("there is no browser")

    finding = investigated(chapter(there=gone, confirm_on="chromium"))
    assert finding.confirmed == Confirmation("chromium", 0, 0, why="there is no browser")
    assert "not confirmed on chromium (there is no browser)" in finding.text()
    assert finding.hits == CONFIRMATIONS


def test_cases_of_the_other_display_are_none_of_the_chapter(chapter):
    plain, confirming = chapter(), chapter(confirm_on="chromium")
    investigated(plain)
    investigated(confirming)
    assert confirming.executions == plain.executions


@pytest.mark.parametrize(
    "settings", [{}, {"confirm_on": "headless"}, {"confirm_on": "chromium", "display": "chromium"}]
)
def test_nothing_is_confirmed_that_was_not_asked_for_or_was_found_there(chapter, settings):
    assert investigated(chapter(**settings)).confirmed is None


def test_a_display_that_there_is_not_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(Misuse, match="no display 'cromium'; did you mean 'chromium'"):
        Run(Settings(evidence=tmp_path / "evidence", confirm_on="cromium"))
    assert not (tmp_path / "evidence").exists()


def test_the_page_and_the_stored_finding_say_so(chapter, capsys):
    made = chapter(confirm_on="chromium")
    finding = investigated(made)
    made.run.close()
    folder = made.run.evidence.folder
    assert report.tell(folder, None, blurred=False, say=print) == 0
    assert f"Confirmed on chromium: {CONFIRMATIONS} of {CONFIRMATIONS} times" in (folder / "index.html").read_text()
    stored = (folder / "findings/1/finding.txt").read_text()
    assert "confirmed on chromium" in stored
    assert finding.remarks in stored


def test_what_a_gate_is_told_reaches_its_workers():
    told = Options(display="chromium", confirm_on="headless")
    assert told.chosen == {"display": "chromium", "confirm_on": "headless"}
    assert msgspec.structs.replace(Settings(), **told.chosen).choices["display"] == "chromium"

"""The harness broken on purpose: each part that could go silent is replaced by an empty one, and nothing passes.

Real nodes, real Toxiproxy. Each scenario that ships is run against crossed scenes, since a scenario that cannot fail is
none.
"""

from __future__ import annotations

import hashlib

import pytest

from chaos import Inconclusive, Leak, OwnframeError, Surroundings, controls, home, run, sockets, verdict
from chaos.demo import load, scenario_folder
from chaos.run import Run, Settings

pytestmark = pytest.mark.live

SCENARIOS = [s for file in sorted(scenario_folder().glob("test_*.py")) for s in load(file)]
FEW = 3


@pytest.fixture(scope="module")
def one_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    with Run(Settings(evidence=folder, cases=FEW, shrink_budget=2, known=False)) as started:
        yield started


@pytest.fixture
def a_run(one_run):
    """One run for all, whose home knows of no control and no finding of the test before."""
    one_run.findings.clear()
    one_run.conclusions.clear()
    for running in one_run.homes:
        running.last_control = ()
    return one_run


@pytest.fixture(autouse=True)
def short_investigations(monkeypatch):
    monkeypatch.setattr(run, "CONFIRMATIONS", 1)
    monkeypatch.setattr(run, "DIRECTED_BUDGET", 2)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_every_scenario_fails_when_two_scenes_are_crossed_in_its_cases(a_run, monkeypatch, scenario):
    """Ada's camera films Grace's home and the other way round, from the proven reset of a planned case on."""
    begin = home.Home.case
    open_now = []

    def crossed(self, kind="plan", plan=None):
        while open_now:
            open_now.pop().__exit__(None, None, None)
        case = begin(self, kind, plan)
        if kind == "plan":
            ada, grace = ("ada", "living-room"), ("grace", "living-room")
            open_now.append(self.scene.crossed({ada: grace, grace: ada}))
            open_now[-1].__enter__()
            self.wait_filming({"ada": "grace", "grace": "ada"}, ["living-room"])
        return case

    monkeypatch.setattr(home.Home, "case", crossed)
    try:
        with pytest.raises(Leak, match=r"saw (ada|grace)'s living-room"):
            scenario.check(a_run, name=scenario.__name__)
    finally:
        while open_now:
            open_now.pop().__exit__(None, None, None)


def test_a_judge_that_calls_everything_own_is_inconclusive(a_run, monkeypatch):
    monkeypatch.setattr(verdict, "_judge_sighting", lambda *_: verdict.Verdict.OWN)
    with pytest.raises(Inconclusive, match="control crossed scenes was not seen"):
        SCENARIOS[0].check(a_run, name="empty judge")


def test_a_judge_that_says_nothing_is_inconclusive(a_run, monkeypatch):
    for module in (verdict, controls, run):
        monkeypatch.setattr(module, "judge", lambda *_, **__: ())
    with pytest.raises(Inconclusive, match="control crossed scenes was not seen"):
        SCENARIOS[0].check(a_run, name="silent judge")


def test_a_witness_that_sees_nothing_is_inconclusive(a_run, monkeypatch):
    monkeypatch.setattr(sockets.Meter, "moved", lambda *_: 0)
    monkeypatch.setattr(sockets.Meter, "dropped", lambda *_: 0)
    monkeypatch.setattr(sockets.Meter, "ended", lambda *_: 0)
    with pytest.raises(Inconclusive, match="asks met a fault and displayed own content"):
        SCENARIOS[0].check(a_run, name="empty witness")


def test_a_reset_that_resets_nothing_does_not_pass(a_run, monkeypatch):
    monkeypatch.setattr(home.Home, "reset", lambda *_: [])
    with pytest.raises((Inconclusive, OwnframeError)):
        SCENARIOS[0].check(a_run, name="empty reset")


def test_links_that_cut_nothing_are_seen_by_the_control(a_run, monkeypatch):
    """A home whose nodes have a way around the proxies: conditions are recorded, and nothing happens."""
    from chaos import links
    from chaos.conditions import Conditions

    set_really = links.Links.set

    def set_nothing(self, link: str, conditions: Conditions):
        began, ended = set_really(self, link, Conditions("CLEAR"))
        return began, ended

    monkeypatch.setattr(links.Links, "set", set_nothing)
    with pytest.raises(Inconclusive, match="control cut links was not seen"):
        SCENARIOS[0].check(a_run, name="links around")


def test_streams_that_stand_still_are_told_with_the_last_lines_of_who_serves_them(a_run, monkeypatch):
    monkeypatch.setattr(controls, "ADVANCE_WITHIN", 0.0)
    monkeypatch.setattr(controls, "ATTEMPTS", 1)
    with pytest.raises(Surroundings, match="no second picture on") as told:
        SCENARIOS[0].check(a_run, name="standing streams")
    for words in ("ada asked 1 times, which ended with", "last lines of ada.hub:", "last lines of relay:"):
        assert words in str(told.value)


def test_a_scenario_that_can_never_display_a_frame_is_inconclusive(a_run):
    from hypothesis.stateful import rule

    from chaos import Household, any_home
    from chaos.conditions import OUTAGE

    class Dark(Household):
        motifs = ()

        @rule(h=any_home)
        def asks_in_the_dark(self, h):
            self.set_conditions(f"{h}.hub", OUTAGE)
            self.ask(h)

    with pytest.raises(Inconclusive):
        Dark.check(a_run, name="dark")


def test_a_scenario_that_never_disturbs_anything_is_inconclusive(a_run):
    from hypothesis.stateful import rule

    from chaos import Household, any_home

    class Calm(Household):
        motifs = ()

        @rule(h=any_home)
        def asks(self, h):
            self.ask(h)

    with pytest.raises(Inconclusive, match="0 asks met a fault"):
        Calm.check(a_run, name="calm")


@pytest.mark.parametrize(("source", "said"), [("this is no Python", "SyntaxError"), ("raise SystemExit(7)", "code 7")])
def test_an_update_that_does_not_start_is_unusable_and_names_its_node(tmp_path, source, said):
    from chaos import updates

    replaced = hashlib.sha256((updates.home_folder() / "relay" / "app.py").read_bytes()).hexdigest()
    folder = tmp_path / "update"
    (folder / "relay").mkdir(parents=True)
    (folder / "relay" / "app.py").write_text(source)
    (folder / "update.toml").write_text(
        'schema = 1\nname = "broken"\ntitle = ""\nstory = ""\nknown_from = []\nstacks = ["process"]\nguilty = "relay"\n'
        f'[[files]]\nnode = "relay"\npath = "relay/app.py"\nreplaces = "sha256:{replaced}"\n'
    )
    with (
        Run(Settings(update=str(folder), evidence=tmp_path / "evidence")) as run,
        pytest.raises(Surroundings, match=rf"(?s)relay.*{said}"),
    ):
        SCENARIOS[0].check(run, name="broken")
    assert run.outcome is not verdict.Outcome.PASSED
    assert not run.findings

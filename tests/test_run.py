"""A chapter whose home is played: what is done with a leak, and what is on disk whatever happens then."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import pytest

from chaos import run as running
from chaos.errors import Misuse, Surroundings
from chaos.evidence import read_history
from chaos.plan import Ask, AskTogether, Clear, Plan, SetConditions
from chaos.register import Replay
from chaos.run import CONFIRMATIONS, UNTIL_SEEN, Chapter, Run, Settings
from chaos.verdict import Rules
from tests.makers import OWNERS, SLOW, asked, case, case_ended, conditions_set, met, plan, seen, shown, signed_in
from tests.test_evidence import raster
from tests.test_register import MECHANISM, REPLAY

CAUSE = (Ask("grace"), SetConditions("relay.cache", SLOW), Ask("ada"))
DRAWN = plan(Ask("lin"), Clear("ada.hub"), *CAUSE, Clear("relay.cache"), AskTogether(tuple(Ask(o) for o in OWNERS)))


class PlayedHome:
    """Leaks Grace's picture to Ada in every plan that has all of `CAUSE`, as often as `leaks` says."""

    def __init__(self, run: Run, leaks=lambda number: True) -> None:
        self.owners = OWNERS
        self.last_control = ("none",)
        self.stack, self.digests = SimpleNamespace(parts={}, captures="nobody captures here"), {}
        self.topology = self.reader = None
        self.executed: list[Plan] = []
        self.restarts: list[int] = []
        self.carried = 0
        self._run, self._leaks = run, leaks

    def restart_nodes(self) -> None:
        self.restarts.append(len(self.executed))

    def execute(self, plan: Plan):
        self.executed.append(plan)
        number = len(self.executed)
        store = self._run.evidence
        rest = iter(plan.steps)
        leaks = self._leaks(number) and all(any(s == wanted for s in rest) for wanted in CAUSE)
        started = msgspec.structs.replace(case(number), plan=plan)
        events = [started, conditions_set("relay.cache", SLOW, 0.5)]
        asks = [s.home for s in plan.elements if isinstance(s, Ask)]
        for n, home in enumerate(asks):
            ask = 100 * number + n
            events += [signed_in(home, 0.0, 1.0, hub=home), asked(10.0 * n + 2, ask=ask, hub=home), met(ask)]
        if "ada" in asks:
            at = 10.0 * asks.index("ada") + 5
            frame = shown(
                at, at + 1, seen("grace" if leaks else "ada", case=self.carried if leaks and self.carried else number)
            )
            frame = msgspec.structs.replace(frame, digest=f"{number:016d}")
            store.keep(msgspec.structs.replace(raster(width=64, height=36), digest=frame.digest))
            events.append(frame)
        events.append(case_ended(number))
        store.record(events)
        return events


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    def make(leaks=lambda number: True, **settings) -> Chapter:
        started = Run(Settings(evidence=tmp_path, **settings))
        opened.append(started)
        home = PlayedHome(started, leaks)
        monkeypatch.setattr(Run, "home", lambda self, owners, rooms=(): home)
        monkeypatch.setattr(Chapter, "_control", lambda self: None)
        return Chapter(started, "evening", OWNERS, Rules())

    opened: list[Run] = []
    yield make
    for each in opened:
        each.close()


def test_a_leak_is_shrunk_and_executed_again_and_the_counts_are_exact(chapter):
    made = chapter()
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert finding.plan.steps == CAUSE
    assert (finding.hits, finding.tries) == (CONFIRMATIONS, CONFIRMATIONS)
    assert made.home.executed[-CONFIRMATIONS:] == [finding.plan] * CONFIRMATIONS
    assert made.executions == len(made.home.executed)


@pytest.mark.parametrize("budget", [0, 5, 17])
def test_shrinking_takes_its_budget_at_most_and_confirming_exactly_its_own(chapter, budget):
    made = chapter(leaks=lambda number: number == 1 or number % 3 == 0, shrink_budget=budget)
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    anew = [r for r in made.home.restarts if r >= 1 + budget + CONFIRMATIONS]
    assert len(made.home.executed) == 1 + budget + CONFIRMATIONS + len(anew)
    assert len(anew) <= (2 if budget else 0), "of three in a row on restarted nodes the second or third did not leak"
    assert finding.tries == CONFIRMATIONS


@pytest.mark.parametrize(("again", "times"), [(8, 8), (5, 5), (None, UNTIL_SEEN)])
def test_what_does_not_leak_again_at_once_is_executed_until_it_does(chapter, again, times):
    made = chapter(leaks=lambda number: number == 1 or number - 1 == again, shrink_budget=0)
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert (finding.hits, finding.tries) == (int(again is not None), times)
    assert len(made.home.executed) == 1 + times


def test_what_came_after_the_leak_and_bystanders_are_left_out_first(chapter):
    made = chapter()
    made.execute(DRAWN)
    made.investigate(DRAWN)

    assert made.home.executed[1] == plan(Clear("ada.hub"), *CAUSE)  # no Lin, and nothing after Ada's first own ask


@pytest.mark.parametrize("raised", [KeyboardInterrupt, Surroundings("Toxiproxy died"), ZeroDivisionError])
@pytest.mark.parametrize("at", [2, 3, 9, 14, 16])
def test_whatever_ends_it_the_finding_is_on_disk_with_the_best_until_then(chapter, raised, at):
    def leaks(number: int) -> bool:
        if number == at:
            raise raised
        return True

    made = chapter(leaks)
    made.execute(DRAWN)
    expected = type(raised) if isinstance(raised, Exception) else raised
    if expected is Surroundings:
        finding = made.investigate(DRAWN)
        assert "ended early: Toxiproxy died" in finding.text()
    else:
        with pytest.raises(expected):
            made.investigate(DRAWN)

    (finding,) = made.run.findings
    folder = made.run.evidence.folder / "findings" / "1"
    assert Plan.from_json((folder / "plan.json").read_bytes()) == finding.plan
    assert "ada saw grace's living-room" in (folder / "finding.txt").read_text()
    assert json.loads((folder / "finding.json").read_text())["tries"] == finding.tries
    replay = Replay.read(folder / "replay.json")
    assert (replay.plan, replay.hits, replay.tries) == (finding.plan, finding.hits, finding.tries)
    assert made.run.register.get(finding.fingerprint).replay == replay
    assert (finding.plan == DRAWN) is (at <= 4)
    assert 1 <= finding.hits <= finding.tries
    assert finding.picture is not None
    assert finding.picture.is_file()


def test_of_every_leak_plan_history_and_picture_are_on_disk_before_anybody_hears_of_it(chapter, monkeypatch):
    """Whatever is raised once a leak was judged, the next line included, comes after its evidence."""
    made = chapter(leaks=lambda number: number % 2 == 0)
    told = []

    def hears(result) -> None:
        folder = made.run.evidence.folder
        for leak in result.leaks:
            told.append(leak)
            case_folder = folder / "findings" / f"case-{leak.case}"
            assert Plan.from_json((case_folder / "plan.json").read_bytes()) == result.plan
            assert "ada saw grace's" in (case_folder / "headline.txt").read_text()
            assert made.run.evidence.full(leak.frame.digest).is_file()
            assert leak.frame in read_history(folder)
        raise SystemExit  # the hardest end: nothing after this line runs

    monkeypatch.setattr(made.run, "on_case", hears)
    for number in range(40):
        with pytest.raises(SystemExit):
            made.again(plan(*CAUSE, *[Clear("ada.hub")] * number))

    assert len(told) == 20


def test_guesses_of_a_leak_that_no_ask_was_open_for_are_whole(chapter):
    result = SimpleNamespace(
        plan=DRAWN,
        leaking_ask=None,
        leaks=[chapter().again(DRAWN).leaks[0]],
    )

    assert running._guesses(result)[-1] == DRAWN


def test_the_last_steps_that_leak_each_time_are_taken_though_the_plan_hardly_ever_does(chapter):
    made = chapter()
    long = plan(*[Clear("ada.hub")] * 20, *CAUSE, Clear("relay.cache"))
    made.home._leaks = lambda number: number == 1 or len(made.home.executed[-1].steps) <= 4
    made.execute(long)
    finding = made.investigate(long)

    assert made.home.executed[1:4] == [plan(Clear("ada.hub"), *CAUSE)] * 3
    assert long not in made.home.executed[1:]
    assert finding.plan.steps == CAUSE
    assert (finding.hits, finding.tries) == (CONFIRMATIONS, CONFIRMATIONS)


def test_a_race_is_tried_with_one_ask_after_the_other_as_they_stand_and_backwards(chapter):
    """Of those who ask at once luck says who comes first."""
    race = AskTogether((Ask("ada"), Ask("grace")))
    drawn = plan(*[Clear("ada.hub")] * 20, *CAUSE, race, Ask("ada"))
    result = SimpleNamespace(plan=drawn, leaking_ask=None, leaks=[chapter().again(DRAWN).leaks[0]])
    *last, forwards, backwards, few, short = running._guesses(result)

    assert (few, short) == (drawn, drawn)
    assert last[-1].steps == drawn.steps[-16:]
    assert forwards.steps == (*drawn.steps[-16:-2], Ask("ada"), Ask("grace"), Ask("ada"))
    assert backwards.steps == (*drawn.steps[-16:-2], Ask("grace"), Ask("ada"), Ask("ada"))
    assert list(running._one_after_the_other(plan(*CAUSE))) == []


def test_findings_of_one_mechanism_are_told_together(chapter):
    made = chapter()
    for drawn in (DRAWN, plan(Clear("lin.hub"), *CAUSE)):
        made.execute(drawn)
        made.investigate(drawn)

    ((fingerprint, findings),) = made.run.by_fingerprint.items()
    assert [f.fingerprint for f in findings] == [fingerprint, fingerprint]
    assert all(f"finding {fingerprint}" in f.text() for f in findings)


def test_what_is_left_of_an_earlier_case_is_looked_for_from_restarted_nodes_after_that_case(chapter):
    """The replay file has the earlier case's plan, and so has every execution until then."""
    made = chapter()
    first = plan(Ask("grace"))
    made.execute(first)
    made.home.carried = 1
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert finding.leak.carried_over == 1
    assert "left over from case 1" in finding.sentence
    assert finding.earlier == Replay.read(finding.replay).earlier == first
    after = made.home.executed[2:]
    assert after[::2] == [first] * (len(after) // 2)
    assert made.home.restarts == list(range(2, len(made.home.executed), 2))


def test_what_leaks_only_on_nodes_that_know_nothing_is_executed_on_restarted_ones_each_time(chapter):
    """What nodes keep over cases hides it from the second execution on, as in conditional-stills."""
    made = chapter()
    made.home._leaks = lambda number: number - 1 in (0, *made.home.restarts)
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert finding.plan.steps == CAUSE
    assert (finding.hits, finding.tries) == (CONFIRMATIONS, CONFIRMATIONS)
    assert "reproduced 5 of 5 times, each on restarted nodes; " in finding.text()
    assert finding.anew
    assert Replay.read(finding.replay).anew
    begun = made.home.restarts[0]
    assert begun <= 3, "each guess was executed once without"
    assert made.home.restarts == list(range(begun, len(made.home.executed)))


def test_what_leaks_no_more_once_it_is_shrunk_is_shrunk_again_on_restarted_nodes(chapter):
    """The nodes' state walked to where it leaks no more while it was shrunk."""
    made = chapter()
    made.home._leaks = lambda number: (not made.home.restarts and number <= 12) or number - 1 in made.home.restarts
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert finding.plan.steps == CAUSE
    assert (finding.hits, finding.tries) == (CONFIRMATIONS, CONFIRMATIONS)
    assert finding.anew
    assert made.home.restarts[0] >= 12 + CONFIRMATIONS


def test_what_leaks_every_second_time_is_executed_on_restarted_nodes_once_it_is_small(chapter):
    """As asked-twice: what a case leaves with the relay for two seconds is there in the next, and not in that after."""
    made = chapter()
    leaked: list[int] = []

    def leaks(number: int) -> bool:
        if number - 1 in made.home.restarts:
            return made.home.executed[-1].steps == CAUSE
        return number - 1 not in leaked and not leaked.append(number)

    made.home._leaks = leaks
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert finding.plan.steps == CAUSE
    assert (finding.hits, finding.tries) == (CONFIRMATIONS, CONFIRMATIONS)
    assert finding.anew
    assert "each on restarted nodes" in finding.text()


def test_what_needs_the_case_before_is_executed_after_it_on_restarted_nodes(chapter):
    """As session-slots: the relay had been restarted at the end of the case before, and who signs in first is luck."""
    made = chapter()
    first = plan(Ask("grace"))
    made.execute(first)

    def leaks(number: int) -> bool:
        return number == 2 or (number - 2 in made.home.restarts and made.home.executed[-2] == first)

    made.home._leaks = leaks
    made.execute(DRAWN)
    finding = made.investigate(DRAWN)

    assert finding.plan.steps == CAUSE
    assert (finding.hits, finding.tries) == (CONFIRMATIONS, CONFIRMATIONS)
    assert finding.earlier == Replay.read(finding.replay).earlier == first
    assert not finding.anew
    assert "5 of 5 times, each on restarted nodes after an earlier case; " in finding.text()


def test_what_leaks_as_it_is_or_on_restarted_nodes_no_better_restarts_nothing_more(chapter):
    made = chapter()
    made.execute(DRAWN)
    assert not made.investigate(DRAWN).anew
    assert made.home.restarts == []

    rarely = chapter(leaks=lambda number: number == 1 or number % 4 == 0)
    rarely.execute(DRAWN)
    finding = rarely.investigate(DRAWN)

    assert not finding.anew
    assert not Replay.read(finding.replay).anew
    assert "restarted" not in finding.text()
    assert len(rarely.home.restarts) <= 4


def test_a_leak_that_cannot_be_stored_is_told_with_what_failed(chapter):
    made = chapter()
    made.execute(DRAWN)

    def full(*_):
        raise Surroundings("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.run.evidence, "write", full)
        finding = made.investigate(DRAWN)

    assert finding.plan.steps == CAUSE
    assert "not all of it could be stored: the disk is full" in finding.text()


def known_of(made: Chapter, plan: Plan, scenario: str = "evening") -> None:
    made.run.register.reproduced(
        msgspec.structs.replace(REPLAY, plan=plan, scenario=scenario, earlier=None, fingerprint=plan.digest),
        MECHANISM, 5, 5,
    )  # fmt: skip


def test_known_plans_of_a_scenario_are_executed_until_one_leaks_and_the_register_hears(chapter):
    made = chapter()
    made.home.topology = made.run.contract(OWNERS).topology
    made.home.check = lambda _: None
    clean, leaking, newer = plan(Ask("ada")), plan(*CAUSE), plan(Ask("ada"), Clear("ada.hub"))
    for each in (clean, leaking, newer):
        known_of(made, each)
    known_of(made, plan(Ask("lin")), scenario="morning")
    known_of(made, plan(Clear("edge.relay"), Ask("ada")))  # a link that an update brought

    assert made.try_known(10) == 2
    assert made.home.executed == [newer, leaking]
    assert made.leaked == leaking
    assert made.run.register.get(leaking.digest).hits == 1


def test_a_known_plan_that_this_home_cannot_do_is_left_out(chapter):
    """One of the docker stack's with lost packets would end a search on processes as unusable."""
    made = chapter()
    made.home.topology = made.run.contract(OWNERS).topology

    def check(asked: Plan) -> None:
        if any(isinstance(step, SetConditions) for step in asked.steps):
            raise Misuse("this stack has no packets")

    made.home.check = check
    can, cannot = plan(Ask("ada")), plan(*CAUSE)
    assert any(isinstance(step, SetConditions) for step in cannot.steps)
    known_of(made, can)
    known_of(made, cannot)

    made.try_known(10)
    assert made.home.executed == [can]


def test_known_plans_are_at_most_as_many_as_there_is_room_for(chapter):
    made = chapter()
    made.home.topology = made.run.contract(OWNERS).topology
    made.home.check = lambda _: None
    for number in range(4):
        known_of(made, plan(*[Ask("ada")] * (number + 1)))

    assert made.try_known(3) == len(made.home.executed) == 3
    assert made.leaked is None

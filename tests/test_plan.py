"""Plans: what a replay file holds, what names a plan, and a printed program that makes the same plan again."""

from __future__ import annotations

import ast
import json
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import Household, conditions, current, plan, updates
from chaos.errors import Misuse
from chaos.faults import NodeFaults
from chaos.plan import (
    Ask,
    AskTogether,
    Attach,
    ChangeAccount,
    Clear,
    Detach,
    Evict,
    GiveUp,
    InnerStep,
    LetAge,
    Meanwhile,
    Moment,
    NodeFault,
    Pause,
    Plan,
    Protect,
    Reconnect,
    ResetPassword,
    Restart,
    Restore,
    Resume,
    RollBack,
    RollOut,
    Say,
    Sell,
    SetClock,
    SetConditions,
    SetPicture,
    Share,
    Step,
    Suspend,
    Unlink,
    Unshare,
)
from chaos.topology import from_toml
from tests.makers import OWNERS

TOPOLOGY = from_toml(tomllib.loads((updates.home_folder() / "home.toml").read_text()), OWNERS)

homes = st.sampled_from(OWNERS)
links = st.sampled_from([k.name for k in TOPOLOGY.links])
nodes = st.sampled_from([n.name for n in TOPOLOGY.nodes])
offsets = st.sampled_from(SetClock.OFFSETS) | st.integers(-1_000_000, 1_000_000)
cameras = st.sampled_from(["living-room", "porch", 'it\'s "odd" \\ {x}'])
feeds = st.sampled_from(["still", "stream"])
asks = st.builds(Ask, homes, cameras, feeds)


def toxics() -> st.SearchStrategy[conditions.AnyToxic]:
    ways = st.sampled_from(conditions.Way)
    return st.one_of(
        *(
            st.builds(kind, way=ways, **{a: st.sampled_from(rungs) for a, rungs in kind.LADDERS.items()})
            for kind in conditions.TOXICS.values()
        )
    )


any_conditions = st.sampled_from(list(conditions.NAMED.values())) | st.lists(
    toxics(), min_size=1, max_size=4, unique_by=lambda t: (t.kind, t.way)
).map(lambda chosen: conditions.of(*chosen))


@st.composite
def asks_together(draw: st.DrawFn) -> AskTogether:
    """Draw what `Household.ask_together` makes: several homes, one camera, stills."""
    camera = draw(cameras)
    return AskTogether(tuple(Ask(h, camera) for h in draw(st.lists(homes, min_size=1, unique=True))))


inner_steps: st.SearchStrategy[InnerStep] = st.one_of(
    asks,
    asks_together(),
    st.builds(GiveUp, homes, st.integers(0, 5000), cameras, feeds),
    st.builds(ChangeAccount, homes, homes),
    st.builds(SetConditions, links, any_conditions),
    st.builds(Clear, links),
    *(st.builds(kind, nodes) for kind in (Restart, RollOut, RollBack, Pause, Resume, Detach)),
    st.builds(Evict, st.just("cache")),
    st.builds(Reconnect, st.lists(links, min_size=1, unique=True).map(tuple)),
    st.builds(Attach, nodes, st.booleans()),
    st.builds(Say, homes, cameras, feeds),
    st.builds(Suspend, st.integers(0, 60_000)),
    st.builds(Restore, st.booleans()),
    st.builds(Unlink, homes, st.integers(0, 60_000)),
    st.builds(ResetPassword, homes, st.integers(0, 60_000)),
    st.builds(Protect, homes),
    st.permutations(OWNERS).map(lambda who: Share(*who[:2])),
    *(
        st.tuples(st.permutations(OWNERS), st.integers(0, 60_000)).map(
            lambda drawn, kind=kind: kind(*drawn[0][:2], drawn[1])
        )
        for kind in (Sell, Unshare)
    ),
    st.builds(SetClock, st.sampled_from([f"{o}.camera" for o in OWNERS]), offsets, st.sampled_from(SetClock.ZONES)),
    st.builds(
        SetPicture, st.sampled_from([f"{o}.camera" for o in OWNERS]), st.booleans(), st.none() | st.integers(1, 95)
    ),
)
moments = st.builds(Moment, st.sampled_from(["taken", "failed"])) | st.builds(
    Moment, st.sampled_from(["sent", "answering"]), links
)
hubs = {f"{o}.hub" for o in OWNERS}
not_of_hubs = inner_steps.filter(lambda step: getattr(step, "node", None) not in hubs)
meanwhiles = st.builds(
    Meanwhile,
    asks | st.builds(GiveUp, homes, st.integers(0, 500)),
    st.lists(not_of_hubs, min_size=1, max_size=3).map(tuple),
    moments,
)
steps: st.SearchStrategy[Step] = inner_steps | meanwhiles | st.builds(LetAge, homes, st.integers(1, 60_000))
mixed_asks = st.lists(asks, min_size=1, unique_by=lambda a: a.home).map(lambda chosen: AskTogether(tuple(chosen)))
plans = st.builds(Plan, st.just(OWNERS), st.lists(steps | mixed_asks, max_size=10).map(tuple))

ONE_OF_EACH = Plan(
    OWNERS,
    (
        Ask("ada"),
        AskTogether((Ask("ada"), Ask("lin"))),
        GiveUp("grace", 200, feed="stream"),
        ChangeAccount("ada", "grace"),
        SetConditions("relay.cache", conditions.EDGE),
        Clear("relay.cache"),
        Restart("relay"),
        Pause("cache"),
        Resume("cache"),
        Detach("ada.camera"),
        Attach("ada.camera", new_address=True),
        SetClock("lin.camera", -3600, "Asia/Tokyo"),
        RollBack("relay"),
        RollOut("relay"),
        Evict(),
        Reconnect(("ada.camera", "lin.camera")),
        Meanwhile(Ask("ada"), (Clear("relay.cache"), GiveUp("lin", 20)), Moment("sent", "ada.hub")),
        LetAge("ada", 300),
        Share("ada", "lin"),
        Unshare("ada", "lin", 100),
        Sell("ada", "grace"),
        ResetPassword("lin"),
        Protect("lin"),
    ),
)


@settings(deadline=None)
@given(plans)
def test_a_plan_read_from_its_file_is_the_same_plan(plan):
    again = Plan.from_json(plan.to_json())

    assert again == plan
    assert again.digest == plan.digest
    assert again.to_json() == plan.to_json()


@settings(deadline=None)
@given(plans)
def test_the_keys_of_a_plan_file_are_sorted(plan):
    text = plan.to_json().decode()

    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@settings(deadline=None)
@given(plans, plans)
def test_plans_have_the_same_digest_when_they_are_equal_and_only_then(one, other):
    assert (one.digest == other.digest) == (one == other)


def test_the_digest_of_a_plan_is_the_same_in_every_version_and_process():
    assert Plan(OWNERS, (Ask("ada"),)).to_json() == (
        b'{"format":1,"homes":["ada","grace","lin"],'
        b'"steps":[{"camera":"living-room","feed":"still","home":"ada","step":"ask"}]}'
    )
    assert Plan(OWNERS, (Ask("ada"),)).digest == "fc7248bf2891"


@pytest.mark.parametrize(
    "other",
    [
        Plan(OWNERS, ()),
        Plan(OWNERS, (Ask("grace"),)),
        Plan(OWNERS, (Ask("ada", "porch"),)),
        Plan(OWNERS, (Ask("ada", feed="stream"),)),
        Plan(OWNERS, (Ask("ada"), Ask("ada"))),
        Plan(OWNERS, (AskTogether((Ask("ada"),)),)),
        Plan(OWNERS, (GiveUp("ada", 0),)),
        Plan((*OWNERS, "zoe"), (Ask("ada"),)),
        Plan(("grace", "ada", "lin"), (Ask("ada"),)),
    ],
)
def test_whatever_differs_changes_the_digest(other):
    assert other.digest != Plan(OWNERS, (Ask("ada"),)).digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"homes":["ada"],"steps":[],"format":2}', "format 2; this version reads format 1"),
        ('{"homes":["ada"],"steps":[],"weather":"bad"}', "unknown field `weather`"),
        ('{"homes":["ada"],"steps":[{"step":"ask","home":"ada","volume":3}]}', "unknown field `volume`"),
        ('{"homes":["ada"],"steps":[{"step":"sing","home":"ada"}]}', "Invalid value 'sing'"),
        ('{"homes":["ada"],"steps":[{"step":"ask"}]}', "missing required field `home`"),
        ('{"homes":["ada"],"steps":[{"step":"ask","home":"ada","feed":"smell"}]}', "Invalid enum value 'smell'"),
        ('{"homes":["ada"],"steps":[{"step":"ask_together","asks":[]}]}', "at least one"),
        (
            Plan(OWNERS, (SetConditions("x", conditions.EDGE),)).to_json().decode().replace('"rate":30', '"rate":-1'),
            "kills the Toxiproxy server",
        ),
        ("[]", "Expected `object`"),
        ("", "not a plan of this version"),
        ('{"homes":', "not a plan of this version"),
    ],
)
def test_another_file_is_refused_with_what_is_wrong_in_it(text, told):
    with pytest.raises(Misuse) as refused:
        Plan.from_json(text.encode())

    assert told in str(refused.value)


@settings(deadline=None)
@given(st.binary() | plans.flatmap(lambda p: st.integers(0, 300).map(lambda n: p.to_json()[:n] + b"\xff")))
def test_any_bytes_are_a_plan_or_refused(data):
    try:
        read = Plan.from_json(data)
    except Misuse:
        return
    assert Plan.from_json(read.to_json()) == read


@pytest.mark.parametrize("homes_asking", [(), ("ada", "ada")])
def test_asking_together_takes_at_least_one_home_and_each_once(homes_asking):
    with pytest.raises(Misuse, match="each once"):
        AskTogether(tuple(Ask(h) for h in homes_asking))


def test_elementary_asks_are_counted():
    assert ONE_OF_EACH.asks == 6


class Pasted(Household):
    """Somebody's scenario, into which a printed program is pasted."""

    homes = OWNERS


def sources(updated: bool) -> Path:
    raise AssertionError("a plan that is only drawn rolls nothing out")


def pasted(program: str, **scope: object) -> tuple[Step, ...]:
    """Run a printed program in a real `Household` and return the steps that it adds."""
    stack = SimpleNamespace(name="docker", faults=frozenset(get_args(NodeFault)))
    faults, links = NodeFaults(TOPOLOGY, stack, sources), SimpleNamespace(check=lambda *_: None)
    can = dict.fromkeys(("check_accounts", "check_integration", "check_voice", "desk"), lambda: None)
    home = SimpleNamespace(topology=TOPOLOGY, faults=faults, links=links, **can)
    chapter = SimpleNamespace(home=home)
    with current.using(chapter):  # type: ignore[arg-type]
        scenario = Pasted()
    exec(program, {**vars(plan), "conditions": conditions, "self": scenario, **scope})
    return tuple(scenario._steps)


@settings(deadline=None)
@given(st.lists(steps, max_size=10))
def test_a_printed_program_pasted_into_a_scenario_makes_the_same_plan(drawn):
    program = Plan(OWNERS, tuple(drawn)).program()

    assert len(ast.parse(program).body) == len(drawn)
    assert pasted(program) == tuple(drawn)


@settings(deadline=None)
@given(mixed_asks)
def test_different_asks_together_are_printed_as_values(step):
    tree = ast.parse(Plan(OWNERS, (step,)).program())

    (call,) = [n for n in tree.body if isinstance(n, ast.Expr)]
    assert ast.unparse(call).startswith("self.ask_together(")
    if "Ask(" in step.describe():
        assert eval(f"({', '.join(ast.unparse(a) for a in call.value.args)},)", {"Ask": Ask}) == step.asks


def test_a_program_reads_as_a_scenario_does():
    assert ONE_OF_EACH.program().splitlines() == [
        "self.ask('ada')",
        "self.ask_together('ada', 'lin')",
        "self.give_up('grace', after_ms=200, feed='stream')",
        "self.change_account('ada', owner='grace')",
        "self.set_conditions('relay.cache', conditions.EDGE)",
        "self.clear('relay.cache')",
        "self.restart('relay')",
        "self.pause('cache')",
        "self.resume('cache')",
        "self.detach('ada.camera')",
        "self.attach('ada.camera', new_address=True)",
        "self.set_clock('lin.camera', offset_s=-3600, time_zone='Asia/Tokyo')",
        "self.roll_back('relay')",
        "self.roll_out('relay')",
        "self.evict()",
        "self.reconnect('ada.camera', 'lin.camera')",
        "self.meanwhile(Ask('ada'), Clear('relay.cache'), GiveUp('lin', after_ms=20), when='sent', link='ada.hub')",
        "self.let_age('ada', ms=300)",
        "self.share('ada', guest='lin')",
        "self.unshare('ada', guest='lin', within_ms=100)",
        "self.sell('ada', to='grace')",
        "self.reset_password('lin')",
        "self.protect('lin')",
    ]
    assert AskTogether((Ask("ada", "porch"), Ask("lin", "porch"))).describe() == (
        "ask_together('ada', 'lin', camera='porch')"
    )
    assert AskTogether((Ask("ada", feed="stream"), Ask("lin"))).describe() == (
        "ask_together(Ask('ada', feed='stream'), Ask('lin'))"
    )


def test_conditions_of_ones_own_are_printed_as_they_are_made():
    slow = conditions.of(
        conditions.toxic("latency", way=conditions.Way.UP, latency=600), conditions.toxic("bandwidth", rate=25)
    )

    assert Plan(OWNERS, (SetConditions("ada.hub", slow),)).program() == (
        "self.set_conditions('ada.hub', conditions.of(conditions.toxic('latency', way='up', latency=600), "
        "conditions.toxic('bandwidth', way='down', rate=25)))"
    )


@pytest.mark.parametrize("offset", [1.5, "60", True, 315_576_001, -315_576_001])
def test_a_clock_that_no_date_bears_is_refused(offset):
    with pytest.raises(Misuse, match=r"set_clock.offset_s is .*; expected whole seconds"):
        SetClock("ada.camera", offset)


@pytest.mark.parametrize("quality", [0, 96, 12.5, True, "best"])
def test_a_picture_that_no_encoder_makes_is_refused(quality):
    with pytest.raises(Misuse, match=r"set_picture.quality is .*; expected a whole number from 1 to 95, or None"):
        SetPicture("ada.camera", quality=quality)


def test_a_clock_becomes_calmer_until_it_is_wrong_in_one_way_by_a_second():
    clock = SetClock("ada.camera", 86_400, "Asia/Tokyo")
    seen = {clock}
    while calmer := [c for c in clock.calmer() if not c.calm]:
        clock = calmer[-1]
        assert clock not in seen
        seen.add(clock)
    assert (clock.offset_s, clock.time_zone) in ((1, "UTC"), (0, "Asia/Tokyo"))


@settings(max_examples=60, deadline=None)
@given(steps)
def test_what_is_simpler_than_a_step_is_a_step_of_a_plan_file_and_never_leads_back(step):
    """A circle would let shrinking go round for ever."""
    graph: dict[Step, set[Step]] = {}
    todo = [step]
    while todo and len(graph) < 1000:  # three steps of four toxics each in a `Meanwhile` have millions below them
        one = todo.pop()
        if one not in graph:
            graph[one] = set(one.simpler())
            todo += graph[one]
    TopologicalSorter(graph).prepare()  # raises CycleError
    simpler = Plan(OWNERS, tuple(graph))
    assert Plan.from_json(simpler.to_json()) == simpler

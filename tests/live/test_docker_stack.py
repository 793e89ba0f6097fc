"""The reference home system as containers: it passes a case, shows its faults, is reset, restarted, and told of."""

from __future__ import annotations

import time

import pytest

from chaos import conditions, controls
from chaos.conditions import Way
from chaos.errors import Surroundings
from chaos.history import Asked, ControlSeen, Met
from chaos.plan import Ask, AskTogether, Plan, Restart, SetConditions
from chaos.stacks.docker_engine import OWNER, RUN
from chaos.verdict import Rules, Verdict, judge

from .docker_home import OWNERS, engine, running_home

pytestmark = [pytest.mark.live, pytest.mark.docker]
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture(scope="module")
def running(client, tmp_path_factory):
    with running_home(tmp_path_factory.mktemp("home")) as there:
        yield there


def _outcomes(events):
    return [e.outcome for e in events if isinstance(e, Asked)]


def _verdicts(events):
    return {j.verdict for j in judge(events, Rules())}


def _everybody_sees_their_home(home, *first):
    """Execute until each of the last three asks gave a picture: on a busy machine the relay's patience runs out."""
    for _ in range(10):
        events = home.execute(Plan(OWNERS, (*first, EVERYBODY)))
        assert _verdicts(events) <= {Verdict.OWN, Verdict.BLANK}
        if _outcomes(events)[-3:] == ["picture"] * 3:
            return
    pytest.fail("in none of ten cases everybody got a picture")


def test_every_owner_sees_their_own_home(running):
    home, _, _ = running
    _everybody_sees_their_home(home)


def test_both_controls_are_seen(running):
    home, _, _ = running
    seen = [e for e in (*controls.crossed_scenes(home), *controls.cut_links(home)) if isinstance(e, ControlSeen)]
    assert [(e.what, e.seen) for e in seen] == [("crossed scenes", True), ("cut links", True)]


def test_a_fault_on_a_link_is_met_by_the_asks_that_cross_it_and_by_no_other(running):
    home, _, _ = running
    under = conditions.of(conditions.toxic("latency", latency=100))
    events = home.execute(Plan(OWNERS, (SetConditions("ada.camera", under), Ask("ada"), Ask("lin"))))
    asks = {e.ask: e.hub for e in events if isinstance(e, Asked)}
    met = [e for e in events if isinstance(e, Met)]
    assert {(asks[m.ask], m.fault.link, m.fault.kind) for m in met} == {("ada", "ada.camera", "latency")}
    assert all(m.amount > 0 for m in met)


def test_a_refused_link_is_witnessed_and_shows_no_picture(running):
    home, _, _ = running
    events = home.execute(Plan(OWNERS, (SetConditions("relay.cache", conditions.OUTAGE), Ask("grace"))))
    assert _outcomes(events) == ["unavailable"]
    assert any(isinstance(e, Met) and e.fault.kind == conditions.REFUSED for e in events)
    _everybody_sees_their_home(home)


@pytest.mark.parametrize("node", ["relay", "cache", "accounts", "ada.camera", "ada.hub"])
def test_a_node_is_killed_and_started_again_with_the_same_address_and_nothing_remembered(running, client, node):
    home, stack, _ = running
    before = client.api.inspect_container(stack._containers[node].id)["State"]
    home.execute(Plan(OWNERS, (Restart(node),)))
    after = client.api.inspect_container(stack._containers[node].id)["State"]
    assert after["Pid"] != before["Pid"]
    assert after["StartedAt"] > before["StartedAt"]
    _everybody_sees_their_home(home)
    _everybody_sees_their_home(home, Restart(node))


def test_a_toxiproxy_that_is_replaced_has_the_same_links_and_is_counted_on(running):
    home, stack, _ = running
    wire = stack._containers["wire"].id
    stack._server.stop()
    stack._server.start()
    assert stack._containers["wire"].id == wire
    _everybody_sees_their_home(home)
    case = home.case()
    began = home.meter.mark()
    case.ask("ada")
    assert home.meter.moved("ada.camera", Way.UP, began, home.meter.mark()) > 0
    home.finish(case)


def test_a_second_start_builds_nothing(running, tmp_path):
    with running_home(tmp_path) as (home, _, said):
        _everybody_sees_their_home(home)
    assert not [line for line in said if "image" in line]


def test_everything_of_a_run_is_labelled_and_gone_when_it_ends(client, tmp_path):
    with running_home(tmp_path) as (_, stack, _):
        run = stack._run
        containers, networks = _of(client, run)
        assert len(containers) == 12, "nine nodes, the wire, Toxiproxy, and who passes packets on"
        assert len(networks) == 26
        assert all(OWNER in x["Labels"] for x in (*containers, *networks))
    assert _of(client, run) == ([], [])


def _of(client, run):
    filters = {"label": f"{RUN}={run}"}
    return client.api.containers(all=True, filters=filters), client.api.networks(filters=filters)


@pytest.mark.parametrize("node", ["relay", "toxiproxy", "wire"])
def test_a_container_that_dies_by_itself_is_told_by_the_next_step_with_its_last_lines(client, tmp_path, node):
    with running_home(tmp_path) as (home, stack, _):
        case = home.case()
        client.api.kill(stack._containers[node].id)
        with pytest.raises(Surroundings, match=r"(?s)(relay|Toxiproxy|wire) .*code 137.*last lines"):
            _wait_told(lambda: case.do(Ask("ada")))


def _wait_told(do):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        do()

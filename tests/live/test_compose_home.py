"""A home of containers that nobody here wrote, from its compose file: alone, right, and with a wrong setting found.

The relay's right cache keeps each owner's last still, the wrong one forgot whose it is. What Compose renders is stored
beside the files (`tests/test_compose.py` says that it is the same), so that an engine is all that is needed.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest

from chaos import conditions, controls
from chaos.children import Scratch
from chaos.compose import read, understand
from chaos.contracts.declared import Declared
from chaos.errors import Misuse, Surroundings
from chaos.evidence import Evidence
from chaos.gate.holding import Gate
from chaos.gate.options import Options
from chaos.gate.result import Budget
from chaos.history import ControlSeen
from chaos.home import Home
from chaos.identity import Key
from chaos.plan import Ask, AskTogether, Attach, Pause, Plan, Restart, Resume, RollOut, SetClock, SetConditions
from chaos.stacks.docker import DockerStack
from chaos.stacks.docker_engine import each
from chaos.verdict import Rules, Verdict, exercised, judge

from .docker_home import OWNERS, engine
from .test_docker_isolation import PROBE, _allowed, _world

pytestmark = [pytest.mark.live, pytest.mark.docker]
STOCK = Path(__file__).parents[2] / "scenarios" / "stock"
EVERYBODY = AskTogether(tuple(Ask(o) for o in OWNERS))
TURN = (Ask("grace"), SetConditions("ada.camera", conditions.OUTAGE), Ask("ada"))


@contextlib.contextmanager
def _running(folder: Path, file: str):
    scratch = Scratch()
    stack = DockerStack(scratch, print)
    evidence = Evidence(folder / "evidence")
    home = Home(Declared(understand(read([STOCK / file]))), stack, (Key.fresh(),), evidence)
    try:
        home.start(scratch.folder / "home")
        yield home, stack
    finally:
        home.stop()
        evidence.close()
        scratch.remove()


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture(scope="module")
def right(client, tmp_path_factory):
    with _running(tmp_path_factory.mktemp("right"), "compose.json") as there:
        yield there


def _judged(home, *steps):
    events = home.execute(Plan(OWNERS, steps))
    return events, judge(events, Rules())


def _verdicts(home, *steps) -> set[Verdict]:
    return {j.verdict for j in _judged(home, *steps)[1]}


def test_the_right_relay_shows_everybody_their_own_and_nobody_anybody_elses(right):
    home, _ = right
    assert _verdicts(home, EVERYBODY, *TURN, EVERYBODY) <= {Verdict.OWN, Verdict.STALE, Verdict.BLANK}


def test_both_controls_are_seen(right):
    home, _ = right
    seen = [e for e in (*controls.crossed_scenes(home), *controls.cut_links(home)) if isinstance(e, ControlSeen)]
    assert [(e.what, e.seen, e.detail) for e in seen if not e.seen] == []
    assert "6 links were cut" in seen[-1].detail


def test_faults_of_links_and_nodes_are_met_and_undone(right):
    home, _ = right
    slow = SetConditions("lin.hub", conditions.of(conditions.toxic("latency", latency=100)))
    nodes = (Restart("relay"), Ask("lin"), Pause("lin.camera"), Ask("lin"), Resume("lin.camera"), RollOut("lin.hub"))
    moved = (Attach("relay", new_address=True), Ask("lin"))
    events, frames = _judged(
        home, slow, Ask("lin"), SetConditions("ada.camera", conditions.OUTAGE), Ask("ada"), *nodes, *moved
    )
    exercise = exercised(events, frames)
    met = {(f.link, f.kind) for f, _ in exercise.met}
    wanted = {("lin.hub", "latency"), ("ada.camera", "refused"), ("relay", "restarted"), ("lin.camera", "paused")}
    assert {*wanted, ("relay", "new address")} <= met, exercise
    with pytest.raises(Misuse, match="cannot be done to this home system"):
        home.execute(Plan(OWNERS, (SetClock("ada.camera", 60),)))
    assert _verdicts(home, EVERYBODY) <= {Verdict.OWN, Verdict.BLANK}


def test_no_container_reaches_anything_but_its_proxies_and_its_lens(right, client):
    """As for the reference home: every address and port of the run is tried from inside the network of each node."""
    home, stack = right
    assert _verdicts(home, EVERYBODY) <= {Verdict.OWN, Verdict.BLANK}  # clear links again
    world = _world(client, [stack])
    image = stack._specs["wire"].image

    def reached(node: str) -> set[tuple[str, int]]:
        shared = client.api.create_host_config(network_mode=f"container:{stack._containers[node].id}")
        words = ["python3", "-c", PROBE, json.dumps(world.hosts), json.dumps(world.ports)]
        probe = client.api.create_container(image, words, host_config=shared, labels=stack._labels)["Id"]
        client.api.start(probe)
        assert client.api.wait(probe)["StatusCode"] == 0, client.api.logs(probe)
        return {(h, p) for h, p in json.loads(client.api.logs(probe, stderr=False))}

    nodes = [n.name for n in home.topology.nodes]
    for node, found in zip(nodes, each(reached, nodes, threads=2), strict=True):
        assert found - {("127.0.0.1", 80)} <= _allowed(stack, node), node
        assert {(h, p) for h, p in _allowed(stack, node) if h != "127.0.0.1"} <= found, node


SCENARIO = """
from hypothesis.stateful import rule

from chaos import Household, any_home, conditions


class CamerasComeAndGo(Household):
    motifs = ()

    @rule(home=any_home)
    def a_camera_is_gone_and_two_ask(self, home):
        self.ask("grace" if home == "ada" else "ada")
        self.set_conditions(f"{home}.camera", conditions.OUTAGE)
        self.ask(home)
        self.clear()


TestCamerasComeAndGo = CamerasComeAndGo.TestCase
"""


def test_a_gate_finds_a_cache_key_without_the_owner_and_names_the_file_and_the_images(client, tmp_path):
    """The files of a release candidate: nothing but one line of nginx's differs from the right ones."""
    (tmp_path / "test_cameras.py").write_text(SCENARIO)
    told = Options(
        paths=(tmp_path / "test_cameras.py",),
        compose=(STOCK / "wrong.json",),
        evidence=tmp_path / "evidence",
        json=tmp_path / "gate.json",
        budget=Budget(cases=6),
        seed=1,
        shrink_budget=3,
        looks=1,
    )
    result = Gate(told).hold()
    assert (result.verdict, result.exit_code) == ("leak", 1), result.reasons
    (finding,) = result.findings
    assert re.match(r"(\w+) saw (?!\1)\w+'s living-room on the hub in \1's home, while", finding.sentence)
    assert "conditions.OUTAGE" in finding.program, "on clear links nobody would know"
    assert finding.reproduction.hits
    assert str(STOCK / "wrong.json") in Path(finding.replay).read_text()
    under = json.loads((tmp_path / "gate.json").read_text())["under_test"]
    assert under["stack"] == "docker"
    assert under["compose"]["files"] == [str(STOCK / "wrong.json")]
    assert under["compose"]["digest"] == understand(read([STOCK / "wrong.json"])).digest
    nodes = {"relay", *(f"{o}.{role}" for o in OWNERS for role in ("camera", "hub"))}
    assert nodes <= set(under["images"])
    known = {i["Id"] for i in client.api.images()}
    assert {under["images"][n] for n in nodes} <= known, "as the engine knows them"
    assert result.control.before.crossed_scenes.seen is result.control.before.cut_links.seen is True


def test_an_image_that_is_nowhere_is_a_sentence_and_leaves_nothing(client, tmp_path):
    content = json.loads((STOCK / "compose.json").read_text())
    for service in content["services"].values():
        service["build"]["context"] = str(STOCK)
        service.pop("volumes")
        service["labels"].pop("ownframe.lens", None)
    content["services"]["camera-lin"] |= {"image": "nobody.invalid/has:this", "build": None}
    for name, service in content["services"].items():
        if name.startswith("camera"):
            service["environment"], service["labels"]["ownframe.lens"] = {}, "env:SOURCE"
    (tmp_path / "absent.json").write_text(json.dumps(content))
    scratch, evidence = Scratch(), Evidence(tmp_path / "evidence")
    stack = DockerStack(scratch, print)
    home = Home(Declared(understand(read([tmp_path / "absent.json"]))), stack, (Key.fresh(),), evidence)
    with pytest.raises(Surroundings, match=r"camera-lin wants the image nobody\.invalid/has:this, which is not there"):
        home.start(scratch.folder / "home")
    home.stop()
    evidence.close()
    scratch.remove()
    assert not client.api.containers(all=True, filters={"label": f"ownframe.run={stack._run}"})

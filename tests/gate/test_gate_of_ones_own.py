"""A gate on somebody's own containers: which file, of which content, is in its result; what is wrong is said first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaos.errors import Misuse
from chaos.gate.ci import junit, markdown
from chaos.gate.holding import Gate
from chaos.gate.options import Options
from chaos.gate.result import Budget
from chaos.run import own_system
from tests.gate.test_gate_with_fake_workers import FAKE, gate  # noqa: F401 - a fixture

pytestmark = pytest.mark.timeout(60)
STOCK = Path(__file__).parents[2] / "scenarios" / "stock"
FILE = STOCK / "compose.json"


def test_the_result_names_the_compose_file_its_digest_and_the_images(gate):  # noqa: F811
    digest = own_system((FILE,), None).digest
    result = gate({"*": {"composed": [digest]}}, compose=(FILE,), workers=2)
    assert (result.verdict, result.exit_code) == ("passed", 0), result.reasons
    under = result.under_test
    assert (under.stack, under.update, under.compose.files, under.compose.digest) == (
        "docker",
        None,
        (str(FILE),),
        digest,
    )
    assert under.images == {"relay": "sha256:2"}
    assert "gate-docker-yours" in result.evidence
    assert f'name="ownframe.compose" value="{FILE}"'.encode() in junit(result)
    assert f"compose.json ({digest})" in markdown(result)


def test_a_compose_file_that_was_changed_meanwhile_makes_it_inconclusive(gate):  # noqa: F811
    digest = own_system((FILE,), None).digest
    result = gate({"1": {"composed": [digest]}, "2": {"composed": ["sha256:of another"]}}, compose=(FILE,), workers=2)
    assert (result.verdict, result.exit_code) == ("inconclusive", 2)
    assert "was changed while the gate ran" in result.headline
    assert str(FILE) in result.headline


def test_without_paths_only_scenarios_that_fit_any_home_system_are_run(tmp_path):
    told = Options(evidence=tmp_path, compose=(FILE,), budget=Budget(cases=1), command=FAKE)
    names = [Path(p).name for p in Gate(told).crew.terms.paths]
    assert names == ["test_three_homes_one_relay.py", "test_everything_at_once.py"]


def _changed(folder: Path, **changes: object) -> Path:
    """Return the stock file with the service `camera-ada` changed; None takes a key away."""
    content = json.loads(FILE.read_text())
    service = content["services"]["camera-ada"] | changes
    content["services"]["camera-ada"] = {k: v for k, v in service.items() if v is not None}
    file = folder / "changed.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network_mode": "host"}, "camera-ada is on the host's own network"),
        ({"labels": None}, "and no camera; expected one with ownframe.role"),
        ({"privileged": True}, "camera-ada is privileged"),
    ],
)
def test_what_cannot_be_put_under_test_is_said_before_anything_starts(tmp_path, changes, sentence):
    with pytest.raises(Misuse, match="cannot be put under test") as wrong:
        Gate(Options(evidence=tmp_path / "evidence", compose=(_changed(tmp_path, **changes),), command=FAKE))
    assert sentence in str(wrong.value)
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"compose": (STOCK / "absent.json",)}, r"there is no compose file .*absent\.json"),
        ({"compose": (FILE,), "update": "december-26"}, "is laid over the reference home"),
        ({"compose": (FILE,), "engine": "dask"}, "does not travel: leave --engine out"),
        ({"compose": (FILE, FILE)}, "a rendered file stands alone"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(tmp_path, options, sentence):
    with pytest.raises(Misuse, match=sentence):
        Gate(Options(evidence=tmp_path / "evidence", command=FAKE, **options))

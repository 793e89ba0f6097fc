"""A replay file on a real home system: the leak with the update, none without it; after an earlier case, too."""

from __future__ import annotations

import msgspec
import pytest

from chaos import replay
from chaos.conditions import of, toxic
from chaos.fingerprints import mechanism
from chaos.plan import Ask, AskTogether, SetConditions
from chaos.register import Replay, UnderTest
from chaos.verdict import Outcome, Rules
from tests.makers import OWNERS, judged_in_case, plan, seen, shown

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

PLAN = plan(SetConditions("ada.camera", of(toxic("latency", latency=2500))), AskTogether((Ask("ada"), Ask("lin"))))
FOUND = mechanism(judged_in_case(shown(6, 7, seen("lin"))), OWNERS, PLAN, "december-26")
FILE = Replay(
    fingerprint=FOUND.fingerprint,
    scenario="TestThreeHomesOneRelay",
    sentence="ada saw lin's living-room on the hub in ada's home.",
    plan=PLAN,
    rules=Rules(),
    update="december-26",
    under_test=UnderTest("process", "december-26", "0.1.0", {}),
    hits=5,
    tries=5,
)


@pytest.mark.parametrize(
    ("without_update", "earlier", "outcome", "words"),
    [
        (False, None, Outcome.LEAK, "of 3 times: ada saw lin's living-room on the hub in ada's home"),
        (True, plan(Ask("grace")), Outcome.PASSED, "not reproduced in 3 executions"),
    ],
    ids=["with the update", "without it, after another case on restarted nodes"],
)
def test_it_leaks_with_the_update_and_not_without(tmp_path, without_update, earlier, outcome, words):
    file = tmp_path / "replay.json"
    file.write_bytes(msgspec.structs.replace(FILE, earlier=earlier).to_json())
    said = []
    options = {"times": 3, "stack": None, "update": None, "without_update": without_update, "compose": ()}
    done = replay.tell(file, **options, evidence=tmp_path / "evidence", say=said.append)

    assert done is outcome, said
    assert any(words in line for line in said), said
    assert not any("it is told as finding" in line for line in said), "the same mechanism has the same fingerprint"

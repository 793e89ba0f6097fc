"""Accepted findings: who answers for a leak until when; what is expired, unmatched or badly written is told."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from chaos.errors import Misuse
from chaos.gate.accepted import read
from chaos.gate.result import Budget
from tests.gate.fake_worker import SCENARIOS
from tests.gate.test_gate_with_fake_workers import gate, searched  # noqa: F401 - a fixture

TODAY = date.today()  # noqa: DTZ011 - whose day it is does not matter a week away
WEEK = timedelta(days=7)
LEAKS = {"1": {"leaks_in_task": 2, "fingerprint": "abcdef012345"}}


@pytest.fixture
def accept(tmp_path):
    def written(fingerprint="abcdef012345", expires=TODAY + WEEK, more=""):
        file = tmp_path / "accepted.toml"
        lines = ["[[accepted]]", f'fingerprint = "{fingerprint}"', 'owner = "Mira"', 'reason = "old relay"']
        file.write_text("\n".join([*lines, f"expires = {expires}", more]))
        return file

    return written


def test_an_accepted_leak_fails_no_gate_and_is_told_and_the_others_are_searched_on(gate, accept, tmp_path):  # noqa: F811
    result = gate(LEAKS, accepted=accept())
    assert (result.verdict, result.exit_code, result.bound_95) == ("passed", 0, None)
    assert result.headline == "Passed, with 1 accepted: ada saw grace"
    assert result.findings[0].accepted.owner == "Mira"
    assert [s.verdict for s in result.scenarios] == ["accepted", "passed", "passed"]
    assert [a.fingerprint for a in result.accepted.seen] == ["abcdef012345"]
    assert "accepted by Mira" in result.notes[0]
    assert [s for s, _, _ in searched(tmp_path)].count(SCENARIOS[0].id) == 1, "it is searched no further"
    assert [s for s, _, _ in searched(tmp_path)].count(SCENARIOS[1].id) > 2


def test_another_leak_is_a_leak(gate, accept):  # noqa: F811
    result = gate(LEAKS, accepted=accept("ffffffffffff"))
    assert (result.verdict, result.exit_code) == ("leak", 1)
    assert result.findings[0].fingerprint == "abcdef012345"
    assert any("not seen in this gate: ffffffffffff" in n for n in result.notes)


def test_an_acceptance_that_expired_accepts_nothing(gate, accept):  # noqa: F811
    result = gate(LEAKS, accepted=accept(expires=TODAY - WEEK))
    assert (result.verdict, result.exit_code) == ("leak", 1)
    assert [a.fingerprint for a in result.accepted.expired] == ["abcdef012345"]


def test_an_acceptance_that_expired_fails_also_a_gate_that_found_nothing(gate, accept):  # noqa: F811
    result = gate(accepted=accept(expires=TODAY - WEEK))
    assert (result.verdict, result.exit_code) == ("inconclusive", 2)
    assert "an acceptance has expired: abcdef012345, accepted by Mira" in result.headline


def test_an_acceptance_that_nothing_matches_is_told(gate, accept):  # noqa: F811
    result = gate(accepted=accept(), budget=Budget(cases=10))
    assert result.verdict == "passed"
    assert [a.fingerprint for a in result.accepted.unmatched] == ["abcdef012345"]
    assert any("take it out of the file once its cause is fixed" in n for n in result.notes)


def test_the_day_itself_counts(accept):
    (one,) = read(accept(expires=TODAY))
    assert not one.expired(TODAY)
    assert one.expired(TODAY + timedelta(days=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("fingerprint", "fingerprnt"), "has 'fingerprnt'; did you mean 'fingerprint'"),
        (('"Mira"', '" "'), "has no owner; who accepts a leak says who and why"),
        (('"old relay"', '""'), "has no reason"),
        (("abcdef012345", "the one with the relay"), "is no fingerprint"),
        (("expires = ", "expires = 'soon' # "), "expires = 2027-03-31"),
        (("owner", "# owner"), "missing required field `owner`"),
        (("[[accepted]]", "[[acepted]]"), "has 'acepted'; did you mean 'accepted'"),
        (("[[accepted]]", "[accepted"), "is no TOML"),
        (("[[accepted]]", "[accepted]"), "expires = 2027-03-31"),
    ],
)
def test_what_a_file_lacks_is_a_sentence(accept, change, message):
    file = accept()
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(Misuse, match=message.replace("[", "\\[")):
        read(file)


def test_a_finding_is_accepted_once(accept):
    file = accept(more="")
    file.write_text(file.read_text() * 2)
    with pytest.raises(Misuse, match="a second time"):
        read(file)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(Misuse, match="cannot be read"):
        read(tmp_path / "none.toml")

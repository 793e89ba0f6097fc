"""The result's file: its schema ships, describes what is written, and has every field that was promised."""

from __future__ import annotations

import json

import jsonschema
import pytest

from chaos.errors import Misuse, Surroundings
from chaos.gate import options, result
from chaos.gate.result import Budget


def test_the_schema_that_ships_is_that_of_the_classes():
    assert result.SCHEMA.read_bytes() == result.schema(), "run `python -m chaos.gate.result`"


def test_the_schema_is_one_and_names_what_was_promised():
    schema = json.loads(result.SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    promised = (
        "verdict exit_code cases asks displayed foreign revoked misdirected unreadable control witnessed "
        "seconds_to_first_foreign cases_to_first_foreign reproduction bound_95 under_test evidence findings format"
    )
    assert set(promised.split()) <= set(schema["$defs"]["Result"]["required"])
    assert {"before", "after"} <= set(schema["$defs"]["Control"]["required"])


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Surroundings, match=r"could not write .* name a place that can be written"):
        result.write(tmp_path / "file" / "result.json", b"{}")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("120s", Budget(seconds=120)),
        ("5m", Budget(seconds=300)),
        ("1.5 h", Budget(seconds=5400)),
        ("300cases", Budget(cases=300)),
        ("1 case", Budget(cases=1)),
    ],
)
def test_a_budget_is_of_time_or_of_cases(text, meant):
    assert options.budget(text) == meant


@pytest.mark.parametrize("text", ["", "120", "0s", "0cases", "-5s", "5 minutes and more", "many"])
def test_any_other_budget_is_a_sentence(text):
    with pytest.raises(Misuse, match="expected a time such as 120s or 5m, or a number of cases such as 300cases"):
        options.budget(text)


def test_a_machine_bears_at_least_one_worker(monkeypatch):
    monkeypatch.setattr(options, "MEMORY", 1 << 62)
    assert options.default_workers() == 1
    monkeypatch.setattr(options, "MEMORY", 1)
    monkeypatch.setattr(options.os, "sched_getaffinity", lambda _: range(6))
    assert options.default_workers() == options.more_workers() == 6

"""Twelve homes of a population on real parts: the leak is found among them, and without it nobody sees anybody."""

from __future__ import annotations

import msgspec
import pytest

from chaos import links, population
from chaos.conditions import OUTAGE
from chaos.population import Options, Population, Share, Told
from chaos.verdict import Outcome

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]
TWELVE = Options(homes=12, poor=(Share(OUTAGE, 0.2),), rounds=1)


@pytest.fixture(autouse=True)
def patient_home(monkeypatch):
    """A machine that is starved is a slow network: nobody but who is cut off may be late here."""
    for setting in ("UPLINK_CONNECT", "UPLINK_TOTAL", "ACCOUNTS_TOTAL", "CACHE_SOCKET", "LENS_TOTAL"):
        monkeypatch.setenv(setting, "10")
    monkeypatch.setattr(population, "PATIENCE", 10.0)


def _run(options, monkeypatch, said):
    calls = []
    real = links.Server.call

    def call(server, method, path, body=None):
        calls.append((method, path))
        return real(server, method, path, body)

    with Population(options, said.append) as many:
        with monkeypatch.context() as counted:
            counted.setattr(links.Server, "call", call)
            many._stack.links.read_back()
        told = many.run()
    assert calls == [("GET", "/proxies")], "one call reads every proxy back"
    return many, told


def test_the_leak_is_found_and_its_victims_are_counted(tmp_path, monkeypatch, toxiproxy_binary):
    said: list[str] = []
    options = msgspec.structs.replace(TWELVE, update="december-26", evidence=tmp_path)
    many, told = _run(options, monkeypatch, said)
    poor = options.conditions_of()
    assert told.outcome is Outcome.LEAK
    assert 1 <= len(told.saw) <= len(poor) == 2
    assert {s.hub for s in told.saw} <= poor.keys(), "who saw others is who had poor conditions"
    assert told.first is not None
    assert told.counts["own"] == 10
    folder = many.evidence.folder
    stored = msgspec.json.decode((folder / "population.json").read_bytes(), type=Told)
    assert stored.saw == told.saw
    assert len(list((folder / "strangers").glob("*.jpg"))) == sum(s.times for s in told.saw)
    assert any("round 1 of 1: 12 of 12 homes" in line for line in said)


def test_on_the_reference_nobody_sees_anybody(tmp_path, monkeypatch, toxiproxy_binary):
    _, told = _run(msgspec.structs.replace(TWELVE, evidence=tmp_path), monkeypatch, [])
    assert (told.outcome, told.saw, told.reasons) == (Outcome.PASSED, (), ())
    assert (told.poor_asks, told.answered, told.unavailable) == (2, 0, 2)

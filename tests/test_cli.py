"""The shell door: exit codes, help, wrong use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _ownframe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "chaos.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    "arguments", [("--nonsense",), ("demo", "--cases", "none"), ("demo", "--cases", "0"), ("dmo",)]
)
def test_wrong_use_is_a_sentence_and_code_3(arguments):
    done = _ownframe(*arguments)
    assert done.returncode == 3
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_are_code_0():
    assert _ownframe("--help").returncode == 0
    assert "Exit codes" in _ownframe("--help").stdout
    assert _ownframe("--version").returncode == 0


def test_doctor_says_what_is_here_and_what_to_do_about_what_is_not():
    done = _ownframe("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("Python", "Toxiproxy", "byte counters", "reference home"):
        assert word in done.stdout


def test_doctor_names_a_toxiproxy_that_cannot_be_used(tmp_path):
    done = _ownframe("doctor", OWNFRAME_TOXIPROXY=str(tmp_path / "missing"))
    assert done.returncode == 3
    assert "OWNFRAME_TOXIPROXY" in done.stdout


def test_a_machine_that_can_build_its_toxiproxy_lacks_nothing(tmp_path):
    done = _ownframe("doctor", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_crash_of_our_own_is_no_leak(monkeypatch, capsys):
    from chaos import cli, doctor

    monkeypatch.setattr(doctor, "tell", lambda **_: 1 // 0)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor"])
    assert ended.value.code == 3
    assert "ZeroDivisionError" in (said := capsys.readouterr().err)
    assert "a bug in ownframe and no verdict" in said


def test_a_picture_is_stamped_and_judged_from_a_shell(tmp_path):
    import json

    from tests.pictures import jpeg, textured

    (tmp_path / "scene.jpg").write_bytes(jpeg(textured(1)))
    secret, stamped = tmp_path / "run.key", tmp_path / "stamped.jpg"
    made = _ownframe("key", str(secret))
    assert made.returncode == 0
    done = _ownframe("stamp", str(tmp_path / "scene.jpg"), str(stamped), "--key-file", str(secret), "--owner", "7")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    judged = _ownframe("judge", str(stamped), "--owner", "7", OWNFRAME_KEYS=secret.read_text().split("\n")[1])
    assert judged.returncode == 0, judged.stderr
    line = json.loads(judged.stdout)
    assert (line["verdict"], line["owners"][0]["owner"]) == ("own", 7)
    assert "1 own" in judged.stderr
    assert _ownframe("judge", str(stamped), "--owner", "8", "--key-file", str(secret)).returncode == 1
    assert _ownframe("judge", str(tmp_path / "scene.jpg"), "--key-file", str(secret)).returncode == 2
    for shown in (made, done, judged):
        assert secret.read_text().split()[-1] not in shown.stdout + shown.stderr


def test_judging_without_a_key_says_where_keys_come_from(tmp_path):
    done = _ownframe("judge", str(tmp_path), OWNFRAME_STATE=str(tmp_path / "state"))
    assert done.returncode == 3
    assert "--key-file" in done.stderr
    assert "OWNFRAME_KEYS" in done.stderr


def test_a_key_cannot_be_given_on_the_command_line():
    for command in ("stamp", "judge"):
        options = _ownframe(command, "--help").stdout
        assert "--key-file" in options
        assert "--key " not in options


def test_doctor_tells_a_program_the_same():
    import json

    done = _ownframe("doctor", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["format"], told["usable"]) == (0, 1, True)
    assert {"what", "stack", "good", "found", "fix"} == set(told["checks"][0])


def test_a_new_scenario_runs_and_nothing_is_overwritten(tmp_path):
    done = _ownframe("new", "morning rush", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    assert file.name == "test_morning_rush.py"
    assert str(file) in done.stdout
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "TestMorningRush::runTest" in collected.stdout, collected.stdout
    file.write_text("# mine\n")
    again = _ownframe("new", "MorningRush", "--into", str(tmp_path))
    assert again.returncode == 3
    assert "is there already" in again.stderr
    assert file.read_text() == "# mine\n"


def test_what_there_is_is_listed():
    done = _ownframe("list")
    assert done.returncode == 0, done.stderr
    for word in ("ThreeHomesOneRelay", "EDGE", "400 ms latency down", "december-26", "relay.cache", "slicer"):
        assert word in done.stdout
    assert "WIFI_UNSTABLE       packet faults" in done.stdout
    assert {"conditional-stills-fixed", "test_an_impatient_evening.py"} <= set(done.stdout.split()), "names are whole"
    wrong = _ownframe("list", "updats")
    assert wrong.returncode == 3
    assert "did you mean 'updates'" in wrong.stderr


STOCK = Path(__file__).parents[1] / "scenarios" / "stock"


def test_attach_says_what_it_understood_draws_it_and_starts_nothing(tmp_path):
    drawing = tmp_path / "home.svg"
    done = _ownframe(
        "attach", str(STOCK / "compose.json"), "--check", "--draw", str(drawing), DOCKER_HOST="unix:///none"
    )
    assert done.returncode == 0, done.stderr
    assert "relay ────ada.camera────> ada.camera:80" in done.stdout
    assert "it can be put under test" in done.stdout
    assert drawing.read_text().startswith("<svg")


def test_attach_says_each_thing_to_do_and_is_code_3(tmp_path):
    (tmp_path / "bare.json").write_text('{"services": {"cam": {"image": "nobody/has:this", "privileged": true}}}')
    done = _ownframe("attach", str(tmp_path / "bare.json"), "--check", DOCKER_HOST="unix:///none")
    assert done.returncode == 3
    assert "cam is privileged" in done.stdout
    assert "whether the images are there was not looked at: no Docker engine answers" in done.stdout
    assert "it cannot be put under test" in done.stdout
    assert _ownframe("attach", str(STOCK / "compose.json"), "--check", "--draw", "home.gif").returncode == 3

"""The plain `home` fixture: a test without Hypothesis, under the same property."""

from __future__ import annotations

import pytest
import urllib3

from chaos import frames, keys
from chaos.run import Run, Settings
from tests.makers import OWNERS

pytestmark = pytest.mark.live

PLAIN = """
from chaos import conditions

def test_an_evening(home):
    home.ask("ada")
    home.ask("grace")  # after ada, not beside her: whose still is the last good one is no race
    home.set_conditions("ada.camera", conditions.{conditions})
    home.ask("ada")
"""

WRONG = [
    ("home.ask('gracie')", "*there is no home 'gracie'; did you mean 'grace'?*"),
    (
        "home.set_conditions('ada.camra', conditions.EDGE)",
        "*there is no link 'ada.camra'; did you mean 'ada.camera'?*",
    ),
    ("home.restart('relais')", "*there is no node 'relais'; did you mean 'relay'?*"),
    ("home.pause('relais')", "*there is no node 'relais'; did you mean 'relay'?*"),
    ("home.detach('relay')", "*detach('relay') cannot be done on --stack process*--stack docker has*"),
    ("home.set_clock('ada.hub', offset_s=60)", "*ada.hub has no clock to set; the cameras have: ada.camera*"),
    ("home.ask('ada', camera='nursery')", "*there is no camera 'nursery'*"),
]
"""What a plain test may write by mistake, and what it is told."""


def _run(pytester: pytest.Pytester, text: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_plain=text)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=240)


def test_plain_tests_pass_on_the_reference(pytester):
    result = _run(
        pytester,
        PLAIN.format(conditions="SLOW_4G")
        + """
def test_a_pause(home):
    home.pause("ada.camera")
    assert home.ask("ada").outcome == "unavailable"
    home.resume("ada.camera")
    home.set_clock("ada.camera", offset_s=3600, time_zone="Asia/Tokyo")
    assert home.ask("ada").outcome == "picture"
    home.pause("relay")  # it goes on when the test is over
""",
    )
    result.assert_outcomes(passed=2)
    assert result.ret == 0, "that nobody asked while the relay stood still is made up for by a directed case"
    result.stdout.fnmatch_lines(["test_a_pause: passed; 2 cases,*"])
    assert (pytester.path / "ownframe-evidence" / "latest" / "index.html").is_file()


def test_a_plain_test_that_shows_a_stranger_is_told_in_one_sentence(pytester):
    result = _run(pytester, PLAIN.format(conditions="EDGE"), "--update", "december-26")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ada saw grace's living-room on the hub in ada's home, while ada.camera was EDGE*"])


def test_a_plain_test_that_never_asks_is_inconclusive(pytester):
    result = _run(pytester, "def test_nothing(home): pass")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*nothing was displayed*"])


def test_wrong_names_are_sentences_and_one_that_nobody_catches_is_no_verdict(pytester):
    tried = "".join(
        f"    with pytest.raises(Misuse) as wrong:\n        {line}\n    print(wrong.value)\n" for line, _ in WRONG
    )
    result = _run(
        pytester,
        f"""
import pytest
from chaos import Misuse, conditions

def test_wrong_names(home):
{tried}    home.ask("ada")

def test_nobody_catches_it(home):
    home.ask("ada")
    home.ask("gracie")
""",
        "-rP",
    )
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 3
    result.stdout.fnmatch_lines_random([message for _, message in WRONG])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_picture_of_an_earlier_run_is_recognised_and_is_nobodys_of_this_one(tmp_path):
    """A cache outlives a run; its pictures carry another run's key, and that run's owners are other people."""
    with Run(Settings(evidence=tmp_path / "first")) as first:
        lens = f"{first.home(OWNERS).scene.url}/lens/ada/living-room"
        earlier = frames.luma_of_jpeg(urllib3.request("GET", lens).data)
    with Run(Settings(evidence=tmp_path / "second")) as second:
        reading = second.home(OWNERS).reader.read(earlier)
    named = {(s.owner, s.run) for s in reading.sightings}
    assert named == {(f"owner 1 of run {keys.recent()[1].id}", keys.recent()[1].id)}

"""The page of a gate: the answer first, pictures inside, every word of the home system's as text."""

from __future__ import annotations

import html
import re

import msgspec
import pytest
from PIL import Image

from chaos.gate.page import write_page
from chaos.gate.result import Compose, Moment, Seen
from tests.gate.test_ci import HOSTILE, LEAK, WHERE, made
from tests.test_report import Page


def text_of(folder, result) -> str:
    body = write_page(folder, result).read_text().partition("<body>")[2]
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


def test_a_pass_says_how_hard_was_tried_the_bound_and_what_was_not_exercised(tmp_path):
    text = text_of(tmp_path, made("passed"))
    assert text.index("The headline: 100 %") < text.index("What was tried")
    assert "Evening passed 9 99 60 200" in text
    assert "60: at 95 % confidence fewer than 1 in 20 leak" in text
    assert "ada.camera latency 9" in text
    assert "drawn, and met by no ask: refused on ada.hub" in text
    assert "links on which no ask met a fault: relay.cache" in text
    assert "crossed scenes seen 2 times before" in text
    assert "quick: Quicker ( abc )" in text


def test_a_leak_shows_its_picture_its_program_and_the_way_to_see_it_again(tmp_path):
    picture = tmp_path / "worker-1" / "frames" / "p.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (640, 360), "red").save(picture)
    (tmp_path / "worker-1" / "index.html").write_text("a worker's")
    leak = msgspec.structs.replace(LEAK, picture=str(picture), replay="findings/1/replay.json")
    page = Page(write_page(tmp_path, made("leak", leak)))
    assert len(page.pictures) == 1
    assert page.pictures[0].startswith("data:image/webp;base64,")
    text = " ".join(page.text.split())
    assert "self.ask('ada')" in text
    assert WHERE in text
    assert "Reproduced 4 of 5 times. Found by Evening." in text
    assert "ownframe replay findings/1/replay.json" in text
    assert [a for a in page.addresses if not a.startswith("data:")] == ["worker-1/index.html"]


def test_what_the_home_system_says_is_text_and_a_picture_that_is_gone_is_left_out(tmp_path):
    leak = msgspec.structs.replace(LEAK, sentence=HOSTILE, picture=str(tmp_path / "gone.png"), note="<script>")
    page = write_page(tmp_path, made("leak", leak, reasons=(HOSTILE, "<script>")))
    assert "<b>" not in page.read_text()
    assert "script" not in Page(page).tags
    assert not Page(page).pictures
    assert "Why it is no pass" in Page(page).text


@pytest.mark.parametrize(("seen", "said"), [(None, "not run"), (False, "NOT SEEN")])
def test_a_control_that_did_not_run_or_was_not_seen_is_told(tmp_path, seen, said):
    result = made("inconclusive", reasons=("x",))
    after = Moment(Seen(seen, 0), Seen(True, 2))
    result = msgspec.structs.replace(result, control=msgspec.structs.replace(result.control, after=after))
    assert f"and {said} after, cut links seen 2 times before" in text_of(tmp_path, result)


def test_somebodys_own_compose_file_is_named(tmp_path):
    result = made("passed")
    under = msgspec.structs.replace(
        result.under_test, update=None, compose=Compose(("a.yaml", "b.yaml"), "sha256:1"), images={"relay": "sha256:2"}
    )
    text = text_of(tmp_path, msgspec.structs.replace(result, under_test=under))
    assert "a.yaml, b.yaml ( sha256:1 )" in text
    assert "relay sha256:2" in text

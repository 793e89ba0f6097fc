"""The page that a person reads: what happened, worst first, no script, no network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from chaos import conditions, report
from chaos.evidence import Evidence
from chaos.history import Restarted
from chaos.plan import Ask
from chaos.report import write_page
from chaos.run import Finding, sentence
from chaos.verdict import Verdict, conclude, judge
from tests import makers
from tests.makers import case, case_ended, conditions_set, passing_run, planned_case, seen, shown, signed_in
from tests.test_evidence import raster

ABOUT: dict[str, object] = {"outcome": "leak", "chapters": {}}
STRANGER = shown(6.5, 7, seen("grace", case=2))


class Page(HTMLParser):
    """Collects what a page links to and shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value is not None:
                self.addresses.append(value)
            if (tag, name) == ("img", "src") and value is not None:
                self.pictures.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def store_of(folder: Path, events) -> Evidence:
    store = Evidence(folder)
    store.record(events)
    store.write("run.json", ABOUT)
    return store


def finding_of(events, picture: Path | None = None) -> Finding:
    leak = conclude(events).leaks[0]
    plan = makers.plan(Ask("ada"))
    return Finding("TestThreeHomes", "ada saw grace's living-room.", plan, plan, leak, picture, 4, 5)


@pytest.fixture
def leaked(tmp_path):
    """A run in which Ada's hub showed Grace's home, with its pictures."""
    events = passing_run(STRANGER)
    store = store_of(tmp_path / "with-update", events)
    for frame in judge(events):
        store.keep(raster(frame.frame.digest))
    store.keep_full([STRANGER.digest])
    yield tmp_path, store, finding_of(events)
    store.close()


def test_a_page_shows_the_finding_with_its_picture_its_program_and_how_often_it_came_back(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    assert "ada saw grace's living-room." in page.text
    assert "self.ask('ada')" in page.text
    assert "Reproduced 4 of 5 times" in page.text
    assert page.pictures[0] == f"with-update/frames/{STRANGER.digest[:16]}.png"


def test_a_finding_by_a_sliver_says_that_it_is_weaker_and_how_surely_it_is_wrong(tmp_path):
    sliver = msgspec.structs.replace(seen("grace", case=1, tiles=0, captured=None), chance=3.1e-12)
    torn = shown(6.5, 7, seen("ada"), sliver)
    events = passing_run(torn)
    store = store_of(tmp_path, events)
    store.keep(raster(torn.digest))
    store.keep_full([torn.digest])
    finding = finding_of(events)
    told = "a sliver matched with the registered owners, which is nobody's in at most 3.1e-12 of pictures"
    assert sentence(finding.leak).endswith(f" No MAC says so: it is known by {told}.")
    store.close()
    page = Page(write_page(tmp_path / "index.html", [("x", store, [finding])]))
    assert f"the home of grace, by {told}." in page.text
    by_mac = finding_of(passing_run(STRANGER))
    assert "MAC" not in sentence(by_mac.leak)
    assert by_mac.leak.guilty.vouched == "12 authenticated tiles"


def test_every_picture_of_a_page_is_there(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    assert page.pictures
    assert all((base / p).is_file() for p in page.pictures)


def test_a_page_beside_its_pictures_finds_them_too(leaked):
    _, store, finding = leaked

    page = Page(write_page(store.folder / "index.html", [("december-26", store, [finding])]))

    assert all((store.folder / p).is_file() for p in page.pictures)


def test_what_belongs_there_is_a_picture_of_the_same_hubs_own_home(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    own = {j.frame.digest[:16] for j in judge(store.history) if j.frame.hub == "ada" and j.verdict is Verdict.OWN}
    assert Path(page.pictures[1]).stem in own


def test_a_page_needs_no_network_and_no_script(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    assert not {"script", "iframe", "link", "object", "embed"} & set(page.tags)
    assert not [a for a in page.addresses if ":" in a or a.startswith("/")]


def test_what_the_home_system_says_is_text_and_never_markup(tmp_path):
    events = [case(), signed_in("ada", 0, 1), shown(5, 6, seen("<script>alert(1)</script>")), case_ended()]
    store = store_of(tmp_path / "run", events)
    page = write_page(tmp_path / "index.html", [("<b>title</b>", store, [finding_of(events)])])
    store.close()

    assert "<script>" not in page.read_text()
    assert "<b>title</b>" in Page(page).text


def test_several_runs_are_on_one_page(tmp_path):
    stores = [store_of(tmp_path / n, passing_run()) for n in ("one", "two")]

    page = Page(write_page(tmp_path / "index.html", [("with", stores[0], []), ("without", stores[1], [])]))

    for store in stores:
        store.close()
    assert {p.split("/")[0] for p in page.pictures} == {"one", "two"}


def test_a_page_is_written_whole(leaked):
    base, store, _ = leaked
    (base / "index.html").write_text("old")

    write_page(base / "index.html", [("december-26", store, [])])

    assert sorted(p.name for p in base.iterdir()) == ["index.html", "with-update"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            makers.asked(1.0, 2.5),
            "ada asks for living-room (still): picture after 1.50 s",
        ),
        (signed_in("grace", 1, 2), "ada's hub: signed in as grace"),
        (signed_in(None, 1, 2), "ada's hub: could not sign in"),
        (
            conditions_set("ada.hub", conditions.OUTAGE, 1),
            "ada.hub is OUTAGE (connections refused)",
        ),
        (Restarted(node="relay", began=1, ended=2, why="drawn"), "relay restarted (drawn)"),
        (makers.control(seen=False), "control crossed scenes: NOT SEEN; ada's hub with grace's scene"),
    ],
)
def test_what_happened_is_told_in_a_line(event, line):
    told = report._line(event)

    assert told is not None
    assert told.text == line


def test_a_case_is_told_in_the_order_in_which_things_happened():
    events = planned_case(3, 30)

    (told,) = report._cases(events, judge(events))

    assert told.number == 3
    assert [line.seconds for line in told.lines] == sorted(line.seconds for line in told.lines)
    assert sum(line.frame is not None for line in told.lines) == 3  # blank screens are not shown


def test_a_case_is_as_bad_as_its_worst_frame():
    events = passing_run(STRANGER)

    assert [c.worst for c in report._cases(events, judge(events))] == [Verdict.OWN, Verdict.FOREIGN]


def test_of_very_many_frames_the_worst_cases_are_shown_and_the_rest_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_FRAMES", 7)
    store = store_of(tmp_path / "run", passing_run(shown(6.5, 7, seen("grace", case=5)), cases=5))

    part = report._part(tmp_path, "many", store, [])

    store.close()
    assert [c.number for c in part.cases] == [1, 5]
    assert part.left_out == 3


def test_a_case_that_is_larger_than_a_page_is_shown_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_FRAMES", 1)
    store = store_of(tmp_path / "run", passing_run(cases=1))

    part = report._part(tmp_path, "one", store, [])

    store.close()
    assert [c.number for c in part.cases] == [1]
    assert part.left_out == 0


def test_a_finding_whose_picture_was_not_kept_is_told_without_one(tmp_path):
    events = passing_run(STRANGER)
    store = store_of(tmp_path / "run", events)

    part = report._part(tmp_path, "no pictures", store, [finding_of(events)])

    store.close()
    ((_, picture, own),) = part.findings
    assert (picture, own) == (None, None)

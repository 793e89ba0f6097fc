"""The page that a person reads: what happened, worst first, in one file, no script, no network."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from chaos import conditions, report
from chaos.errors import Misuse
from chaos.evidence import Evidence
from chaos.history import Restarted
from chaos.plan import Ask
from chaos.report import write_page
from chaos.run import Finding, sentence
from chaos.verdict import Verdict, conclude, judge
from chaos.whence import Hop, Whence
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


@pytest.fixture
def by_name(monkeypatch):
    """Let a page name its pictures instead of holding them."""

    def address(_, path, *__):
        return f"data:{path.parent.parent.name}/{path.name}" if path.is_file() else None

    monkeypatch.setattr(report._Pictures, "_address", address)


@pytest.mark.usefixtures("by_name")
def test_a_page_shows_the_finding_with_its_picture_its_program_and_how_often_it_came_back(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    assert "ada saw grace's living-room." in page.text
    assert "self.ask('ada')" in page.text
    assert "Reproduced 4 of 5 times" in page.text
    assert page.pictures[0] == f"data:with-update/{STRANGER.digest[:16]}.png"


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


def test_a_page_says_where_the_picture_turned_foreign_and_by_which_hops(leaked):
    base, store, finding = leaked
    hop = Hop("relay.cache", "client", "HMGET <still>", 206, "grace's picture", 212)
    word = Whence("It turned foreign in the relay: …", ("relay",), (hop,))
    finding = msgspec.structs.replace(finding, whence=word, capture=base / "capture.pcapng")
    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))
    assert "Where it turned foreign" in page.text
    assert "It turned foreign in the relay: …" in page.text
    assert "relay.cache, its client's half: HMGET <still> (packet 206): grace's picture, packet 212" in page.text
    assert f"for Wireshark: {base}/capture.pcapng" in page.text
    assert "Where it turned foreign" not in Page(write_page(base / "old.html", [("x", store, [leaked[2]])])).text


def test_every_picture_of_a_page_is_in_it(leaked):
    base, store, finding = leaked

    page = write_page(base / "index.html", [("december-26", store, [finding])])
    text = page.read_text()

    drawn = set(re.findall(r'class="f (f[^"]+)"', text))
    assert drawn
    assert drawn <= set(re.findall(r"\.(f[\w.-]+) \{ background-image: url\(data:image/webp;base64,", text))
    for picture in Page(page).pictures:
        kind, _, data = picture.partition(",")
        assert kind == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size[0] > 100


def test_a_blurred_page_holds_blurred_pixels(leaked):
    base, store, finding = leaked

    def sharpness(*, blurred: bool) -> float:
        page = Page(write_page(base / "index.html", [("x", store, [finding])], blurred=blurred))
        assert ("are blurred" in page.text) is blurred
        picture = Image.open(io.BytesIO(base64.b64decode(page.pictures[0].partition(",")[2]))).convert("L")
        return float(np.abs(np.diff(np.asarray(picture, float), axis=1)).mean())

    assert sharpness(blurred=True) < 0.1 * sharpness(blurred=False)


@pytest.mark.usefixtures("by_name")
def test_what_belongs_there_is_a_picture_of_the_same_hubs_own_home(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    own = {j.frame.digest[:16] for j in judge(store.history) if j.frame.hub == "ada" and j.verdict is Verdict.OWN}
    assert Path(page.pictures[1]).stem in own


def test_a_page_needs_no_network_and_no_script(leaked):
    base, store, finding = leaked

    page = Page(write_page(base / "index.html", [("december-26", store, [finding])]))

    assert not {"script", "iframe", "link", "object", "embed"} & set(page.tags)
    assert {a.partition(":")[0] for a in page.addresses if not a.startswith("#")} == {"data"}
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in (base / "index.html").read_text()


def test_what_the_home_system_says_is_text_and_never_markup(tmp_path):
    events = [case(), signed_in("ada", 0, 1), shown(5, 6, seen("<script>alert(1)</script>")), case_ended()]
    store = store_of(tmp_path / "run", events)
    page = write_page(tmp_path / "index.html", [("<b>title</b>", store, [finding_of(events)])])
    store.close()

    assert "<script>" not in page.read_text()
    assert "<b>title</b>" in Page(page).text


@pytest.mark.usefixtures("by_name")
def test_several_runs_are_on_one_page(tmp_path):
    stores = [store_of(tmp_path / n, passing_run()) for n in ("one", "two")]

    page = Page(write_page(tmp_path / "index.html", [("with", stores[0], []), ("without", stores[1], [])]))

    for store in stores:
        store.close()
    assert "with: leak" in page.text
    assert "without: leak" in page.text


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

    (told,) = [report._case(report._Pictures(blurred=False), Path(), c) for c in report._rough(events, judge(events))]

    assert told.number == 3
    assert [line.seconds for line in told.lines] == sorted(line.seconds for line in told.lines)
    assert sum(line.frame is not None for line in told.lines) == 3  # blank screens are not shown


def test_a_case_is_as_bad_as_its_worst_frame():
    events = passing_run(STRANGER)

    assert [c.worst for c in report._rough(events, judge(events))] == [Verdict.OWN, Verdict.FOREIGN]


def test_of_very_many_frames_the_worst_cases_are_shown_and_the_rest_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_FRAMES", 7)
    store = store_of(tmp_path / "run", passing_run(shown(6.5, 7, seen("grace", case=5)), cases=5))

    part = report._part(report._Pictures(blurred=False), "many", store.folder, [])

    store.close()
    assert [c.number for c in part.cases] == [1, 5]
    assert part.left_out == 3


def test_a_case_that_is_larger_than_a_page_is_shown_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_FRAMES", 1)
    store = store_of(tmp_path / "run", passing_run(cases=1))

    part = report._part(report._Pictures(blurred=False), "one", store.folder, [])

    store.close()
    assert [c.number for c in part.cases] == [1]
    assert part.left_out == 0


def test_a_finding_whose_picture_was_not_kept_is_told_without_one(tmp_path):
    events = passing_run(STRANGER)
    store = store_of(tmp_path / "run", events)

    part = report._part(report._Pictures(blurred=False), "no pictures", store.folder, [finding_of(events)])

    store.close()
    (told,) = part.findings
    assert (told.picture, told.own) == (None, None)


def test_lanes_have_everything_that_happened_on_one_time_axis():
    events = [
        signed_in("ada", 0, 1),
        makers.asked(2.0, 4.0),
        conditions_set("ada.hub", conditions.OUTAGE, 3),
        conditions_set("ada.hub", conditions.CLEAR, 6),
        Restarted(node="relay", began=7, ended=8, why="rolled out"),
        shown(3.5, 5, seen("grace", case=1)),
    ]
    history = [case(), *events, case_ended()]
    (rough,) = report._rough(history, judge(history))
    axis = report._Axis(0.0, 10.0)
    lanes = {lane.name: lane.bars for lane in report._lanes(report._Pictures(blurred=False), Path(), rough, axis)}

    assert list(lanes) == ["ada: asks", "ada: displayed", "ada.hub", "relay"]
    ask = next(b for b in lanes["ada: asks"] if b.kind == "ask")
    assert (ask.left, ask.width) == (20.0, 20.0)
    (band,) = lanes["ada.hub"]
    assert (band.kind, band.left, round(band.left + band.width)) == ("band", 30.0, 60)
    (frame,) = lanes["ada: displayed"]
    assert (frame.kind, frame.left) == ("bad", 35.0)
    assert "foreign, grace's" in frame.text
    assert [b.text for b in lanes["relay"]] == ["7.00 s: rolled out"]


def test_a_pass_says_what_was_not_exercised(tmp_path):
    store = store_of(tmp_path, passing_run())
    chapter = {"outcome": "passed", "met": {"latency on ada.camera": 3}, "frames": {}, "cases": 1, "asks": 3}
    chapter |= {"strong_asks": 3, "bound_95": 1.0, "reasons": [], "states": {"two asks at once": [2, 4]}}
    store.write("run.json", ABOUT | {"chapters": {"T": chapter}, "links": ["ada.camera", "ada.hub"]})
    text = " ".join(Page(write_page(tmp_path / "index.html", [("x", store, [])])).text.split())
    store.close()
    assert "No ask met a fault of these kinds: bandwidth, timeout," in text
    assert "No ask met any fault on ada.hub." in text
    assert "two asks at once 2 times, aimed at 4 times" in text


def test_the_logs_around_the_moment_are_shown(tmp_path):
    events = passing_run(STRANGER)
    store = store_of(tmp_path, events)
    store.write("run.json", ABOUT | {"wall": 1_700_000_000.0})
    lines = [f"2023-11-14T22:13:{20 + s:02d}.500Z event=at-{s} <b>" for s in range(12)]
    store.write("logs/relay.log", "\n".join(lines))
    page = write_page(tmp_path / "index.html", [("x", store, [finding_of(events)])])
    store.close()
    told = set(re.findall(r"event=at-(\d+)", page.read_text()))
    assert told == {"5", "6"}, "the frame stood there from 6.5 s on"
    assert "<b>" not in page.read_text().split("relay</h4>")[1].split("</pre>")[0]


def test_a_stored_run_is_shown_again_and_what_is_damaged_is_told(leaked, tmp_path):
    _, store, finding = leaked
    for number, text in enumerate([msgspec.json.encode(finding, enc_hook=str), b"{", b'{"scenario": 1}'], 1):
        store.write(f"findings/{number}/finding.json", text)
    said = []
    code = report.tell(store.folder, tmp_path / "again.html", blurred=False, say=said.append)
    assert code == 3
    assert [line.split(" cannot be read")[0] for line in said[:2]] == [
        "findings/2/finding.json",
        "findings/3/finding.json",
    ]
    assert "Reproduced 4 of 5 times" in Page(tmp_path / "again.html").text
    store.write("history.jsonl", '{"event": "nonsense"}\n{"event": "nonsense"}\n')
    store.write("run.json", '{"chapters": {"T": {"cases": "<i>", "met": 3}, "U": 1}, "links": 7}')
    report.tell(store.folder, tmp_path / "again.html", blurred=False, say=said.append)
    text = Page(tmp_path / "again.html").text
    assert "Not all of its evidence is there" in text
    assert "line 2 of history.jsonl" in text


HOSTILE = "</style></title><script>alert(1)</script>"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b"[" * 100_000),
        ("run.json", msgspec.json.encode({"outcome": HOSTILE, "update": {"digest": 3}, "links": [HOSTILE, 7, None]})),
        ("run.json", msgspec.json.encode({"wall": 1e300, "dropped": [HOSTILE], "compose": {"name": HOSTILE}})),
        ("run.json", msgspec.json.encode({"wall": -1e300, "update": HOSTILE, "compose": 3, "dropped": {}})),
        (
            "run.json",
            msgspec.json.encode(
                {"chapters": {HOSTILE: {"outcome": "passed", "bound_95": HOSTILE, "states": {HOSTILE: 3, "x": [1]}}}}
            ),
        ),
        ("history.jsonl", b"[" * 100_000 + b"\n" + b'{"event":' * 100_000 + b"\n"),
        ("history.jsonl", b"\xff\xfe" * 1000),
        ("history.jsonl", b"x" * 5_000_000),
        ("findings/1/finding.json", b"[" * 100_000),
        ("findings/1\u00b2/finding.json", b"{}"),
        ("findings/99999999999999999999/finding.json", b"{}"),
    ],
)
def test_a_hostile_folder_is_shown_as_far_as_it_goes_and_nothing_of_it_is_markup(leaked, tmp_path, file, content):
    _, store, finding = leaked
    store.write("findings/2/finding.json", msgspec.json.encode(finding, enc_hook=str))
    store.write(file, content)
    report.tell(store.folder, tmp_path / "page.html", blurred=False, say=lambda _: None)
    page = tmp_path / "page.html"
    assert "<script" not in page.read_text()
    assert "script" not in Page(page).tags
    assert "ada saw grace" in Page(page).text, "and the rest is there"


def test_names_of_pictures_lead_nowhere_else(tmp_path):
    """A digest is a file's name and a class of the page's style: one that is no digest is neither."""
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (64, 48), "red").save(secret)
    for digest in ("../../secret", "}*{color:red}/*x", "a b"):
        folder = tmp_path / f"run-{len(digest)}"
        frame = msgspec.structs.replace(STRANGER, digest=digest)
        store = store_of(folder, passing_run(frame))
        store.close()
        page = write_page(tmp_path / "page.html", [("x", folder, [finding_of(passing_run(frame))])])
        assert not Page(page).pictures
        assert "data:image" not in page.read_text()
        assert digest not in page.read_text()


def test_links_and_pictures_that_are_none_or_huge_are_left_out(leaked, tmp_path, monkeypatch):
    _, store, finding = leaked
    monkeypatch.setattr(report, "_MOST_PIXELS", 64 * 48 - 1)
    frames = store.folder / "frames"
    for picture in [*frames.iterdir()]:
        picture.unlink()
    big, small = tmp_path / "big.png", tmp_path / "small.png"
    Image.new("RGB", (64, 48)).save(big)
    Image.new("RGB", (8, 8)).save(small)
    name = finding.leak.frame.digest[:16]

    def pictures() -> list[str]:
        return Page(write_page(tmp_path / "page.html", [("x", store.folder, [finding])])).pictures

    (frames / f"{name}.png").symlink_to(small)
    assert not pictures(), "a link leads out of the folder"
    (frames / f"{name}.png").unlink()
    (frames / f"{name}.png").write_bytes(big.read_bytes())
    assert not pictures(), "more pixels than any screen has"
    (frames / f"{name}.png").write_bytes(b"GIF89a" + b"\0" * 50)
    assert not pictures()
    (frames / f"{name}.png").write_bytes(small.read_bytes())
    assert len(pictures()) == 1


def test_a_page_has_so_many_cases_and_so_much_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MOST_CASES", 3)
    monkeypatch.setattr(report, "_MOST_EVENTS", 2)
    blank = [e for n in range(1, 8) for e in (case(n), *(signed_in("ada", t, t + 1) for t in range(5)), case_ended())]
    store = store_of(tmp_path / "run", blank)
    page = Page(write_page(tmp_path / "index.html", [("x", store, [])]))
    store.close()
    assert page.tags.count("summary") == 3
    assert "4 more cases are in" in page.text
    assert page.text.count("signed in as ada") == 3 * 2


def test_what_the_run_left_out_is_told(tmp_path):
    store = store_of(tmp_path / "run", passing_run())
    store.write("run.json", ABOUT | {"dropped": ["12 small pictures were left out"]})
    page = Page(write_page(tmp_path / "index.html", [("x", store, [])]))
    store.close()
    assert "Left out of the evidence. 12 small pictures were left out." in page.text


def test_a_gates_folder_is_shown_worker_by_worker_and_its_own_page_stays(leaked, tmp_path):
    _, store, finding = leaked
    store.write("findings/1/finding.json", msgspec.json.encode(finding, enc_hook=str))
    gate = tmp_path / "gate"
    for number in (1, 2):
        shutil.copytree(store.folder, gate / f"worker-{number}")
    (gate / "index.html").write_text("the gate's own")
    said = []
    assert report.tell(gate, None, blurred=False, say=said.append) == 0
    assert said == [f"page: {gate / 'cases.html'}"]
    page = Page(gate / "cases.html")
    assert page.text.count("Reproduced 4 of 5 times") == 2
    assert "worker-2: " in page.text
    assert (gate / "index.html").read_text() == "the gate's own"


def test_a_folder_without_evidence_is_a_sentence_and_gets_no_page(tmp_path):
    with pytest.raises(Misuse, match="is no evidence folder"):
        report.tell(tmp_path, None, blurred=False, say=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_evidence_of_another_version_is_told_and_shown(leaked, tmp_path):
    _, store, _ = leaked
    store.write("run.json", ABOUT | {"format": 9})
    report.tell(store.folder, tmp_path / "page.html", blurred=False, say=lambda _: None)
    assert "run.json has format 9, this version reads 1" in Page(tmp_path / "page.html").text

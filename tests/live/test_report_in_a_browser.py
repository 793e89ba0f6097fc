"""The page in a real Chromium: its own policy lets its pictures be seen, and asks nobody for anything."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from chaos.displays import Raster
from chaos.history import CaseEnded
from chaos.report import write_page
from chaos.verdict import judge
from tests.makers import passing_run
from tests.test_report import STRANGER, finding_of, store_of

from .docker_home import BROWSER, browser_image, engine

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.timeout(420)]  # the image may have to be built
STRANGERS, OWN = (250, 0, 250), (0, 250, 0)
WORDS = (*BROWSER, "--enable-logging=stderr", "--window-size=1200,2400", "--screenshot=/tmp/seen.png")


def seen_in_a_browser(client, page: bytes) -> tuple[np.ndarray, str]:
    """Return what a browser without a network paints of a page, as RGB, and what it says on its console."""
    words = [*WORDS, Path("/tmp/page.html").as_uri()]
    container = client.containers.create(
        browser_image(client), words, network_mode="none", environment={"HOME": "/tmp"}
    )
    try:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as out:
            entry = tarfile.TarInfo("page.html")
            entry.size, entry.mode = len(page), 0o644
            out.addfile(entry, io.BytesIO(page))
        container.put_archive("/tmp", packed.getvalue())
        container.start()
        assert container.wait(timeout=60)["StatusCode"] == 0, container.logs().decode()
        said = container.logs().decode(errors="replace")
        stream, _ = container.get_archive("/tmp/seen.png")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as got, Image.open(got.extractfile("seen.png")) as shot:
            return np.asarray(shot.convert("RGB"), np.int16), said
    finally:
        container.remove(force=True)


def places(shot: np.ndarray, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return where a colour stands, from the top: the height and the greatest width of each stretch of rows."""
    widths = (np.abs(shot - colour).max(axis=2) < 40).sum(axis=1)
    groups = itertools.groupby(widths, lambda n: n > 4)
    return [(len(rows), max(rows)) for there, found in groups if there and len(rows := list(found)) > 4]


def test_a_browser_shows_the_strangers_picture_large_and_small_and_has_nothing_to_complain_of(tmp_path):
    client = engine()
    ends = {"at": 40.0}  # soon, so that its lane has room for the picture
    events = [msgspec.structs.replace(e, **ends) if isinstance(e, CaseEnded) else e for e in passing_run(STRANGER)]
    store = store_of(tmp_path / "run", events)
    for judged in judge(events):
        colour = STRANGERS if judged.frame.digest == STRANGER.digest else OWN
        store.keep(Raster(judged.frame.digest, 640, 360, bytes(colour) * (640 * 360)))
    store.keep_full([STRANGER.digest])
    finding = msgspec.structs.replace(finding_of(events), sentence="ada saw grace's living-room.")
    page = write_page(tmp_path / "page.html", [("december-26", store, [finding])])
    store.close()
    shot, said = seen_in_a_browser(client, page.read_bytes())

    assert "CONSOLE" not in said, said
    assert "Refused" not in said
    strangers = places(shot, STRANGERS)
    assert strangers[0][0] > 300, "as it stood there, large"
    assert strangers[0][1] > 500
    assert len(strangers) >= 3, f"and small, in its lane and in the list: {strangers}"
    own = places(shot, OWN)
    assert own[0][0] > 200, "beside what belongs there"
    assert own[0][1] > 400

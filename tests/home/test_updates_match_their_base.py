"""Every update of the reference home was written against the files that are there now."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from pathlib import Path

import pytest

from tests.home.homes import HOME

UPDATES = sorted(HOME.glob("updates/*/update.toml"))


@pytest.mark.parametrize("path", UPDATES, ids=lambda p: p.parent.name)
def test_an_update_names_the_hash_of_the_file_that_it_replaces(path: Path) -> None:
    described = tomllib.loads(path.read_text())
    assert described["name"] == path.parent.name
    for file in described.get("files", []):
        base = HOME / file["path"]
        found = f"sha256:{hashlib.sha256(base.read_bytes()).hexdigest()}" if base.is_file() else None
        assert file.get("replaces") == found, f"bring {path.parent.name} to the new {file['path']}, then its hash"
        assert (path.parent / file["path"]).is_file()


@pytest.mark.parametrize("path", UPDATES, ids=lambda p: p.parent.name)
def test_what_was_before_an_update_changes_the_same_nodes(path: Path) -> None:
    described = tomllib.loads(path.read_text())
    if before := described.get("before"):
        earlier = tomllib.loads((path.parent.parent / before / "update.toml").read_text())
        touched = {f["node"] for f in earlier["files"]}
        assert touched <= {f["node"] for f in described["files"]}, "the others would not be rolled"


@pytest.mark.parametrize("path", UPDATES, ids=lambda p: p.parent.name)
def test_every_control_exists_and_has_none_itself(path: Path) -> None:
    described = tomllib.loads(path.read_text())
    control = described.get("control")
    if control is None:
        return
    other = tomllib.loads((HOME / "updates" / control / "update.toml").read_text())
    assert "control" not in other
    assert described["known_from"], "an update says where it is known from"


def test_december_26_and_its_control_differ_in_the_key_alone() -> None:
    bad, good = (
        (HOME / "updates" / name / "relay" / "stills.py").read_text().splitlines()
        for name in ("december-26", "december-26-fixed")
    )
    differing = [(a, b) for a, b in zip(bad, good, strict=True) if a != b]
    assert len(differing) == 2
    assert [line.strip() for line in differing[1]] == ['return f"still:{camera}"', 'return f"still:{owner}:{camera}"']


def test_the_home_never_imports_the_harness() -> None:
    for source in HOME.rglob("*.py"):
        text = source.read_text()
        assert "import chaos" not in text
        assert "from chaos" not in text
        assert "badge" not in text.lower()


def test_edge_cache_and_its_control_differ_in_the_key_alone() -> None:
    bad, good = (HOME / "updates" / name / "edge" for name in ("edge-cache", "edge-cache-fixed"))
    assert {f.name for f in bad.iterdir()} == {f.name for f in good.iterdir()} == {"Dockerfile", "nginx.conf", "run.sh"}
    for same in ("Dockerfile", "run.sh"):
        assert (bad / same).read_bytes() == (good / same).read_bytes()
    lines = zip(
        (bad / "nginx.conf").read_text().splitlines(), (good / "nginx.conf").read_text().splitlines(), strict=True
    )
    changed = [(a.strip(), b.strip()) for a, b in lines if a != b]
    assert changed == [
        ('proxy_cache_key "$uri$is_args$args";', 'proxy_cache_key "$http_authorization $uri$is_args$args";')
    ]


BROKEN = [p.parent for p in UPDATES if "control" in tomllib.loads(p.read_text())]
FEW = 24
"""Lines that an update and its control may differ in: the one mistake, and what it takes to make it right."""


@pytest.mark.parametrize("folder", BROKEN, ids=lambda p: p.name)
def test_an_update_and_its_control_differ_in_the_mistake_alone(folder: Path) -> None:
    described = tomllib.loads((folder / "update.toml").read_text())
    control = folder.parent / described["control"]
    fixed = tomllib.loads((control / "update.toml").read_text())
    for same in ("files", "nodes", "stacks", "python", "guilty"):
        assert described.get(same) == fixed.get(same), same
    changed: list[str] = []
    for file in described.get("files", ()):
        bad, good = ((at / file["path"]).read_text().splitlines() for at in (folder, control))
        changed += [line for line in difflib.ndiff(bad, good) if line[:2] in ("- ", "+ ")]
    assert len(changed) <= FEW, "\n".join(changed)
    pinned = [{p["requirement"].partition("==")[0] for p in d.get("pins", ())} for d in (described, fixed)]
    assert pinned[0] == pinned[1]
    assert changed or described.get("pins")

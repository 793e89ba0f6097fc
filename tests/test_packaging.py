"""What a newcomer is promised holds in the files: two commands, a whole wheel, a changelog, nobody's machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
PROJECT = tomllib.loads((CLONE / "pyproject.toml").read_text())
CACHES = (".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")
NAMED = {
    "127.0.0.1",
    "androidcentral.com",
    "blog.cloudflare.com",
    "camera-",  # in the stock home: a camera by its owner, its sensor, and the relay
    "cwe.mitre.org",
    "datatracker.ietf.org",
    "developers.home.google.com",
    "distributed.dask.org",
    "docs.aiohttp.org",
    "ffmpeg.org",
    "forums.wyze.com",
    "github.blog",
    "github.com",
    "host",
    "hypothesis.readthedocs.io",
    "inner",  # nginx's name for itself, and for what it stands in front of
    "json-schema.org",
    "keepachangelog.com",
    "nginx.org",
    "nvd.nist.gov",
    "openai.com",
    "origin",
    "portswigger.net",
    "relay",
    "scapy.readthedocs.io",
    "securityboulevard.com",
    "sensor.invalid",
    "siliconrepublic.com",
    "store.steampowered.com",
    "www.apache.org",
    "www.ietf.org",
    "www.klarna.com",
    "www.notebookcheck.net",
    "www.prisma.io",
    "www.reviewgeek.com",
    "www.rfc-editor.org",
    "www.securitymagazine.com",
    "www.squid-cache.org",
    "www.w3.org",  # the name of SVG
    "www.fastcompany.com",
}
"""Hosts that files may name: where something is told, never where something is fetched from by us."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the wheel of this clone as somebody leaves it who has worked in it."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"
    for part in ("chaos", "scenarios"):
        shutil.copytree(CLONE / part, clone / part, ignore=shutil.ignore_patterns("__pycache__", *CACHES))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CLONE / file, clone)
    for place in ("chaos/__pycache__", "scenarios/__pycache__", "scenarios/home/relay/__pycache__"):
        (clone / place).mkdir(exist_ok=True)
        (clone / place / "left.cpython-311.pyc").write_bytes(b"left")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def shipped(folder: str) -> set[str]:
    """Return the files below a folder that belong to the project."""
    files = {f.relative_to(CLONE / folder) for f in (CLONE / folder).rglob("*") if f.is_file()}
    return {f.as_posix() for f in files if not {"__pycache__", *CACHES} & set(f.parts)}


def test_the_wheel_has_the_package_and_all_scenarios_and_the_home(wheel: zipfile.ZipFile) -> None:
    names = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert names == {f"chaos/{n}" for n in shipped("chaos")} | {f"chaos/_scenarios/{n}" for n in shipped("scenarios")}
    for needed in (
        "py.typed",
        "_toxiproxy/go.sum",
        "templates/report.html",
        "templates/page.css",
        "_scenarios/home/home.toml",
    ):
        assert f"chaos/{needed}" in names
    assert "chaos/_scenarios/home/updates/december-26/update.toml" in names


def test_the_wheel_has_no_tests_and_nothing_that_was_left_in_the_clone(wheel: zipfile.ZipFile) -> None:
    assert [n for n in wheel.namelist() if "__pycache__" in n or n.startswith("tests/")] == []


def test_the_wheel_has_both_doors(wheel: zipfile.ZipFile) -> None:
    (doors,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert wheel.read(doors).decode().split() == [
        "[console_scripts]", "ownframe", "=", "chaos.cli:main", "[pytest11]", "ownframe", "=", "chaos.plugin",
    ]  # fmt: skip


@pytest.mark.parametrize(("heading", "ends"), [("Run", "/bin/ownframe demo"), ("Test", "/bin/tox")])
def test_the_readme_has_one_command_of_one_line_under_each_heading(heading: str, ends: str) -> None:
    sections = re.split(r"^## (.+)$", (CLONE / "README.md").read_text(), flags=re.MULTILINE)
    section = dict(zip(sections[1::2], sections[2::2], strict=True))[heading]
    blocks = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0].count("\n") == 1
    assert blocks[0].startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert blocks[0].rstrip().endswith(ends)


def test_the_version_has_a_heading_in_the_changelog() -> None:
    headings = re.findall(r"^## (\S+)", (CLONE / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert PROJECT["project"]["version"] == headings[0]


def test_everything_that_ci_installs_is_locked() -> None:
    """All that pyproject names; what these need in turn is in the lock because it was made by a freeze."""
    lines = (CLONE / ".ci" / "constraints.txt").read_text().splitlines()
    assert [n for n in lines if not n.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.]+", n)] == []
    locked = {re.sub(r"[-_.]+", "-", n.partition("==")[0]).lower() for n in lines}
    groups = PROJECT["dependency-groups"].values()
    named = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"], *(d for g in groups for d in g)]
    wanted = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", d)[0]).lower() for d in (*named, "tox", "editables")}
    assert wanted - locked == set()


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    if not (CLONE / ".git").exists() or not shutil.which("git"):
        pytest.skip("no clone: what is tracked is not known")
    listed = subprocess.run(["git", "-C", str(CLONE), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [CLONE / name for name in listed.stdout.split("\0") if name and (CLONE / name).is_file()]


def test_no_file_fetches_from_a_host_of_ours_or_names_one(tracked: list[Path]) -> None:
    found = {
        (host, file.name)
        for file in tracked
        for host in re.findall(rb"https?://([A-Za-z0-9][A-Za-z0-9.-]*)", file.read_bytes())
    }
    assert {(host.decode(), file) for host, file in found if host.decode() not in NAMED} == set()


def test_no_file_names_a_path_of_somebodys_machine(tracked: list[Path]) -> None:
    """Neither a home folder, nor where this clone happens to be."""
    path = re.compile(rb"(?<![\w./$}-])/(?:root|home/\w+|Users|work|mnt|workspace)/|file://")
    found = [(f.name, m[0]) for f in tracked if f != Path(__file__) for m in path.finditer(f.read_bytes())]
    assert found == []
    here = [f.name for f in tracked if len(CLONE.parts) > 2 and str(CLONE).encode() in f.read_bytes()]
    assert here == []


JUNIT = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'


@pytest.mark.parametrize(
    ("runs", "line", "code"),
    [
        ([(5, 0, 0, 1), (2, 0, 0, 0)], "6 passed, 0 failed, 1 skipped", 0),
        ([(5, 1, 0, 0), (2, 0, 1, 0)], "5 passed, 2 failed, 0 skipped", 1),
        ([(5, 0, 0, 0), (0, 0, 0, 0)], "5 passed, 0 failed, 0 skipped", 1),
        ([(5, 0, 0, 0), None], "5 passed, 0 failed, 0 skipped", 1),
        ([(3, 0, 0, 3)], "0 passed, 0 failed, 3 skipped", 1),
        ([], "0 passed, 0 failed, 0 skipped", 1),
    ],
    ids=["passed", "failed", "one that ran nothing", "one that left nothing", "all skipped", "none"],
)
def test_the_sum_of_ci_is_good_only_if_every_run_left_passed_tests(tmp_path, runs, line, code) -> None:
    for number, run in enumerate(runs):
        if run:
            (tmp_path / f"{number}.xml").write_text(JUNIT.format(*run))
    files = [str(tmp_path / f"{n}.xml") for n in range(len(runs))]
    command = [sys.executable, str(CLONE / ".ci" / "sum"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines()[-1], done.returncode) == (line, code)

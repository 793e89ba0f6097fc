"""Images: named for their content, built once, telling why they do not build, keeping nothing of how they were."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import pytest

from chaos import updates
from chaos.errors import CannotRunHere, Misuse, Surroundings
from chaos.stacks.docker_images import BASE_SETTING, CA_SETTING, IMAGE, Images

from .docker_home import engine

pytestmark = [pytest.mark.live, pytest.mark.docker]


@pytest.fixture(scope="module")
def client():
    return engine()


@pytest.fixture
def home(tmp_path):
    return updates.lay(updates.home_folder(), None, tmp_path / "home")


@pytest.fixture
def said():
    return []


def _run(client, image, program):
    return client.containers.run(image, ["python", "-c", program], remove=True, network_mode="none").decode().strip()


def test_the_same_content_has_the_same_name_and_is_built_once(client, home, said):
    first = Images(client, home, said.append).nodes(["relay", "cache"])
    said.clear()
    assert Images(client, home, said.append).nodes(["relay", "cache"]) == first
    assert said == []


def test_what_an_update_changes_is_built_again_and_nothing_else(client, home, said):
    sources = ["relay", "cache", "hub"]
    before = Images(client, home, said.append).nodes(sources)
    said.clear()
    path = home / "relay" / "stills.py"
    path.write_text(path.read_text() + f"\nUPDATED = {str(home)!r}\n")  # an image that no earlier session made
    after = Images(client, home, said.append).nodes(sources)
    assert {s for s in sources if before[s] != after[s]} == {"relay"}
    assert len(said) == 1
    program = "import sys; sys.path.append('relay'); import stills; print(stills.UPDATED)"
    assert _run(client, after["relay"], program) == str(home)
    client.images.remove(after["relay"], force=True)


def test_what_all_nodes_share_changes_all_and_what_is_ignored_none(client, home, said):
    images = Images(client, home, said.append)
    before = images._context("relay").keys()
    assert {p.split("/")[0] for p in before} == {"common", "relay"}
    (home / "relay" / "__pycache__").mkdir(exist_ok=True)
    (home / "relay" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (home / "camera" / "new.py").write_text("")
    assert images._context("relay").keys() == before
    (home / "common" / "new.py").write_text("")
    assert images._context("relay").keys() - before == {"common/new.py"}


def test_a_pin_of_an_update_is_another_image_with_that_version(client, home, said):
    before = Images(client, home, said.append).nodes(["relay"])["relay"]
    (home / "relay" / "pins.txt").write_text("redis==4.5.3\n")
    after = Images(client, home, said.append).nodes(["relay"])["relay"]
    version = "import importlib.metadata as m; print(m.version('redis'))"
    assert _run(client, after, version) == "4.5.3"
    assert _run(client, before, version) != "4.5.3"


def test_a_build_that_fails_is_told_with_its_last_lines(client, home, said):
    path = home / "relay" / "Dockerfile"
    path.write_text(path.read_text().replace("RUN python3 -m venv", "RUN echo it is raining; false && python3 -m venv"))
    with pytest.raises(Surroundings, match=r"(?s)ownframe-relay:\w+ does not build.*it is raining.*non-zero code: 1"):
        Images(client, home, said.append).nodes(["relay"])


def test_a_package_that_there_is_not_is_told_with_pips_words(client, home, said):
    (home / "cache" / "pins.txt").write_text("redis==0.0.0.1\n")
    with pytest.raises(CannotRunHere, match=r"(?s)cannot run here.*needs redis==0\.0\.0\.1.*Its last lines"):
        Images(client, home, said.append).nodes(["cache"])


def test_a_dockerfile_that_is_not_there_is_wrong_use(client, home, said):
    (home / "hub" / "Dockerfile").unlink()
    with pytest.raises(Misuse, match=r"no hub/Dockerfile"):
        Images(client, home, said.append).nodes(["hub"])


def test_a_base_that_cannot_be_had_is_told_with_what_builds_one(client, home, said, monkeypatch):
    monkeypatch.setenv(BASE_SETTING, "127.0.0.1:1/nobody:here")
    with pytest.raises(Surroundings, match=r"cannot be pulled.*\.ci/base-image"):
        Images(client, home, said.append)


def test_a_bundle_of_certificates_that_is_not_there_is_wrong_use(client, home, said, monkeypatch):
    (home / "relay" / "another.py").write_text(f"# {home}")
    monkeypatch.setenv(CA_SETTING, str(home / "none.pem"))
    with pytest.raises(Misuse, match=CA_SETTING):
        Images(client, home, said.append).nodes(["relay"])


def test_an_image_keeps_no_certificates_no_pip_and_no_settings(client, home, said):
    image = Images(client, home, said.append).nodes(["relay"])["relay"]
    names = _files_of(client, image)
    assert any(name.endswith("srv/home/relay/app.py") for name in names)
    assert not [name for name in names if name.startswith("build")]
    assert not [name for name in names if "opt/node/" in name and "/site-packages/pip/" in name]
    history = " ".join(step["CreatedBy"] for step in client.api.history(image))
    assert "ca.pem" not in history
    assert client.images.get(image).labels[IMAGE] == "relay"


def _files_of(client, image) -> list[str]:
    """Return the path of every file in every layer of an image, also of those that a later layer hides."""
    names = []
    with tarfile.open(fileobj=io.BytesIO(b"".join(client.api.get_image(image)))) as archive:
        for member in archive.getmembers():
            if member.name.endswith("layer.tar") or member.name.startswith("blobs/"):
                with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=archive.extractfile(member)) as layer:
                    names += layer.getnames()
    return names


def test_every_dockerfile_has_the_same_base_pinned_to_a_digest():
    lines = {
        line
        for path in Path(updates.home_folder()).glob("*/Dockerfile")
        for line in path.read_text().splitlines()
        if line.startswith("ARG BASE=")
    }
    assert len(lines) == 1
    assert "@sha256:" in lines.pop()

"""What a build is told of this site: pip's and Go's settings, in files of a stage that is thrown away."""

from __future__ import annotations

import pytest

from chaos.stacks import docker_images

KNOWN = [f"PIP_{n.upper().replace('-', '_')}" for n in docker_images._PIP_SETTINGS] + list(docker_images._GO_SETTINGS)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (*KNOWN, *docker_images._BUNDLES):
        monkeypatch.delenv(name, raising=False)


def test_where_nothing_is_set_a_build_has_the_defaults():
    assert docker_images._settings() == {"pip.conf": b"[global]\n", "go.env": b""}


def test_go_and_pip_are_told_what_this_environment_says(monkeypatch):
    monkeypatch.setenv("GOPROXY", "https://origin/modules,direct")
    monkeypatch.setenv("PIP_INDEX_URL", "https://origin/simple")
    told = docker_images._settings()
    assert told["go.env"] == b"GOPROXY=https://origin/modules,direct\n"
    assert told["pip.conf"] == b"[global]\nindex-url = https://origin/simple\n"

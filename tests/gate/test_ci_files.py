"""The workflow files in docs/ci are what the services take, and use options that there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.cli import cli

DOCS = Path(__file__).parents[2] / "docs"
FILES = [("github.yml", "vendor.github-workflows"), ("gitlab-ci.yml", "vendor.gitlab-ci")]


def checked(file: Path, schema: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "schema"), FILES)
def test_a_workflow_file_is_valid(tmp_path, name, schema):
    done = checked(DOCS / "ci" / name, schema)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / name
    broken.write_text((DOCS / "ci" / name).read_text().replace("timeout", "tiemout"))
    assert checked(broken, schema).returncode != 0, "and the check can fail"


@pytest.mark.parametrize("file", ["ci/github.yml", "ci/gitlab-ci.yml", "gate.md"])
def test_only_options_that_there_are_are_named(file):
    known = {o for p in cli.commands["gate"].params for o in p.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (DOCS / file).read_text()))
    assert named
    assert named - known == set()

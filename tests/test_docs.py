"""The documentation: every snippet runs, every command that is named exists, every link leads somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import click
import hypothesis.stateful
import hypothesis.strategies
import pytest
from markdown_it import MarkdownIt

import chaos
from chaos import Household, current, plan, updates
from chaos.cli import cli
from chaos.faults import NodeFaults
from chaos.plan import NodeFault
from chaos.topology import from_toml
from tests.makers import OWNERS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


def _fences() -> list[tuple[str, str, str]]:
    """Return each fenced block of every page: where it is, its language, its text."""
    found = []
    for page in PAGES:
        for token in MarkdownIt().parse(page.read_text()):
            if token.type == "fence" and token.map is not None:
                where = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
                found.append((where, token.info.strip(), token.content))
    return found


FENCES = _fences()


def _of(*languages: str) -> list[object]:
    return [pytest.param(text, id=where) for where, language, text in FENCES if language in languages]


@pytest.mark.parametrize("text", _of("python", "py"))
def test_a_python_snippet_runs(text):
    """Whole files as they are, rules in a scenario, and programs on one, whose steps must be what the home can do."""
    names = {**vars(plan), **{n: getattr(chaos, n) for n in chaos.__all__}}
    names |= {"rule": hypothesis.stateful.rule, "st": hypothesis.strategies, "__name__": "snippet"}
    first = ast.parse(text).body[0]
    if text.lstrip().startswith("@rule"):
        text = f"class Snippet(Household):\n    homes = {OWNERS}\n" + textwrap.indent(text, "    ")
    elif isinstance(first, ast.Expr) and text.lstrip().startswith("self."):
        names["self"] = _scenario()
    exec(compile(text, "snippet", "exec"), names)


def _scenario() -> Household:
    topology = from_toml(tomllib.loads((updates.home_folder() / "home.toml").read_text()), OWNERS)
    stack = SimpleNamespace(name="docker", faults=frozenset(get_args(NodeFault)))
    can = dict.fromkeys(("check_accounts", "check_integration", "check_voice"), lambda: None)
    home = SimpleNamespace(
        topology=topology,
        stack=stack,
        updated=(),
        changed=(),
        faults=NodeFaults(topology, stack, lambda _: ROOT),
        **can,
    )

    class Snippet(Household):
        homes = OWNERS

    with current.using(SimpleNamespace(home=home)):
        return Snippet()


@pytest.mark.parametrize("text", _of("toml"))
def test_a_toml_snippet_can_be_read(text):
    assert tomllib.loads(text)


@pytest.mark.parametrize("text", _of("json"))
def test_a_json_snippet_can_be_read(text):
    assert json.loads(text) is not None


@pytest.mark.parametrize("text", _of("sh", "bash", "console"))
def test_the_commands_of_a_snippet_exist(text):
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|\||;|\|", line.partition("#")[0]):
            words = [w for w in shlex.split(command) if not re.match(r"[A-Z_]+=", w)]
            if words and Path(words[0]).name == "ownframe":
                _check_ownframe(words[1:])
            elif words and Path(words[0]).name == "pytest":
                unknown = {w.partition("=")[0] for w in words if w.startswith("--")} - _pytest_options()
                assert not unknown, f"pytest has no {', '.join(sorted(unknown))}"


def _check_ownframe(words: list[str]) -> None:
    """Let click read the words as it would, and do nothing."""
    group: click.Command = cli
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        found = group.commands.get(words[0])
        assert found is not None, f"ownframe has no command {words[0]!r}"
        group, words = found, words[1:]
    known = {option for parameter in group.params for option in parameter.opts + parameter.secondary_opts}
    known |= {"--help", "-h", "--version"}
    used = {w.partition("=")[0] for w in words if w.startswith("-") and len(w) > 1}
    assert used <= known, f"ownframe {group.name} has no {', '.join(sorted(used - known))}"


@cache
def _pytest_options() -> frozenset[str]:
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return frozenset(re.findall(r"--[a-z][a-z-]*", said.stdout))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        place, _, anchor = target.partition("#")
        if "://" in target or place.startswith("mailto:"):
            continue
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file), f"{page.name} links to {target}; there is no such heading"


def _anchors(page: Path) -> set[str]:
    """Return the anchors that a code host and MyST make of a page's headings."""
    tokens = MarkdownIt().parse(page.read_text())
    heads = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_every_page_is_named_in_the_index():
    """`tox -e docs` would say so too, later and with less patience."""
    named = set(re.findall(r"^([a-z-]+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE))
    assert {p.stem for p in (ROOT / "docs").glob("*.md")} - {"index"} == named

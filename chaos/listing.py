"""``ownframe list``: what there is to write scenarios with, and to run them against."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos import conditions, updates
from chaos.errors import Misuse, nearest
from chaos.scenarios import load, scenario_folder
from chaos.topology import CHOICES, choices_of, from_toml

HOMES = ("ada", "grace", "lin")
WIDE = 200
"""Columns where nobody looks at a terminal: names and what is said of them stay on one line, for a search."""


def tell(what: str | None, console: Console | None = None) -> None:
    """Print one section, or all. Raises `Misuse` with the nearest right name."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    if what is not None and what not in SECTIONS:
        raise Misuse(f"there is nothing called {what!r} to list{nearest(what, list(SECTIONS))}")
    for name in SECTIONS if what is None else (what,):
        title, columns, rows = SECTIONS[name]
        table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for row in rows():
            # a name is copied and searched for: it is never cut in two
            first, *others = row
            table.add_row(Text(first, no_wrap=True), *(Text(cell, overflow="fold") for cell in others))
        console.print(table)
        console.print()


def _scenarios() -> Iterator[tuple[str, ...]]:
    for file in sorted(scenario_folder().glob("test_*.py")):
        for scenario in load(file):
            yield scenario.__name__, file.name, str(scenario.cases), _head(file)


def _head(file: Path) -> str:
    """Return the first line of a file's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _conditions() -> Iterator[tuple[str, ...]]:
    for name, named in conditions.NAMED.items():
        told = ["connections refused"] if named.refused else [t.describe() for t in named.toxics]
        packets = f"packet faults (--stack docker): {', '.join(p.describe() for p in named.packets)}"
        yield name, ", ".join([*told, *([packets] if named.packets else [])]) or "nothing"


def _toxics() -> Iterator[tuple[str, ...]]:
    for kind, toxic in conditions.TOXICS.items():
        told = (toxic.__doc__ or "").partition("\n")[0].replace("`", "")
        ladders = "; ".join(f"{a}: {', '.join(map(str, rungs))}" for a, rungs in toxic.LADDERS.items())
        yield kind, told, ladders


def _updates() -> Iterator[tuple[str, ...]]:
    for update in updates.known().values():
        about = update.description
        control = f"leaks; right is {about.control}" if about.control else "right"
        yield update.name, ", ".join(about.stacks), control, about.title


def _links() -> Iterator[tuple[str, ...]]:
    described = tomllib.loads((updates.home_folder() / "home.toml").read_text())
    for link in from_toml(described, HOMES).links:
        yield link.name, link.client, f"{link.server}:{link.port}"


def _nodes() -> Iterator[tuple[str, ...]]:
    described = tomllib.loads((updates.home_folder() / "home.toml").read_text())
    for node in from_toml(described, HOMES).nodes:
        yield node.name, node.role, ", ".join(node.ports)


def _choices() -> Iterator[tuple[str, ...]]:
    described = tomllib.loads((updates.home_folder() / "home.toml").read_text())
    for what in CHOICES:
        first, *others = choices_of(described, what)
        yield f"--{what}", ", ".join((f"{first} (if nothing is said)", *others))


_Section = tuple[str, tuple[str, ...], Callable[[], Iterator[tuple[str, ...]]]]
SECTIONS: dict[str, _Section] = {
    "scenarios": ("Scenarios that come with ownframe", ("name", "file", "cases", "what may happen"), _scenarios),
    "conditions": ("Named conditions, from calm to dead", ("name", "numbers, told from the device"), _conditions),
    "toxics": ("Toxics, and the ladders that are drawn from, calm first", ("kind", "what it does", "ladder"), _toxics),
    "updates": ("Updates to lay over the reference home", ("name", "stacks", "is", "what it changes"), _updates),
    "links": (f"Links of the reference home of {', '.join(HOMES)}", ("link", "who dials", "whom"), _links),
    "choices": ("What may be chosen of it", ("option", "names"), _choices),
    "nodes": ("Its nodes", ("node", "role", "ports"), _nodes),
}
"""Title, columns and rows, by the word that asks for it."""

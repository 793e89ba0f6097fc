"""``ownframe new``: a scenario file that runs as it is, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from chaos.errors import Misuse, Surroundings

_TEMPLATE = '''"""{title}: say here what may happen, in a sentence.

Suspect: say here what could go wrong, such as one owner's answer that reaches another.
"""

from hypothesis.stateful import rule

from chaos import Household, any_home, any_link, conditions


class {name}(Household):
    homes = ("ada", "grace", "lin")

    @rule(home=any_home)
    def owner_asks_for_the_camera(self, home):
        self.ask(home)

    @rule(link=any_link, under=conditions.poor())
    def conditions_turn(self, link, under):
        self.set_conditions(link, under)

    @rule(link=any_link)
    def conditions_clear(self, link):
        self.clear(link)


Test{name} = {name}.TestCase
'''
"""What must hold is inherited, so that nothing of it is written here."""


def write(name: str, folder: Path) -> Path:
    """Write the scenario `name` (``morning rush``, ``MorningRush``) into a new file of `folder`, and return its path.

    Raises `Misuse` for a name that can be none in Python, and where there is such a file already.
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+", name)
    title = " ".join(words).capitalize()
    camel, snake = "".join(w[:1].upper() + w[1:] for w in words), "_".join(w.lower() for w in words)
    if not words or not re.fullmatch(r"[\w \-]+", name) or not camel.isidentifier() or keyword.iskeyword(camel):
        raise Misuse(
            f"{name!r} can be no scenario's name; expected words of letters and digits, such as 'morning rush'"
        )
    file = folder / f"test_{snake.removeprefix('test_')}.py"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise Surroundings(f"could not make {folder} ({refused.strerror or refused}); choose another folder") from None
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(_TEMPLATE.format(title=title, name=camel))
    except FileExistsError:
        raise Misuse(f"{file} is there already, and is left as it is; choose another name or folder") from None
    except OSError as refused:
        raise Surroundings(f"could not write {file} ({refused.strerror or refused}); choose another folder") from None
    return file

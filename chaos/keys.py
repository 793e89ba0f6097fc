"""Keys of badges outside of a run: in files of mode 0600 or in the environment, never on a command line.

The keys of recent runs are kept in the user's state folder, so that a picture of an earlier run that stands on a screen
is known for what it is, and so that what a run kept can be judged again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from chaos.children import state_folder
from chaos.errors import Misuse, Surroundings
from chaos.identity import Key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "OWNFRAME_KEYS"
"""Keys in hexadecimal, separated by white space: the run's own first, then those of earlier runs."""
MAX_BYTES = 65_536
RECENT = 20
"""Keys of runs that are kept, the newest; a picture seldom outlives so many."""


def load(file: Path | None, environment: Mapping[str, str] | None = None) -> tuple[Key, ...]:
    """Return the keys of a key file, a line each, or of `OWNFRAME_KEYS`, or those of recent runs; the run's own first.

    Lines that begin with # are comments. Raises `Misuse` when there is none or one is not a key; it never repeats what
    it read.
    """
    environment = os.environ if environment is None else environment
    if file is not None:
        where, text = f"the key file {file}", _text(file)
    elif VARIABLE in environment:
        where, text = f"the environment's {VARIABLE}", environment[VARIABLE]
    elif runs := recent():
        return runs
    else:
        raise Misuse(
            f"there is no key, and nothing authenticates without one; give --key-file FILE or set {VARIABLE};"
            " `ownframe key FILE` makes one"
        )
    words = [word for line in text.splitlines() if not line.lstrip().startswith("#") for word in line.split()]
    if not words:
        raise Misuse(f"{where} has no key in it; expected 64 hexadecimal digits a line")
    try:
        return tuple(Key.from_hex(word) for word in words)
    except Misuse as wrong:
        raise Misuse(f"{where}: {wrong}") from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES).decode("ascii")
    except UnicodeDecodeError:
        raise Misuse(f"the key file {file} is no text; expected 64 hexadecimal digits a line") from None
    except OSError as refused:
        raise Misuse(f"the key file {file} cannot be read ({refused.strerror or refused}); give another") from None


def remember(key: Key) -> None:
    """Keep the key of a run in the user's state folder, and forget the oldest of more than `RECENT`."""
    folder = state_folder() / "keys"
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as refused:
        raise Surroundings(f"{folder} cannot be made ({refused.strerror or refused}); set OWNFRAME_STATE") from refused
    create(folder / f"{key.id}.key", key)
    for old in _newest_first()[RECENT:]:
        old.unlink(missing_ok=True)


def recent() -> tuple[Key, ...]:
    """Return the keys of the runs that are remembered, the newest first. A file that is damaged is passed over."""
    found: list[Key] = []
    for file in _newest_first():
        with contextlib.suppress(Misuse):
            found += load(file, {})
    return tuple(found)


def _newest_first() -> list[Path]:
    aged: list[tuple[int, Path]] = []
    for file in (state_folder() / "keys").glob("*.key"):
        with contextlib.suppress(OSError):  # another run forgot it meanwhile
            aged.append((file.stat().st_mtime_ns, file))
    return [file for _, file in sorted(aged, reverse=True)]


def create(file: Path, key: Key | None = None) -> Key:
    """Write a key, a fresh one if none is given, into a new file of mode 0600 and return it.

    Raises `Misuse` where there is a file already.
    """
    key = key or Key.fresh()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misuse(f"{file} is there already, and a key that is overwritten is lost; name a new file") from None
    except OSError as refused:
        raise Surroundings(f"{file} cannot be written ({refused.strerror or refused}); name another place") from None
    with os.fdopen(handle, "w") as opened:
        opened.write(f"# a key of ownframe, id {key.id}; whoever has it can forge badges\n{key.hex()}\n")
    return key

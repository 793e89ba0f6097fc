"""From a hub's ``screen`` in ``home.toml`` to its display; docs/displays.md has the words."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl

import msgspec

from chaos.displays.chromium import Chromium
from chaos.displays.folder import Folder
from chaos.displays.headless import PICTURE, Headless
from chaos.displays.stream import Stream
from chaos.errors import Misuse, nearest
from chaos.identity import Box
from chaos.remote import HubRemote

Seen: TypeAlias = Chromium | Stream | Folder
KINDS = ("journal", "chromium", "stream", "folder")
LATEST = 10.0
"""Seconds. What comes later than this after it was on the screen tells nothing of a case that is over by then."""


def seen(hub: str, screen: str) -> Seen:
    """Return the display that `screen` names, one that the harness sees by itself. Raises as `opened`."""
    display = opened(hub, screen)
    assert not isinstance(display, Headless), "a journal is a hub's own, which remote tells"
    return display


def opened(hub: str, screen: str, remote: HubRemote | None = None) -> Headless | Seen:
    """Return the display that `screen` names: a kind, what it is of, and after a # more about it.

    Raises `Misuse` for words that name none, and what the display raises that cannot be seen.
    """
    kind, _, rest = screen.partition(":")
    of, _, more = rest.partition("#")
    if kind not in KINDS:
        raise Misuse(f"{hub}'s hub has the screen {screen!r}{nearest(kind, list(KINDS))}")
    if kind != "journal" and not of:
        raise Misuse(f"{hub}'s hub has the screen {screen!r}; expected '{kind}:' and what it is of")
    told = dict(parse_qsl(more, keep_blank_values=True))
    box = _box(hub, told.pop("box")) if "box" in told else None
    wanted = told.pop("page", "") if kind == "chromium" else ""
    late = _seconds(hub, told.pop("late")) if kind == "stream" and "late" in told else 0.0
    if told:
        known = ["box", *{"chromium": ["page"], "stream": ["late"]}.get(kind, [])]
        raise Misuse(f"the screen of {hub}'s hub says {next(iter(told))!r}{nearest(next(iter(told)), known)}")
    if kind == "journal":
        if remote is None:
            raise Misuse(f"{hub}'s hub has a screen journal; expected a hub that speaks the operator's contract")
        return Headless(hub, remote, box or PICTURE)
    if kind == "chromium":
        return Chromium(hub, of, box=box, wanted=wanted)
    if kind == "stream":
        return Stream(hub, of, box=box, late=late)
    return Folder(hub, Path(of), box=box)


def _seconds(hub: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LATEST:
        raise Misuse(f"the screen of {hub}'s hub is late by {text!r}; expected seconds from 0 to {LATEST:.0f}")
    return seconds


def _box(hub: str, text: str) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
        return Box(x, y, width, height)
    except (ValueError, TypeError, msgspec.ValidationError):
        raise Misuse(f"the screen of {hub}'s hub has the box {text!r}; expected X,Y,W,H in pixels") from None

"""Which run and which chapter this process is in, and whether it was asked to stop.

Read where pytest and Hypothesis leave no argument to pass it in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from chaos.errors import Misuse

if TYPE_CHECKING:
    from chaos.household import Household
    from chaos.run import Chapter, Run

_makers: list[Callable[[], Run]] = []
_conductors: list[Callable[[type[Household]], None]] = []
_chapters: list[Chapter] = []


def run() -> Run:
    """Return this process's run, started at the first call."""
    if not _makers:
        raise Misuse("a scenario was run outside of pytest; run it with `pytest FILE`, or with `ownframe demo`")
    return _makers[-1]()


def chapter() -> Chapter:
    """Return the chapter whose plans are being drawn."""
    if not _chapters:
        raise Misuse("a Household was made by hand; run its TestCase with `pytest FILE`")
    return _chapters[-1]


@contextlib.contextmanager
def running(maker: Callable[[], Run]) -> Iterator[None]:
    """While it lasts, `run` answers with what `maker` returns."""
    _makers.append(maker)
    try:
        yield
    finally:
        _makers.pop()


@contextlib.contextmanager
def conducting(conduct: Callable[[type[Household]], None]) -> Iterator[None]:
    """While it lasts, a scenario that pytest runs is handed to `conduct`, which says how much of it is searched."""
    _conductors.append(conduct)
    try:
        yield
    finally:
        _conductors.pop()


def conductor() -> Callable[[type[Household]], None] | None:
    """Return what scenarios are handed to, or None where each searches for itself."""
    return _conductors[-1] if _conductors else None


@contextlib.contextmanager
def using(chapter: Chapter) -> Iterator[None]:
    """While it lasts, plans are drawn for `chapter`."""
    _chapters.append(chapter)
    try:
        yield
    finally:
        _chapters.pop()


_stop_asked = threading.Event()
_stop_told = threading.Event()  # that it was raised where somebody hears it


_AGAIN = 0.05
"""Seconds after which a signal that came inside a callback is sent again."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM end the run in order: both raise `KeyboardInterrupt`, and are remembered.

    Remembered, since an exception that a handler raises is lost when it happens to be inside a callback of C code (the
    garbage collector's, which Hypothesis uses: a run under load went on for ten minutes after its Ctrl-C; a weak
    reference's: pytest made its own failure of it). So inside one that is known nothing is raised, and the signal is
    sent again. In another thread than the main one nothing is changed: whoever embeds us handles signals.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        _stop_asked.set()
        if _in_callback(frame):
            threading.Timer(_AGAIN, again, (number,)).start()
            return
        _stop_told.set()
        raise KeyboardInterrupt

    def again(number: int) -> None:
        if not _stop_told.is_set() and signal.getsignal(number) is stop:
            os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _stop_asked.clear()
        _stop_told.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_callback(frame: FrameType | None) -> bool:
    """Whether Python is inside a callback whose exceptions are swallowed: a finalizer's or the collector's."""
    while frame is not None:
        code = frame.f_code
        if code.co_name in ("gc_callback", "__del__") or code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False


def stopping() -> bool:
    """Whether the run was asked to stop."""
    return _stop_asked.is_set()


def check_stop() -> None:
    """Raise `KeyboardInterrupt` when the run was asked to stop; called wherever a case could otherwise go on."""
    if stopping():
        _stop_told.set()
        raise KeyboardInterrupt

"""Which run and which chapter this process is in."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import weakref

import pytest

from chaos import current
from chaos.errors import Misuse


def test_a_scenario_outside_of_pytest_is_told_how_it_is_run(monkeypatch):
    monkeypatch.setattr(current, "_makers", [])

    with pytest.raises(Misuse, match="run it with `pytest FILE`, or with `ownframe demo`"):
        current.run()


def test_a_household_made_by_hand_is_told_how_it_is_run(monkeypatch):
    monkeypatch.setattr(current, "_chapters", [])

    with pytest.raises(Misuse, match="run its TestCase with `pytest FILE`"):
        current.chapter()


def test_a_run_is_made_when_it_is_first_needed_and_not_before():
    made = []

    def maker():
        made.append("a run")
        return made[0]

    with current.running(maker):
        assert made == []
        assert current.run() == "a run"


def test_the_innermost_run_and_chapter_are_the_current_ones():
    with current.running(lambda: "outer"), current.using("first"):
        with current.running(lambda: "inner"), current.using("second"):
            assert (current.run(), current.chapter()) == ("inner", "second")
        assert (current.run(), current.chapter()) == ("outer", "first")


def test_what_ended_in_an_error_is_over(monkeypatch):
    monkeypatch.setattr(current, "_makers", [])
    monkeypatch.setattr(current, "_chapters", [])

    with pytest.raises(ZeroDivisionError), current.running(lambda: "outer"), current.using("first"):
        raise ZeroDivisionError

    with pytest.raises(Misuse):
        current.run()
    with pytest.raises(Misuse):
        current.chapter()


def test_a_stop_that_a_callback_swallowed_is_raised_at_the_next_look():
    """Python drops an exception that a signal handler raises inside a callback of C code."""
    seen = []

    def swallowed(phase, _):
        if phase == "start" and not seen:
            seen.append(phase)
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with current.stoppable():
        gc.callbacks.append(swallowed)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(swallowed)
        assert seen
        with pytest.raises(KeyboardInterrupt):
            current.check_stop()
    current.check_stop()  # over with its run
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_inside_a_finalizer_is_raised_once_outside_of_it(how):
    """Python prints what a weak reference's callback raises and goes on; pytest made a failure of its own of that."""

    class Thing:
        pass

    told = []
    with current.stoppable():
        thing = Thing()
        weakref.finalize(thing, lambda: (signal.raise_signal(how), told.append("the finalizer ended")))
        del thing
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(20)
        assert told == ["the finalizer ended"]
        assert current.stopping()


def test_a_stop_that_was_noticed_is_not_sent_again():
    """A second KeyboardInterrupt would break what pytest does to end in order."""

    class Thing:
        pass

    with current.stoppable():
        thing = Thing()
        weakref.finalize(thing, signal.raise_signal, signal.SIGTERM)
        del thing
        with pytest.raises(KeyboardInterrupt):
            current.check_stop()
        threading.Event().wait(4 * current._AGAIN)

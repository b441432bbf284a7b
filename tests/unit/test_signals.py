"""Whoever waits for a signal wakes up, wherever the signal finds the main thread."""

import signal
import threading

import pytest

from synthray.signals import hear_signals

DEADLINE_SECONDS = 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_what_is_waited_for(number: signal.Signals) -> None:
    stopping = threading.Event()
    with hear_signals(stopping, "stopping"):
        signal.raise_signal(number)
        assert stopping.wait(DEADLINE_SECONDS)


@pytest.mark.timeout(60)
def test_a_signal_that_comes_while_the_event_is_locked_is_heard() -> None:
    """As when it comes in the first or last moment of `Event.wait`, which no test could hit at will."""
    stopping = threading.Event()
    with hear_signals(stopping, "stopping"):
        with stopping._cond:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        assert stopping.wait(DEADLINE_SECONDS)


def test_the_second_signal_interrupts() -> None:
    stopping = threading.Event()
    with hear_signals(stopping, "stopping"):
        signal.raise_signal(signal.SIGINT)
        assert stopping.wait(DEADLINE_SECONDS)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_was_heard_in_the_last_moment_is_not_forgotten() -> None:
    stopping = threading.Event()
    with hear_signals(stopping, "stopping"):
        signal.raise_signal(signal.SIGTERM)
    assert stopping.is_set()


def test_handlers_are_put_back_and_the_thread_ends() -> None:
    before, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    with hear_signals(threading.Event(), "stopping"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert threading.active_count() == threads

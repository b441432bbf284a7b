"""Since when the operator listens: the measure of everybody's silence."""

from datetime import UTC, datetime, timedelta

from synthray.operator.attention import Attention

START = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_one_that_never_began_has_listened_for_no_time() -> None:
    assert Attention().since(after(5)) == after(5)


def test_one_that_goes_on_has_listened_since_it_began() -> None:
    attention = Attention()
    for seconds in range(0, 60, 5):
        attention.go_on(after(seconds))
    assert attention.since(after(60)) == START


def test_whoever_asks_right_after_a_pause_is_told_that_nobody_listened() -> None:
    attention = Attention()
    attention.go_on(START)
    assert attention.since(after(100)) == after(100)


def test_a_pause_begins_the_time_anew() -> None:
    attention = Attention()
    attention.go_on(START)
    attention.go_on(after(100))
    assert attention.since(after(105)) == after(100)

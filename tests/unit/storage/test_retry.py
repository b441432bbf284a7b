"""When a failed request is sent again."""

from hypothesis import given
from hypothesis import strategies as st

from synthray.storage.retry import LONGEST_DELAY_SECONDS, Again, GiveUp, decide_retry

jitters = st.floats(0, 1, exclude_max=True)
failures = st.integers(1, 10_000)


@given(failures, st.floats(0, 1000), st.floats(0.01, 1000), jitters)
def test_nothing_is_tried_again_past_the_deadline(
    failures: int, elapsed: float, deadline: float, jitter: float
) -> None:
    decision = decide_retry(
        failures=failures, elapsed_seconds=elapsed, deadline_seconds=deadline, jitter=jitter
    )
    if isinstance(decision, GiveUp):
        assert elapsed >= deadline
    else:
        assert 0 < decision.after_seconds <= LONGEST_DELAY_SECONDS
        assert elapsed + decision.after_seconds <= deadline * (1 + 1e-9)


@given(st.integers(1, 5), jitters)
def test_pauses_grow(failures: int, jitter: float) -> None:
    def pause(number: int) -> float:
        decision = decide_retry(failures=number, elapsed_seconds=0, deadline_seconds=60, jitter=jitter)
        assert isinstance(decision, Again)
        return decision.after_seconds

    assert pause(failures) < pause(failures + 1)


def test_trouble_of_a_minute_takes_few_requests() -> None:
    elapsed, tries = 0.0, 0
    while True:
        tries += 1
        decision = decide_retry(failures=tries, elapsed_seconds=elapsed, deadline_seconds=60, jitter=0)
        if isinstance(decision, GiveUp):
            break
        elapsed += decision.after_seconds
    assert elapsed == 60
    assert tries < 35

"""What follows a segment's end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.errors import InvalidInput, Reason, RunFailed, SynthrayError, Unavailable, VerificationFailed
from synthray.training.decisions import (
    Decision,
    History,
    SegmentEnd,
    Verdict,
    decide_after_segment,
    plan_workers,
)


def decide(end: SegmentEnd, history: History = History(), *, backoff_limit: int = 6) -> Decision:  # noqa: B008
    return decide_after_segment(end, history, backoff_limit=backoff_limit)


def test_a_complete_segment_completes_the_run() -> None:
    assert decide(SegmentEnd("complete", None, 8)).verdict is Verdict.COMPLETE


def test_a_segment_that_stopped_on_request_is_followed_by_another_at_once_and_for_no_fault() -> None:
    decision = decide(SegmentEnd("stopped", None, 8), History(fruitless=6))
    assert (decision.verdict, decision.reason, decision.wait_seconds) == (Verdict.AGAIN, None, 0.0)


@pytest.mark.parametrize("failure", [RunFailed("nan"), InvalidInput("typo")])
def test_what_another_attempt_cannot_mend_fails_the_run(failure: SynthrayError) -> None:
    decision = decide(SegmentEnd(None, failure, 8))
    assert decision.verdict is Verdict.FAILED
    assert decision.failure is failure


@pytest.mark.parametrize(
    "failure", [Unavailable("s3"), VerificationFailed("corrupt", reason=Reason.CHECKPOINT_CORRUPT)]
)
def test_what_may_pass_is_tried_again_after_a_growing_wait_and_is_never_given_up(
    failure: SynthrayError,
) -> None:
    ends = [decide(SegmentEnd(None, failure, 8), History(idle_starts=n, fruitless=n)) for n in range(8)]
    assert [end.wait_seconds for end in ends] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert {end.verdict for end in ends} == {Verdict.AGAIN}


def test_a_lost_worker_is_replaced_at_once() -> None:
    decision = decide(SegmentEnd(None, None, 8, "worker 1 on node-a: the worker process was killed"))
    assert (decision.verdict, decision.reason, decision.wait_seconds) == (
        Verdict.AGAIN,
        Reason.WORKER_LOST,
        0.0,
    )
    assert decision.message == "worker 1 on node-a: the worker process was killed after 8 images"


def test_workers_that_never_come_to_a_step_are_tried_again_ever_later_and_not_for_ever() -> None:
    decisions = [decide(SegmentEnd(None, None, None), History(idle_starts=n)) for n in range(6)]
    assert [decision.wait_seconds for decision in decisions[:5]] == [1, 2, 4, 8, 16]
    assert decisions[5].verdict is Verdict.FAILED
    assert "workers died 6 times in a row before their first step" in decisions[5].message


def test_the_third_death_at_one_step_ends_the_run_and_names_it() -> None:
    assert decide(SegmentEnd(None, None, 64), History(deaths=(64, 32))).verdict is Verdict.AGAIN
    decision = decide(SegmentEnd(None, None, 64), History(deaths=(64, 32, 64)))
    assert decision.verdict is Verdict.FAILED
    assert decision.reason is Reason.REPEATED_DEATHS
    assert "workers died 3 times after 64 images" in decision.message


def test_more_attempts_in_a_row_without_a_save_than_the_backoff_limit_end_the_run() -> None:
    end = SegmentEnd(None, None, 64, "worker 0 on node-a: boom")
    assert decide(end, History(fruitless=1), backoff_limit=2).verdict is Verdict.AGAIN
    committed = replace(end, committed=True)
    assert decide(committed, History(fruitless=2), backoff_limit=2).verdict is Verdict.AGAIN
    decision = decide(end, History(fruitless=2), backoff_limit=2)
    assert decision.verdict is Verdict.FAILED
    assert "3 attempts in a row" in decision.message
    assert "boom" in decision.message
    assert "spec.backoffLimit=2" in decision.message


def test_history_counts_what_commits_nothing_and_forgives_what_does() -> None:
    died = SegmentEnd(None, None, 64)
    history = History().after(died).after(died)
    assert (history.deaths, history.fruitless) == ((64, 64), 2)
    assert history.after(replace(died, committed=True)).fruitless == 0
    assert history.after(SegmentEnd("stopped", None, 64)).fruitless == 0
    assert history.after(SegmentEnd(None, Unavailable("s3"), None)).idle_starts == 1


@given(st.integers(1, 64), st.none() | st.integers(0, 64), st.integers(1, 64))
def test_no_more_workers_than_wanted_than_have_room_and_than_have_work(
    wanted: int, places: int | None, num_micro_batches: int
) -> None:
    workers = plan_workers(wanted, places, num_micro_batches)
    assert workers <= min(wanted, num_micro_batches)
    assert places is None or workers <= places
    assert workers > 0 or places == 0

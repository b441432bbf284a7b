"""What follows a segment's end."""

import pytest

from synthray.errors import InvalidInput, Reason, RunFailed, SynthrayError, Unavailable, VerificationFailed
from synthray.training.decisions import SegmentEnd, Verdict, decide_after_segment


@pytest.mark.parametrize(
    ("outcome", "verdict"), [("complete", Verdict.COMPLETE), ("stopped", Verdict.STOPPED)]
)
def test_a_segment_that_ended_by_itself_ends_the_driver(outcome: str, verdict: Verdict) -> None:
    assert decide_after_segment(SegmentEnd(outcome, None, 8), (), 0).verdict is verdict


@pytest.mark.parametrize("failure", [RunFailed("nan"), InvalidInput("typo")])
def test_what_another_attempt_cannot_mend_fails_the_run(failure: SynthrayError) -> None:
    decision = decide_after_segment(SegmentEnd(None, failure, 8), (), 0)
    assert decision.verdict is Verdict.FAILED
    assert decision.failure is failure


@pytest.mark.parametrize(
    "failure", [Unavailable("s3"), VerificationFailed("corrupt", reason=Reason.CHECKPOINT_CORRUPT)]
)
def test_what_may_pass_is_tried_again_after_a_growing_wait(failure: SynthrayError) -> None:
    waits = [decide_after_segment(SegmentEnd(None, failure, 8), (), n).wait_seconds for n in range(8)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_lost_worker_is_replaced_at_once() -> None:
    decision = decide_after_segment(SegmentEnd(None, None, 8), (), 0)
    assert (decision.verdict, decision.reason, decision.wait_seconds) == (
        Verdict.AGAIN,
        Reason.WORKER_LOST,
        0.0,
    )


def test_workers_that_never_come_to_a_step_are_tried_again_ever_later_and_not_for_ever() -> None:
    decisions = [decide_after_segment(SegmentEnd(None, None, None), (), n) for n in range(6)]
    assert [decision.wait_seconds for decision in decisions[:5]] == [1, 2, 4, 8, 16]
    assert decisions[5].verdict is Verdict.FAILED
    assert decisions[5].message == (
        "workers died 6 times in a row before their first step; see their logs for the cause"
    )


def test_the_third_death_at_one_step_ends_the_run_and_names_it() -> None:
    assert decide_after_segment(SegmentEnd(None, None, 64), (64, 32), 2).verdict is Verdict.AGAIN
    decision = decide_after_segment(SegmentEnd(None, None, 64), (64, 32, 64), 3)
    assert decision.verdict is Verdict.FAILED
    assert decision.reason is Reason.REPEATED_DEATHS
    assert decision.message == (
        "workers died 3 times after 64 images; "
        "see their logs for the cause (often memory: raise spec.workers.memory)"
    )

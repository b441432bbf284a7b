"""The oracle that others trust: it accepts true histories and sees each kind of false one."""

from hypothesis import given
from hypothesis import strategies as st
from sample_audit import AuditLine, audit_history, walk_chain

BATCH = 4


def lines_of(attempt: int, first_step: int, num_steps: int, num_workers: int = 1) -> list[AuditLine]:
    """What an attempt of so many workers writes; sample 100 + p stands at position p."""
    lines = []
    for step in range(first_step, first_step + num_steps):
        positions = range(step * BATCH, (step + 1) * BATCH)
        for rank in range(num_workers):
            mine = tuple(positions)[rank::num_workers]
            lines.append(AuditLine(attempt, rank, num_workers, step, mine, tuple(100 + p for p in mine)))
    return lines


def test_the_chain_goes_back_by_resume_points_and_leaves_out_what_nobody_resumed_from() -> None:
    resumes_from = {1: None, 2: "000000000008-a000001", 3: "000000000008-a000001", 4: "000000000012-a000003"}
    assert walk_chain(resumes_from) == [(1, 0), (3, 8), (4, 12)]
    assert walk_chain({1: None, 2: None}) == [(2, 0)]
    assert walk_chain({}) == []


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(0, 5), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_a_true_history_has_no_problems_and_its_redone_images_are_counted(
    attempts: list[tuple[int, int, int, bool]],
) -> None:
    """Each attempt saves after some steps and computes some more that are lost, or saves nothing."""
    lines, chain, step, redone = [], [], 0, 0
    for number, (num_workers, saved, lost, saves) in enumerate(attempts, start=1):
        lines += lines_of(number, step, saved + lost, num_workers)
        redone += (lost if saves else saved + lost) * BATCH
        if saves:
            chain.append((number, step * BATCH))
            step += saved
    if not chain:
        chain = [(1, 0)]
    verdict = audit_history(lines, chain, images_seen=step * BATCH)
    assert verdict.problems == ()
    assert verdict.redone_images == redone


def test_what_is_missing_or_counted_twice_is_seen() -> None:
    lines = lines_of(1, 0, 2, num_workers=2)
    chain = [(1, 0)]
    assert audit_history(lines, chain, images_seen=8).problems == ()
    assert audit_history(lines[1:], chain, images_seen=8).problems == (
        "position 0 counts 0 times, by attempt 1",
        "position 2 counts 0 times, by attempt 1",
    )
    assert audit_history([*lines, lines[0]], chain, images_seen=8).problems == (
        "position 0 counts 2 times, by attempt 1",
        "position 2 counts 2 times, by attempt 1",
    )


def test_steps_of_an_attempt_that_does_not_count_are_no_history() -> None:
    lines = lines_of(1, 0, 2)
    assert (
        audit_history(lines, [(2, 0)], images_seen=8).problems[0] == "position 0 counts 0 times, by attempt 2"
    )


def test_another_sample_at_the_same_position_is_seen() -> None:
    redone = AuditLine(1, 0, 1, 1, (4, 5, 6, 7), (104, 105, 106, 9))
    lines = [*lines_of(1, 0, 1), redone, *lines_of(2, 1, 1)]
    assert audit_history(lines, [(1, 0), (2, 4)], images_seen=8).problems == (
        "position 7 was computed with samples [9, 107]",
    )

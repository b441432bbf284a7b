"""The oracle sees what is wrong, and nothing else."""

from dataclasses import replace

import pytest
from sample_audit import AuditLine

from .oracle import End, count_lost, find_orphans, judge
from .reference import Result

RESULT = Result(("28", "weights", "ema", "optimizer"), {14: ("a",), 28: ("b",)})
GOOD = End(RESULT, {}, {}, (), (), (), ())


def line(attempt: int, first: int, count: int = 4) -> AuditLine:
    positions = tuple(range(first, first + count))
    return AuditLine(attempt, 0, 1, first // count, positions, positions)


def test_an_equal_end_has_no_problems() -> None:
    assert judge(GOOD, RESULT) == []


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (replace(GOOD, result=replace(RESULT, state=("28", "weights", "other", "optimizer"))), "last state"),
        (replace(GOOD, result=replace(RESULT, models={14: ("a",), 28: ("c",)})), "after 28 images"),
        (replace(GOOD, result=replace(RESULT, models={28: ("b",)})), "after 14 images"),
        (replace(GOOD, audit_problems=["position 3 counts 2 times"]), "position 3 counts 2 times"),
        (replace(GOOD, orphans=["8 of attempt 2"]), "off the chain: 8 of attempt 2"),
        (replace(GOOD, bad_states=["states/8"]), "bad states"),
        (replace(GOOD, processes_left=list("abcdefg")), "a, b, c, d, e and 2 more"),
    ],
)
def test_every_difference_is_named(end: End, problem: str) -> None:
    (found,) = judge(end, RESULT)
    assert problem in found


def test_lost_work_is_what_an_attempt_computed_beyond_the_next_ones_beginning() -> None:
    lines = [line(1, 0), line(1, 4), line(1, 8), line(2, 4), line(4, 8)]
    assert count_lost(lines, {1: 0, 2: 4, 3: 8, 4: 8}) == {1: 8, 2: 0, 3: 0}


def test_what_the_chain_does_not_lead_through_is_an_orphan() -> None:
    chain = [(1, 0), (3, 8), (4, 16)]
    assert find_orphans([(4, 1), (8, 1), (12, 3), (16, 3), (90, 4)], chain) == []
    assert find_orphans([(12, 1), (8, 2), (20, 3)], chain) == [
        "12 of attempt 1",
        "8 of attempt 2",
        "20 of attempt 3",
    ]

"""Results are kept line by line, and reports say what is in them."""

from dataclasses import replace
from pathlib import Path

import pytest

from .configuration import PROCESSES, Configuration
from .faults import Kind
from .report import build_report
from .results import FaultResult, ResultsFile, RunResult, count_faults

CONFIGURATION = Configuration(PROCESSES, epochs=3)
LEDGER = {
    "attempts": 4,
    "redone_images": 80,
    "elapsed_seconds": 200.0,
    "goodput_ratio": 0.75,
}


def fault(number: int, kind: Kind, cost_seconds: float, lost_images: int = 0) -> FaultResult:
    return FaultResult(
        number=number,
        kind=kind,
        images_seen=100,
        heard=True,
        overlapped=False,
        lasts_seconds=0,
        first_step_seconds=cost_seconds / 2,
        caught_up_seconds=cost_seconds,
        stall_seconds=cost_seconds / 2,
        cost_seconds=cost_seconds,
        lost_images=lost_images,
    )


GOOD = RunResult(
    seed=7000,
    storage="s3",
    problems=(),
    faults=(fault(0, Kind.WORKER_KILLED, 4, lost_images=20), fault(1, Kind.SCALED, 1)),
    seconds=210,
    images_per_second=10,
    exit_codes=(0,),
    ledger=LEDGER,
)
BAD = replace(GOOD, seed=7001, problems=("the last state differs",), ledger={})


def report_of(*results: RunResult) -> str:
    return build_report(
        CONFIGURATION,
        results,
        unbroken_ratio=0.8,
        left_out={Kind.DISK_FULL: "no mounts"},
        command="python -m tests.chaos --seed 7",
        costs_from=results,
    )


def test_a_campaign_finds_its_results_again_but_for_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert ResultsFile(path, CONFIGURATION).read() == []
    for result in (GOOD, BAD):
        ResultsFile(path, CONFIGURATION).add(result)
    path.write_text(path.read_text() + '{"configuration": {"thr')
    found = ResultsFile(path, CONFIGURATION).read()
    assert found == [GOOD, BAD]
    assert count_faults(found) == 4


def test_runs_of_another_configuration_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ResultsFile(path, CONFIGURATION).add(GOOD)
    with pytest.raises(ValueError, match="another configuration"):
        ResultsFile(path, replace(CONFIGURATION, epochs=4)).read()


def test_a_report_tells_verdict_recovery_and_goodput() -> None:
    report = report_of(GOOD)
    assert "**1 of 1 runs ended with the digests of the unbroken run**" in report
    assert "| worker_killed | 1 | 0 | 2.0 | 2.0 | 4.0 | 4.0 | 2.0 | 4.0 | 20 | 20 |" in report
    # Of 47 in the mix 40 are kills of 4 s and 7 scalings of 1 s; 2 s of a kill are redone.
    assert "c = 3.6 s over 2 kinds, of which 1.7 s are work done again; 85% of the mix" in report
    assert "| as measured | 99.4% | 99.8% |" in report
    assert "| 7000 | 200 s | 2 | 75.0% | 78.0% |" in report
    assert "- disk_full: no mounts" in report
    assert "Failures" not in report


def test_runs_are_added_up_by_their_time() -> None:
    long = replace(
        GOOD, seed=7002, faults=(), ledger={**LEDGER, "elapsed_seconds": 600.0, "goodput_ratio": 0.8}
    )
    report = report_of(GOOD, long)
    assert "| 7002 | 600 s | 0 | 80.0% | 80.0% |" in report
    assert "| all | 800 s | 2 | 78.8% | 79.5% |" in report


def test_a_report_tells_how_to_repeat_what_failed() -> None:
    report = report_of(GOOD, BAD)
    assert "**1 of 2 runs" in report
    assert "`python -m tests.chaos --seed 7 --only-seed 7001`" in report
    assert "the last state differs" in report

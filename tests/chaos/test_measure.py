"""Figures of faults, from the notes of a run that was played."""

import pytest

from .faults import Fault, Kind
from .injector import INJECTORS, Injected
from .measure import find_percentile, measure_faults, measure_rate
from .play import Notes, PlayedFault
from .timeline import Sample


def played(at_seconds: float, images: int, recovered_at: float, *, overlapped: bool = False) -> PlayedFault:
    return PlayedFault(
        fault=Fault(0, Kind.WORKER_KILLED, images, 0, 0, 0.5, overlaps=False),
        injected=Injected(),
        at_seconds=at_seconds,
        first_sample=0,
        attempt_before=1,
        images_before=images,
        mended_at=at_seconds,
        lifts_at=None,
        recovered_at=recovered_at,
        overlapped=overlapped,
    )


def notes(*, overlapped: bool = False) -> Notes:
    """10 images a second; a fault after 10 s; a step of the next attempt after 12 s, caught up after 15 s."""
    samples = [Sample(float(second), 1, 10 * second, "Running") for second in range(11)]
    samples += [
        Sample(10.2, 1, 104, "Running"),
        Sample(11.0, 2, 104, "WaitingForWorkers"),
        Sample(12.0, 2, 74, "Running"),
        Sample(15.0, 2, 108, "Running"),
        Sample(20.0, 2, 158, "Running"),
    ]
    return Notes(samples, [played(10.0, 100, 15.0, overlapped=overlapped)], trained_from=0.0)


def test_the_rate_is_that_of_a_run_left_alone() -> None:
    assert measure_rate(notes()) == pytest.approx(10)
    assert measure_rate(Notes()) is None


def test_a_fault_has_its_recovery_its_stall_its_cost_and_its_lost_work() -> None:
    (fault,) = measure_faults(notes(), 10, {1: 40})
    assert (fault.first_step_seconds, fault.caught_up_seconds) == (2.0, 5.0)
    assert fault.stall_seconds == 3.0
    assert fault.cost_seconds == pytest.approx(5 - 0.8)
    assert fault.lost_images == 40


def test_of_faults_that_overlapped_nothing_is_measured() -> None:
    (fault,) = measure_faults(notes(overlapped=True), 10, {1: 40})
    assert fault.heard
    assert (fault.first_step_seconds, fault.cost_seconds, fault.lost_images) == (None, None, None)


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ([], 0.5, None),
        ([3, 1, 2], 0.5, 2),
        ([3, 1, 2], 0.95, 3),
        ([5], 0.5, 5),
        (list(range(1, 101)), 0.95, 95),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(
    values: list[float], share: float, found: float | None
) -> None:
    assert find_percentile(values, share) == found


def test_every_kind_can_be_injected() -> None:
    assert set(INJECTORS) == set(Kind)

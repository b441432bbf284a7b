"""Recovery, lost work and stalls, read from a timeline of looks at /progress."""

from .timeline import (
    Sample,
    build_sample,
    caught_up_at,
    cost_seconds,
    first_step_at,
    images_per_second,
    longest_stall_seconds,
    newest_attempt,
    reached,
    reached_before,
)

# 10 images a second; a fault at 2.0; the driver goes on by itself from 8 images with attempt 2.
GOES_ON = [
    Sample(0.0, 1, 0, "Running"),
    Sample(1.0, 1, 10, "Running"),
    Sample(2.0, 1, 20, "Running"),
    Sample(2.5, 2, 20, "WaitingForWorkers"),
    Sample(4.0, 2, 18, "Running"),
    Sample(4.2, 2, 20, "Running"),
    Sample(4.5, 2, 23, "Running"),
]
# The same with a driver that is started anew and shows its resume point first.
ANEW = [
    *GOES_ON[:3],
    Sample(3.0, 0, 8, "Preflight"),
    Sample(3.5, 2, 8, "WaitingForWorkers"),
    Sample(4.0, 2, 18, "Running"),
    Sample(4.5, 2, 23, "Running"),
]


def test_the_first_step_is_one_of_a_newer_attempt_and_not_what_it_began_with() -> None:
    for timeline in (GOES_ON, ANEW):
        assert first_step_at(timeline, 2.0, after_attempt=1) == 4.0
        assert first_step_at(timeline, 2.0, after_attempt=2) is None
        assert newest_attempt(timeline, 2.0) == 1


def test_a_run_has_caught_up_when_it_sees_new_images() -> None:
    for timeline in (GOES_ON, ANEW):
        assert reached(timeline, 2.0) == 20
        assert caught_up_at(timeline, 2.0, 20) == 4.5
        assert caught_up_at(timeline, 2.0, 23) is None


def test_a_step_that_was_made_before_the_fault_and_shown_after_it_is_not_new() -> None:
    for timeline in (GOES_ON, ANEW):
        assert reached_before(timeline, 1.5, attempt=1) == 20
        assert reached_before(timeline, 4.3, attempt=2) == 23


def test_a_fault_costs_what_new_images_would_have_taken_less() -> None:
    assert images_per_second(GOES_ON, [(0.0, 2.0)]) == 10
    assert images_per_second(GOES_ON, []) is None
    assert cost_seconds(GOES_ON, 2.0, 4.5, rate=10) == 2.5 - 0.3
    assert cost_seconds(GOES_ON, 0.0, 2.0, rate=10) == 0


def test_a_stall_is_the_longest_time_without_a_step() -> None:
    assert longest_stall_seconds(GOES_ON, 2.0, 4.5) == 2.0
    assert longest_stall_seconds(GOES_ON, 0.0, 2.0) == 1.0


def test_a_sample_is_read_from_progress() -> None:
    progress = {
        "attempt": 3,
        "images_seen": 28,
        "state": "Saving",
        "workers": {"ready": 2},
        "goodput": {"redone_images": 14},
        "run": "tiny",
    }
    assert build_sample(1.5, progress) == Sample(1.5, 3, 28, "Saving", 2, 14)

"""The promise, in one process: neither interruptions nor the number of workers change a bit of the result."""

from collections.abc import Callable

import pytest
from tiny_run import TinyRun, train

from synthray.errors import InvalidInput
from synthray.training.preflight import check_run

NewRun = Callable[..., TinyRun]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_any_number_of_workers_ends_with_the_same_bits(new_run: NewRun, precision: str) -> None:
    change = f"spec.optimization.precision={precision}"
    alone = new_run("alone")
    train(alone, change)
    for num_workers in (2, 3, 4, 7):
        shared = new_run(f"shared-{num_workers}")
        train(shared, change, num_workers=num_workers)
        assert shared.digests() == alone.digests()


def test_a_run_that_is_stopped_resized_and_resumed_ends_with_the_same_bits(new_run: NewRun) -> None:
    alone, broken = new_run("alone"), new_run("broken")
    longer = "spec.optimization.epochs=3"
    assert train(alone, longer) == "complete"
    for num_workers, steps in ((3, 1), (1, 2), (7, 1)):
        assert train(broken, longer, num_workers=num_workers, stop_after_steps=steps) == "stopped"
    assert train(broken, longer, num_workers=2) == "complete"
    assert broken.digests() == alone.digests()


def test_raising_epochs_of_a_finished_run_equals_one_longer_run(new_run: NewRun) -> None:
    longer, raised = new_run("longer"), new_run("raised")
    train(longer, "spec.optimization.epochs=3")
    train(raised, "spec.optimization.epochs=1")
    train(raised, "spec.optimization.epochs=3")
    assert raised.digests() == longer.digests()


def test_a_stop_at_the_last_step_still_saves_the_model(new_run: NewRun) -> None:
    run = new_run("run")
    num_steps = check_run(run.settings(), adopt=False).plan.num_steps
    assert train(run, stop_after_steps=num_steps) == "complete"
    assert run.checkpoints().list_models()[-1].epoch == 2


def test_epochs_below_what_was_trained_are_refused(new_run: NewRun) -> None:
    run = new_run("run")
    train(run)
    with pytest.raises(InvalidInput, match=r"epochs=1 ends at \d+ images and the run has seen \d+; use 2 or"):
        train(run, "spec.optimization.epochs=1")


def test_another_seed_ends_with_other_bits(new_run: NewRun) -> None:
    one, other = new_run("one"), new_run("other")
    train(one)
    train(other, "spec.seed=1")
    assert one.digests() != other.digests()


def test_statistical_reduction_agrees_but_for_rounding(new_run: NewRun) -> None:
    alone = new_run("alone")
    train(alone, "spec.reduction=statistical")
    again = new_run("again")
    train(again, "spec.reduction=statistical")
    assert again.digests() == alone.digests()

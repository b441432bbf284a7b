"""The promise, in one process: neither interruptions nor the number of workers change a bit of the result."""

import random
from collections.abc import Callable

import pytest
import torch
from tiny_run import TinyRun, train

from synthray.errors import InvalidInput
from synthray.training import precision as precision_module
from synthray.training.plan import plan_micro_batches
from synthray.training.preflight import check_run

NewRun = Callable[..., TinyRun]
EPOCHS = "spec.optimization.epochs=3"


def result_of(run: TinyRun) -> tuple[object, ...]:
    """Digests of the newest state, the loss curve with its validation losses, and the repeated steps."""
    ledger = run.checkpoints().list_states()[-1].ledger
    curve = [(epoch["loss"], epoch["validation_loss"]) for epoch in ledger["history"]]
    return *run.digests(), curve, ledger["nonfinite_steps"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_any_number_of_workers_ends_with_the_same_bits(new_run: NewRun, precision: str) -> None:
    change = f"spec.optimization.precision={precision}"
    alone = new_run("alone")
    train(alone, change)
    for num_workers in (2, 3, 4, 7):
        shared = new_run(f"shared-{num_workers}")
        train(shared, change, num_workers=num_workers)
        assert result_of(shared) == result_of(alone)


def test_the_last_batch_of_these_runs_is_short_and_leaves_workers_without_work(new_run: NewRun) -> None:
    plan = check_run(new_run("run").settings(), adopt=False).plan
    last = plan_micro_batches(plan.positions(plan.num_steps - 1), plan.micro_batch_size)
    assert len(last) < plan.num_micro_batches == 7
    assert len(plan.positions(plan.num_steps - 1)) < plan.global_batch_size


def walk_with_breaks(run: TinyRun, seed: int, *changes: str) -> None:
    """Train in segments of few steps, each with another number of workers."""
    choose = random.Random(seed)  # noqa: S311 a choice to repeat, no secret
    while True:
        num_workers, steps = choose.randint(1, 7), choose.randint(1, 3)
        if train(run, *changes, num_workers=num_workers, stop_after_steps=steps) == "complete":
            return


@pytest.mark.parametrize(("precision", "seed"), [("fp32", 0), ("fp32", 1), ("bf16", 2)])
def test_any_sequence_of_worlds_ends_with_the_bits_of_the_unbroken_run(
    new_run: NewRun, precision: str, seed: int
) -> None:
    changes = EPOCHS, f"spec.optimization.precision={precision}"
    alone, broken = new_run("alone"), new_run("broken")
    assert train(alone, *changes) == "complete"
    walk_with_breaks(broken, seed, *changes)
    assert result_of(broken) == result_of(alone)


def test_overflows_of_fp16_repeat_the_same_steps_in_any_world_and_over_a_resume(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So high that the first steps overflow; a run of thousands of steps would come to it by itself.
    monkeypatch.setattr(precision_module, "INITIAL_SCALE", 2.0**24)
    change = "spec.optimization.precision=fp16"
    results = []
    for num_workers in (1, 2, 3):
        run = new_run(f"workers-{num_workers}")
        assert train(run, change, num_workers=num_workers, stop_after_steps=1) == "stopped"
        assert train(run, change, num_workers=1 + num_workers % 3) == "complete"
        results.append((*result_of(run), run.progress()["loss_scale"]))
    assert results[0][-2] > 0
    assert results[0] == results[1] == results[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_gives_the_same_bits_for_any_sequence_of_worlds(new_run: NewRun, precision: str) -> None:
    changes = "spec.workers.gpu.product=any", f"spec.optimization.precision={precision}"
    alone, again, broken = new_run("alone"), new_run("again"), new_run("broken")
    assert alone.settings(*changes).device == "cuda"
    train(alone, *changes)
    train(again, *changes, num_workers=3)
    walk_with_breaks(broken, 0, *changes)
    assert result_of(alone) == result_of(again) == result_of(broken)


def test_raising_epochs_of_a_finished_run_equals_one_longer_run(new_run: NewRun) -> None:
    longer, raised = new_run("longer"), new_run("raised")
    train(longer, EPOCHS)
    train(raised, "spec.optimization.epochs=1")
    train(raised, EPOCHS)
    assert raised.digests() == longer.digests()


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

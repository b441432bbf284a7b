"""What a run costs, checked against figures that were counted by hand."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.api.loading import load_training_run
from synthray.api.v1alpha1 import TrainingRun
from synthray.errors import InvalidInput
from synthray.training.explain import (
    NetworkSize,
    build_cost_document,
    describe_cost,
    describe_duration,
    expect_precision,
    plan_cost,
)

EXAMPLE = Path(__file__).parents[3] / "manifests" / "examples" / "ranzcr-512.yaml"
# unconditional-512 at one channel has 113,668,609 parameters; the memory is made up.
SIZE = NetworkSize(parameters=113_668_609, device_memory_bytes=12 * 2**30)


def example(*overrides: str) -> TrainingRun:
    return load_training_run(EXAMPLE, overrides)


def test_the_cost_of_the_example_run() -> None:
    cost = plan_cost(example(), SIZE, train_images=28_579, images_per_second=32)
    assert cost.model_bytes == 454_674_436
    assert cost.state_bytes == 4 * cost.model_bytes
    assert cost.gradient_bytes == 909_348_872  # int64
    assert cost.reduced_bytes_per_step == 1_364_023_308  # 2 x 3/4 of it, by each of 4 workers
    assert (cost.models_kept, cost.states_kept) == (220, 3)
    assert cost.checkpoint_bytes == 220 * cost.model_bytes + 3 * cost.state_bytes
    assert (cost.workers, cost.max_workers) == (4, 8)
    assert cost.dataset is not None
    assert cost.dataset.images_total == 6_287_380
    assert cost.dataset.steps == 98_241  # 98,240.3 global batches of 64
    assert cost.dataset.seconds == pytest.approx(196_480.6, abs=0.1)


def test_a_single_worker_sends_nothing() -> None:
    assert plan_cost(example("spec.workers.replicas=1"), SIZE).reduced_bytes_per_step == 0


def test_statistical_sums_are_half_as_wide() -> None:
    statistical = plan_cost(example("spec.reduction=statistical"), SIZE)
    assert statistical.gradient_bytes * 2 == plan_cost(example(), SIZE).gradient_bytes


@pytest.mark.parametrize(
    ("overrides", "precision"),
    [
        ((), "fp16"),
        (("spec.workers.gpu=null",), "fp32"),
        (("spec.optimization.precision=bf16",), "bf16"),
        (("spec.optimization.precision=fp32",), "fp32"),
    ],
)
def test_auto_is_sixteen_bits_on_a_card_and_thirty_two_on_a_cpu(
    overrides: tuple[str, ...], precision: str
) -> None:
    assert expect_precision(example(*overrides).spec) == precision


@given(
    epochs=st.integers(1, 500), every_nth=st.integers(1, 50), best=st.integers(0, 5), states=st.integers(1, 9)
)
def test_kept_models_are_at_least_what_retention_keeps(
    epochs: int, every_nth: int, best: int, states: int
) -> None:
    keep = f"spec.checkpoints.keep={{states: {states}, modelsEveryNthEpoch: {every_nth}, best: {best}}}"
    cost = plan_cost(example(keep, f"spec.optimization.epochs={epochs}"), SIZE)
    regular = {epoch for epoch in range(1, epochs + 1) if epoch % every_nth == 0} | {epochs}
    assert len(regular) <= cost.models_kept <= min(epochs, len(regular) + best + 1)


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no training samples"):
        plan_cost(example(), SIZE, train_images=0)


def test_people_read_units_and_programs_numbers() -> None:
    cost = plan_cost(example(), SIZE, train_images=28_579, images_per_second=32)
    assert describe_cost(cost) == {
        "network": "113.67 M parameters, 512x512 pixels, 1 channel",
        "GPU memory": "12.0 GiB a worker and CUDA's own 0.5 GiB or so (fp16, micro-batches of 4)",
        "save buffer": "1.7 GiB of host memory on the worker that saves",
        "workers": "4, at most 8",
        "reduction": "0.91 GB of gradients a step; with 4 workers each sends 1.36 GB",
        "checkpoints": "105.48 GB at the end, at most: 220 models of 0.45 GB, 3 states of 1.82 GB",
        "saves": (
            "each stops training for 0.19 s; at least every 10 min (maxWorkAtRiskSeconds), "
            "no faster than uploads end"
        ),
        "fault per 10 min": (
            "best every 15 s (Daly; Young 15 s): 2.5% of the time lost to saves and work done twice; "
            "every 10 min: 41.8%"
        ),
        "fault per 30 min": (
            "best every 26 s (Daly; Young 26 s): 1.5% of the time lost to saves and work done twice; "
            "every 10 min: 15.8%"
        ),
        "fault per 6 h": (
            "best every 1 min 31 s (Daly; Young 91 s): 0.4% of the time lost to saves and work done twice; "
            "every 10 min: 1.4%"
        ),
        "fault per 1 d": (
            "best every 3 min 3 s (Daly; Young 183 s): 0.2% of the time lost to saves and work done twice; "
            "every 10 min: 0.4%"
        ),
        "steps": "98,241 of 64 images: 220 epochs of 28,579 images",
        "time": "2 d 6 h, 14 min 53 s an epoch",
    }
    document = build_cost_document(cost)
    assert document["run"] == "ranzcr-512"
    assert document["dataset"]["steps"] == 98_241


def test_the_measured_stop_for_a_save_takes_the_place_of_the_estimate() -> None:
    cost = plan_cost(example(), SIZE, save_seconds=3.0)
    assert cost.save_seconds == 3.0
    assert cost.save_intervals[0].young_seconds == 60.0
    assert [interval.fault_seconds for interval in cost.save_intervals] == [600, 1800, 21_600, 86_400]


def test_what_is_unknown_says_what_to_give() -> None:
    lines = describe_cost(plan_cost(example("spec.workers.gpu=null"), SIZE))
    assert lines["CPU memory"] == "12.0 GiB a worker (fp32, micro-batches of 4)"
    assert lines["steps"] == "unknown without the dataset: give the number of training images"
    lines = describe_cost(plan_cost(example(), SIZE, train_images=10))
    assert lines["time"] == "unknown without a throughput: give images per second, all workers together"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min"), (725, "12 min 5 s"), (3600, "1 h"), (273_600, "3 d 4 h")],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


def test_the_arithmetic_needs_no_torch() -> None:
    program = "import sys, synthray.training.explain; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"

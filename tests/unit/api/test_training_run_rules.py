"""Rules between fields: each broken alone, its message whole; and the edges that still hold."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthray.api.v1alpha1 import TrainingRun, TrainingRunSpec, resolve_architecture
from synthray.api.v1alpha1.optimization import Optimization
from synthray.api.v1alpha1.placement import Checkpoints, Dataset
from synthray.api.v1alpha1.training_run_rules import neighbours

Refusal = Callable[..., str]
Load = Callable[..., TrainingRun]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["spec.model.resolution=500"], "spec.model.resolution=500 is not divisible by 32; use 480 or 512"),
        (["spec.model.resolution=20"], "spec.model.resolution=20 is not divisible by 32; use 32"),
        (
            ["spec.model.preset=demo-64", "spec.model.resolution=60"],
            "spec.model.resolution=60 is not divisible by 8; use 56 or 64",
        ),
        (
            ["spec.model.downBlockTypes=[DownBlock2D, DownBlock2D]"],
            "spec.model.downBlockTypes has 2 entries and spec.model.blockOutChannels 6; give 6 of each",
        ),
        (
            ["spec.model.blockOutChannels=[128, 128, 256, 256, 512, 500]"],
            (
                "spec.model.blockOutChannels[5]=500 is not divisible by spec.model.normNumGroups=32; use "
                "480 or 512\n"
                "spec.model.blockOutChannels[5]=500 has attention and is not divisible by "
                "spec.model.attentionHeadDim=8; use 496 or 504"
            ),
        ),
        (
            ["spec.model.attentionHeadDim=48"],
            (
                "spec.model.blockOutChannels[4]=512 has attention and is not divisible by "
                "spec.model.attentionHeadDim=48; use 480 or 528\n"
                "spec.model.blockOutChannels[5]=512 has attention and is not divisible by "
                "spec.model.attentionHeadDim=48; use 480 or 528"
            ),
        ),
        (
            ["spec.diffusion.predictionType=epsilon"],
            (
                "spec.diffusion.zeroTerminalSNR=true is undefined with "
                "spec.diffusion.predictionType=epsilon; "
                "use predictionType: v_prediction, or zeroTerminalSNR: false"
            ),
        ),
        (
            ["spec.optimization.globalBatchSize=65"],
            (
                "spec.optimization.globalBatchSize=65 is not divisible by "
                "spec.optimization.microBatchSize=4; "
                "use 64 or 68"
            ),
        ),
        (
            ["spec.optimization.learningRateSchedule={decay: linear}"],
            (
                "spec.optimization.learningRateSchedule.decayImages=0 is no length for "
                "spec.optimization.learningRateSchedule.decay=linear; use the number of images that the "
                "decay takes"
            ),
        ),
        (
            ["spec.optimization.learningRateSchedule={decayImages: 1000}"],
            (
                "spec.optimization.learningRateSchedule.decayImages=1000 has no meaning with "
                "spec.optimization.learningRateSchedule.decay=constant; "
                "use 0, or decay: inverse_square_root or linear"
            ),
        ),
        (
            ["spec.workers={replicas: 2, minReplicas: 3}"],
            (
                "spec.workers.replicas=2 is below spec.workers.minReplicas=3; use 3 or more, or lower "
                "minReplicas; to release all workers set spec.suspend: true"
            ),
        ),
        (
            ["spec.workers={replicas: 5, maxReplicas: 4}"],
            "spec.workers.replicas=5 is above spec.workers.maxReplicas=4; use 4 or less",
        ),
        (
            ["spec.workers.maxReplicas=17"],
            (
                "spec.workers.maxReplicas=17 is above the 16 micro-batches of a step "
                "(globalBatchSize=64 / microBatchSize=4); use 16 or less"
            ),
        ),
        (
            ["spec.workers.replicas=17"],
            (
                "spec.workers.replicas=17 is above the 16 micro-batches of a step "
                "(globalBatchSize=64 / microBatchSize=4); use 16 or less"
            ),
        ),
        (
            ["spec.checkpoints.uri=s3://xray/small/run/"],
            (
                "spec.checkpoints.uri=s3://xray/small/run and spec.dataset.uri=s3://xray/small lie one "
                "in the other; "
                "use a prefix for each"
            ),
        ),
        (
            ["spec.dataset.uri=s3://xray/runs/small/data"],
            (
                "spec.checkpoints.uri=s3://xray/runs/small and "
                "spec.dataset.uri=s3://xray/runs/small/data lie one "
                "in the other; use a prefix for each"
            ),
        ),
        (["spec.previews.seeds=[7, 8, 7]"], "spec.previews.seeds names 7 twice; name each seed once"),
    ],
)
def test_a_broken_rule_names_fields_values_and_remedy(
    refusal: Refusal, overrides: list[str], message: str
) -> None:
    assert refusal(*overrides) == message


@pytest.mark.parametrize(
    "overrides",
    [
        ["spec.workers={replicas: 16, minReplicas: 16, maxReplicas: 16}"],
        ["spec.checkpoints.uri=s3://xray/small-run"],  # a common beginning is no common prefix
        ["spec.diffusion={predictionType: epsilon, zeroTerminalSNR: false}"],
        ["spec.optimization.learningRateSchedule={decay: inverse_square_root, decayImages: 1}"],
        ["spec.previews.seeds=[]"],
        ["spec.model={preset: demo-64, resolution: 8}"],
    ],
)
def test_the_edge_of_a_rule_is_allowed(load: Load, overrides: list[str]) -> None:
    load(*overrides)


def test_without_max_replicas_a_run_may_grow_to_its_micro_batches(load: Load) -> None:
    assert load().spec.max_workers == 16
    assert load("spec.workers.maxReplicas=5").spec.max_workers == 5


def test_a_field_beside_the_preset_replaces_that_part_of_it_alone(load: Load) -> None:
    preset = resolve_architecture(load("spec.model.preset=unconditional-512").spec.model)
    changed = resolve_architecture(load("spec.model.channels=3", "spec.model.resolution=256").spec.model)
    assert (changed.channels, changed.resolution_px) == (3, 256)
    assert (preset.channels, preset.resolution_px) == (1, 512)
    assert changed.block_out_channels == preset.block_out_channels


def test_rules_hold_for_a_spec_that_is_made_in_python_too() -> None:
    with pytest.raises(ValueError, match="globalBatchSize=10 is not divisible"):
        TrainingRunSpec(
            dataset=Dataset(uri="/data"),
            checkpoints=Checkpoints(uri="/run"),
            optimization=Optimization(epochs=1, global_batch_size=10, micro_batch_size=4),
        )


@given(value=st.integers(1, 10**6), multiple=st.integers(1, 10**4))
def test_a_remedy_is_a_pair_of_multiples_around_the_value(value: int, multiple: int) -> None:
    proposed = [int(text) for text in neighbours(value, multiple).split(" or ")]
    assert all(number % multiple == 0 and number > 0 for number in proposed)
    assert all(abs(number - value) <= multiple for number in proposed)

"""The configuration's digest: what moves it, what doesn't, and that it stays the same over releases."""

from collections.abc import Callable

import pytest

from synthray.api.digests import INTRODUCTION_DEFAULTS, changed_fields, config_digest, digest_fields
from synthray.api.v1alpha1 import TrainingRun

Load = Callable[..., TrainingRun]


def digest_of(run: TrainingRun, precision: str = "fp32") -> str:
    return config_digest(run.spec, precision=precision).digest


def test_the_digest_of_a_run_is_the_same_in_every_release(load: Load) -> None:
    """Resumes compare it: a release that changes it orphans every checkpoint."""
    network = (
        "spec.model={resolution: 64, channels: 1, blockOutChannels: [32, 64], layersPerBlock: 1, "
        "downBlockTypes: [DownBlock2D, AttnDownBlock2D], upBlockTypes: [AttnUpBlock2D, UpBlock2D], "
        "attentionHeadDim: 8, normNumGroups: 8, activationCheckpointing: false}"
    )
    assert digest_of(load(network)) == "158bad32c993c7b339fe1676b373ad350e3b80ac5b5bfe93cbc8ab8c971bef40"
    changed = load(
        network, "spec.seed=7", "spec.optimization.learningRate=3e-4", "spec.diffusion.minSNRGamma=5"
    )
    assert digest_of(changed, "bf16") == "241f9803ad2071174b3df7f4ccf672fb7479ab7a1abff87bd1a464b081a5446d"


@pytest.mark.parametrize(
    "override",
    [
        "spec.optimization.epochs=500",
        "spec.workers={replicas: 4, minReplicas: 2, maxReplicas: 8, cpu: 2, memory: 1Gi, gpu: {product: X}}",
        "spec.checkpoints={uri: s3://xray/other, maxWorkAtRiskSeconds: 60, keep: {states: 1}}",
        "spec.previews={seeds: [9], everyEpochs: 7, steps: 10}",
        "spec.dataset.uri=s3://moved/small",
        "spec.objectStorage.endpointURL=http://s3:8333",
        "spec.image=registry.example/synthray:2",
        "spec.suspend=true",
        "metadata.name=renamed",
        "spec.model.preset=unconditional-512",
        "spec.model.resolution=512",  # what the preset says anyway
        "spec.optimization.precision=fp32",  # what auto had resolved to
    ],
)
def test_what_moves_no_bit_moves_no_digest(load: Load, override: str) -> None:
    assert digest_of(load(override)) == digest_of(load())


@pytest.mark.parametrize(
    "override",
    [
        "spec.seed=1",
        "spec.model.initFrom=s3://xray/model",
        "spec.model.preset=unconditional-256",
        "spec.model.channels=3",
        "spec.model.activationCheckpointing=false",
        "spec.diffusion.predictionType=sample",
        "spec.diffusion.schedule=shifted_cosine",
        "spec.diffusion.zeroTerminalSNR=false",
        "spec.diffusion.minSNRGamma=5",
        "spec.augmentation.horizontalFlip=true",
        "spec.optimization.globalBatchSize=32",
        "spec.optimization.microBatchSize=2",
        "spec.optimization.learningRate=2e-4",
        "spec.optimization.learningRateSchedule.warmupImages=0",
        "spec.optimization.beta1=0.9",
        "spec.optimization.beta2=0.99",
        "spec.optimization.epsilon=1e-6",
        "spec.optimization.weightDecay=0",
        "spec.optimization.gradientClipNorm=2",
        "spec.optimization.ema.halflifeImages=1000",
        "spec.optimization.ema.rampupRatio=0.1",
        "spec.reduction=statistical",
        "spec.workers.threads=2",
    ],
)
def test_what_changes_the_result_changes_the_digest(load: Load, override: str) -> None:
    assert digest_of(load(override)) != digest_of(load())


def test_the_precision_counts_as_it_was_resolved(load: Load) -> None:
    assert digest_of(load(), "fp16") != digest_of(load(), "fp32")


def test_every_field_of_the_parts_that_decide_a_result_is_in_the_digest(load: Load) -> None:
    spec = load().spec.model_dump(mode="json", by_alias=True)
    without_effect = {"optimization.epochs", "model.preset"}
    decided: set[str] = set()
    for room in ("model", "diffusion", "augmentation", "optimization"):
        for field, value in spec[room].items():
            inner = (
                [f"{room}.{field}.{name}" for name in value]
                if isinstance(value, dict)
                else [f"{room}.{field}"]
            )
            decided.update(inner)
    assert decided - without_effect == {
        path
        for path in INTRODUCTION_DEFAULTS
        if path.partition(".")[0] in {"model", "diffusion", "augmentation", "optimization"}
    }


def test_a_default_run_names_no_field_that_has_its_introduction_default(load: Load) -> None:
    fields = config_digest(load().spec, precision="fp32").fields
    assert "optimization.learningRate" not in fields
    assert fields["optimization.microBatchSize"] == 4
    assert digest_fields(fields) == digest_of(load())


def test_two_configurations_differ_in_named_fields(load: Load) -> None:
    before = config_digest(load().spec, precision="fp32").fields
    after = config_digest(
        load("spec.seed=3", "spec.optimization.microBatchSize=2").spec, precision="bf16"
    ).fields
    assert changed_fields(before, after) == [
        "spec.optimization.microBatchSize: 4 -> 2",
        'spec.optimization.precision: "fp32" -> "bf16"',
        "spec.seed: 0 -> 3",
    ]
    assert changed_fields(after, after) == []

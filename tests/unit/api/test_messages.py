"""What a user reads when a field is wrong, whole."""

from collections.abc import Callable

import pytest

Refusal = Callable[..., str]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # out of bounds
        ("spec.optimization.epochs=0", "spec.optimization.epochs=0 is below 1; use 1 to 1000000"),
        (
            "spec.workers.replicas=0",
            "spec.workers.replicas=0 is below 1; to release all workers set spec.suspend: true",
        ),
        ("spec.workers.replicas=2000", "spec.workers.replicas=2000 is above 1024; use 1 to 1024"),
        (
            "spec.workers.gpu={product: H200, perWorker: 2}",
            "spec.workers.gpu.perWorker=2 is above 1; use 1 and more spec.workers.replicas",
        ),
        ("spec.model.resolution=4", "spec.model.resolution=4 is below 8; use 8 to 2048"),
        ("spec.previews.seeds=[1, -2]", "spec.previews.seeds[1]=-2 is below 0; use 0 or more"),
        (
            "spec.optimization.gradientClipNorm=0",
            "spec.optimization.gradientClipNorm=0 is below 1e-06; for no clipping use 1000",
        ),
        (
            "spec.optimization.learningRate=.inf",
            "spec.optimization.learningRate=Infinity is not finite; use a finite number",
        ),
        # another type
        (
            "spec.seed=1.5",
            "spec.seed=1.5 is not a whole number; write it without quotes and without a fraction",
        ),
        (
            'spec.optimization.epochs="3"',
            (
                'spec.optimization.epochs="3" is not a whole number; write it without quotes and without a '
                "fraction"
            ),
        ),
        (
            "spec.seed=true",
            "spec.seed=true is not a whole number; write it without quotes and without a fraction",
        ),
        (
            "spec.optimization.learningRate=fast",
            'spec.optimization.learningRate="fast" is not a number; write it without quotes',
        ),
        (
            'spec.suspend="true"',
            'spec.suspend="true" is not true or false; write true or false, without quotes',
        ),
        ("metadata.namespace=3", 'metadata.namespace=3 is not text; write it in quotes: "..."'),
        ("spec.workers=4", "spec.workers=4 is not a mapping; give it fields of its own"),
        ("spec.previews.seeds=4", "spec.previews.seeds=4 is not a list; write [a, b]"),
        # of a few
        (
            "spec.optimization.precision=fp61",
            "spec.optimization.precision=fp61 is not one of auto, fp32, fp16, bf16; did you mean fp16?",
        ),
        ("spec.reduction=fast", "spec.reduction=fast is not one of exact, statistical; use one of them"),
        ("spec.model.channels=2", "spec.model.channels=2 is not one of 1, 3; use one of them"),
        # lists
        ("spec.model.blockOutChannels=[]", "spec.model.blockOutChannels has no entry; use 1 or more"),
        (
            "spec.model.blockOutChannels=[8, 8, 8, 8, 8, 8, 8, 8, 8]",
            "spec.model.blockOutChannels has more than 8 entries; use 8 or fewer",
        ),
        # text forms
        (
            "metadata.name=Small_1",
            (
                "metadata.name=Small_1 has not the form that it needs; use at most 40 lower-case "
                "letters, digits "
                "and hyphens, beginning with a letter and not ending with a hyphen"
            ),
        ),
        (
            "metadata.name=a23456789-123456789-123456789-123456789-x",
            (
                "metadata.name=a23456789-123456789-123456789-123456789-x is longer than 40 characters; "
                "use at "
                "most 40 lower-case letters, digits and hyphens, beginning with a letter and not ending "
                "with a hyphen"
            ),
        ),
        (
            "spec.dataset.uri=gs://xray/small",
            (
                "spec.dataset.uri=gs://xray/small has not the form that it needs; "
                "use s3://bucket/prefix or a local path"
            ),
        ),
        (
            "spec.dataset.uri=s3://",
            "spec.dataset.uri=s3:// has not the form that it needs; use s3://bucket/prefix or a local path",
        ),
        (
            "spec.checkpoints.uri=",
            'spec.checkpoints.uri="" has not the form that it needs; use s3://bucket/prefix or a local path',
        ),
        (
            "spec.workers.memory=16 GB",
            (
                "spec.workers.memory=16 GB has not the form that it needs; "
                "use a Kubernetes quantity such as 4, 500m or 16Gi"
            ),
        ),
        (
            "spec.objectStorage.endpointURL=localhost:8333",
            (
                "spec.objectStorage.endpointURL=localhost:8333 has not the form that it needs; "
                'use http://host:port or https://host:port, or "" for AWS'
            ),
        ),
        # names of fields
        ("spec.optimization.epoch=3", "spec.optimization.epoch is not a field; did you mean epochs?"),
        (
            "spec.optimization.global_batch_size=8",
            "spec.optimization.global_batch_size is not a field; did you mean globalBatchSize?",
        ),
        (
            "spec.objectStorage.endpointUrl=http://s3:8333",
            "spec.objectStorage.endpointUrl is not a field; did you mean endpointURL?",
        ),
        ("spec.epochs=3", "spec.epochs is not a field; did you mean spec.optimization.epochs?"),
        (
            "spec.augmentation.rotation=3",
            "spec.augmentation.rotation is not a field; there are horizontalFlip",
        ),
        ("metadata.lables={a: b}", "metadata.lables is not a field; did you mean labels?"),
        # left out
        ("spec.dataset={}", "spec.dataset.uri is missing; give it, for example s3://xray/ranzcr-512"),
        ("spec.dataset=null", "spec.dataset is missing; give it"),
        (
            "spec.workers.gpu={perWorker: 1}",
            "spec.workers.gpu.product is missing; give it, for example Quadro-RTX-6000",
        ),
    ],
)
def test_a_wrong_field_is_answered_with_its_path_its_value_and_what_to_write(
    refusal: Refusal, override: str, message: str
) -> None:
    assert refusal(override) == message


def test_every_problem_has_a_line_of_its_own_in_the_order_of_the_fields(refusal: Refusal) -> None:
    assert refusal("spec.suspend=1", "spec.seed=-1", "spec.workers.threads=0").splitlines() == [
        f"spec.seed=-1 is below 0; use 0 to {2**53 - 1}",
        "spec.workers.threads=0 is below 1; use 1 to 64",
        "spec.suspend=1 is not true or false; write true or false, without quotes",
    ]


def test_a_credential_in_an_address_is_not_repeated(refusal: Refusal) -> None:
    message = refusal("spec.objectStorage.endpointURL=http://key:canary@s3:8333")
    assert message.startswith("spec.objectStorage.endpointURL=http://***@s3:8333 has not the form")
    assert "canary" not in message


def test_a_long_value_is_cut(refusal: Refusal) -> None:
    message = refusal(f"spec.dataset.uri=gs://{'x' * 400}")
    assert message == (
        f"spec.dataset.uri=gs://{'x' * 75}... has not the form that it needs; use s3://bucket/prefix or a "
        "local path"
    )

"""The CRDs on a real API server: what it takes, what it refuses, and in which words."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster_programs import Programs

from synthray.api.crd import build_crds
from synthray.api.crd_immutability import IMMUTABLE_FIELDS

Document = dict[str, Any]
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "manifests" / "examples").glob("*.yaml"))
RUN: Document = {
    "apiVersion": "synthray.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "small"},
    "spec": {
        "dataset": {"uri": "s3://xray/small"},
        "checkpoints": {"uri": "s3://xray/runs/small"},
        "optimization": {"epochs": 3, "globalBatchSize": 64, "microBatchSize": 4},
        "workers": {"replicas": 4, "minReplicas": 2, "maxReplicas": 8, "gpu": {"product": "Quadro-RTX-6000"}},
    },
}
SERVICE: Document = {
    "apiVersion": "synthray.io/v1alpha1",
    "kind": "GenerationService",
    "metadata": {"name": "images"},
    "spec": {"model": {"trainingRun": "small"}},
}


@pytest.fixture(scope="module")
def programs(api_server_kubeconfig: Path) -> Programs:
    programs = Programs(api_server_kubeconfig)
    programs.install_kinds(build_crds())
    return programs


@pytest.fixture(scope="module")
def namespace(programs: Programs) -> Iterator[str]:
    with programs.namespace() as name:
        yield name


@pytest.fixture(scope="module")
def kubectl(programs: Programs, namespace: str) -> Callable[..., str]:
    def run(*arguments: str, given: Document | None = None) -> str:
        return programs.kubectl(
            "--namespace", namespace, *arguments, given=json.dumps(given) if given else None
        )

    return run


@pytest.fixture(scope="module")
def refusal(programs: Programs, namespace: str) -> Callable[..., str]:
    def run(*arguments: str, given: Document | None = None) -> str:
        return programs.refusal(
            "--namespace", namespace, *arguments, given=json.dumps(given) if given else None
        )

    return run


@pytest.fixture(scope="module")
def run(kubectl: Callable[..., str]) -> str:
    """A run with four workers, of at least two and at most eight."""
    kubectl("apply", "-f", "-", given=RUN)
    return "trainingrun/small"


def changed(document: Document, path: str, value: object) -> Document:
    """The document with one field below spec replaced; None takes it away."""
    document = copy.deepcopy(document)
    *parents, name = path.split(".")
    node = document["spec"]
    for parent in parents:
        node = node.setdefault(parent, {})
    node[name] = value
    return document


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_taken(kubectl: Callable[..., str], example: Path) -> None:
    kubectl("create", "--dry-run=server", "--validate=strict", "-f", str(example))


def test_what_is_left_out_gets_its_default(kubectl: Callable[..., str], run: str) -> None:
    spec = json.loads(kubectl("get", run, "-o", "json"))["spec"]
    assert spec["model"] == {"preset": "unconditional-512", "initFrom": ""}
    assert spec["workers"]["cpu"] == "4"
    assert spec["previews"]["seeds"] == [1, 2, 3, 4]
    assert "ttlSecondsAfterFinished" not in spec


def test_an_explicit_null_counts_as_left_out(kubectl: Callable[..., str]) -> None:
    given = changed(changed(RUN, "ttlSecondsAfterFinished", None), "workers.gpu", None)
    given["metadata"] = {"name": "nulls"}
    stored = json.loads(kubectl("create", "-f", "-", "-o", "json", given=changed(given, "seed", None)))
    assert "gpu" not in stored["spec"]["workers"]
    assert stored["spec"]["seed"] == 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "workers.replicas",
            0,
            "spec.workers.replicas=0 is below 1; to release all workers set spec.suspend: true",
        ),
        (
            "workers.gpu.perWorker",
            2,
            "spec.workers.gpu.perWorker=2 is above 1; use 1 and more spec.workers.replicas",
        ),
        ("workers.cpu", -4, "spec.workers.cpu=-4 has not the form that it needs; use a Kubernetes quantity"),
        (
            "workers.maxReplicas",
            32,
            (
                "spec.workers.maxReplicas=32 is above the 16 micro-batches of a step "
                "(globalBatchSize=64 / microBatchSize=4); use 16 or less"
            ),
        ),
        (
            "dataset.uri",
            "http://somewhere",
            (
                "spec.dataset.uri=http://somewhere has not the form that it needs; use s3://bucket/prefix or "
                "a local path"
            ),
        ),
        (
            "dataset.uri",
            "s3://xray/runs/small/data/",
            (
                "spec.checkpoints.uri=s3://xray/runs/small and spec.dataset.uri=s3://xray/runs/small/data "
                "lie one in the other; use a prefix for each"
            ),
        ),
        (
            "optimization.microBatchSize",
            5,
            (
                "spec.optimization.globalBatchSize=64 is not divisible by spec.optimization.microBatchSize=5"
                "; use 60 or 65"
            ),
        ),
        ("optimization.gradientClipNorm", 0, "for no clipping use 1000"),
        (
            "optimization.learningRateSchedule",
            {"decay": "linear"},
            (
                "spec.optimization.learningRateSchedule.decayImages=0 is no length for "
                "spec.optimization.learningRateSchedule.decay=linear; use the number of images that the "
                "decay takes"
            ),
        ),
        (
            "optimization.learningRateSchedule",
            {"decayImages": 7},
            (
                "spec.optimization.learningRateSchedule.decayImages=7 has no meaning with "
                "spec.optimization.learningRateSchedule.decay=constant; use 0, or decay: inverse_square_root "
                "or linear"
            ),
        ),
        (
            "diffusion.predictionType",
            "epsilon",
            (
                "spec.diffusion.zeroTerminalSNR=true is undefined with spec.diffusion.predictionType=epsilon"
                "; use predictionType: v_prediction, or zeroTerminalSNR: false"
            ),
        ),
        ("model.resolution", 500, "spec.model.resolution=500 is not divisible by 32; use 480 or 512"),
        ("model.resolution", 16, "spec.model.resolution=16 is not divisible by 32; use 32"),
        (
            "model.upBlockTypes",
            ["UpBlock2D"],
            "spec.model.upBlockTypes has 1 entries and spec.model.blockOutChannels 6; give 6 of each",
        ),
        (
            "model.blockOutChannels",
            [128, 128, 250, 256, 512, 512],
            (
                "spec.model.blockOutChannels[2]=250 is not divisible by spec.model.normNumGroups=32; "
                "use 224 or 256"
            ),
        ),
        (
            "model.attentionHeadDim",
            24,
            (
                "spec.model.blockOutChannels[4]=512 has attention and is not divisible by "
                "spec.model.attentionHeadDim=24; use 504 or 528"
            ),
        ),
        ("previews.seeds", [7, 8, 7], "spec.previews.seeds names 7 twice; name each seed once"),
        ("reduction", "exactly", 'Unsupported value: "exactly": supported values: "exact", "statistical"'),
        ("backoffLimit", -1, "spec.backoffLimit in body should be greater than or equal to 0"),
        ("optimisation", {}, 'unknown field "spec.optimisation"'),
    ],
)
def test_a_run_is_refused_with_field_value_and_remedy(
    refusal: Callable[..., str], path: str, value: object, message: str
) -> None:
    given = changed(RUN, path, value)
    given["metadata"] = {"name": "refused"}
    assert message in refusal("create", "--validate=strict", "-f", "-", given=given)


@pytest.mark.parametrize(
    "name", ["a" * 41, "9-lives", "ends-", "with.dots"], ids=["long", "digit", "hyphen", "dots"]
)
def test_a_name_from_which_no_pod_could_be_named_is_refused(refusal: Callable[..., str], name: str) -> None:
    given = {**RUN, "metadata": {"name": name}}
    assert f"metadata.name={name} has not the form that it needs; use at most 40" in refusal(
        "create", "-f", "-", given=given
    )


# For each field that can't change another value that would be good in a new run.
OTHERS: Mapping[str, object] = {
    "seed": 1,
    "reduction": "statistical",
    "dataset.uri": "s3://xray/other",
    "checkpoints.uri": "s3://xray/runs/other",
    "model.preset": "unconditional-256",
    "model.initFrom": "s3://xray/models/m",
    "model.resolution": 1024,
    "model.channels": 3,
    "model.blockOutChannels": [64, 64, 64, 64, 64, 64],
    "model.layersPerBlock": 3,
    "model.downBlockTypes": ["DownBlock2D"] * 6,
    "model.upBlockTypes": ["UpBlock2D"] * 6,
    "model.attentionHeadDim": 16,
    "model.normNumGroups": 16,
    "model.activationCheckpointing": False,
    "diffusion.predictionType": "sample",
    "diffusion.schedule": "linear",
    "diffusion.zeroTerminalSNR": False,
    "diffusion.minSNRGamma": 5,
    "augmentation.horizontalFlip": True,
    "optimization.globalBatchSize": 128,
    "optimization.microBatchSize": 8,
    "optimization.learningRate": 2e-4,
    "optimization.learningRateSchedule.warmupImages": 1,
    "optimization.learningRateSchedule.decay": "linear",
    "optimization.learningRateSchedule.decayImages": 1,
    "optimization.beta1": 0.5,
    "optimization.beta2": 0.5,
    "optimization.epsilon": 1e-6,
    "optimization.weightDecay": 0.5,
    "optimization.gradientClipNorm": 2,
    "optimization.ema.halflifeImages": 1,
    "optimization.ema.rampupRatio": 0.5,
    "optimization.precision": "fp32",
    "workers.threads": 2,
    "workers.gpu.product": "H200",
}


def test_another_value_is_known_for_every_field_that_can_not_change() -> None:
    assert set(OTHERS) == set(IMMUTABLE_FIELDS)


@pytest.mark.parametrize("path", IMMUTABLE_FIELDS)
def test_what_would_change_the_result_can_not_change(
    refusal: Callable[..., str], run: str, path: str
) -> None:
    patch = json.dumps({"spec": changed({"spec": {}}, path, OTHERS[path])["spec"]})
    complaint = refusal("patch", run, "--type=merge", "--patch", patch)
    assert f"spec.{path} can't change from " in complaint
    assert "make a new run (another metadata.name" in complaint


def test_a_card_can_not_go_either(refusal: Callable[..., str], run: str) -> None:
    complaint = refusal("patch", run, "--type=merge", "--patch", '{"spec": {"workers": {"gpu": null}}}')
    assert (
        "spec.workers.gpu.product can't change from Quadro-RTX-6000 to none: it is part of the result"
        in complaint
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"optimization": {"epochs": 500}},
        {"workers": {"replicas": 8, "minReplicas": 1, "memory": "32Gi", "cpu": 8}},
        {"image": "registry.example/synthray:0.2.0"},
        {"suspend": True},
        {"checkpoints": {"uri": "s3://xray/runs/small/", "keep": {"states": 5}}},
        {"previews": {"seeds": []}},
        {"objectStorage": {"endpointURL": "https://s3.example:9000", "credentialsSecretName": "other"}},
        {"backoffLimit": 0, "ttlSecondsAfterFinished": 60},
    ],
    ids="-".join,
)
def test_what_does_not_change_the_result_may_change(
    kubectl: Callable[..., str], run: str, spec: Document
) -> None:
    kubectl("patch", run, "--dry-run=server", "--type=merge", "--patch", json.dumps({"spec": spec}))


@pytest.mark.parametrize(
    ("replicas", "message"),
    [
        (0, "spec.workers.replicas=0 is below 1; to release all workers set spec.suspend: true"),
        (
            1,
            (
                "spec.workers.replicas=1 is below spec.workers.minReplicas=2; use 2 or more, or lower "
                "minReplicas; to release all workers set spec.suspend: true"
            ),
        ),
        (9, "spec.workers.replicas=9 is above spec.workers.maxReplicas=8; use 8 or less"),
    ],
)
def test_scale_is_refused_with_the_remedy(
    refusal: Callable[..., str], run: str, replicas: int, message: str
) -> None:
    assert message in refusal("scale", run, f"--replicas={replicas}")


def test_scale_writes_the_number_of_workers(kubectl: Callable[..., str], run: str) -> None:
    kubectl("scale", run, "--replicas=8")
    assert kubectl("get", run, "-o", "jsonpath={.spec.workers.replicas}") == "8"
    kubectl("scale", run, "--replicas=4")


def test_an_autoscaler_reads_workers_and_their_selector_from_scale(
    kubectl: Callable[..., str], run: str, namespace: str
) -> None:
    workers = {"replicas": 3, "ready": 2, "selector": "synthray.io/run=small,synthray.io/role=worker"}
    kubectl(
        "patch",
        run,
        "--subresource=status",
        "--type=merge",
        "--patch",
        json.dumps({"status": {"workers": workers}}),
    )
    path = f"/apis/synthray.io/v1alpha1/namespaces/{namespace}/trainingruns/small/scale"
    scale = json.loads(kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 4}
    assert scale["status"] == {"replicas": 3, "selector": "synthray.io/run=small,synthray.io/role=worker"}


def test_status_is_written_through_its_subresource_alone(kubectl: Callable[..., str], run: str) -> None:
    kubectl("patch", run, "--type=merge", "--patch", '{"status": {"epoch": 99}}')
    assert kubectl("get", run, "-o", "jsonpath={.status.epoch}") in {"", "0"}


def test_there_is_one_condition_of_each_type(refusal: Callable[..., str], run: str) -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "A",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    patch = json.dumps({"status": {"conditions": [condition, condition]}})
    assert "Duplicate value" in refusal(
        "patch", run, "--subresource=status", "--type=merge", "--patch", patch
    )


def test_a_service_may_be_scaled_to_nothing(kubectl: Callable[..., str]) -> None:
    kubectl("apply", "-f", "-", given=SERVICE)
    kubectl("scale", "gensvc/images", "--replicas=0")
    assert kubectl("get", "gensvc/images", "-o", "jsonpath={.spec.replicas}") == "0"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": {}}, "spec.model needs exactly one of trainingRun and uri, and neither is given"),
        (
            {"model": {"trainingRun": "a", "uri": "s3://xray/m"}},
            "spec.model needs exactly one of trainingRun and uri, and both are given",
        ),
        (
            {"model": {"trainingRun": "a", "checkpoint": "newest"}},
            (
                "spec.model.checkpoint=newest has not the form that it needs; use latest, best or the number "
                "of an epoch"
            ),
        ),
        (
            {"model": {"trainingRun": "a"}, "sampler": {"steps": 300}},
            "spec.sampler.steps=300 is above spec.limits.maxSteps=200; use 200 or less",
        ),
        (
            {"model": {"trainingRun": "a"}, "limits": {"maxImagesPerRequest": 300}},
            (
                "spec.limits.maxImagesPerRequest=300 is above spec.limits.maxQueuedImages=256, so it could "
                "never be queued; use 256 or less"
            ),
        ),
    ],
)
def test_a_service_is_refused_with_field_value_and_remedy(
    refusal: Callable[..., str], spec: Document, message: str
) -> None:
    given = {**SERVICE, "metadata": {"name": "refused"}, "spec": spec}
    assert message in refusal("create", "-f", "-", given=given)


def test_get_shows_where_runs_stand(kubectl: Callable[..., str], run: str) -> None:
    header = kubectl("get", "trun").splitlines()[0].split()
    assert header == ["NAME", "STATE", "EPOCH", "PROGRESS", "LOSS", "IMG/S", "WORKERS", "ETA", "AGE"]
    assert "trainingrun.synthray.io/small" in kubectl("get", "synthray", "-o", "name")


def test_explain_reads_as_prose(kubectl: Callable[..., str]) -> None:
    text = " ".join(kubectl("explain", "trainingrun.spec.workers").split())
    assert "The processes that compute gradients." in text
    assert "Workers wanted; `kubectl scale` writes it." in text


def test_the_manifests_fit_client_side_apply(programs: Programs) -> None:
    programs.kubectl("apply", "--dry-run=server", "-f", str(ROOT / "manifests" / "crds"))


def test_the_server_keeps_every_word_of_the_crds(programs: Programs) -> None:
    for crd in build_crds():
        there = json.loads(programs.kubectl("get", "crd", crd["metadata"]["name"], "-o", "json"))
        assert there["spec"]["versions"] == crd["spec"]["versions"]

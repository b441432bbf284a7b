"""What the head of a cluster makes of a spec, of failures and of its own end."""

from pathlib import Path

import pytest
from tiny_run import write_tiny_run

from synthray.api.loading import load_training_run
from synthray.api.v1alpha1 import TrainingRun
from synthray.errors import InvalidInput, NotFound, Reason, RunFailed, SynthrayError, Unavailable
from synthray.training.decisions import Verdict
from synthray.training.head import Rest, decide_rest, resolve_for_cluster

PRECISION = "spec.optimization.precision"


def gpu(product: str) -> str:
    return f"spec.workers.gpu={{product: {product}}}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tiny_run(tmp_path, "run", str(tmp_path / "prepared")).file


def load(file: Path, *changes: str) -> TrainingRun:
    return load_training_run(file, changes)


@pytest.mark.parametrize(
    ("verdict", "failure", "rest"),
    [
        (Verdict.COMPLETE, None, Rest("Complete", 0, stays=True)),
        (Verdict.STOPPED, None, Rest("Stopped", 130, stays=False)),
        (Verdict.FAILED, RunFailed("nan"), Rest("Failed", 5, stays=True)),
        (Verdict.FAILED, RunFailed("x", reason=Reason.FENCED), Rest("Fenced", 5, stays=True)),
        (Verdict.FAILED, InvalidInput("x"), Rest("Blocked", 2, stays=True)),
        (Verdict.FAILED, NotFound("x"), Rest("Blocked", 3, stays=True)),
        (
            Verdict.FAILED,
            Unavailable("x", reason=Reason.CREDENTIALS_REJECTED),
            Rest("Blocked", 2, stays=True),
        ),
        (Verdict.FAILED, Unavailable("x"), Rest("Failed", 75, stays=False)),
        (
            Verdict.FAILED,
            Unavailable("x", reason=Reason.RAY_UNAVAILABLE),
            Rest("Failed", 75, stays=False),
        ),
    ],
)
def test_results_are_served_and_passing_trouble_makes_room_for_the_next_attempt(
    verdict: Verdict, failure: SynthrayError | None, rest: Rest
) -> None:
    assert decide_rest(verdict, failure) == rest


def test_the_card_of_the_workers_decides_and_not_this_pods(file: Path, tmp_path: Path) -> None:
    turing = resolve_for_cluster(load(file, gpu("Quadro-RTX-6000")), {}, tmp_path)
    assert (turing.device, turing.precision) == ("cuda", "fp16")
    ada = resolve_for_cluster(load(file, gpu("NVIDIA-RTX-6000-Ada-Generation")), {}, tmp_path)
    assert (ada.device, ada.precision) == ("cuda", "bf16")
    alone = resolve_for_cluster(load(file), {}, tmp_path)
    assert (alone.device, alone.precision) == ("cpu", "fp32")


def test_an_unknown_card_needs_a_precision(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        resolve_for_cluster(load(file, gpu("Some-Card")), {}, tmp_path)
    assert str(refused.value) == (
        "spec.workers.gpu.product=Some-Card is no card of which it is known here what `auto` would be; set "
        "spec.optimization.precision to fp32, fp16 or bf16"
    )
    settings = resolve_for_cluster(load(file, gpu("Some-Card"), f"{PRECISION}=bf16"), {}, tmp_path)
    assert (settings.device, settings.precision) == ("cuda", "bf16")


def test_gpus_that_are_names_only_are_computed_without(file: Path, tmp_path: Path) -> None:
    run = load(file, gpu("Quadro-RTX-6000"))
    settings = resolve_for_cluster(run, {"SYNTHRAY_DEVICE": "cpu"}, tmp_path)
    assert (settings.device, settings.precision) == ("cpu", "fp32")
    assert settings.config_digest == resolve_for_cluster(load(file), {}, tmp_path).config_digest


def test_tries_of_storage_are_short_so_that_the_head_can_say_that_it_waits(
    file: Path, tmp_path: Path
) -> None:
    assert resolve_for_cluster(load(file), {}, tmp_path).storage.s3.deadline_seconds == 20
    environ = {"SYNTHRAY_STORAGE_DEADLINE_SECONDS": "5"}
    assert resolve_for_cluster(load(file), environ, tmp_path).storage.s3.deadline_seconds == 5

"""GenerationService: its rules, and that a file of it loads."""

from pathlib import Path

import pytest

from synthray.api.loading import load_generation_service
from synthray.errors import InvalidInput

HEAD = "apiVersion: synthray.io/v1alpha1\nkind: GenerationService\nmetadata: {name: chest-images}\n"


def write(path: Path, spec: str) -> Path:
    file = path / "service.yaml"
    file.write_text(f"{HEAD}spec: {spec}\n")
    return file


@pytest.mark.parametrize(
    ("written", "checkpoint"), [("latest", "latest"), ("best", "best"), ("12", "12"), ('"12"', "12")]
)
def test_a_checkpoint_is_latest_best_or_an_epoch(tmp_path: Path, written: str, checkpoint: str) -> None:
    file = write(tmp_path, f"{{model: {{trainingRun: ranzcr-512, checkpoint: {written}}}}}")
    assert load_generation_service(file).spec.model.checkpoint == checkpoint


def test_a_model_by_a_relative_path_counts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    service = load_generation_service(write(tmp_path, "{model: {uri: exported}}"))
    assert service.spec.model.uri == str(tmp_path / "exported")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "{model: {checkpoint: best}}",
            (
                "spec.model needs exactly one of trainingRun and uri, and neither is given; give one, "
                "for example "
                "trainingRun: ranzcr-512"
            ),
        ),
        (
            "{model: {trainingRun: a, uri: s3://xray/m}}",
            (
                "spec.model needs exactly one of trainingRun and uri, and both are given; give one, for "
                "example "
                "trainingRun: ranzcr-512"
            ),
        ),
        (
            "{model: {trainingRun: a, checkpoint: newest}}",
            (
                "spec.model.checkpoint=newest has not the form that it needs; "
                "use latest, best or the number of an epoch"
            ),
        ),
        (
            "{model: {trainingRun: a}, sampler: {steps: 300}}",
            "spec.sampler.steps=300 is above spec.limits.maxSteps=200; use 200 or less",
        ),
        (
            "{model: {trainingRun: a}, limits: {maxImagesPerRequest: 300}}",
            (
                "spec.limits.maxImagesPerRequest=300 is above spec.limits.maxQueuedImages=256, so it "
                "could never "
                "be queued; use 256 or less"
            ),
        ),
        (
            "{model: {trainingRun: a}, sampler: {name: dimm}}",
            "spec.sampler.name=dimm is not one of ddim, ddpm, dpmsolver++; did you mean ddim?",
        ),
    ],
)
def test_a_wrong_service_is_refused_with_a_remedy(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_generation_service(write(tmp_path, spec))
    assert caught.value.message == message

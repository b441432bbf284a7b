"""What a replica does on a cluster beside drawing: it waits for a model, and tells how it gets on."""

import threading
from pathlib import Path

import pytest
import requests
from committed_run import CommittedRun
from prometheus_client.parser import text_string_to_metric_families

from synthray.api.loading import build_generation_service
from synthray.api.replica_arguments import build_replica_arguments
from synthray.api.v1alpha1.placement import ObjectStorage
from synthray.errors import InvalidInput
from synthray.generation.models import LoadedModel
from synthray.operator.services.replica_words import parse_replica_word
from synthray.serving import starting
from synthray.serving.metrics import RequestCounts
from synthray.serving.reporting import build_reporter
from synthray.serving.service import Service
from synthray.serving.settings import ServingSettings
from synthray.serving.starting import check_settings, read_settings, wait_for_model
from synthray.storage import S3Settings, open_store


@pytest.fixture
def run(tmp_path: Path) -> CommittedRun:
    return CommittedRun(open_store(str(tmp_path / "run"), S3Settings()), S3Settings())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_WAIT_SECONDS", 0.02)


def test_the_operators_arguments_are_the_replicas_settings() -> None:
    service = build_generation_service(
        {
            "apiVersion": "synthray.io/v1alpha1",
            "kind": "GenerationService",
            "metadata": {"name": "images"},
            "spec": {
                "model": {"trainingRun": "chest", "checkpoint": 7},
                "sampler": {"name": "ddpm", "steps": 30},
                "limits": {"maxQueuedImages": 99},
                "jobs": {"uri": "s3://xray/images"},
                "tokenSecretName": "door",
            },
        }
    )
    arguments = build_replica_arguments(service.spec, "s3://xray/runs/chest", ObjectStorage())
    settings = read_settings(arguments)
    assert (settings.model_uri, settings.which) == ("s3://xray/runs/chest", 7)
    assert (settings.sampler, settings.steps, settings.limits.max_queued_images) == ("ddpm", 30, 99)
    assert (settings.jobs_uri, settings.token_file) == ("s3://xray/images", "/var/run/synthray/token/token")


def test_a_token_that_is_none_ends_the_replica_before_a_model_is_loaded(tmp_path: Path) -> None:
    short = tmp_path / "token"
    short.write_text("123")
    with pytest.raises(InvalidInput, match=f"token file {short} holds no token"):
        check_settings(ServingSettings(model_uri="s3://none/none", token_file=str(short)), S3Settings())


def test_a_replica_waits_for_its_runs_first_model(run: CommittedRun) -> None:
    found: list[LoadedModel] = []
    settings = ServingSettings(model_uri=run.store.uri)
    waiting = threading.Thread(target=lambda: found.append(wait_for_model(settings, run.settings)))
    waiting.start()
    run.commit(100)
    waiting.join(timeout=60)
    assert "models/" in found[0].identity.uri


def test_what_no_waiting_mends_ends_the_replica(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InvalidInput):
        wait_for_model(ServingSettings(model_uri=str(tmp_path)), S3Settings())


def test_the_operator_understands_what_a_replica_says(run: CommittedRun) -> None:
    run.commit(100)
    settings = ServingSettings(model_uri=run.store.uri)
    service = Service(wait_for_model(settings, run.settings), settings)
    service.rollout_problem = "the newest model is not finite"
    try:
        with build_reporter(service, RequestCounts(), port=0) as reporter:
            url = f"http://127.0.0.1:{reporter.port}"
            word = parse_replica_word(requests.get(f"{url}/progress", timeout=30).content)
            families = list(text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=30).text))
    finally:
        service.stop(grace_seconds=0)
    assert word.model == service.model.uri
    assert (word.problem, word.rollout_problem) == ("", "the newest model is not finite")
    assert "synthray_generate_selftest_ok" in {family.name for family in families}

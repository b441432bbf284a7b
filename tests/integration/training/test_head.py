"""The head of an attempt as a pod would run it: what it shows, when it waits, and how it ends."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from head_run import HeadRun, RayPods
from ray_run import Training
from rotating_secret import RotatingSecret, serving_identities
from tiny_run import TinyRun, train

from synthray.storage import EmbeddedS3, S3Settings, open_store, s3_settings_from_environment
from synthray.storage.ports import choose_free_ports
from synthray.training.attempt_history import ending_key

NewRun = Callable[..., TinyRun]
NO_RAY = "exec sleep 1000"
FOREVER = 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with serving_identities(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def secret(server: EmbeddedS3, tmp_path: Path) -> RotatingSecret:
    secret = RotatingSecret(server, tmp_path / "secret")
    secret.mount_new()
    return secret


@pytest.fixture
def on_s3(new_run: NewRun, server: EmbeddedS3, secret: RotatingSecret) -> TinyRun:
    """A run whose checkpoints go to the server, with nothing but the mounted Secret."""
    environment = {
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "AWS_REGION": "us-east-1",
        "SYNTHRAY_CREDENTIALS_DIRECTORY": str(secret.folder),
    }
    return new_run("headed", f"s3://xray/{uuid4().hex}", environment)


def test_what_a_person_must_mend_is_shown_until_the_pod_is_deleted(
    on_s3: TinyRun, secret: RotatingSecret
) -> None:
    secret.revoke()
    with HeadRun(on_s3, ray_command=NO_RAY, environment=on_s3.environment) as head:
        progress = head.wait_for(lambda progress: progress["state"] == "Blocked")
        assert progress["reason"] == "CredentialsRejected"
        assert f"rejects the credentials in {secret.folder}" in progress["message"]
        assert (progress["run"], progress["attempt"]) == ("tiny", 0)
        assert head.terminate() == 2, head.log


def test_a_file_that_is_no_run_is_shown_too(new_run: NewRun) -> None:
    run = new_run("headed")
    run.file.write_text("apiVersion: synthray.io/v1alpha1\nkind: TrainingRun\nmetadata: {name: headed}\n")
    with HeadRun(run, ray_command=NO_RAY, environment={}) as head:
        progress = head.wait_for(lambda progress: progress["state"] == "Blocked")
        assert (progress["reason"], progress["message"]) == ("InvalidInput", "spec is missing; give it")
        assert head.terminate() == 2, head.log


def test_storage_that_is_away_is_waited_for_and_a_deleted_pod_ends_at_once(new_run: NewRun) -> None:
    (closed_port,) = choose_free_ports(1)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SYNTHRAY_STORAGE_DEADLINE_SECONDS": "0.5",
    }
    run = new_run("headed", uri="s3://xray/away")
    with HeadRun(run, ray_command=NO_RAY, environment=environment) as head:
        progress = head.wait_for(lambda progress: progress["state"] == "WaitingForStorage")
        assert progress["reason"] == "StorageUnavailable"
        assert "no success at" in progress["message"]
        assert head.terminate() == 130, head.log


def test_a_result_is_served_until_the_pod_is_deleted(new_run: NewRun) -> None:
    run = new_run("headed")
    assert train(run) == "complete"
    with HeadRun(run, ray_command=NO_RAY, environment={}) as head:
        progress = head.wait_for(lambda progress: progress["state"] == "Complete")
        assert (progress["epoch"], progress["images_seen"]) == (2, progress["images_total"])
        assert progress["last_checkpoint"]["images_seen"] == progress["images_total"]
        assert (progress["committed_states"], progress["attempt"]) == (0, 0)
        assert head.terminate() == 0, head.log


def test_the_end_of_rays_head_is_the_end_of_the_attempt(new_run: NewRun) -> None:
    with HeadRun(new_run("headed"), ray_command="exit 3", environment={}) as head:
        assert head.wait() == 75
        assert "RayUnavailable: Ray's head ended by itself, with exit code 3" in head.log


def test_an_attempt_that_is_stopped_before_its_first_step_says_so(new_run: NewRun) -> None:
    """Else the next driver would take it for one that was lost."""
    run = new_run("stopped")
    (port,) = choose_free_ports(1)
    with Training(run, "--without-ray", port=port, environment={}) as training:
        training.wait_for(lambda progress: progress["attempt"] == 1)
        training.process.send_signal(signal.SIGINT)
        assert training.wait() == 130, training.log
    ending = open_store(run.checkpoints_uri, S3Settings()).read(ending_key(1))
    assert json.loads(ending) == {"ended": "stopped", "images_seen": 0}


def computes(progress: dict[str, Any], num_workers: int) -> bool:
    return progress["state"] == "Running" and len(progress["workers"]["ranks"]) == num_workers


@pytest.mark.timeout(500)
@pytest.mark.usefixtures("one_ray_at_a_time")
def test_nodes_come_and_go_the_secret_is_rotated_and_a_deleted_head_saves(
    new_run: NewRun, on_s3: TinyRun, secret: RotatingSecret, tmp_path: Path
) -> None:
    on_s3.file.write_text(on_s3.file.read_text().replace("epochs: 2", f"epochs: {FOREVER}"))
    with RayPods(tmp_path) as pods:
        environment = {**on_s3.environment, **pods.environment}
        with HeadRun(on_s3, ray_command=pods.command, environment=environment) as head:
            head.wait_for(lambda progress: progress["state"] == "WaitingForWorkers")
            leaving, _ = pods.add_worker(), pods.add_worker()
            head.wait_for(lambda progress: computes(progress, 2))

            secret.rotate()
            saved = head.wait_for(lambda progress: computes(progress, 2))["committed_states"]
            head.wait_for(lambda progress: progress["committed_states"] > saved)

            pods.terminate_worker(leaving)
            pods.add_worker()
            pods.wait_worker(leaving)
            progress = head.wait_for(lambda progress: computes(progress, 2))
            assert progress["goodput"]["redone_images"] == 0
            assert progress["resumed_from"] is not None
            assert head.terminate() == 130, head.log

    newest = on_s3.checkpoints().list_states()[-1]
    store = open_store(on_s3.checkpoints_uri, s3_settings_from_environment(on_s3.environment))
    assert store.stat(ending_key(newest.attempt)) is not None
    alone = new_run("alone")
    train(alone, f"spec.optimization.epochs={FOREVER}", stop_after_steps=newest.step)
    assert on_s3.digests() == alone.digests()

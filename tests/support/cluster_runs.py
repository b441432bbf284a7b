"""A tiny run on a cluster, and the bits that one undisturbed process makes of the same file."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from cluster_programs import Programs
from cluster_storage import ENDPOINT, ClusterStorage
from live_run import LiveRun
from tiny_run import Digests, TinyRun, prepare_tiny_dataset, train, write_tiny_run

from synthray.errors import NotFound
from synthray.storage import S3Settings, open_store, s3_settings_from_environment

END_SECONDS = 900.0


@dataclass(frozen=True)
class ClusterRun:
    """The run as kubectl shows it, and as its bucket keeps it."""

    live: LiveRun
    kept: TinyRun
    expect_digests: Callable[[], Digests]

    def expect_no_trace(self, secret: str) -> None:
        """A secret that pods use stands in no object, event or log, and in nothing that was saved."""
        assert secret not in self.live.read_all_that_is_told()
        settings = s3_settings_from_environment(self.kept.environment)
        bucket = open_store(self.kept.checkpoints_uri, settings)
        leaks = []
        for entry in bucket.list():
            # The run goes on, and retention removes what was listed.
            with suppress(NotFound):
                leaks += [entry.key] if secret.encode() in bucket.read(entry.key) else []
        assert leaks == []

    def finish(self) -> None:
        """Wait for its end, and look at the bits."""
        end = self.live.wait_for_end(deadline_seconds=END_SECONDS)
        assert end["progress"] == "100%"
        assert self.kept.digests() == self.expect_digests()


def train_alone(folder: Path, epochs: int) -> Digests:
    """By one process of this machine, undisturbed."""
    run = write_tiny_run(folder, "alone", prepare_tiny_dataset(folder), epochs=epochs)
    train(run)
    return run.digests()


def write_cluster_run(
    folder: Path, storage: ClusterStorage, programs: Programs, namespace: str, *, epochs: int, **workers: Any
) -> TinyRun:
    """A run whose dataset lies on the cluster's S3; `workers` as in its spec."""
    place = f"s3://xray/{uuid4().hex}"
    settings = s3_settings_from_environment(storage.environment)
    local = open_store(prepare_tiny_dataset(folder), S3Settings())
    remote = open_store(f"{place}/dataset", settings)
    for entry in local.list():
        remote.write(entry.key, local.read(entry.key))
    run = write_tiny_run(
        folder, "cluster", remote.uri, uri=f"{place}/run", environment=storage.environment, epochs=epochs
    )
    return change_run(
        run,
        metadata={"namespace": namespace},
        objectStorage={
            "endpointURL": ENDPOINT,
            "credentialsSecretName": storage.make_secret(programs, namespace),
        },
        workers={"maxReplicas": 2, "cpu": "200m", "memory": "2Gi", "cacheSize": "1Gi", **workers},
    )


def change_run(run: TinyRun, *, metadata: dict[str, Any], **spec: Any) -> TinyRun:
    """The same with other metadata and other fields of its spec, in a file of its own."""
    document = yaml.safe_load(run.file.read_text())
    document["metadata"] |= metadata
    document["spec"] |= spec
    file = run.file.with_name(f"{uuid4().hex[:8]}.yaml")
    file.write_text(yaml.safe_dump(document))
    return replace(run, file=file)

"""A tiny run twice: for a process of this machine, and in a cluster's terms; same dataset, same bits."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from cluster_storage import ENDPOINT, ClusterStorage
from tiny_run import TinyRun, prepare_tiny_dataset, write_tiny_run

from synthray.storage import S3Settings, open_store, s3_settings_from_environment


def write_cluster_run(folder: Path, storage: ClusterStorage, *, epochs: int) -> TinyRun:
    """A run whose dataset lies on the cluster's S3, as a process of this machine would train it."""
    place = f"s3://xray/{uuid4().hex}"
    settings = s3_settings_from_environment(storage.environment)
    local = open_store(prepare_tiny_dataset(folder), S3Settings())
    remote = open_store(f"{place}/dataset", settings)
    for entry in local.list():
        remote.write(entry.key, local.read(entry.key))
    return write_tiny_run(
        folder, "alone", remote.uri, uri=f"{place}/alone", environment=storage.environment, epochs=epochs
    )


def move_to_cluster(run: TinyRun, namespace: str, secret: str, **workers: Any) -> TinyRun:
    """The same run in the cluster's terms, with checkpoints of its own; `workers` as in its spec."""
    document = yaml.safe_load(run.file.read_text())
    uri = run.checkpoints_uri.replace("/alone", "/cluster")
    document["metadata"] |= {"namespace": namespace}
    document["spec"] |= {
        "objectStorage": {"endpointURL": ENDPOINT, "credentialsSecretName": secret},
        "workers": {"maxReplicas": 2, "cpu": "200m", "memory": "2Gi", "cacheSize": "1Gi", **workers},
    }
    document["spec"]["checkpoints"]["uri"] = uri
    file = run.file.with_name("cluster.yaml")
    file.write_text(yaml.safe_dump(document))
    return replace(run, file=file, checkpoints_uri=uri)

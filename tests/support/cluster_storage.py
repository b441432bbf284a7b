"""S3 as pods of a cluster reach it, and as a test on this machine does."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster_programs import Programs, find_program

from synthray.storage.child_process import ChildProcess
from synthray.storage.ports import choose_free_ports, is_free_port

ENDPOINT = "http://storage.storage:8333"
_FORWARD_SECONDS = 30.0


@dataclass(frozen=True)
class ClusterStorage:
    """An S3 server with the bucket `xray`; `environment` are its AWS variables for this machine."""

    environment: Mapping[str, str]

    def make_secret(self, programs: Programs, namespace: str) -> str:
        """Its key as a Secret of the namespace, by name."""
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        literals = (f"--from-literal={key}={self.environment[key]}" for key in keys)
        programs.kubectl("--namespace", namespace, "create", "secret", "generic", "s3-credentials", *literals)
        return "s3-credentials"


@contextmanager
def reach_storage(programs: Programs, manifest: str, folder: Path) -> Iterator[ClusterStorage]:
    """Make the server of the manifest, where it is missing, and a way to it while entered."""
    programs.kubectl("apply", "-f", "-", given=manifest)
    programs.kubectl("-n", "storage", "rollout", "status", "deployment/storage", "--timeout=110s")
    (port,) = choose_free_ports(1)
    log = folder / "port-forward.log"
    forward = ChildProcess(
        [
            # A forward ends with the API server, which stories stop.
            *("/bin/bash", "-c", 'while :; do "$@"; sleep 1; done', "forward"),
            find_program("kubectl"),
            f"--kubeconfig={programs.kubeconfig}",
            *("-n", "storage", "port-forward", "service/storage", f"{port}:8333"),
        ],
        folder=folder,
        log=log,
        environment=os.environ,
    )
    try:
        deadline = time.monotonic() + _FORWARD_SECONDS
        while is_free_port(port):
            assert forward.is_alive, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield ClusterStorage(
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "synthray-tests",
                "AWS_SECRET_ACCESS_KEY": "throw-away",
            }
        )
    finally:
        forward.stop(grace_seconds=1)

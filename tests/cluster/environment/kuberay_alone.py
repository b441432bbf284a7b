"""KubeRay's operator as a process beside an API server alone: it makes pods, and nothing starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthray.storage.child_process import ChildProcess

from .commands import run_command
from .programs import find_module

_GRACE_SECONDS = 10.0


@contextmanager
def running_kuberay(kubeconfig: Path, *, programs: Path, folder: Path) -> Iterator[None]:
    """While entered, KubeRay acts on that server; its log lies in `folder`."""
    kinds = find_module("kuberay", "github.com/ray-project/kuberay/ray-operator") / "config" / "crd" / "bases"
    kubectl = [str(programs / "kubectl"), f"--kubeconfig={kubeconfig}"]
    run_command([*kubectl, "apply", "--server-side", "--force-conflicts", f"--filename={kinds}"])
    run_command([*kubectl, "wait", "--for=jsonpath={.status.conditions}", "crd/rayclusters.ray.io"])
    run_command([*kubectl, "wait", "--for=condition=Established", "crd/rayclusters.ray.io", "--timeout=60s"])
    command = [
        str(programs / "kuberay-operator"),
        f"--kubeconfig={kubeconfig}",
        "--enable-leader-election=false",
        "--metrics-addr=0",
        "--health-probe-bind-address=0",
    ]
    log = folder / "kuberay.log"
    process = ChildProcess(command, folder=folder, log=log, environment=os.environ)
    try:
        yield
    finally:
        process.stop(grace_seconds=_GRACE_SECONDS)

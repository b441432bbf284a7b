"""Prometheus Operator as a process beside an API server alone: it writes configurations for Prometheus."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthray.storage.child_process import ChildProcess
from synthray.storage.ports import choose_free_ports

from .commands import run_command
from .programs import find_module

_MODULE = "github.com/prometheus-operator/prometheus-operator"
_GRACE_SECONDS = 10.0


@contextmanager
def running_prometheus_operator(kubeconfig: Path, *, programs: Path, folder: Path) -> Iterator[None]:
    """While entered, it acts on that server, which knows its CRDs; its log lies in `folder`."""
    kinds = find_module("prometheus-operator", _MODULE) / "example" / "prometheus-operator-crd"
    kubectl = [str(programs / "kubectl"), f"--kubeconfig={kubeconfig}"]
    # Too large for a client-side apply.
    run_command([*kubectl, "apply", "--server-side", "--force-conflicts", f"--filename={kinds}"])
    run_command([*kubectl, "wait", "--for=condition=Established", f"--filename={kinds}", "--timeout=60s"])
    (port,) = choose_free_ports(1)
    process = ChildProcess(
        [str(programs / "prometheus-operator"), f"--web.listen-address=127.0.0.1:{port}"],
        folder=folder,
        log=folder / "prometheus-operator.log",
        environment={**os.environ, "KUBECONFIG": str(kubeconfig)},
    )
    try:
        yield
    finally:
        process.stop(grace_seconds=_GRACE_SECONDS)

"""Scans what the project puts on a cluster with checkov: the installation, and the pods of runs and services.

checkov knows Deployments and Pods but not KubeRay's kinds, so the pod templates of what `synthray render`
prints are given to it as pods. Rules that are not followed stand in .checkov.yaml, each with its reason.
checkov runs in an environment of its own, pinned here: its requirements are not the project's.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from synthray.operator.configuration import Images, OperatorConfiguration
from synthray.operator.rendering import render_file

_PROJECT: Final = Path(__file__).parents[1]
_FOLDER: Final = _PROJECT / ".cache" / "scanned"
_CHECKOV: Final = "checkov==3.3.30"

Manifest = dict[str, Any]


def build_pods(document: Manifest) -> Iterator[Manifest]:
    """The pods that KubeRay makes of a RayCluster or a RayService; none for other kinds."""
    spec: Manifest = document.get("spec") or {}
    cluster: Manifest = spec.get("rayClusterConfig", spec)
    groups: list[Manifest] = (
        [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]] if "headGroupSpec" in cluster else []
    )
    for number, group in enumerate(groups):
        name = f"{document['kind'].lower()}-{document['metadata']['name']}-{number}"
        metadata = {**group["template"]["metadata"], "name": name, "namespace": "xray"}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": group["template"]["spec"]}


def write_scanned() -> None:
    """Everything that is scanned, as files."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (_FOLDER / "install.yaml").write_text((_PROJECT / "manifests" / "install.yaml").read_text())
    configuration = OperatorConfiguration(images=Images(worker="synthray/worker:0"))
    for example in sorted((_PROJECT / "manifests" / "examples").glob("*.yaml")):
        rendered: list[Manifest] = []
        for document in render_file(example, configuration, attempt=1):
            if document["kind"] == "NetworkPolicy":
                document["metadata"]["namespace"] = "xray"
                rendered.append(document)
            rendered += build_pods(document)
        (_FOLDER / example.name).write_text(yaml.safe_dump_all(rendered, sort_keys=False))


def main() -> int:
    """Exit code of the scan."""
    write_scanned()
    # Named one by one: checkov passes by folders that begin with a dot.
    files = [argument for file in sorted(_FOLDER.glob("*.yaml")) for argument in ("--file", str(file))]
    scan = [*files, "--config-file", str(_PROJECT / ".checkov.yaml")]
    uv = str(_PROJECT / "tools" / "setup-environment.sh")
    return subprocess.run([uv, "tool", "run", "--from", _CHECKOV, "checkov", *scan], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

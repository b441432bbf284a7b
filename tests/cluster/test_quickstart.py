"""The quickstart for a cluster works by copying and pasting: its commands run here, in order, in one shell.

What a reader has and the test's cluster has not is taken out, and only that: building and pushing images,
which its nodes have already, and KubeRay's chart, since it runs. Where a person would look on, the test
waits for what he would see.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from cluster_programs import Programs, find_program
from installation import ProjectImages

from .environment.programs import find_module

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart-cluster.md").read_text()
NOT_HERE = (
    "make image",
    "for name in operator",
    "helm repo add",
    "helm install kuberay",
    "helm uninstall kuberay",
)
DEADLINE_SECONDS = 1800
RUN = "kubectl --namespace synthray-system get trainingrun/first-run --output=jsonpath={.status"
# What a person does who looks on, by the command that he waits before.
LOOKS = {
    "kubectl --namespace synthray-system scale": f'[[ "$({RUN}.imagesSeen}})" -gt 100 ]]',
    'kubectl --namespace synthray-system delete "$(': f'[[ "$({RUN}.workers.ready}})" == 3 ]]',
    "synthray gallery": f'[[ "$({RUN}.state}})" == Complete ]]',
}

pytestmark = [pytest.mark.long_story, pytest.mark.timeout(DEADLINE_SECONDS + 300)]


def commands_of(page: str) -> list[str]:
    """The lines of the shell blocks that are for here, with what is left out said."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(NOT_HERE)]


def fit(line: str, registry: str) -> str:
    """The same command for this cluster; those that never end run beside the others or end soon."""
    line = line.replace(
        "global.imageRegistry=registry.example.com", f"global.imageRegistry={registry} --values here.yaml"
    )
    if "port-forward" in line:
        return f"{line} & forwarding=$!"
    if line.endswith("--watch"):
        return line.removesuffix(" --watch")
    looks = [f"until {look}; do sleep 2; done" for start, look in LOOKS.items() if line.startswith(start)]
    return "\n".join([*looks, line])


def values_of(images: ProjectImages) -> tuple[str, Mapping[str, object]]:
    """The registry, and the values by which the chart finds images under the names that nodes here know."""
    operator, _, tag = images.operator.rpartition(":")
    registry, _, repository = operator.partition("/")
    names = {
        "image": repository,
        "workerImage": images.worker.rpartition(":")[0].partition("/")[2],
        "demo.storage.image": images.storage.rpartition(":")[0].partition("/")[2],
    }
    values: dict[str, object] = {"config": {"head": {"cpu": "200m", "memory": "2Gi"}}}
    for place, name in names.items():
        here: dict[str, object] = values
        for part in place.split("."):
            here = here.setdefault(part, {})  # type: ignore[assignment]
        here.update(repository=name, tag=tag)
    return registry, values


def test_a_reader_gets_from_nothing_to_a_run_with_pictures_and_dashboards(
    programs: Programs, images: ProjectImages, tmp_path: Path
) -> None:
    kinds = find_module("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    crds = kinds / "example" / "prometheus-operator-crd"
    programs.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={crds}")
    registry, values = values_of(images)
    (tmp_path / "here.yaml").write_text(yaml.safe_dump(dict(values)))
    for name, text in re.findall(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    for folder in ("helm", ".venv"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    lines = [fit(line, registry) for line in commands_of(PAGE)]
    asked = "kubectl get podmonitors,servicemonitors,prometheusrules,configmaps -n synthray-system -o name"
    tidy = next(index for index, line in enumerate(lines) if "delete trainingrun" in line)
    script = [
        "set -euo pipefail",
        "set -x",
        *lines[:tidy],
        asked,
        *lines[tidy:],
        "kill $forwarding",
        "echo all done",
    ]
    (tmp_path / "quickstart.sh").write_text("\n".join(script))
    output = run_script(tmp_path, programs.kubeconfig)
    assert "all done" in output.splitlines()[-1], output
    for name in ("podmonitor", "servicemonitor", "prometheusrule", "configmap/synthray-dashboard-run"):
        assert name in output
    assert (tmp_path / "gallery" / "index.html").exists()
    assert list((tmp_path / "pictures").glob("seed-42*.png"))


def run_script(folder: Path, kubeconfig: Path) -> str:
    """All that it printed; it may not outlive the test."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    path = f"{Path(find_program('kubectl')).parent}:{os.environ['PATH']}"
    log = folder / "output.txt"
    with log.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "quickstart.sh"],
            cwd=folder,
            env=inherited | {"PATH": path, "HOME": str(folder), "KUBECONFIG": str(kubeconfig)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert shell.wait(DEADLINE_SECONDS) == 0, log.read_text()
    except subprocess.TimeoutExpired:
        raise AssertionError(log.read_text()) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return log.read_text()

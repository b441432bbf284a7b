"""`synthray debug` on a real API server: what it finds, what it leaves out, and what it says if it can't."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cluster_programs import Programs
from live_operator import RUN

from synthray.api.crd import build_crds

CANARY = "Xj2kNq8wZr5tYb7cVm3p"


@pytest.fixture(scope="module")
def programs(api_server_kubeconfig: Path) -> Programs:
    programs = Programs(api_server_kubeconfig)
    programs.install_kinds(build_crds())
    return programs


def debug(programs: Programs, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("synthray")), "debug", *arguments]
    kubeconfig = ("--kubeconfig", str(programs.kubeconfig))
    return subprocess.run([*command, *kubeconfig], capture_output=True, text=True, check=False, timeout=100)


def test_the_archive_holds_the_run_and_no_secret_and_says_what_is_missing(
    programs: Programs, tmp_path: Path
) -> None:
    with programs.namespace() as namespace:
        run = {**RUN, "metadata": {"name": "chest", "annotations": {"api-token": CANARY}}}
        programs.kubectl("--namespace", namespace, "apply", "--filename=-", given=json.dumps(run))
        secret = ("secret", "generic", "s3-credentials", f"--from-literal=AWS_SECRET_ACCESS_KEY={CANARY}")
        programs.kubectl("--namespace", namespace, "create", *secret)
        archive = tmp_path / "archive.tar.gz"
        done = debug(programs, "chest", "--namespace", namespace, "--out", str(archive))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{archive}\n"
    with tarfile.open(archive) as opened:
        files = {name: opened.extractfile(name).read() for name in opened.getnames()}  # type: ignore[union-attr]
    assert all(CANARY.encode() not in data for data in files.values())
    run_kept = json.loads(files["synthray-debug-chest/object.json"])
    assert run_kept["spec"]["dataset"] == {"uri": "s3://xray/data"}
    assert b"ray-services.json: " in files["synthray-debug-chest/missing.txt"], "KubeRay is not here"
    assert [file.name for file in tmp_path.iterdir()] == ["archive.tar.gz"]


def test_a_run_that_is_not_there_is_named_with_the_remedy(programs: Programs) -> None:
    done = debug(programs, "nosuch", "--namespace", "default")
    assert done.returncode == 3
    assert "no TrainingRun and no GenerationService nosuch in namespace default" in done.stderr


def test_an_archive_that_is_there_is_not_overwritten(programs: Programs, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar.gz"
    archive.write_text("mine")
    done = debug(programs, "chest", "--out", str(archive))
    assert done.returncode == 2
    assert archive.read_text() == "mine"


def test_without_a_cluster_the_message_names_the_option(tmp_path: Path) -> None:
    done = debug(Programs(tmp_path / "none"), "chest", "--out", str(tmp_path / "archive.tar.gz"))
    assert done.returncode == 2
    assert "--kubeconfig" in done.stderr

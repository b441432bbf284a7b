"""What administrators and users do to a run that lives. Its bits stay."""

import json

import pytest
from cluster_programs import Programs
from cluster_report import Tell
from cluster_runs import ClusterRun
from installation import Installation
from live_run import LiveRun, redone_images

pytestmark = [pytest.mark.long_story, pytest.mark.timeout(1800)]


def test_an_upgrade_of_the_chart_restarts_nothing(installation: Installation, started: ClusterRun) -> None:
    run = started.live
    before = run.wait_for_work(1)
    pods = pod_starts(run)
    installation.install("config.head.memory=2500Mi", "commonLabels.upgraded=yes")
    after = run.wait_for_work(1, beyond=before["imagesSeen"])
    assert after["attempt"] == before["attempt"]
    assert pod_starts(run) == pods
    started.finish()
    assert redone_images(started.kept) == 0


def test_a_run_is_suspended_resumed_deleted_and_made_anew(started: ClusterRun) -> None:
    run = started.live
    running = run.wait_for_work(1)
    run.patch(suspend=True)
    suspended = run.wait_for("suspension", lambda status: status["state"] == "Suspended")
    run.kubectl("wait", "--for=delete", "pod", "--all", "--timeout=100s")
    assert suspended["imagesSeen"] >= running["imagesSeen"]
    run.patch(suspend=False)
    resumed = run.wait_for_work(1, beyond=suspended["imagesSeen"])

    run.kubectl("delete", "trainingrun", run.name, "--timeout=100s")
    run.kubectl("wait", "--for=delete", "pod", "--all", "--timeout=100s")
    run.apply(started.kept)
    run.wait_for_work(1, beyond=resumed["imagesSeen"])
    started.finish()
    assert redone_images(started.kept) == 0, "pods that get their grace save all of their work"


def test_uninstalling_keeps_checkpoints_and_installing_again_goes_on(
    programs: Programs, installation: Installation, started: ClusterRun, record_property: Tell
) -> None:
    run = started.live
    before = run.wait_for_work(1)
    installation.uninstall()
    kinds = programs.kubectl("get", "crds", "--output=name")
    assert "trainingruns.synthray.io" in kinds, "runs are kept with their kind"
    installation.install()
    after = run.wait_for_work(1, beyond=before["imagesSeen"])
    record_property("attempts", after["attempt"])
    started.finish()
    assert redone_images(started.kept) == 0


def pod_starts(run: LiveRun) -> dict[str, tuple[str, int]]:
    """Identity and restarts of each pod of a run."""
    selector = f"synthray.io/run={run.name}"
    items = json.loads(run.kubectl("get", "pods", f"--selector={selector}", "--output=json"))["items"]
    return {
        item["metadata"]["name"]: (
            item["metadata"]["uid"],
            sum(one["restartCount"] for one in item["status"].get("containerStatuses", [])),
        )
        for item in items
    }

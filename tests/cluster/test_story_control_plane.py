"""Whatever stops above the pods, training goes on; and what was wished meanwhile comes true afterwards."""

import time

import pytest
from cluster_programs import Programs
from cluster_report import Tell
from cluster_runs import ClusterRun
from installation import Installation
from live_run import redone_images

from .conftest import STORY_EPOCHS, WriteRun
from .environment.cluster import Cluster

pytestmark = [pytest.mark.long_story, pytest.mark.timeout(1800)]
OUTAGE_SECONDS = 180.0


def test_the_operator_is_killed_and_away_while_everything_changes(
    installation: Installation, started: ClusterRun, record_property: Tell
) -> None:
    run = started.live
    before = run.wait_for_work(1)
    leader = installation.leader()
    killed = time.monotonic()
    installation.kill(leader)
    run.wait_for("another leader", lambda _: installation.leader() not in {"", leader})
    record_property("seconds from the leader's SIGKILL to another leader", _since(killed))

    installation.stop_operator()
    run.scale(2)
    run.kill("worker")
    installation.start_operator()
    back = time.monotonic()
    two = run.wait_for_work(2, beyond=before["imagesSeen"])
    record_property("seconds from the operator's return to two workers that train", _since(back))
    assert two["attempt"] == before["attempt"], "the run itself had no need of an operator"
    started.finish()


@pytest.mark.usefixtures("installation")
def test_the_api_server_is_away_for_three_minutes(
    write_run: WriteRun, own_cluster: Cluster, record_property: Tell
) -> None:
    story = write_run(epochs=2 * STORY_EPOCHS)
    run = story.live
    run.apply(story.kept)
    before = run.wait_for_work(1)
    own_cluster.stop_serving()
    ends = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < ends:
        time.sleep(1)
    own_cluster.serve_again()
    back = time.monotonic()
    after = run.wait_for_work(1, beyond=before["imagesSeen"])
    record_property("seconds from the API server's return to a status that is true", _since(back))
    record_property("images seen meanwhile", after["imagesSeen"] - before["imagesSeen"])
    assert after["attempt"] == before["attempt"], "nothing was restarted"
    story.finish()
    assert redone_images(story.kept) == 0, "no work was lost"
    # KubeRay ended itself for lack of the API; the kubelet would start it again minutes later.
    run.programs.kubectl("-n", "kuberay-system", "rollout", "restart", "deployment/kuberay-operator")
    run.programs.kubectl("-n", "kuberay-system", "rollout", "status", "deployment/kuberay-operator")


def test_kuberay_is_away_while_a_worker_dies_and_another_is_wished(
    programs: Programs, started: ClusterRun, record_property: Tell
) -> None:
    run = started.live
    before = run.wait_for_work(1)
    kuberay = ("--namespace", "kuberay-system", "scale", "deployment/kuberay-operator")
    programs.kubectl(*kuberay, "--replicas=0")
    try:
        run.scale(2)
        run.kill("worker")
    finally:
        programs.kubectl(*kuberay, "--replicas=1")
    back = time.monotonic()
    two = run.wait_for_work(2, beyond=before["imagesSeen"])
    record_property("seconds from KubeRay's return to two workers that train", _since(back))
    assert two["attempt"] == before["attempt"]
    started.finish()


def _since(moment: float) -> str:
    return f"{time.monotonic() - moment:.0f}"

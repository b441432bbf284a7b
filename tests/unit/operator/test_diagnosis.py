"""Why isn't it running? The answers, by what Kubernetes says."""

from dataclasses import replace

import pytest
from simulated_cluster import SimulatedCluster, build_node

_SCHEDULER = "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's affinity."


def _waiting_workers(cluster: SimulatedCluster, **fields: object) -> SimulatedCluster:
    """A run past its preflight whose workers do not start, for a minute by now."""
    cluster.settle()
    cluster.run_kuberay()
    cluster.say("WaitingForWorkers")
    cluster.settle()
    cluster.run_kuberay()
    for name, pod in cluster.pods.items():
        if pod.role == "worker":
            cluster.pods[name] = replace(pod, ready=False, phase="Pending", **fields)  # type: ignore[arg-type]
    cluster.pass_seconds(60)
    cluster.settle()
    return cluster


def test_a_label_that_no_node_has_is_named_with_those_that_exist() -> None:
    nodes = (
        build_node("a", product="Tesla-T4"),
        build_node("b", product="Tesla-T4"),
        build_node("c", product=""),
    )
    cluster = _waiting_workers(SimulatedCluster(nodes=nodes), unschedulable=_SCHEDULER, node="")
    status, reason, message = cluster.condition("Blocked")
    assert (status, reason) == ("True", "Unschedulable")
    assert "no node has the label nvidia.com/gpu.product=Quadro-RTX-6000" in message
    assert "Tesla-T4 (2 nodes)" in message
    assert cluster.status.workers.possible == 0


def test_too_few_gpus_are_counted() -> None:
    nodes = (build_node("a", gpus=1), build_node("b", gpus=4, ready=False))
    cluster = _waiting_workers(SimulatedCluster(nodes=nodes), unschedulable=_SCHEDULER, node="")
    message = cluster.condition("Blocked")[2]
    assert "2 of 2 workers wait for a GPU: 1 of 2 nodes" in message
    assert "offer 1 GPUs in all" in message


def test_workers_that_wait_while_others_train_degrade_a_run_and_do_not_block_it() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    name = "chest-1-worker-1"
    cluster.pods[name] = replace(
        cluster.pods[name], ready=False, node="", unschedulable=_SCHEDULER, created=cluster.now
    )
    cluster.say("Running", attempt=1)
    cluster.pass_seconds(20)
    cluster.settle()
    assert cluster.condition("Blocked")[0] == "False"
    assert cluster.condition("Degraded")[:2] == ("True", "Unschedulable")
    assert cluster.condition("Ready")[0] == "True"
    assert cluster.status.workers.possible == 1


@pytest.mark.parametrize("waiting", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"])
def test_an_image_that_can_not_be_pulled_is_said(waiting: str) -> None:
    cluster = _waiting_workers(SimulatedCluster(), waiting=waiting, waiting_message="not found", node="gpu-1")
    status, reason, message = cluster.condition("Blocked")
    assert (status, reason) == ("True", "ImagePull")
    assert "spec.image" in message


def test_a_missing_secret_is_said_while_only_the_head_waits() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.run_kuberay()
    cluster.pods["chest-1-head"] = replace(
        cluster.pods["chest-1-head"], ready=False, phase="Pending", waiting="ContainerCreating", ip=""
    )
    cluster.troubles = ('MountVolume.SetUp failed for volume "credentials": secret "s3-keys" not found',)
    cluster.pass_seconds(15)
    cluster.settle()
    status, reason, message = cluster.condition("Blocked")
    assert (status, reason) == ("True", "SecretMissing")
    assert "Secret s3-keys does not exist in namespace xray" in message
    assert cluster.clusters["chest-1"].replicas == 0


def test_a_quota_is_said() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.troubles = ('pods "chest-1-head" is forbidden: exceeded quota: small, requested: cpu=1',)
    cluster.pass_seconds(15)
    cluster.settle()
    assert cluster.condition("Blocked")[1] == "QuotaExceeded"


def test_kuberay_that_does_nothing_is_noticed_after_a_minute() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.pass_seconds(61)
    cluster.settle()
    assert cluster.condition("Blocked")[1] == "KubeRayNotResponding"
    cluster.run_kuberay()
    cluster.settle()
    assert cluster.condition("Blocked")[0] == "False"


def test_a_refusal_of_the_cluster_is_quoted_and_tried_again() -> None:
    cluster = SimulatedCluster()
    cluster.operate(stop_after=1)
    cluster.troubles = ('admission webhook "policy" denied the request: no RayClusters here',)
    cluster.operate(stop_after=1)
    status, reason, message = cluster.condition("Blocked")
    assert (status, reason) == ("True", "AdmissionDenied")
    assert "no RayClusters here" in message
    cluster.troubles = ()
    cluster.settle()
    assert cluster.attempts_made == ["chest-1"]

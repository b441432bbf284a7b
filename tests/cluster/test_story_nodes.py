"""Nodes that go with notice, without notice, and come back; and an S3 that is away."""

import time

import pytest
from cluster_programs import Programs
from cluster_report import Tell
from cluster_runs import ClusterRun
from installation import Installation
from live_run import LiveRun, condition, redone_images

from .conftest import STORY_EPOCHS, WriteRun
from .environment.cluster import Cluster
from .environment.node_files import GPU_LABELS

pytestmark = [pytest.mark.long_story, pytest.mark.timeout(1800)]
OUTAGE_SECONDS = 180.0
_LABEL = "config.head.nodeSelector.nvidia\\.com/gpu\\.product"
_TAINT = "config.head.tolerations[0]"
HEADS_BESIDE_GPUS = (
    f"{_LABEL}={GPU_LABELS['nvidia.com/gpu.product']}",
    f"{_TAINT}.key=nvidia.com/gpu",
    f"{_TAINT}.operator=Exists",
    f"{_TAINT}.effect=NoSchedule",
)


def test_a_node_is_drained(programs: Programs, started: ClusterRun, record_property: Tell) -> None:
    run = started.live
    run.wait_for_work(1)
    run.scale(2)
    two = run.wait_for_work(2)
    node = node_without_head(run)
    drained = time.monotonic()
    try:
        programs.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=110s"
        )
        record_property("seconds of kubectl drain", since(drained))
        left = run.wait_for_work(1, beyond=two["imagesSeen"])
        run.wait_for(
            "word that one of two workers has no place",
            lambda status: condition(status, "Degraded").get("reason") == "Unschedulable",
        )
    finally:
        programs.kubectl("uncordon", node)
    back = time.monotonic()
    run.wait_for_work(2, beyond=left["imagesSeen"])
    record_property("seconds from uncordon to two workers that train", since(back))
    started.finish()
    assert redone_images(started.kept) == 0, "a worker that leaves with notice costs no step"


def test_a_node_loses_its_power_and_gets_it_back(
    own_cluster: Cluster, started: ClusterRun, record_property: Tell
) -> None:
    run = started.live
    run.wait_for_work(1)
    run.scale(2)
    two = run.wait_for_work(2)
    node = node_without_head(run)
    cut = time.monotonic()
    own_cluster.cut_power(node)
    try:
        one = run.wait_for_work(1, beyond=two["imagesSeen"])
        record_property("seconds from the cut to new images by the worker that is left", since(cut))
        assert one["attempt"] == two["attempt"]
    finally:
        own_cluster.return_power(node)
    back = time.monotonic()
    run.wait_for_work(2, beyond=one["imagesSeen"])
    record_property("seconds from the node's return to two workers that train", since(back))
    started.finish()
    record_property("images computed twice", redone_images(started.kept))


def test_the_heads_node_loses_its_power(
    own_cluster: Cluster, installation: Installation, write_run: WriteRun, record_property: Tell
) -> None:
    # The nodes of the GPUs may lose their power; the operator, KubeRay and S3 live on the other one.
    installation.install(*HEADS_BESIDE_GPUS)
    started = write_run(epochs=STORY_EPOCHS)
    run = started.live
    run.apply(started.kept)
    before = run.wait_for_work(1)
    (node,) = run.pods("head").values()
    cut = time.monotonic()
    own_cluster.cut_power(node)
    try:
        run.wait_for("another attempt", lambda status: status["attempt"] == before["attempt"] + 1)
        record_property("seconds from the cut to the next attempt", since(cut))
        run.wait_for_work(1, beyond=before["imagesSeen"])
        record_property("seconds from the cut to new images", since(cut))
    finally:
        own_cluster.return_power(node)
    started.finish()
    record_property("images computed twice", redone_images(started.kept))


def test_s3_is_away_for_three_minutes(programs: Programs, started: ClusterRun, record_property: Tell) -> None:
    run = started.live
    before = run.wait_for_work(1)
    _answer_at(programs, "nobody")
    cut = time.monotonic()
    try:
        waiting = run.wait_for("wait for S3", lambda status: status["state"] == "WaitingForStorage")
        record_property("seconds from the cut to WaitingForStorage", since(cut))
        assert condition(waiting, "Degraded")["reason"] == "StorageUnavailable"
        while time.monotonic() < cut + OUTAGE_SECONDS:
            time.sleep(1)
    finally:
        _answer_at(programs, "storage")
    back = time.monotonic()
    after = run.wait_for_work(1, beyond=max(before["imagesSeen"], waiting["imagesSeen"]))
    record_property("seconds from S3's return to new images", since(back))
    assert after["attempt"] == before["attempt"]
    started.finish()
    assert redone_images(started.kept) == 0, "nothing was lost"


def node_without_head(run: LiveRun) -> str:
    """A node that holds a worker alone."""
    heads = set(run.pods("head").values())
    return next(node for node in sorted(run.pods("worker").values()) if node not in heads)


def since(moment: float) -> str:
    return f"{time.monotonic() - moment:.0f}"


def _answer_at(programs: Programs, app: str) -> None:
    """Let the Service lead to the pods of that name: to none, as if nothing listened."""
    patch = f'{{"spec": {{"selector": {{"app": "{app}"}}}}}}'
    programs.kubectl("-n", "storage", "patch", "service", "storage", "--patch", patch)

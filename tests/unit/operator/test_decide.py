"""What the operator does about a run, as a table of stories."""

from dataclasses import replace
from datetime import timedelta

import pytest
from simulated_cluster import SimulatedCluster, build_document, build_node

from synthray.operator.observation import Surroundings


def test_an_attempt_starts_without_workers_so_that_no_gpu_is_taken_before_the_preflight() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    assert cluster.attempts_made == ["chest-1"]
    assert cluster.clusters["chest-1"].replicas == 0
    cluster.run_kuberay()
    cluster.say("Preflight")
    cluster.settle()
    assert cluster.clusters["chest-1"].replicas == 0


def test_a_passed_preflight_raises_the_workers() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    assert cluster.clusters["chest-1"].replicas == 2
    assert cluster.status.state == "Running"
    assert cluster.condition("Ready")[0] == "True"


def test_storage_that_is_away_during_the_preflight_takes_no_gpu() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.run_kuberay()
    cluster.say("WaitingForStorage", attempt=0)
    cluster.settle()
    assert cluster.clusters["chest-1"].replicas == 0


@pytest.mark.parametrize("replicas", [1, 4, 16])
def test_the_workers_follow_the_number_that_is_wanted(replicas: int) -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.change(workers={"replicas": replicas, "gpu": {"product": "Quadro-RTX-6000"}})
    cluster.settle()
    assert cluster.clusters["chest-1"].replicas == replicas
    assert cluster.attempts_made == ["chest-1"]


def test_fewer_workers_take_pods_that_wait_for_a_node_before_those_that_train() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    name = "chest-1-worker-0"
    cluster.pods[name] = replace(cluster.pods[name], node="", ready=False, unschedulable="no room")
    cluster.change(workers={"replicas": 1, "gpu": {"product": "Quadro-RTX-6000"}})
    cluster.operate()
    assert cluster.clusters["chest-1"].named_for_deletion == (name,)
    del cluster.pods[name]
    cluster.settle()
    assert not cluster.clusters["chest-1"].named_for_deletion


def test_a_worker_stuck_on_a_silent_node_is_replaced() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    name = "chest-1-worker-0"
    cluster.pods[name] = replace(cluster.pods[name], gone_by=cluster.now, ready=False)
    cluster.pass_seconds(20)
    cluster.settle()
    assert cluster.clusters["chest-1"].replicas == 3


def test_a_finished_run_keeps_nothing_and_goes_when_its_time_is_over() -> None:
    cluster = SimulatedCluster(build_document(ttlSecondsAfterFinished=60))
    cluster.train()
    cluster.say("Complete", images_seen=10, images_total=10)
    cluster.settle()
    assert cluster.clusters == {}
    assert cluster.status.state == "Complete"
    assert not cluster.is_run_deleted
    cluster.pass_seconds(61)
    cluster.operate()
    assert cluster.is_run_deleted


def test_more_epochs_let_a_complete_run_train_on() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.say("Complete")
    cluster.settle()
    cluster.run_kuberay()
    cluster.change(optimization={"epochs": 3})
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]
    assert cluster.condition("Complete")[0] == "False"


def test_a_change_of_the_run_takes_effect_by_another_attempt_that_costs_no_retry() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.change(optimization={"epochs": 3})
    cluster.settle()
    assert cluster.clusters == {}
    assert cluster.condition("Progressing")[1] == "WaitingForPods"
    cluster.run_kuberay()
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]
    assert cluster.status.recovery.failures == 0


def test_the_next_attempt_waits_until_the_pods_of_the_last_one_have_saved() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.change(optimization={"epochs": 3})
    cluster.settle()
    cluster.pass_seconds(60)
    cluster.settle()
    assert cluster.attempts_made == ["chest-1"]
    cluster.run_kuberay()
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]


def test_attempts_that_commit_nothing_end_the_run_at_the_backoff_limit() -> None:
    cluster = SimulatedCluster(build_document(backoffLimit=2))
    for _ in range(3):
        cluster.settle()
        cluster.run_kuberay()
        cluster.say("Failed", reason="WorkerLost", message="no worker stayed")
        cluster.settle()
        cluster.run_kuberay()
        cluster.pass_seconds(600)
    cluster.settle()
    assert cluster.status.state == "Failed"
    assert cluster.condition("Failed")[:2] == ("True", "WorkerLost")
    assert len(cluster.attempts_made) == 3


def test_an_attempt_that_committed_something_starts_the_count_anew() -> None:
    cluster = SimulatedCluster(build_document(backoffLimit=1))
    for images_seen in (10, 20, 30, 40):
        cluster.settle()
        cluster.run_kuberay()
        saved = {"epoch": 1, "images_seen": images_seen, "uri": "s3://x", "time": 1.0}
        cluster.say("Failed", reason="WorkerLost", last_checkpoint=saved)
        cluster.settle()
        cluster.run_kuberay()
        cluster.pass_seconds(600)
    assert cluster.status.state != "Failed"


@pytest.mark.parametrize("reason", ["NonFiniteLoss", "OutOfMemory", "Fenced"])
def test_what_would_end_the_same_way_again_is_not_tried_again(reason: str) -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.say("Failed", reason=reason, message="why")
    cluster.settle()
    cluster.run_kuberay()
    cluster.pass_seconds(1000)
    cluster.settle()
    assert cluster.condition("Failed")[:2] == ("True", reason)
    assert cluster.attempts_made == ["chest-1"]


def test_a_new_value_of_the_retry_annotation_tries_a_failed_run_again() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.say("Failed", reason="NonFiniteLoss")
    cluster.settle()
    cluster.run_kuberay()
    cluster.annotate("synthray.io/retry", "1")
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]
    assert cluster.condition("Failed")[0] == "False"


def test_a_blocked_preflight_says_why_and_is_tried_again_every_five_minutes_without_counting() -> None:
    cluster = SimulatedCluster(build_document(backoffLimit=0))
    for attempt in (1, 2, 3):
        cluster.settle()
        assert len(cluster.attempts_made) == attempt
        cluster.run_kuberay()
        cluster.say("Blocked", reason="CredentialsRejected", message="the keys of Secret s3 are refused")
        cluster.settle()
        cluster.run_kuberay()
        assert cluster.condition("Blocked") == (
            "True",
            "CredentialsRejected",
            "the keys of Secret s3 are refused",
        )
        cluster.pass_seconds(250)
        cluster.settle()
        assert len(cluster.attempts_made) == attempt
        cluster.pass_seconds(60)
    assert cluster.status.recovery.failures == 0


def test_what_blocked_a_run_is_said_until_an_attempt_gets_past_it() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.run_kuberay()
    cluster.say("Blocked", reason="DatasetMismatch", message="another dataset")
    cluster.settle()
    cluster.run_kuberay()
    cluster.pass_seconds(301)
    cluster.settle()
    cluster.run_kuberay()
    cluster.say("Preflight")
    cluster.settle()
    assert cluster.condition("Blocked")[1] == "DatasetMismatch"
    cluster.say("WaitingForWorkers")
    cluster.settle()
    assert cluster.condition("Blocked")[0] == "False"


def test_suspend_lets_everything_go_and_is_true_once_nothing_is_left() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.change(suspend=True)
    cluster.settle()
    assert cluster.clusters == {}
    assert cluster.condition("Suspended")[0] == "False"
    cluster.run_kuberay()
    cluster.settle()
    assert cluster.condition("Suspended")[0] == "True"
    cluster.change(suspend=False)
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]


def test_a_run_that_is_created_suspended_takes_nothing() -> None:
    cluster = SimulatedCluster(build_document(suspend=True))
    cluster.settle()
    assert cluster.attempts_made == []
    assert cluster.condition("Suspended")[0] == "True"


def test_a_paused_run_is_left_alone() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.annotate("synthray.io/paused", "true")
    cluster.change(suspend=True)
    assert cluster.operate() == 0


def test_a_run_that_is_being_deleted_is_left_alone() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert cluster.operate() == 0


def test_a_lost_status_takes_over_the_attempt_that_runs() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    del cluster.document["status"]
    cluster.settle()
    assert cluster.attempts_made == ["chest-1"]
    assert cluster.status.attempt == 1
    assert cluster.status.state == "Running"
    cluster.say("Complete")
    cluster.settle()
    cluster.run_kuberay()
    cluster.settle()
    assert cluster.attempts_made == ["chest-1"]


def test_a_cluster_that_another_hand_deleted_is_followed_by_the_next_attempt_uncounted() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.clusters.clear()
    cluster.settle()
    cluster.run_kuberay()
    cluster.pass_seconds(15)
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]
    assert cluster.status.recovery.failures == 0


def test_a_lost_head_is_noticed_within_30_seconds_when_its_node_is_silent_too() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.nodes = (build_node(ready=False),)
    word = cluster.word
    cluster.pass_seconds(29)
    cluster.word = word
    cluster.settle()
    assert cluster.clusters
    cluster.pass_seconds(1)
    cluster.word = word
    cluster.settle()
    assert cluster.clusters == {}
    assert cluster.status.recovery.reason == "HeadLost"


def test_an_operator_that_has_just_begun_takes_nobody_for_dead() -> None:
    """After an outage of the API server all nodes seem silent, and a new operator has heard of no driver."""
    cluster = SimulatedCluster()
    cluster.train()
    cluster.pass_seconds(240)
    cluster.nodes, cluster.word = (build_node(ready=False),), None
    cluster.surroundings = Surroundings(listening_since=cluster.now)
    cluster.pass_seconds(29)
    cluster.word = None
    cluster.settle()
    assert cluster.clusters
    cluster.pass_seconds(1)
    cluster.word = None
    cluster.settle()
    assert cluster.status.recovery.reason == "HeadLost"


def test_an_operator_that_was_stopped_for_a_while_takes_nobody_for_dead() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    word = cluster.word
    cluster.nodes = (build_node(ready=False),)
    cluster.pass_seconds(240)
    cluster.word, cluster.surroundings = word, Surroundings(listening_since=cluster.now)
    cluster.settle()
    assert cluster.clusters


def test_silence_alone_kills_no_run() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    word = cluster.word
    cluster.pass_seconds(120)
    cluster.word = word
    cluster.settle()
    assert cluster.clusters
    assert cluster.condition("Degraded")[:2] == ("Unknown", "ProgressUnknown")


def test_when_many_runs_fall_silent_the_operator_suspects_itself() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    word = cluster.word
    cluster.nodes = (build_node(ready=False),)
    cluster.surroundings = Surroundings(many_fell_silent=True)
    cluster.pass_seconds(120)
    cluster.word = word
    cluster.settle()
    assert cluster.clusters


def test_too_few_workers_for_five_minutes_release_all_and_come_back_at_another_time() -> None:
    cluster = SimulatedCluster(
        build_document(workers={"replicas": 2, "minReplicas": 2, "gpu": {"product": "Quadro-RTX-6000"}})
    )
    cluster.train()
    name = "chest-1-worker-1"
    cluster.pods[name] = replace(
        cluster.pods[name], node="", ready=False, unschedulable="1 Insufficient nvidia.com/gpu"
    )
    cluster.settle()
    cluster.pass_seconds(299)
    cluster.settle()
    assert cluster.clusters
    cluster.pass_seconds(2)
    cluster.settle()
    assert cluster.clusters == {}
    assert cluster.condition("Blocked")[1] == "Unschedulable"
    assert cluster.status.recovery.failures == 0
    not_before = cluster.status.recovery.not_before
    assert not_before is not None
    assert 60 <= (not_before - cluster.now).total_seconds() <= 300


def test_a_worker_that_still_pulls_its_image_on_a_node_is_waited_for() -> None:
    cluster = SimulatedCluster(
        build_document(workers={"replicas": 2, "minReplicas": 2, "gpu": {"product": "Quadro-RTX-6000"}})
    )
    cluster.train()
    name = "chest-1-worker-1"
    cluster.pods[name] = replace(
        cluster.pods[name], ready=False, phase="Pending", waiting="ContainerCreating"
    )
    cluster.settle()
    cluster.pass_seconds(400)
    cluster.settle()
    assert cluster.clusters


def test_without_kuberay_the_run_says_what_to_install() -> None:
    cluster = SimulatedCluster(surroundings=Surroundings(is_kuberay_installed=False))
    cluster.settle()
    assert cluster.attempts_made == []
    status, reason, message = cluster.condition("Blocked")
    assert (status, reason) == ("True", "KubeRayMissing")
    assert "helm install" in message


def test_what_the_installation_does_not_allow_starts_nothing() -> None:
    cluster = SimulatedCluster(refused="spec.image=evil:1 is not allowed here")
    cluster.settle()
    assert cluster.attempts_made == []
    assert cluster.condition("Blocked")[1] == "NotAllowed"


def test_the_image_is_pinned_by_its_digest_for_the_runs_life() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.run_kuberay()
    cluster.pods["chest-1-head"] = replace(
        cluster.pods["chest-1-head"], image_id=f"docker.io/synthray/worker@sha256:{'a' * 64}"
    )
    cluster.say("WaitingForWorkers")
    cluster.settle()
    assert cluster.status.image == f"synthray/worker:1@sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("last_words", "exit_code", "reason", "failures"),
    [
        ("StorageUnavailable: S3 does not answer", 75, "StorageUnavailable", 1),
        ("", 137, "HeadLost", 0),
        ("", 1, "HeadLost", 1),
        ("no reason: at all", 1, "HeadLost", 1),
    ],
)
def test_the_last_words_of_a_head_say_why_its_attempt_ended(
    last_words: str, exit_code: int, reason: str, failures: int
) -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.pods["chest-1-head"] = replace(
        cluster.pods["chest-1-head"],
        phase="Failed",
        ended="Error",
        exit_code=exit_code,
        last_words=last_words,
    )
    cluster.word = None
    cluster.operate()
    assert cluster.status.recovery.reason == reason
    assert cluster.status.recovery.failures == failures


def test_figures_are_rounded_to_what_people_compare() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.say(
        "Running",
        attempt=1,
        loss=0.0123456789,
        images_per_second=123.456,
        eta_seconds=11_530.0,
        images_seen=41,
        images_total=100,
    )
    cluster.settle()
    status = cluster.status
    assert (status.loss, status.images_per_second, status.eta) == (0.01235, 123.5, "3h12m")
    assert status.progress == "41%"


def test_workers_whose_driver_is_gone_hold_the_next_attempt_back_no_longer() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.pods["chest-1-head"] = replace(
        cluster.pods["chest-1-head"], phase="Failed", ended="Error", exit_code=137, ready=False
    )
    cluster.word = None
    cluster.settle()
    cluster.pass_seconds(11)
    for name, pod in cluster.pods.items():
        cluster.pods[name] = replace(pod, gone_by=cluster.now)
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]


def test_a_driver_that_has_not_read_the_state_yet_leaves_the_figures_of_the_last_one() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.say("Running", attempt=1, epoch=3, images_seen=41)
    cluster.settle()
    cluster.say("Preflight", images_total=0)
    cluster.settle()
    assert (cluster.status.epoch, cluster.status.progress) == (3, "41%")


def test_a_finished_run_shows_no_workers_and_no_speed() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    cluster.say("Running", attempt=1, images_per_second=30.0, eta_seconds=5.0)
    cluster.settle()
    assert cluster.status.workers.ready == 2
    cluster.say("Complete", images_per_second=30.0)
    cluster.settle()
    cluster.run_kuberay()
    cluster.settle()
    assert (cluster.status.workers.ready, cluster.status.workers.replicas) == (0, 0)
    assert (cluster.status.images_per_second, cluster.status.eta) == (None, "")


def test_a_blocked_run_that_somebody_mends_is_tried_again_at_once() -> None:
    cluster = SimulatedCluster()
    cluster.settle()
    cluster.run_kuberay()
    cluster.say("Blocked", reason="InvalidInput", message="an unknown card")
    cluster.settle()
    cluster.run_kuberay()
    cluster.settle()
    assert cluster.attempts_made == ["chest-1"]
    cluster.change(optimization={"epochs": 3, "precision": "fp32"})
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]


def test_pods_on_a_silent_node_are_given_up_as_soon_as_they_are_deleted() -> None:
    cluster = SimulatedCluster()
    cluster.train()
    word = cluster.word
    cluster.nodes = (build_node(ready=False),)
    cluster.pass_seconds(31)
    cluster.word = word
    cluster.settle()
    for name, pod in cluster.pods.items():
        cluster.pods[name] = replace(pod, gone_by=cluster.now + timedelta(seconds=90))
    cluster.pass_seconds(11)
    cluster.settle()
    assert cluster.attempts_made == ["chest-1", "chest-2"]

"""What keeps a run from running is said in one sentence before any GPU is taken, and heals by itself."""

import json

import pytest
from cluster_programs import Programs
from cluster_report import Tell
from cluster_runs import change_run
from live_run import LiveRun

from .conftest import STORY_EPOCHS, WriteRun

pytestmark = [
    pytest.mark.long_story,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("installation"),
]
EPOCHS = 20


def test_a_card_that_no_node_has_is_named_and_the_run_starts_once_a_node_gets_it(
    programs: Programs, write_run: WriteRun, record_property: Tell
) -> None:
    story = write_run(epochs=EPOCHS, gpu={"product": "Tesla-T4"})
    run = story.live
    run.apply(story.kept)
    message = run.wait_for_block("Unschedulable")
    record_property("Unschedulable", message)
    assert "Tesla-T4" in message
    assert "Quadro-RTX-6000" in message, "the cards that there are"
    node = min(
        item["metadata"]["name"]
        for item in json.loads(programs.kubectl("get", "nodes", "--output=json"))["items"]
        if item["metadata"]["labels"].get("nvidia.com/gpu.product") == "Quadro-RTX-6000"
    )
    label(programs, node, "Tesla-T4")
    try:
        run.wait_for_another_try()
        story.finish()
    finally:
        label(programs, node, "Quadro-RTX-6000")


def test_a_wrong_key_is_said_by_the_head_alone_and_a_right_one_is_enough(
    write_run: WriteRun, record_property: Tell
) -> None:
    story = write_run(epochs=EPOCHS)
    run = story.live
    secret = json.loads(run.kubectl("get", "secret", "s3-credentials", "--output=json"))
    right = secret["data"]["AWS_SECRET_ACCESS_KEY"]
    set_key(run, "d3Jvbmc=")
    run.apply(story.kept)
    record_property("CredentialsRejected", run.wait_for_block("CredentialsRejected"))
    assert run.pods("worker") == {}, "no GPU is taken"
    set_key(run, right)
    run.kubectl("annotate", "trainingrun", run.name, "synthray.io/retry=1")
    run.wait_for_another_try()
    story.finish()


def test_a_secret_that_is_missing_is_named(write_run: WriteRun, record_property: Tell) -> None:
    story = write_run(epochs=EPOCHS)
    run = story.live
    kept = json.loads(run.kubectl("get", "secret", "s3-credentials", "--output=json"))
    run.kubectl("delete", "secret", "s3-credentials")
    run.apply(story.kept)
    message = run.wait_for_block("SecretMissing")
    record_property("SecretMissing", message)
    assert "s3-credentials" in message
    kept["metadata"] = {"name": "s3-credentials", "namespace": run.namespace}
    run.programs.kubectl("create", "-f", "-", given=json.dumps(kept))
    run.wait_for_another_try()
    story.finish()


def test_a_quota_is_named_and_the_run_starts_once_it_is_raised(
    write_run: WriteRun, record_property: Tell
) -> None:
    story = write_run(epochs=EPOCHS)
    run = story.live
    run.kubectl("create", "quota", "small", "--hard=pods=0")
    run.apply(story.kept)
    message = run.wait_for_block("QuotaExceeded")
    record_property("QuotaExceeded", message)
    assert "small" in message
    run.kubectl("delete", "quota", "small")
    run.wait_for_another_try()
    story.finish()


def test_two_runs_on_one_prefix_leave_the_first_alone(write_run: WriteRun, record_property: Tell) -> None:
    story = write_run(epochs=STORY_EPOCHS)
    first = story.live
    first.apply(story.kept)
    first.wait_for_work(1)
    second = LiveRun(first.programs, first.namespace, "second")
    second.apply(change_run(story.kept, metadata={"name": "second"}))
    record_property("PrefixInUse", second.wait_for_block("PrefixInUse"))
    assert second.pods("worker") == {}, "no GPU is taken"
    second.kubectl("delete", "trainingrun", "second")
    story.finish()


def label(programs: Programs, node: str, product: str) -> None:
    programs.kubectl("label", "--overwrite", "node", node, f"nvidia.com/gpu.product={product}")


def set_key(run: LiveRun, encoded: str) -> None:
    patch = json.dumps({"data": {"AWS_SECRET_ACCESS_KEY": encoded}})
    run.kubectl("patch", "secret", "s3-credentials", f"--patch={patch}")

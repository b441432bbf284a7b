"""The whole way of a user, on a real cluster: install, train, scale, lose a worker and the head, complete.

At its end stand the same bits as from one undisturbed process, and the ledger that says what was redone.
"""

import pytest
from cluster_storage import ClusterStorage
from live_run import redone_images

from .conftest import STORY_EPOCHS, WriteRun


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("installation")
def test_a_run_that_is_scaled_and_loses_a_worker_and_its_head_ends_as_one_that_is_left_alone(
    write_run: WriteRun, cluster_storage: ClusterStorage
) -> None:
    story = write_run(epochs=STORY_EPOCHS)
    run = story.live
    run.apply(story.kept)
    alone = run.wait_for_work(1)

    run.scale(2)
    two = run.wait_for_work(2, beyond=alone["imagesSeen"])
    run.scale(1)
    one = run.wait_for_work(1, beyond=two["imagesSeen"])
    assert redone_images(story.kept) == 0, "scaling computes nothing twice"

    run.kill("worker")
    recovered = run.wait_for_work(1, beyond=one["imagesSeen"])
    run.kill("head")
    second = run.wait_for("second attempt", lambda status: status["attempt"] == 2)
    assert second["recovery"]["failures"] == 0
    run.wait_for_work(1, beyond=recovered["imagesSeen"])
    story.expect_no_trace(cluster_storage.environment["AWS_SECRET_ACCESS_KEY"])
    story.finish()

"""What is read out of documents of Kubernetes."""

from typing import Any

import pytest

from synthray.operator.views import view_pod

WAITS = {"waiting": {"reason": "PodInitializing"}}


def build_worker(init_state: dict[str, Any]) -> dict[str, Any]:
    """As KubeRay makes it: an init container waits for the head."""
    return {
        "metadata": {"name": "w", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {},
        "status": {
            "phase": "Pending",
            "initContainerStatuses": [{"name": "wait-gcs-ready", "state": init_state}],
            "containerStatuses": [{"name": "ray-worker", "state": WAITS}],
        },
    }


@pytest.mark.parametrize(
    ("init_state", "waiting"),
    [
        (WAITS, "ContainerCreating"),
        ({"running": {}}, "PodInitializing"),
        ({"terminated": {"exitCode": 0}}, "PodInitializing"),
    ],
)
def test_a_pod_whose_volumes_are_missing_is_being_made_with_or_without_init_containers(
    init_state: dict[str, Any], waiting: str
) -> None:
    assert view_pod(build_worker(init_state)).waiting == waiting

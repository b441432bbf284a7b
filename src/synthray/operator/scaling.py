"""How many worker pods there should be, and whether they get anywhere. Pure.

One way to arrive and one to leave: the number in the RayCluster goes up, or it goes down and a pod gets
SIGTERM. Pods on silent nodes stay Terminating and still count for KubeRay, so they are added to the number.
"""

from datetime import datetime
from typing import Final

from synthray.operator.actions import SetReplicas
from synthray.operator.observation import Observation
from synthray.operator.views import PodView

# A node that was found for a pod has this long to pull a large image.
_ARRIVAL_SECONDS: Final = 1200.0
BELOW_MINIMUM_SECONDS: Final = 300.0


def plan_replicas(observation: Observation) -> SetReplicas | None:
    """The change of the current cluster's number of workers, None if it is right."""
    cluster = observation.current
    if cluster is None:
        return None
    stuck = sum(observation.is_stuck(pod) for pod in observation.workers)
    wanted = observation.wanted_workers + stuck
    present = {pod.name for pod in observation.workers}
    waiting = sorted(
        pod.name for pod in observation.workers if pod.gone_by is None and not pod.node and not pod.ready
    )
    surplus = cluster.replicas - wanted
    named = tuple(waiting[: max(0, surplus)])
    if surplus == 0:
        # Names stay until KubeRay has heeded them; later they could meet a namesake.
        left_over = cluster.named_for_deletion and not present & set(cluster.named_for_deletion)
        return SetReplicas(cluster.name, cluster.replicas, wanted, ()) if left_over else None
    return SetReplicas(cluster.name, cluster.replicas, wanted, named)


def count_possible(observation: Observation) -> int:
    """Workers that the cluster has room for, as far as the scheduler has said."""
    unplaced = sum(bool(pod.unschedulable) for pod in observation.workers if pod.gone_by is None)
    return max(0, observation.wanted_workers - unplaced)


def find_below_minimum_since(observation: Observation) -> datetime | None:
    """Since when the run has fewer workers than it needs, and none that are on their way to make them up."""
    there = sum(_is_there_or_comes(observation, pod) for pod in observation.workers)
    if observation.current is None or there >= observation.run.spec.workers.min_replicas:
        return None
    return observation.status.below_minimum_since or observation.now


def _is_there_or_comes(observation: Observation, pod: PodView) -> bool:
    if pod.gone_by is not None or pod.is_finished:
        return False
    if pod.ready:
        return True
    arriving = bool(pod.node) and not pod.fails_to_pull
    return arriving and observation.age_seconds(pod.created) < _ARRIVAL_SECONDS

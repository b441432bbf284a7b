"""All that is known of one run at one moment: the input of every decision, and of nothing else. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from synthray.api.names import HEAD_ROLE, WORKER_ROLE
from synthray.api.v1alpha1 import TrainingRun, TrainingRunStatus
from synthray.operator.digest import digest_spec
from synthray.operator.progress import ProgressView
from synthray.operator.views import ClusterView, NodeView, PodView

# A pod that outlives its own deletion by this much stands on a node that does not answer.
_STUCK_AFTER: Final = timedelta(seconds=15)


@dataclass(frozen=True)
class Surroundings:
    """What all runs share. `nodes` is None where the operator may not list them.

    `listening_since`: from when on a driver that speaks would have been heard; None: for ever.
    """

    nodes: tuple[NodeView, ...] | None = None
    is_kuberay_installed: bool = True
    many_fell_silent: bool = False
    listening_since: datetime | None = None


@dataclass(frozen=True)
class Observation:
    """One run, its clusters and pods, the newest word of its driver, and what stands around it.

    `refused` says what the configuration does not allow the run; `troubles` are warnings that the cluster
    wrote about the current attempt, newest first.
    """

    run: TrainingRun
    now: datetime
    clusters: tuple[ClusterView, ...] = ()
    pods: tuple[PodView, ...] = ()
    word: ProgressView | None = None
    surroundings: Surroundings = Surroundings()
    refused: str = ""
    troubles: tuple[str, ...] = ()

    @property
    def status(self) -> TrainingRunStatus:
        """What was last said of the run."""
        return self.run.status or TrainingRunStatus()

    @cached_property
    def spec_digest(self) -> str:
        """Of what an attempt that began now would be started with."""
        return digest_spec(self.run.spec)

    @cached_property
    def current(self) -> ClusterView | None:
        """The cluster of the current attempt.

        A status that was lost (a restored or created anew run) takes over the newest cluster.
        """
        if self.status.ray_cluster:
            wanted = [cluster for cluster in self.clusters if cluster.name == self.status.ray_cluster]
        else:
            wanted = [] if self.status.attempt else list(self.clusters)
        alive = [cluster for cluster in wanted if not cluster.deleting]
        return max(alive, key=lambda cluster: cluster.attempt, default=None)

    @cached_property
    def head(self) -> PodView | None:
        """The driver's pod of the current attempt."""
        return next((pod for pod in self._current_pods if pod.role == HEAD_ROLE), None)

    @cached_property
    def workers(self) -> tuple[PodView, ...]:
        """The workers' pods of the current attempt."""
        return tuple(pod for pod in self._current_pods if pod.role == WORKER_ROLE)

    @cached_property
    def leaving(self) -> tuple[PodView, ...]:
        """Pods of earlier attempts that may still save.

        Not those on silent nodes, and not workers whose driver is gone: without it nothing is saved.
        """
        current = self.current
        earlier = [
            pod
            for pod in self.pods
            if (current is None or pod.attempt != current.attempt)
            and not pod.is_finished
            and not self.is_stuck(pod)
        ]
        driven = {pod.attempt for pod in earlier if pod.role == HEAD_ROLE}
        return tuple(pod for pod in earlier if pod.attempt in driven)

    @cached_property
    def current_word(self) -> ProgressView | None:
        """The newest word of the current attempt's driver."""
        is_of_head = self.word is not None and self.head is not None and self.word.pod_uid == self.head.uid
        return self.word if is_of_head else None

    @property
    def wanted_workers(self) -> int:
        """How many workers the run may have, of those that it wants."""
        workers = self.run.spec.workers
        return max(1, min(workers.replicas, self.run.spec.max_workers))

    def age_seconds(self, moment: datetime) -> float:
        """How long ago something was."""
        return (self.now - moment).total_seconds()

    @property
    def silent_seconds(self) -> float:
        """How long the current driver has said nothing to an operator that listened."""
        since = self.current_word.received if self.current_word else None
        if since is None:
            since = self.head.created if self.head else self.now
        return self.age_seconds(max(since, self.surroundings.listening_since or since))

    def with_troubles(self, troubles: tuple[str, ...]) -> "Observation":
        """The same, with the cluster's warnings."""
        return replace(self, troubles=troubles)

    def is_stuck(self, pod: PodView) -> bool:
        """Whether a pod that is being deleted stands on a node that does not answer."""
        if pod.gone_by is None:
            return False
        node = self.node_of(pod)
        return self.now > pod.gone_by + _STUCK_AFTER or (node is not None and not node.ready)

    def node_of(self, pod: PodView) -> NodeView | None:
        """The node that a pod runs on, if it is known."""
        return next((node for node in self.surroundings.nodes or () if node.name == pod.node), None)

    @property
    def _current_pods(self) -> tuple[PodView, ...]:
        current = self.current
        return tuple(pod for pod in self.pods if current and pod.attempt == current.attempt)

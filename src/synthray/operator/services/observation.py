"""All that is known of one service at one moment: the input of its decision, and of nothing else. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from synthray.api.names import REPLICA_ROLE
from synthray.api.v1alpha1 import GenerationService
from synthray.api.v1alpha1.generation_service import GenerationServiceStatus
from synthray.api.v1alpha1.placement import ObjectStorage
from synthray.operator.services.replica_words import ReplicaWord
from synthray.operator.views import ClusterView, PodView, RayServiceView


@dataclass(frozen=True)
class ModelPlace:
    """Where a service's models lie; `is_there` is False while a run has saved none."""

    uri: str
    storage: ObjectStorage
    is_there: bool = True


@dataclass(frozen=True)
class ServiceObservation:
    """One service, its RayService with clusters and pods, and what its replicas say of themselves.

    `place` is None where the TrainingRun that the service names does not exist. `words` are by pod uid.
    """

    service: GenerationService
    now: datetime
    place: ModelPlace | None
    ray_service: RayServiceView | None = None
    clusters: tuple[ClusterView, ...] = ()
    pods: tuple[PodView, ...] = ()
    words: Mapping[str, ReplicaWord] | None = None
    is_kuberay_installed: bool = True
    cluster_domain: str = "cluster.local"
    refused: str = ""
    troubles: tuple[str, ...] = ()

    @property
    def status(self) -> GenerationServiceStatus:
        """What was last said of the service."""
        return self.service.status or GenerationServiceStatus()

    @cached_property
    def replicas(self) -> tuple[PodView, ...]:
        """The pods of replicas that are not leaving."""
        return tuple(
            pod
            for pod in self.pods
            if pod.role == REPLICA_ROLE and pod.gone_by is None and not pod.is_finished
        )

    @cached_property
    def ready_words(self) -> tuple[ReplicaWord, ...]:
        """What the replicas say that take requests."""
        words = self.words or {}
        return tuple(
            words[pod.uid]
            for pod in self.replicas
            if pod.ready and pod.uid in words and not words[pod.uid].problem
        )

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What replicas complain of: a self-test that failed, a model that was not taken."""
        words = self.words or {}
        told = [word.problem or word.rollout_problem for pod in self.replicas if (word := words.get(pod.uid))]
        return tuple(dict.fromkeys(problem for problem in told if problem))

    def age_seconds(self, moment: datetime) -> float:
        """How long ago something was."""
        return (self.now - moment).total_seconds()

"""The shell around a service's decision: observe it, decide, write its status, act. Thin on purpose."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from synthray.api.loading import build_generation_service, build_training_run
from synthray.api.v1alpha1 import GenerationService
from synthray.api.v1alpha1.generation_service import GenerationServiceStatus
from synthray.api.v1alpha1.placement import ObjectStorage
from synthray.errors import InvalidInput, Reason
from synthray.operator.actions import SetReplicas
from synthray.operator.cluster import Cluster
from synthray.operator.conditions import Answer, ServiceAnswers, build_conditions
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.kuberay import build_replicas_patch
from synthray.operator.news import find_condition_news
from synthray.operator.refusals import find_refusal
from synthray.operator.services.actions import ChangeService, EndService, ServiceAction, StartService
from synthray.operator.services.decide import decide_service
from synthray.operator.services.observation import ModelPlace, ServiceObservation
from synthray.operator.services.replica_reader import ReplicaReader
from synthray.operator.store import Store
from synthray.operator.views import RunKey, ServiceKey

_RESYNC_SECONDS: Final = 60.0


class ServiceReconciler:
    """Brings services on, each in one hand at a time."""

    def __init__(
        self,
        *,
        configuration: OperatorConfiguration,
        cluster: Cluster,
        store: Store,
        replicas: ReplicaReader,
        is_kuberay_installed: Callable[[], bool],
    ) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._store = store
        self._replicas = replicas
        self._is_kuberay_installed = is_kuberay_installed

    def reconcile(self, key: ServiceKey) -> float | None:
        """Bring one service on; seconds until it should be looked at anyway, None if it is gone.

        Raises Conflict, Missing, Refused or Unavailable from the API server.
        """
        document = self._store.owner(key)
        if document is None:
            return None
        now = datetime.now(UTC).replace(microsecond=0)
        try:
            service = build_generation_service(document)
        except InvalidInput as error:
            previous = GenerationServiceStatus.model_validate(document.get("status") or {})
            self._write(document, previous, _describe_invalid(previous, document, error.message, now))
            return _RESYNC_SECONDS
        observation = self._observe(key, service, now)
        decision = decide_service(observation, self._configuration)
        if decision.status is not None:
            self._write(document, observation.status, decision.status)
        for action in decision.actions:
            self._apply(key, action)
        return decision.look_again_seconds or _RESYNC_SECONDS

    def _observe(self, key: ServiceKey, service: GenerationService, now: datetime) -> ServiceObservation:
        pods = self._store.pods(key)
        clusters = self._store.clusters(key)
        waiting = [pod.name for pod in pods if not pod.ready and pod.gone_by is None]
        names = [key.name, *(cluster.name for cluster in clusters), *waiting[:1]]
        is_short = len(pods) < service.spec.replicas + 1 or bool(waiting)
        return ServiceObservation(
            service=service,
            now=now,
            place=self._find_place(key, service),
            ray_service=self._store.ray_service(key),
            clusters=clusters,
            pods=pods,
            words=self._replicas.read(pods),
            is_kuberay_installed=self._is_kuberay_installed(),
            cluster_domain=self._configuration.cluster_domain,
            refused=find_refusal(service.spec, self._configuration.allowed),
            troubles=self._cluster.read_warnings(key, names) if clusters and is_short else (),
        )

    def _find_place(self, key: ServiceKey, service: GenerationService) -> ModelPlace | None:
        """Where the models lie; None if the run that is named is not there."""
        model = service.spec.model
        if not model.training_run:
            return ModelPlace(model.uri, service.spec.object_storage)
        document = self._store.owner(RunKey(key.namespace, model.training_run))
        if document is None:
            return None
        run = build_training_run(document)
        is_given = service.spec.object_storage != ObjectStorage()
        return ModelPlace(
            uri=run.spec.checkpoints.uri,
            storage=service.spec.object_storage if is_given else run.spec.object_storage,
            is_there=run.status is not None and run.status.last_checkpoint is not None,
        )

    def _write(
        self, document: dict[str, Any], previous: GenerationServiceStatus, wanted: GenerationServiceStatus
    ) -> None:
        if wanted == previous:
            return
        written = self._cluster.write_status(document, wanted.model_dump(mode="json", exclude_none=True))
        self._store.set(written)
        self._cluster.tell(document, find_condition_news(previous.conditions, wanted.conditions))

    def _apply(self, key: ServiceKey, action: ServiceAction) -> None:
        match action:
            case StartService(ray_service, around):
                for manifest in around:
                    self._cluster.apply(manifest)
                self._store.set(self._cluster.create("RayService", ray_service))
            case ChangeService(name, patch, around):
                for manifest in around:
                    self._cluster.apply(manifest)
                self._store.set(self._cluster.patch("RayService", key.namespace, name, patch))
            case EndService(name, uid):
                self._cluster.delete("RayService", key.namespace, name, uid)
            case SetReplicas(name, current, wanted, pods_to_delete):
                to_wanted = build_replicas_patch(current, wanted, pods_to_delete)
                self._store.set(self._cluster.patch("RayCluster", key.namespace, name, to_wanted))


def _describe_invalid(
    base: GenerationServiceStatus, document: dict[str, Any], message: str, now: datetime
) -> GenerationServiceStatus:
    """The status of a service that the server keeps and this release can't read: blocked, else as it was."""
    generation = document["metadata"].get("generation", 0)
    answers = ServiceAnswers(
        ready=Answer(False, Reason.INVALID_INPUT, message),
        progressing=Answer(False, Reason.INVALID_INPUT),
        blocked=Answer(True, Reason.INVALID_INPUT, message),
    )
    conditions = build_conditions(answers, base.conditions, generation, now)
    return base.model_copy(update={"conditions": conditions, "observed_generation": generation})

"""What would be applied for a file, without a cluster. Pure but for the file."""

from pathlib import Path

from synthray.api.loading import load_run_or_service
from synthray.api.replica_arguments import build_replica_arguments
from synthray.api.v1alpha1 import GenerationService, TrainingRun
from synthray.operator.configuration import OperatorConfiguration
from synthray.operator.kuberay import build_ray_cluster, build_run_network_policy
from synthray.operator.pod_parts import Manifest
from synthray.operator.services.ray_service import (
    build_disruption_budget,
    build_ray_service,
    build_service_network_policy,
)


def render_file(path: Path, configuration: OperatorConfiguration, *, attempt: int) -> list[Manifest]:
    """The objects for the TrainingRun or GenerationService of a file; raises NotFound, InvalidInput."""
    wanted = load_run_or_service(path)
    if isinstance(wanted, GenerationService):
        return _render_service(wanted, configuration)
    return _render_run(wanted, configuration, attempt)


def _render_run(run: TrainingRun, configuration: OperatorConfiguration, attempt: int) -> list[Manifest]:
    image = run.spec.image or configuration.images.worker
    documents = [build_ray_cluster(run, attempt, configuration, image=image)]
    if configuration.network_policies.enabled:
        documents.append(build_run_network_policy(run, configuration.network_policies))
    return documents


def _render_service(service: GenerationService, configuration: OperatorConfiguration) -> list[Manifest]:
    """Where the model of a run lies is the run's to say, so its place is named by the run."""
    spec = service.spec
    uri = spec.model.uri or f"(spec.checkpoints.uri of TrainingRun {spec.model.training_run})"
    arguments = build_replica_arguments(spec, uri, spec.object_storage)
    documents = [
        build_ray_service(service, arguments, spec.object_storage, configuration),
        build_disruption_budget(service),
    ]
    if configuration.network_policies.enabled:
        documents.append(build_service_network_policy(service, configuration.network_policies))
    return documents

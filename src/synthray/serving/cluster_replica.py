"""Replicas on a cluster: KubeRay hands Serve's configuration to Ray, and Ray calls `build`.

Beside what a replica on a laptop does, it waits for its run's first model, and answers the operator and
Prometheus on a port of its own: behind Serve's proxy they would meet any replica.
"""

import json
import logging
import os
import time
from email.message import Message
from http import HTTPStatus
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from ray import serve

from synthray.api.names import METRICS_PORT
from synthray.api.replica_arguments import ReplicaArguments
from synthray.errors import NotFound, Unavailable
from synthray.generation.images import pick_device
from synthray.generation.models import LoadedModel, load_model
from synthray.generation.profile import PROFILES
from synthray.serving.metrics import RequestCounts, ServiceCollector
from synthray.serving.replica import Replica, build_deployment
from synthray.serving.service import Service
from synthray.serving.settings import ServingLimits, ServingSettings
from synthray.storage import S3Settings, s3_settings_from_environment
from synthray.telemetry.http_server import HttpAnswer, HttpServer

_WAIT_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application of one service, from its arguments as JSON."""
    wanted = ReplicaArguments.model_validate(arguments, by_alias=True, by_name=False)
    return build_deployment(ClusterReplica, num_gpus=wanted.gpus).bind(wanted)


class ClusterReplica(Replica):
    """One model with its engine, in a pod of its own."""

    def __init__(self, arguments: ReplicaArguments) -> None:
        storage = s3_settings_from_environment(
            os.environ, endpoint_url=arguments.endpoint_url, region=arguments.region
        )
        settings = read_settings(arguments)
        super().__init__(settings, storage, wait_for_model(settings, storage))
        self._server = build_reporter(self.service, self.counts, port=METRICS_PORT)
        self._server.__enter__()


def read_settings(arguments: ReplicaArguments) -> ServingSettings:
    """The settings of a replica."""
    checkpoint, limits = arguments.checkpoint, arguments.limits
    return ServingSettings(
        model_uri=arguments.model_uri,
        which=int(checkpoint) if checkpoint.isdigit() else checkpoint,
        sampler=arguments.sampler.name,
        steps=arguments.sampler.steps,
        profile=PROFILES[arguments.profile],
        limits=ServingLimits(limits.max_images_per_request, limits.max_steps, limits.max_queued_images),
    )


def wait_for_model(settings: ServingSettings, storage: S3Settings) -> LoadedModel:
    """The model, as soon as there is one; raises what no waiting mends (InvalidInput, VerificationFailed)."""
    told = ""
    while True:
        try:
            return load_model(settings.model_uri, storage, which=settings.which, device=pick_device())
        except (NotFound, Unavailable) as error:
            if error.message != told:
                _log.warning("waiting for the model: %s", error.message)
            told = error.message
            time.sleep(_WAIT_SECONDS)


def build_reporter(service: Service, counts: RequestCounts, *, port: int) -> HttpServer:
    """/metrics and /progress of one replica. Raises InvalidInput if the port can't be had."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service, counts))

    def get(path: str, headers: Message) -> HttpAnswer:
        if path == "/metrics":
            encode, content_type = choose_encoder(headers.get("Accept", ""))
            return HttpAnswer(HTTPStatus.OK, content_type, encode(registry))
        if path == "/progress":
            return HttpAnswer(HTTPStatus.OK, "application/json", json.dumps(_describe(service)).encode())
        return HttpAnswer.text(HTTPStatus.NOT_FOUND, "try /metrics or /progress")

    return HttpServer("0.0.0.0", port, get=get, port_option="another pod")  # noqa: S104 in a pod of its own


def _describe(service: Service) -> dict[str, object]:
    return {
        "model": service.model.uri,
        "model_digest": service.model.digest,
        "queued_images": service.figures().waiting_images,
        "problem": service.failure,
        "rollout_problem": service.rollout_problem[:4096],
    }

"""What one replica tells the operator and Prometheus, on a port of its own.

Behind Serve's proxy they would meet any replica. This module must not know Ray.
"""

import json
from email.message import Message
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from synthray.serving.metrics import RequestCounts, ServiceCollector
from synthray.serving.service import Service
from synthray.telemetry.http_server import HttpAnswer, HttpServer


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

    return HttpServer("0.0.0.0", port, get=get, port_option="a pod of its own")  # noqa: S104 in a pod of its own


def _describe(service: Service) -> dict[str, object]:
    return {
        "model": service.model.uri,
        "model_digest": service.model.digest,
        "queued_images": service.figures().waiting_images,
        "problem": service.failure,
        "rollout_problem": service.rollout_problem[:4096],
    }

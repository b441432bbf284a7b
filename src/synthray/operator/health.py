"""/metrics, /healthz and /readyz of the operator's pod."""

from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from synthray.telemetry.http_server import HttpAnswer, HttpServer


@dataclass(frozen=True)
class Health:
    """Two questions about the process: does it get on, and may it be relied on."""

    is_alive: Callable[[], bool]
    is_ready: Callable[[], bool]


def build_health_server(host: str, port: int, registry: CollectorRegistry, health: Health) -> HttpServer:
    """The server of the operator's metrics and probes. Raises InvalidInput if the port can't be had."""

    def get(path: str, _headers: Message) -> HttpAnswer:
        if path == "/metrics":
            return HttpAnswer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
        if path == "/healthz":
            return _judge(health.is_alive())
        if path == "/readyz":
            return _judge(health.is_ready())
        return HttpAnswer.text(HTTPStatus.NOT_FOUND, "try /metrics, /healthz or /readyz")

    return HttpServer(host, port, get=get, port_option="--port")


def _judge(is_good: bool) -> HttpAnswer:
    if is_good:
        return HttpAnswer.text(HTTPStatus.OK, "ok")
    return HttpAnswer.text(HTTPStatus.SERVICE_UNAVAILABLE, "no")

"""The service as a deployment of Ray Serve: one replica is one model with its engine, behind Serve's proxy.

This is the one file of this room that knows Ray. A replica loads its model and draws the golden seeds before
Serve sends it anything; a replica whose self-test fails later is unhealthy, and Serve replaces it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from synthray.errors import InvalidInput, Reason, Unavailable
from synthray.generation.images import pick_device
from synthray.generation.models import load_model
from synthray.serving.http import build_http
from synthray.serving.service import Service
from synthray.serving.settings import ServingSettings
from synthray.storage import s3_settings_from_environment

_NAME: Final = "synthray"
# Requests are cheap beside images, and those are bounded by the engine, which says when to come again.
_MAX_REQUESTS: Final = 512
# Images travel through HTTP, not through Ray's object store; less than Ray's 75 MiB it refuses.
_OBJECT_STORE_BYTES: Final = 128 << 20
_GRACE_SECONDS: Final = 60.0
_ENVIRONMENT: Final = {"RAY_USAGE_STATS_ENABLED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@serve.ingress()
class Replica:
    """One model with its engine."""

    def __init__(self, settings: ServingSettings) -> None:
        storage = s3_settings_from_environment(os.environ)
        loaded = load_model(settings.model_uri, storage, which=settings.which, device=pick_device())
        self._storage = storage
        self._service = Service(loaded, settings)

    def __serve_build_asgi_app__(self) -> Any:
        return build_http(self._service, self._storage)

    def check_health(self) -> None:
        """Raise what is wrong with this replica, for Serve to replace it."""
        if self._service.failure:
            raise RuntimeError(self._service.failure)


def build_application(settings: ServingSettings, *, num_gpus: int) -> serve.Application:
    """The deployment, bound to a model."""
    deployment = serve.deployment(
        Replica,
        name=_NAME,
        max_ongoing_requests=_MAX_REQUESTS,
        max_queued_requests=_MAX_REQUESTS,
        ray_actor_options={"num_cpus": 1, "num_gpus": num_gpus},
        graceful_shutdown_timeout_s=_GRACE_SECONDS,
        health_check_period_s=5.0,
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
    )
    return deployment.bind(settings)


@contextmanager
def serving_here(settings: ServingSettings, *, host: str, port: int) -> Iterator[None]:
    """Serve on this machine, on a Ray of its own, until the context ends.

    Raises InvalidInput if the model can't be served, Unavailable if Ray does not start.
    """
    os.environ.update(_ENVIRONMENT)
    num_gpus = 1 if pick_device().type == "cuda" else 0
    try:
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=num_gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    except Exception as error:
        raise Unavailable(
            f"Ray did not start on this machine ({error}); its logs are in /tmp/ray/session_latest/logs",
            reason=Reason.RAY_UNAVAILABLE,
        ) from error
    try:
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host=host, port=port),
            logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
        )
        serve.run(build_application(settings, num_gpus=num_gpus), name=_NAME, route_prefix="/")
        yield
        # Replicas finish what they accepted; the rest goes with Ray.
        serve.delete(_NAME)
    except RuntimeError as error:
        raise InvalidInput(f"the model could not be served: {error}", reason=Reason.MODEL_INVALID) from error
    finally:
        ray.shutdown()

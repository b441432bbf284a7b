"""The service on this machine: one replica behind Serve's proxy, on a Ray of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from synthray.errors import InvalidInput, Reason, Unavailable
from synthray.generation.images import pick_device
from synthray.generation.models import load_model
from synthray.serving.replica import APPLICATION, Replica, build_deployment
from synthray.serving.settings import ServingSettings
from synthray.storage import s3_settings_from_environment

# Images travel through HTTP, not through Ray's object store; less than Ray's 75 MiB it refuses.
_OBJECT_STORE_BYTES: Final = 128 << 20
_ENVIRONMENT: Final = {"RAY_USAGE_STATS_ENABLED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class LocalReplica(Replica):
    """The one replica of this machine, which has S3's settings from the environment."""

    def __init__(self, settings: ServingSettings) -> None:
        storage = s3_settings_from_environment(os.environ)
        device = pick_device()
        loaded = load_model(settings.model_uri, storage, which=settings.which, device=device)
        super().__init__(settings, storage, loaded)


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
        serve.run(
            build_deployment(LocalReplica, num_gpus=num_gpus).bind(settings),
            name=APPLICATION,
            route_prefix="/",
        )
        yield
        # Replicas finish what they accepted; the rest goes with Ray.
        serve.delete(APPLICATION)
    except RuntimeError as error:
        raise InvalidInput(f"the model could not be served: {error}", reason=Reason.MODEL_INVALID) from error
    finally:
        ray.shutdown()

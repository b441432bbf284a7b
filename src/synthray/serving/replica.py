"""A replica as Ray Serve knows it: one model with its engine, behind Serve's proxy.

It loads its model and draws the golden seeds before Serve sends it anything; a replica whose self-test fails
later is unhealthy, and Serve replaces it.
"""

import logging
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ray import serve
from ray.serve.schema import LoggingConfig

from synthray.generation.images import pick_device
from synthray.generation.models import LoadedModel, load_model
from synthray.serving.http import build_http
from synthray.serving.job_store import JobStore
from synthray.serving.jobs import Jobs
from synthray.serving.metrics import RequestCounts
from synthray.serving.preview_shelf import PreviewShelf, run_of
from synthray.serving.service import Service
from synthray.serving.settings import JobLimits, ServingSettings
from synthray.storage import S3Settings, open_store

APPLICATION: Final = "synthray"
# Requests are cheap beside images, and those are bounded by the engine, which says when to come again.
_MAX_REQUESTS: Final = 512
_GRACE_SECONDS: Final = 60.0
_JOBS_DEADLINE_SECONDS: Final = 10.0


class Replica:
    """One model with its engine; raises VerificationFailed if the promise does not hold here."""

    def __init__(self, settings: ServingSettings, storage: S3Settings, loaded: LoadedModel) -> None:
        _log_requests()
        self._storage = storage
        open_model = partial(load_model, settings=storage, device=pick_device())
        self.service = Service(loaded, settings, open_model)
        self.counts = RequestCounts()
        run = run_of(loaded.identity.uri)
        self._shelf = PreviewShelf(open_store(run, storage)) if run else None
        self._jobs = _open_jobs(settings.jobs_uri, storage, self.service) if settings.jobs_uri else None

    def __serve_build_asgi_app__(self) -> Any:
        return build_http(self.service, self._storage, self.counts, jobs=self._jobs, shelf=self._shelf)

    def check_health(self) -> None:
        """Raise what is wrong with this replica, for Serve to replace it."""
        if self.service.failure:
            raise RuntimeError(self.service.failure)


def _log_requests() -> None:
    """Into this replica's own log, which Ray keeps."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("synthray")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


def _open_jobs(uri: str, storage: S3Settings, service: Service) -> Jobs:
    # Who asks for a job's state waits for storage, so it is given up soon; what is drawn is stored later.
    patient_enough = replace(storage, deadline_seconds=_JOBS_DEADLINE_SECONDS)
    return Jobs(JobStore(open_store(uri, patient_enough)), service, JobLimits())


def build_deployment(replica: type[Replica], *, num_gpus: int) -> serve.Deployment:
    """The deployment of a kind of replica, to be bound to what its constructor takes."""
    deployment: serve.Deployment = serve.deployment(
        serve.ingress()(replica),
        name=APPLICATION,
        max_ongoing_requests=_MAX_REQUESTS,
        max_queued_requests=_MAX_REQUESTS,
        ray_actor_options={"num_cpus": 1, "num_gpus": num_gpus},
        graceful_shutdown_timeout_s=_GRACE_SECONDS,
        health_check_period_s=5.0,
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
    )
    return deployment

"""How a replica on a cluster starts: its settings from the operator's arguments, and the wait for a model.

This module must not know HTTP or Ray.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from synthray.api.replica_arguments import ReplicaArguments
from synthray.errors import NotFound, Unavailable
from synthray.generation.images import pick_device
from synthray.generation.models import LoadedModel, load_model
from synthray.generation.profile import PROFILES
from synthray.serving.bearer import TokenFile
from synthray.serving.settings import ServingLimits, ServingSettings
from synthray.storage import S3Settings, check_conditional_writes, open_store

_WAIT_SECONDS: Final = 5.0

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


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
        token_file=arguments.token_file,
        jobs_uri=arguments.jobs_uri,
    )


def check_settings(settings: ServingSettings, storage: S3Settings) -> None:
    """Raise InvalidInput for a token that is none, or for jobs in storage without conditional writes.

    Before a model is loaded; waits while storage is away.
    """
    if settings.token_file:
        TokenFile(Path(settings.token_file))
    if settings.jobs_uri:
        _until_storage_answers(lambda: check_conditional_writes(open_store(settings.jobs_uri, storage)))


def wait_for_model(settings: ServingSettings, storage: S3Settings) -> LoadedModel:
    """The model, as soon as there is one; raises what no waiting mends (InvalidInput, VerificationFailed)."""
    return _until_storage_answers(
        lambda: load_model(settings.model_uri, storage, which=settings.which, device=pick_device())
    )


def _until_storage_answers(ask: Callable[[], Answer]) -> Answer:
    told = ""
    while True:
        try:
            return ask()
        except (NotFound, Unavailable) as error:
            if error.message != told:
                _log.warning("waiting: %s", error.message)
            told = error.message
            time.sleep(_WAIT_SECONDS)

"""How a replica on a cluster starts: its settings from the operator's arguments, and the wait for a model.

This module must not know HTTP or Ray.
"""

import logging
import time
from typing import Final

from synthray.api.replica_arguments import ReplicaArguments
from synthray.errors import NotFound, Unavailable
from synthray.generation.images import pick_device
from synthray.generation.models import LoadedModel, load_model
from synthray.generation.profile import PROFILES
from synthray.serving.settings import ServingLimits, ServingSettings
from synthray.storage import S3Settings

_WAIT_SECONDS: Final = 5.0

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

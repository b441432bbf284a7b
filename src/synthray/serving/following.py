"""Follows a run: each new model that it commits is loaded, rehearsed and served, and no request is dropped.

A replica looks by itself, so nobody has to tell it, and replicas roll one after another as they find it. What
does not load or does not pass leaves the model of before in service, and says why. This module must not know
HTTP or Ray.
"""

import asyncio
import logging
from typing import Final

from synthray.errors import SynthrayError, Unavailable
from synthray.generation.images import pick_device
from synthray.generation.models import load_model
from synthray.generation.sources import BEST, LATEST, find_model
from synthray.serving.engine import EngineStopped
from synthray.serving.service import Service
from synthray.storage import S3Settings

_MOVING: Final = (LATEST, BEST)

_log = logging.getLogger(__name__)


async def follow(service: Service, storage: S3Settings) -> None:
    """Look for another model from time to time, until cancelled; returns at once if none can come.

    What is passing (storage that is away) is tried again; a model that was rejected is not.
    """
    settings = service.settings
    if settings.which not in _MOVING or not settings.follow_seconds:
        return
    rejected = ""
    while True:
        await asyncio.sleep(settings.follow_seconds)
        served = service.model.uri
        wanted = served
        try:
            source = await asyncio.to_thread(find_model, settings.model_uri, storage, settings.which)
            wanted = source.uri
            if wanted == rejected:
                continue
            if wanted != served:
                loaded = await asyncio.to_thread(load_model, wanted, storage, device=pick_device())
                await service.roll_out(loaded)
                _log.warning("%s is served now, %s was", wanted, served)
            service.rollout_problem = ""
        except EngineStopped:
            return
        except SynthrayError as error:
            if not isinstance(error, Unavailable):
                rejected = wanted
            service.rollout_problem = f"{served} is served, not the newest model: {error.message}"
            _log.error("%s", service.rollout_problem)

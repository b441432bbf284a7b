"""What is served, and what its run drew of itself while it trained."""

import asyncio
from typing import Annotated, Final

from fastapi import FastAPI, Path, Response

from synthray.api.v1alpha1.fields import SEED_MAX
from synthray.errors import NotFound
from synthray.generation.preview_names import PreviewName, Weights
from synthray.serving.asked import name_model
from synthray.serving.failures import FAILURES
from synthray.serving.preview_shelf import PreviewShelf
from synthray.serving.requests import ModelAnswer, ModelsAnswer, PreviewAnswer, PreviewsAnswer
from synthray.serving.service import Service

_MAX_IMAGES_SEEN: Final = 10**12 - 1
_FOREVER: Final = "public, max-age=31536000, immutable"


def add_models(app: FastAPI, service: Service, shelf: PreviewShelf | None) -> None:
    """Add the routes of models and previews."""

    @app.get("/v1/models")
    async def models() -> ModelsAnswer:
        """What is served."""
        model = service.model
        return ModelsAnswer(
            data=[
                ModelAnswer(
                    id=name_model(model.uri),
                    uri=model.uri,
                    digest=model.digest,
                    size=service.size,
                    profile=service.settings.profile.name,
                    sampler=service.settings.sampler,
                    steps=service.settings.steps,
                    max_steps=service.settings.limits.max_steps,
                )
            ]
        )

    @app.get("/v1/previews", responses=FAILURES)
    async def previews() -> PreviewsAnswer:
        """What the model's run drew of fixed seeds while it trained."""
        shelved = await asyncio.to_thread(shelf.list) if shelf is not None else []
        return PreviewsAnswer(
            data=[
                PreviewAnswer(
                    images_seen=one.name.images_seen,
                    epoch=one.epoch,
                    weights=one.name.weights,
                    seed=one.name.seed,
                    url=f"/v1/previews/{one.name.images_seen}/{one.name.weights}/{one.name.seed}.png",
                )
                for one in shelved
            ]
        )

    @app.get(
        "/v1/previews/{images_seen}/{weights}/{seed}.png",
        responses={**FAILURES, 200: {"content": {"image/png": {}}}},
        response_class=Response,
    )
    async def preview(
        images_seen: Annotated[int, Path(ge=0, le=_MAX_IMAGES_SEEN)],
        weights: Weights,
        seed: Annotated[int, Path(ge=0, le=SEED_MAX)],
    ) -> Response:
        """One of them."""
        if shelf is None:
            raise NotFound("the model that is served is not of a run, and so has no previews")
        data = await asyncio.to_thread(shelf.read, PreviewName(images_seen, weights, seed))
        return Response(data, media_type="image/png", headers={"Cache-Control": _FOREVER})

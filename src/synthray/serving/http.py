"""The routes: what users, load balancers and Prometheus ask of a replica.

This module must not know Ray, so that any ASGI server can run it.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathField
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

import synthray
from synthray.api.v1alpha1.fields import SEED_MAX
from synthray.api.v1alpha1.generation_service import SamplerName
from synthray.errors import Unavailable
from synthray.generation.receipts import MAX_STEPS
from synthray.generation.verify import read_evidence
from synthray.serving import failures
from synthray.serving.asked import (
    name_model,
    not_served,
    require_few,
    require_model,
    require_steps,
    require_within_limits,
)
from synthray.serving.bearer import Bearer, TokenFile
from synthray.serving.body_limits import BodyLimits
from synthray.serving.connection import while_connected
from synthray.serving.engine import EngineBusy
from synthray.serving.failures import FAILURES, answer_problem
from synthray.serving.following import follow
from synthray.serving.job_routes import add_jobs
from synthray.serving.jobs import Jobs
from synthray.serving.metrics import RequestCounts, ServiceCollector
from synthray.serving.model_routes import add_models
from synthray.serving.page_routes import add_page
from synthray.serving.preview_shelf import PreviewShelf
from synthray.serving.request_ids import RequestIds
from synthray.serving.requests import (
    ImageAnswer,
    ImagesAnswer,
    ImagesRequest,
    VerifyAnswer,
)
from synthray.serving.service import Service
from synthray.storage import S3Settings

_GRACE_SECONDS: Final = 60.0
_FOREVER: Final = "public, max-age=31536000, immutable"


def build_http(
    service: Service,
    storage: S3Settings,
    counts: RequestCounts,
    *,
    jobs: Jobs | None = None,
    shelf: PreviewShelf | None = None,
) -> FastAPI:
    """All routes of one replica, whose run's models are in `storage`; answers are counted in `counts`.

    Without `jobs` their routes say how to have them; without a `shelf` there are no previews of a run.
    """
    app = FastAPI(
        title="synthray",
        version=synthray.__version__,
        description="Synthetic images for seeds: the same seed gives the same bytes.",
        docs_url=None,
        redoc_url=None,
        lifespan=partial(_live, service, storage, jobs),
    )
    app.add_middleware(BodyLimits)
    failures.register(app)
    # The last one added sees a request first.
    if service.settings.token_file:
        app.add_middleware(Bearer, token=TokenFile(Path(service.settings.token_file)))
    app.add_middleware(counts.watch)
    app.add_middleware(RequestIds)
    _add_images(app, service)
    add_models(app, service, shelf)
    add_page(app)
    add_jobs(app, service, jobs)
    _add_probes(app, service, jobs, counts)
    return app


@asynccontextmanager
async def _live(
    service: Service, storage: S3Settings, jobs: Jobs | None, _app: FastAPI
) -> AsyncIterator[None]:
    """Test the replica and look for new models from time to time; at the end finish what was accepted."""
    tasks = [
        asyncio.create_task(_test_from_time_to_time(service)),
        asyncio.create_task(follow(service, storage)),
    ]
    yield
    for task in tasks:
        task.cancel()
    if jobs is not None:
        await asyncio.to_thread(jobs.stop, _GRACE_SECONDS)
    await asyncio.to_thread(service.stop, _GRACE_SECONDS)


async def _test_from_time_to_time(service: Service) -> None:
    while True:
        await asyncio.sleep(service.settings.self_test_seconds)
        # While the queue is full the next turn tests.
        with suppress(EngineBusy, Unavailable):
            await service.test_itself()


def _add_images(app: FastAPI, service: Service) -> None:
    @app.post("/v1/images/generations", responses=FAILURES, response_model_exclude_none=True)
    async def generate(request: Request, wanted: ImagesRequest) -> ImagesAnswer:
        """Draw images for seeds."""
        sampler = wanted.sampler or service.settings.sampler
        steps = wanted.steps or service.settings.steps
        require_within_limits(service, wanted, steps)
        require_few(service, wanted)
        seeds = range(wanted.seed, wanted.seed + wanted.n)
        drawing = await while_connected(request, service.draw(seeds, sampler, steps))
        embed = wanted.response_format == "b64_json"
        files = await drawing.files() if embed else [None] * wanted.n
        model = drawing.book.model
        return ImagesAnswer(
            created=int(time.time()),
            data=[
                ImageAnswer(
                    seed=image.seed,
                    sha256=image.sha256,
                    url=f"/v1/images/{name_model(model.uri)}/{sampler}/{steps}/{image.seed}.png",
                    b64_json=base64.b64encode(one.png).decode() if one else None,
                )
                for image, one in zip(drawing.images, files, strict=True)
            ],
            model=name_model(model.uri),
            model_digest=model.digest,
            sampler=sampler,
            steps=steps,
            profile=service.settings.profile.name,
        )

    @app.get(
        "/v1/images/{checkpoint}/{sampler}/{steps}/{seed}.png",
        responses={**FAILURES, 200: {"content": {"image/png": {}}}, 304: {}},
        response_class=Response,
    )
    async def picture(
        request: Request,
        checkpoint: Annotated[
            str, PathField(max_length=256, description="latest, best, or the model's own name.")
        ],
        sampler: SamplerName,
        steps: Annotated[int, PathField(ge=1, le=MAX_STEPS)],
        seed: Annotated[int, PathField(ge=0, le=SEED_MAX)],
    ) -> Response:
        """One image as PNG, with its receipt inside."""
        is_own_name = require_model(service, checkpoint)
        require_steps(service, steps)
        drawing = await while_connected(request, service.draw([seed], sampler, steps))
        if is_own_name and name_model(drawing.book.model.uri) != checkpoint:
            # Another model was rolled out in between: its image must not be kept under this name.
            raise not_served(service, checkpoint)
        tag = f'"{drawing.images[0].sha256}"'
        headers = {"ETag": tag, "Cache-Control": _FOREVER if is_own_name else "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers=headers)
        (files,) = await drawing.files()
        return Response(files.png, media_type="image/png", headers=headers)

    @app.post(
        "/v1/verify",
        responses=FAILURES,
        openapi_extra={"requestBody": {"content": {"image/png": {}}, "required": True}},
    )
    async def verify(request: Request) -> VerifyAnswer:
        """Make an image again from the receipt in its PNG and compare."""
        evidence = read_evidence(await request.body(), "the body")
        require_steps(service, evidence.receipt.steps)
        verdict = await while_connected(request, service.verify(evidence))
        return VerifyAnswer(
            verified=verdict.is_verified,
            seed=verdict.seed,
            differences=list(verdict.differences),
            notes=list(verdict.notes),
        )


def _add_probes(app: FastAPI, service: Service, jobs: Jobs | None, counts: RequestCounts) -> None:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service, counts))

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if service.failure:
            return answer_problem(503, service.failure, code="self_test_failed")
        # Images for requests need no storage, so a replica without it is as ready as before.
        troubles = jobs.troubles if jobs is not None else ""
        return Response(f"ok\n{troubles and troubles + chr(10)}", media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

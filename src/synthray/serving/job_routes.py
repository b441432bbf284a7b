"""The routes of jobs: thousands of images, asked for in one request and fetched when they are done.

Jobs live in storage, so every answer may be another replica's; nothing here waits for an image.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from synthray.errors import SynthrayError
from synthray.serving.asked import name_model, require_within_limits
from synthray.serving.failures import FAILURES
from synthray.serving.job_store import CSV_FILE, JobRecord, image_file, new_job_id
from synthray.serving.jobs import Jobs, JobView
from synthray.serving.requests import ImagesRequest, JobAnswer, JobImageAnswer, JobProgress
from synthray.serving.service import Service

_LOOK_SECONDS: Final = 0.25
# Of a job that is not drawn here each look asks storage.
_LOOK_AFAR_SECONDS: Final = 2.0
# Proxies drop connections on which nothing moves.
_SILENCE_SECONDS: Final = 15.0
# A replica that leaves waits for its answers to end, so a stream ends before patience does; EventSource asks
# again by itself, maybe another replica.
_STREAM_SECONDS: Final = 25.0
_JOB_PATH: Final = "/v1/jobs/{job_id}"

JobId = Annotated[str, Path(max_length=64, description="As POST /v1/jobs answered it.")]


def add_jobs(app: FastAPI, service: Service, jobs: Jobs | None) -> None:
    """Add the routes of jobs."""

    def require_jobs() -> Jobs:
        if jobs is None:
            raise HTTPException(
                404, "this service keeps no jobs; start it with --jobs s3://bucket/prefix or --jobs FOLDER"
            )
        return jobs

    Kept = Annotated[Jobs, Depends(require_jobs)]  # noqa: N806 a type

    @app.post("/v1/jobs", status_code=202, responses=FAILURES)
    async def accept(wanted: ImagesRequest, jobs: Kept, response: Response) -> JobAnswer:
        """Have many images drawn, kept under the names of their contents."""
        record = _build_record(service, wanted)
        view = await asyncio.to_thread(jobs.accept, record)
        response.headers["Location"] = f"/v1/jobs/{record.id}"
        return _build_answer(jobs, view)

    @app.get(_JOB_PATH, responses=FAILURES)
    async def look(job_id: JobId, jobs: Kept) -> JobAnswer:
        """Where a job stands, and what is done of it."""
        return _build_answer(jobs, await asyncio.to_thread(jobs.look, job_id))

    @app.delete(_JOB_PATH, responses=FAILURES)
    async def cancel(job_id: JobId, jobs: Kept) -> JobAnswer:
        """Draw no more of a job; what is done stays, and a job that has ended is left as it is."""
        return _build_answer(jobs, await asyncio.to_thread(jobs.cancel, job_id))

    @app.get(
        f"{_JOB_PATH}/events",
        responses={**FAILURES, 200: {"content": {"text/event-stream": {}}}},
        response_class=StreamingResponse,
    )
    async def events(job_id: JobId, jobs: Kept) -> StreamingResponse:
        """Progress as it comes, by server-sent events; the job's last one is named `end`.

        A stream lasts 25 s at most; EventSource asks anew by itself, and each event tells all.
        """
        first = await asyncio.to_thread(jobs.look, job_id, with_done=False)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_tell(jobs, first), media_type="text/event-stream", headers=headers)

    @app.get(
        f"{_JOB_PATH}/files/{{file}}",
        responses={**FAILURES, 200: {"content": {"image/png": {}, "text/csv": {}}}},
        response_class=Response,
    )
    async def read_file(
        request: Request, job_id: JobId, file: Annotated[str, Path(max_length=128)], jobs: Kept
    ) -> Response:
        """An image of a job, or images.csv."""
        data = await asyncio.to_thread(jobs.read_file, job_id, file)
        if file == CSV_FILE:
            return Response(data, media_type="text/csv")
        tag = f'"{file.removesuffix(".png").rpartition("-")[2]}"'
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(data, media_type="image/png", headers={"ETag": tag})


def _build_record(service: Service, wanted: ImagesRequest) -> JobRecord:
    steps = wanted.steps or service.settings.steps
    require_within_limits(service, wanted, steps)
    sampler = wanted.sampler or service.settings.sampler
    service.require_plan(sampler, steps)
    model = service.model
    return JobRecord(
        id=new_job_id(),
        created=int(time.time()),
        seed=wanted.seed,
        n=wanted.n,
        sampler=sampler,
        steps=steps,
        profile=service.settings.profile.name,
        model_uri=model.uri,
        model_digest=model.digest,
        architecture_digest=model.architecture_digest,
    )


def _build_answer(jobs: Jobs, view: JobView) -> JobAnswer:
    record = view.record
    place, route = f"{jobs.uri}/{record.id}", f"/v1/jobs/{record.id}/files"
    return JobAnswer(
        id=record.id,
        status=view.status,
        message=view.message,
        created=record.created,
        seed=record.seed,
        n=record.n,
        sampler=record.sampler,
        steps=record.steps,
        model=name_model(record.model_uri),
        model_digest=record.model_digest,
        profile=record.profile,
        done=view.num_done,
        progress=view.num_done / record.n,
        uri=place,
        csv=f"{place}/{CSV_FILE}" if view.status == "succeeded" else None,
        results=[
            JobImageAnswer(
                seed=seed,
                sha256=sha256,
                uri=f"{place}/images/{image_file(seed, sha256)}",
                url=f"{route}/{image_file(seed, sha256)}",
            )
            for seed, sha256 in sorted(view.done.items())
        ],
    )


async def _tell(jobs: Jobs, view: JobView) -> AsyncIterator[str]:
    """Events until the job or the stream ends; trouble with storage is waited out."""
    job_id, told, silent_seconds = view.record.id, "", 0.0
    looked_seconds = time.monotonic()
    ends_seconds = looked_seconds + _STREAM_SECONDS
    yield "retry: 500\n\n"
    while True:
        progress = JobProgress(
            id=job_id, status=view.status, message=view.message, done=view.num_done, n=view.record.n
        ).model_dump_json()
        if progress != told:
            told, silent_seconds = progress, 0.0
            yield f"event: {'end' if view.has_ended else 'progress'}\ndata: {progress}\n\n"
        elif silent_seconds >= _SILENCE_SECONDS:
            silent_seconds = 0.0
            yield ": still here\n\n"
        if view.has_ended or time.monotonic() > ends_seconds:
            return
        silent_seconds += _LOOK_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)
        now_seconds = time.monotonic()
        if view.is_here or jobs.draws(job_id) or now_seconds - looked_seconds >= _LOOK_AFAR_SECONDS:
            looked_seconds = now_seconds
            with suppress(SynthrayError):
                view = await asyncio.to_thread(jobs.look, job_id, with_done=False)

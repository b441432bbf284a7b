"""A service over a real HTTP server in this process: a tiny model, drawn in few steps."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from committed_run import build_tiny_unet
from fastapi import FastAPI

from synthray.diffusion.schedule import build_schedule
from synthray.generation.identity import identify
from synthray.generation.models import LoadedModel
from synthray.serving.http import build_http
from synthray.serving.jobs import Jobs
from synthray.serving.metrics import RequestCounts
from synthray.serving.preview_shelf import PreviewShelf
from synthray.serving.service import Service
from synthray.serving.settings import ServingLimits, ServingSettings
from synthray.storage import S3Settings

MODEL_NAME = "00000001"
MODEL_URI = f"file:///models/{MODEL_NAME}"
SETTINGS = ServingSettings(
    model_uri="file:///models",
    steps=3,
    limits=ServingLimits(max_images_per_request=8, max_steps=500, max_queued_images=8),
)


def load_tiny_model() -> LoadedModel:
    unet = build_tiny_unet(0, block_out_channels=(16, 32))
    schedule = build_schedule("cosine", 1000, zero_terminal_snr=True)
    return LoadedModel(unet, schedule, "v_prediction", identify(unet, schedule, "v_prediction", MODEL_URI))


@contextmanager
def tiny_service(settings: ServingSettings = SETTINGS) -> Iterator[Service]:
    service = Service(load_tiny_model(), settings)
    yield service
    service.stop(grace_seconds=0)


def build_app(service: Service, *, jobs: Jobs | None = None, shelf: PreviewShelf | None = None) -> FastAPI:
    """All routes, without a run in S3."""
    return build_http(service, S3Settings(), RequestCounts(), jobs=jobs, shelf=shelf)


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serve an application; yields its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()

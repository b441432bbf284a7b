"""A replica that follows a run: its new models are served, bad ones are not, and nobody is turned away."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import torch
from committed_run import CommittedRun, build_tiny_unet
from diffusers import UNet2DModel
from served import build_app, listening

from synthray.generation.generator import Generator
from synthray.generation.models import load_model
from synthray.generation.profile import STRICT_1
from synthray.serving.service import Service
from synthray.serving.settings import ServingLimits, ServingSettings
from synthray.storage import S3Settings, open_store

PATIENCE_SECONDS = 60.0
STEPS = 3


@pytest.fixture
def run(tmp_path: Path) -> CommittedRun:
    return CommittedRun(open_store(str(tmp_path / "run"), S3Settings()), S3Settings())


@pytest.fixture
def first(run: CommittedRun) -> str:
    """The run's first checkpoint."""
    return run.commit(100)


@pytest.fixture
def service(run: CommittedRun, first: str) -> Iterator[Service]:
    settings = ServingSettings(
        model_uri=run.store.uri, steps=STEPS, limits=ServingLimits(8, 50, 64), follow_seconds=0.05
    )
    service = Service(load_model(run.store.uri, run.settings), settings)
    yield service
    service.stop(grace_seconds=0)


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with listening(build_app(service)) as address:
        yield address


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def served(url: str) -> str:
    name: str = requests.get(f"{url}/v1/models", timeout=30).json()["data"][0]["uri"]
    return name


def reference_shas(run: CommittedRun, uri: str, seeds: range) -> list[str]:
    loaded = load_model(uri, run.settings)
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    return [image.sha256 for image in generator.generate(list(seeds), "ddim", STEPS)]


@dataclass
class Client:
    """Asks for the same seeds again and again; what it got, by the model that drew it."""

    url: str
    stopping: threading.Event = field(default_factory=threading.Event)
    shas: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def ask(self) -> requests.Response:
        body: dict[str, int | str] = {"seed": 0, "n": 4, "response_format": "url"}
        return requests.post(f"{self.url}/v1/images/generations", json=body, timeout=60)

    def run(self) -> None:
        while not self.stopping.is_set():
            answer = self.ask()
            if answer.status_code != 200:
                self.failures.append(answer.text)
                continue
            document = answer.json()
            shas = tuple(image["sha256"] for image in document["data"])
            self.shas.setdefault(document["model"], set()).add(shas)


def test_a_new_model_rolls_out_under_load_without_a_failed_request(
    url: str, run: CommittedRun, first: str, service: Service
) -> None:
    old = served(url)
    clients = [Client(url) for _ in range(3)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(client.shas for client in clients))
    run.commit(200, resumes_from=first)
    wait_until(lambda: all(len(client.shas) == 2 for client in clients))
    new = served(url)
    for client in clients:
        client.stopping.set()
    for thread in threads:
        thread.join()
    assert new != old
    assert [client.failures for client in clients] == [[], [], []]
    expected = {uri.rpartition("/")[2]: {tuple(reference_shas(run, uri, range(4)))} for uri in (old, new)}
    assert [client.shas for client in clients] == [expected] * 3
    assert service.rollout_problem == ""


def test_a_model_that_does_not_draw_is_not_served_and_the_service_says_why(
    url: str, run: CommittedRun, first: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = served(url)
    monkeypatch.setattr(run, "unet", build_ruined_unet)
    run.commit(200, resumes_from=first)
    wait_until(lambda: service.rollout_problem)
    assert f"{old} is served, not the newest model" in service.rollout_problem
    assert "finite" in service.rollout_problem
    assert served(url) == old
    assert Client(url).ask().status_code == 200
    monkeypatch.undo()
    run.commit(300, resumes_from=first)
    wait_until(lambda: served(url) != old)
    assert service.rollout_problem == ""


def build_ruined_unet(images_seen: int, _weights: str) -> UNet2DModel:
    unet = build_tiny_unet(images_seen)
    torch.nn.init.constant_(unet.conv_out.bias, math.nan)
    return unet

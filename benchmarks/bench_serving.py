"""Images per second of the service against diffusers' own pipeline, and what a request costs beyond drawing.

The same network, sampler and steps on one thread, in turns in one process: diffusers' DDIMPipeline in a loop
of batch 1 and of the profile's batch, the engine alone, and the whole service over HTTP with clients in a
process of their own. Then single images at half load: what a client waits beyond its turn and its denoising
steps. Printed as JSON; ratios are medians over the rounds, by wall time and by the CPU time of the serving
process, which other work on the machine disturbs less.

    python benchmarks/bench_serving.py [--preset demo-64] [--images 16] [--steps 10] [--rounds 5]
"""

import argparse
import json
import os
import platform
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import diffusers
import requests
import torch
import uvicorn
from diffusers import DDIMPipeline, DDIMScheduler

from synthray.api.architecture import PRESETS
from synthray.diffusion.schedule import build_schedule
from synthray.diffusion.unet import init_unet
from synthray.errors import SynthrayError
from synthray.generation.generator import GeneratedImage, Slots
from synthray.generation.identity import identify
from synthray.generation.models import LoadedModel
from synthray.generation.profile import STRICT_1
from synthray.serving.engine import Engine, Wish
from synthray.serving.http import build_http
from synthray.serving.metrics import RequestCounts
from synthray.serving.service import Service
from synthray.serving.settings import ServingLimits, ServingSettings
from synthray.storage import S3Settings

CLIENTS = 8
TIMESTEPS = 1000


@dataclass(frozen=True)
class Cost:
    """What drawing took."""

    wall_seconds: float
    cpu_seconds: float


@dataclass
class Inside:
    """Per seed: how long the engine had it, from acceptance to the finished image."""

    seconds: dict[int, float] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="demo-64")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--singles", type=int, default=60, help="requests of one image, for latency")
    options = parser.parse_args()
    torch.set_num_threads(STRICT_1.threads)
    loaded = load_model(options.preset)
    limits = ServingLimits(max_images_per_request=options.images, max_queued_images=10_000)
    service = Service(loaded, ServingSettings(model_uri="bench:", steps=options.steps, limits=limits))
    with serving(service) as url, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as clients:
        throughput = measure_throughput(loaded, url, clients, options)
        latency = measure_latency(service, url, clients, options)
    print(json.dumps({"configuration": configure(options), **throughput, **latency}, indent=2))


def configure(options: argparse.Namespace) -> dict[str, Any]:
    """All that the figures depend on."""
    return {
        **vars(options),
        "sampler": "ddim",
        "profile": STRICT_1.name,
        "batch": STRICT_1.batch_images,
        "threads": STRICT_1.threads,
        "clients": CLIENTS,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "machine": platform.platform(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def load_model(preset: str) -> LoadedModel:
    """A network of first weights: what it draws is noise, what it costs is the same."""
    unet = init_unet(PRESETS[preset], 0).eval()
    schedule = build_schedule("linear", TIMESTEPS, zero_terminal_snr=False)
    return LoadedModel(unet, schedule, "epsilon", identify(unet, schedule, "epsilon", "bench:/model"))


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """The service over HTTP in this process."""
    server = uvicorn.Server(
        uvicorn.Config(
            build_http(service, S3Settings(), RequestCounts()),
            host="127.0.0.1",
            port=0,
            log_level="warning",
            ws="none",
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def measure_throughput(
    loaded: LoadedModel, url: str, clients: ProcessPoolExecutor, options: argparse.Namespace
) -> dict[str, Any]:
    """Each way of drawing the same number of images, in turns."""
    pipeline = DDIMPipeline(loaded.unet, DDIMScheduler(num_train_timesteps=TIMESTEPS))
    pipeline.set_progress_bar_config(disable=True)
    engine = Engine(
        Slots(loaded.unet, loaded.schedule, "epsilon", STRICT_1), loaded.identity, max_waiting_images=10_000
    )
    seeds = range(options.images)

    def draw_by_diffusers(batch: int) -> None:
        for first in range(0, options.images, batch):
            generators = [torch.Generator().manual_seed(first + index) for index in range(batch)]
            pipeline(batch_size=batch, generator=generators, num_inference_steps=options.steps)

    ways: dict[str, Callable[[], object]] = {
        "diffusers_batch_1": lambda: draw_by_diffusers(1),
        "diffusers_batch_of_profile": lambda: draw_by_diffusers(STRICT_1.batch_images),
        "engine": lambda: draw_by_engine(engine, seeds, options.steps),
        "service": lambda: clients.submit(ask_many, url, seeds, options.steps, CLIENTS).result(),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for round_number in range(options.rounds + 1):
        for name, draw in ways.items():
            cost = measure(draw)
            # The first round brings libraries and caches in.
            if round_number:
                costs[name].append(cost)
    engine.stop(grace_seconds=0)
    return {
        "images_per_second": {
            name: statistics.median(options.images / cost.wall_seconds for cost in found)
            for name, found in costs.items()
        },
        "engine_over_diffusers": compare(costs, "engine"),
        "service_over_diffusers": compare(costs, "service"),
    }


def measure(draw: Callable[[], object]) -> Cost:
    """What a call takes of the clock and of this process's CPU."""
    wall_seconds, cpu_seconds = time.perf_counter(), time.process_time()
    draw()
    return Cost(time.perf_counter() - wall_seconds, time.process_time() - cpu_seconds)


def compare(costs: dict[str, list[Cost]], name: str) -> dict[str, dict[str, float]]:
    """Throughput over diffusers', round by round."""
    found = {}
    for other in ("diffusers_batch_1", "diffusers_batch_of_profile"):
        pairs = list(zip(costs[other], costs[name], strict=True))
        walls = [theirs.wall_seconds / ours.wall_seconds for theirs, ours in pairs]
        found[other] = {
            "wall": statistics.median(walls),
            "wall_least": min(walls),
            "wall_most": max(walls),
            "cpu": statistics.median(theirs.cpu_seconds / ours.cpu_seconds for theirs, ours in pairs),
        }
    return found


class _Ended:
    """Waits for the last word on a wish."""

    def __init__(self) -> None:
        self.words: queue.SimpleQueue[SynthrayError | None] = queue.SimpleQueue()

    def drawn(self, index: int, image: GeneratedImage) -> None:
        """Of no interest here."""

    def ended(self, problem: SynthrayError | None) -> None:
        self.words.put(problem)


def draw_by_engine(engine: Engine, seeds: Sequence[int], steps: int) -> None:
    """The engine alone, without PNGs and HTTP."""
    ended = _Ended()
    engine.submit(Wish(seeds, "ddim", steps), ended)
    problem = ended.words.get()
    if problem is not None:
        raise problem


def ask_many(url: str, seeds: Sequence[int], steps: int, num_clients: int) -> list[tuple[int, float]]:
    """Seeds and seconds of single images, asked for by so many clients at a time, in another process."""
    local = threading.local()

    def ask(seed: int) -> tuple[int, float]:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        begun = time.perf_counter()
        answer = local.session.get(f"{url}/v1/images/latest/ddim/{steps}/{seed}.png", timeout=600)
        answer.raise_for_status()
        return seed, time.perf_counter() - begun

    with ThreadPoolExecutor(num_clients) as pool:
        return list(pool.map(ask, seeds))


def measure_latency(
    service: Service, url: str, clients: ProcessPoolExecutor, options: argparse.Namespace
) -> dict[str, Any]:
    """What single images cost beyond their turn and their steps, with half of the slots busy."""
    inside = Inside()
    watch_engine(service, inside)
    num_clients = STRICT_1.batch_images // 2
    seeds = range(1_000_000, 1_000_000 + options.singles)
    answers = clients.submit(ask_many, url, seeds, options.steps, num_clients).result()
    overheads = sorted(1000 * (seconds - inside.seconds[seed]) for seed, seconds in answers)
    return {
        "latency_at_half_load": {
            "clients": num_clients,
            "request_milliseconds_p50": 1000 * statistics.median(seconds for _, seconds in answers),
            "overhead_milliseconds_p50": statistics.median(overheads),
            "overhead_milliseconds_p99": overheads[round(0.99 * (len(overheads) - 1))],
        }
    }


def watch_engine(service: Service, inside: Inside) -> None:
    """Have the engine's own time of every single image written down."""
    engine = service._engine
    submit = engine.submit

    def submit_watched(wish: Wish, listener: Any, **options: Any) -> Any:
        return submit(wish, _Watch(wish.seeds[0], listener, inside), **options)

    engine.submit = submit_watched  # type: ignore[method-assign]


class _Watch:
    """A listener that writes down when the image came."""

    def __init__(self, seed: int, listener: Any, inside: Inside) -> None:
        self._seed, self._listener, self._inside = seed, listener, inside
        self._begun = time.perf_counter()

    def drawn(self, index: int, image: GeneratedImage) -> None:
        self._inside.seconds[self._seed] = time.perf_counter() - self._begun
        self._listener.drawn(index, image)

    def ended(self, problem: SynthrayError | None) -> None:
        self._listener.ended(problem)


if __name__ == "__main__":
    main()

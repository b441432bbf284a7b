"""A real `synthray serve` for benchmarks, and the pixels that it must give."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import psutil
import requests
import torch
from diffusers import DDPMPipeline, DDPMScheduler

from synthray.api.architecture import PRESETS
from synthray.diffusion.sampler import SAMPLERS
from synthray.diffusion.unet import init_unet
from synthray.generation.generator import Generator
from synthray.generation.models import load_model
from synthray.generation.profile import STRICT_1
from synthray.storage import S3Settings
from synthray.storage.ports import choose_free_ports

Digests = dict[tuple[str, int, int], str]


def save_model(preset: str, folder: Path) -> None:
    """First weights: what they draw is noise, what it costs is the same."""
    DDPMPipeline(init_unet(PRESETS[preset], 0), DDPMScheduler()).save_pretrained(folder)


def draw_references(
    model: Path, seeds: Sequence[int], steps: Sequence[int], samplers: Sequence[str] = SAMPLERS
) -> Digests:
    """The pixels of each seed alone, without a service, by sampler, number of steps and seed."""
    torch.set_num_threads(STRICT_1.threads)
    loaded = load_model(str(model), S3Settings())
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    return {
        (sampler, number, image.seed): image.sha256
        for sampler, number in product(samplers, steps)
        for image in generator.generate(seeds, sampler, number)
    }


@contextmanager
def serving(
    model: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, psutil.Process]]:
    """`synthray serve` until the context ends."""
    (port,) = choose_free_ports(1)
    command = [str(Path(sys.executable).with_name("synthray")), "serve", str(model), "--port", str(port)]
    process = psutil.Popen([*command, *options], stdout=subprocess.DEVNULL, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            assert process.poll() is None, "the service ended"
            time.sleep(0.5)
        yield url, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def is_ready(url: str) -> bool:
    """Whether a replica answers."""
    try:
        return requests.get(f"{url}/readyz", timeout=10).status_code == 200
    except requests.RequestException:
        return False


def find_replica(process: psutil.Process) -> psutil.Process:
    """The process that draws."""
    return next(one for one in process.children(recursive=True) if "ServeReplica" in " ".join(one.cmdline()))

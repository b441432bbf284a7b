"""Many clients with mixed requests and random cancels: is every finished image the reference's, is any lost?

`synthray serve` as a user runs it, and clients in a process of their own. Each client asks again and again
for one image or several, by one of three samplers with one of three numbers of steps, and sometimes walks
away. A seed is one of a few, so that each answer is compared with the pixels that `Generator` gives for it
alone. Whoever is refused (429) waits a part of the time that he is told. Memory of the replica is read from
the system. Printed as JSON.

    python benchmarks/bench_clients.py [--clients 64] [--minutes 5] [--cancels 0.15] [--max-queued-images 256]
"""

import argparse
import base64
import io
import json
import os
import platform
import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
import torch
from PIL import Image

from live_serving import Digests, draw_references, find_replica, save_model, serving
from synthray.api.architecture import PRESETS
from synthray.diffusion.sampler import SAMPLERS
from synthray.generation.profile import STRICT_1
from synthray.generation.receipts import pixels_sha256

SEEDS = range(24)
STEPS = (2, 5, 10)
MAX_IMAGES = 16
MEBIBYTE = 2**20


@dataclass
class Tally:
    """What clients saw; `failures` are told in words."""

    answers: int = 0
    images: int = 0
    wrong_images: int = 0
    canceled: int = 0
    refused: int = 0
    refused_without_a_time: int = 0
    failures: list[str] = field(default_factory=list)
    waits_seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Serve, ask, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="demo-64")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--cancels", type=float, default=0.15, help="share of requests that are walked away from"
    )
    parser.add_argument("--max-queued-images", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        save_model(options.preset, model)
        references = draw_references(model, SEEDS, STEPS)
        limits = ["--max-queued-images", str(options.max_queued_images), "--max-images", str(MAX_IMAGES)]
        with serving(model, *limits) as (url, process):
            replica = find_replica(process)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as clients:
                asking = clients.submit(ask_all, url, references, vars(options))
                memory = [resident_mebibytes(replica)]
                while not asking.done():
                    memory.append(resident_mebibytes(replica))
                    time.sleep(5)
                tally = asking.result()
            health = requests.get(f"{url}/readyz", timeout=60).status_code
    print(json.dumps(describe(options, tally, memory, health), indent=2))


def resident_mebibytes(process: psutil.Process) -> float:
    """Its resident memory."""
    return float(process.memory_info().rss / MEBIBYTE)


def ask_all(url: str, references: Digests, options: dict[str, Any]) -> Tally:
    """All clients, in another process."""
    ends = time.monotonic() + 60 * options["minutes"]
    tally, lock = Tally(), threading.Lock()

    def be_client(number: int) -> None:
        dice = random.Random(number)  # noqa: S311 the same clients in each run
        with requests.Session() as session:
            while time.monotonic() < ends:
                seen, pause_seconds = ask_once(session, url, references, dice, options["cancels"])
                with lock:
                    add(tally, seen)
                time.sleep(min(pause_seconds, max(0.0, ends - time.monotonic())))

    with ThreadPoolExecutor(options["clients"]) as pool:
        list(pool.map(be_client, range(options["clients"])))
    return tally


def add(tally: Tally, seen: Tally) -> None:
    """Sum up."""
    for name, value in asdict(seen).items():
        setattr(tally, name, getattr(tally, name) + value)


def ask_once(
    session: requests.Session, url: str, references: Digests, dice: random.Random, cancels: float
) -> tuple[Tally, float]:
    """One request; what came of it, and the seconds to wait before the next."""
    sampler, steps, count = (
        dice.choice(SAMPLERS),
        dice.choice(STEPS),
        dice.choice((1, 1, 1, 2, 4, 8, MAX_IMAGES)),
    )
    seed = dice.randrange(len(SEEDS) - count + 1)
    wanted: dict[str, Any] = {"seed": seed, "n": count, "sampler": sampler, "steps": steps}
    wanted["response_format"] = dice.choice(("b64_json", "url"))
    # Those who walk away do so while they wait or while theirs is drawn.
    patience = dice.uniform(0.05, 5.0) if dice.random() < cancels else 600.0
    begun = time.monotonic()
    try:
        answer = session.post(f"{url}/v1/images/generations", json=wanted, timeout=patience)
    except requests.Timeout:
        return (Tally(canceled=1) if patience < 600 else Tally(failures=[f"no answer to {wanted}"])), 0.0
    except requests.RequestException as error:
        return Tally(failures=[repr(error)]), 0.0
    if answer.status_code == 429:
        told = answer.headers.get("Retry-After", "")
        return Tally(refused=1, refused_without_a_time=not told.isdigit()), float(told or 1) * dice.random()
    if answer.status_code != 200:
        return Tally(failures=[f"{answer.status_code} {answer.text[:200]}"]), 0.0
    images = answer.json()["data"]
    right = [references[sampler, steps, seed + index] for index in range(count)]
    wrong = sum(digest_of(image) != digest for image, digest in zip(images, right, strict=True))
    waited = time.monotonic() - begun
    return Tally(answers=1, images=count, wrong_images=wrong, waits_seconds=[waited]), 0.0


def digest_of(image: dict[str, Any]) -> str:
    """The SHA-256 of the pixels that came, or else of those that were promised."""
    if "b64_json" not in image:
        return str(image["sha256"])
    with Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))) as picture:
        return pixels_sha256(np.asarray(picture))


def describe(options: argparse.Namespace, tally: Tally, memory: list[float], health: int) -> dict[str, Any]:
    """The figures, with all that they depend on."""
    waits = sorted(tally.waits_seconds)
    figures = asdict(tally) | {
        "failures": dict(Counter(tally.failures).most_common(10)),
        "waits_seconds": {
            share: round(waits[int(share * (len(waits) - 1))], 2) for share in (0.5, 0.99, 1.0)
        },
        "images_per_second": tally.images / (60 * options.minutes),
        "replica_mebibytes": {
            "at first": memory[0],
            "after a fifth": memory[len(memory) // 5],
            "at the end": memory[-1],
            "most": max(memory),
        },
        "readyz_at_the_end": health,
    }
    configuration = {
        **vars(options),
        "samplers": SAMPLERS,
        "steps": STEPS,
        "profile": STRICT_1.name,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "machine": platform.platform(),
        "torch": torch.__version__,
    }
    return {"configuration": configuration, **figures}


if __name__ == "__main__":
    main()

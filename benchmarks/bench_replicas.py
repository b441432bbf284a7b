"""Replicas that are killed and stopped under load, storage that comes and goes: is any image lost or wrong?

Several `synthray serve` share a place for jobs in an S3 server. Jobs and single images are asked for, at any
of them, while faults come one after another: a replica is killed (SIGKILL, as by the OOM killer), stands
still for longer or shorter than its lease (SIGSTOP), or the S3 server stands still. At the end every accepted
job must have succeeded with the reference's pixels for each seed, and every answer must have had them. A
single request whose replica was killed may fail; it is asked again elsewhere and counted. Printed as JSON.

    python benchmarks/bench_replicas.py [--services 3] [--minutes 8] [--pause 20] [--seed 0]
"""

import argparse
import json
import os
import platform
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
import torch

from live_serving import Digests, draw_references, find_replica, save_model, serving
from synthray.api.architecture import PRESETS
from synthray.generation.profile import STRICT_1
from synthray.storage import EmbeddedS3
from synthray.storage.embedded import DEFAULT_BUCKET
from synthray.storage.ports import choose_free_ports

SEEDS = range(96)
STEPS = (5, 10)
SAMPLER = "ddim"
CLIENTS = 4
JOB_IMAGES = (16, 64)
OPEN_JOBS = 6


@dataclass
class Seen:
    """What clients saw."""

    answers: int = 0
    wrong_images: int = 0
    asked_again: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused_jobs: Counter[str] = field(default_factory=Counter)
    unready: Counter[str] = field(default_factory=Counter)


class Client:
    """Asks any service, and another one if that fails."""

    def __init__(self, urls: list[str], references: Digests, stopping: threading.Event) -> None:
        self.seen = Seen()
        self._urls = urls
        self._references = references
        self._stopping = stopping
        self._lock = threading.Lock()

    def ask_for_images(self, number: int) -> None:
        """Single images until told to stop."""
        dice = random.Random(number)  # noqa: S311 the same clients in each run
        while not self._stopping.is_set():
            seed, steps = dice.choice(SEEDS), dice.choice(STEPS)
            wanted = {"seed": seed, "steps": steps, "sampler": SAMPLER, "response_format": "url"}
            answer = self._post(dice, "/v1/images/generations", wanted, retries=True)
            if answer is None:
                continue
            right = answer.json()["data"][0]["sha256"] == self._references[SAMPLER, steps, seed]
            with self._lock:
                self.seen.answers += 1
                self.seen.wrong_images += not right
            time.sleep(0.2)

    def ask_for_jobs(self) -> None:
        """A job after the other until told to stop, a few at a time."""
        dice = random.Random(1000)  # noqa: S311 as above
        while not self._stopping.wait(2.0):
            if sum(not self._has_ended(job_id) for job_id in list(self.seen.jobs)) >= OPEN_JOBS:
                continue
            count, steps = dice.choice(JOB_IMAGES), dice.choice(STEPS)
            first = dice.randrange(len(SEEDS) - count + 1)
            wanted = {"seed": first, "n": count, "steps": steps, "sampler": SAMPLER}
            # A second try could be a second job: what was not answered is not counted on.
            answer = self._post(dice, "/v1/jobs", wanted, retries=False)
            if answer is not None:
                self.seen.jobs[answer.json()["id"]] = wanted

    def watch_readiness(self) -> None:
        """What /readyz says while it is not ready or has something to tell."""
        while not self._stopping.wait(1.0):
            for url in self._urls:
                try:
                    answer = requests.get(f"{url}/readyz", timeout=5)
                except requests.RequestException as error:
                    self.seen.unready[type(error).__name__] += 1
                else:
                    if answer.status_code != 200 or "storage" in answer.text:
                        self.seen.unready[f"{answer.status_code} {answer.text[:160]}"] += 1

    def look(self, job_id: str) -> dict[str, Any] | None:
        """A job, by whoever answers."""
        for url in self._urls:
            try:
                answer = requests.get(f"{url}/v1/jobs/{job_id}", timeout=30)
            except requests.RequestException:
                continue
            if answer.status_code == 200:
                document: dict[str, Any] = answer.json()
                return document
        return None

    def _has_ended(self, job_id: str) -> bool:
        job = self.look(job_id)
        return job is not None and job["status"] not in ("queued", "running")

    def _post(
        self, dice: random.Random, path: str, body: Mapping[str, Any], *, retries: bool
    ) -> requests.Response | None:
        while True:
            try:
                answer = requests.post(dice.choice(self._urls) + path, json=body, timeout=60)
                if answer.ok:
                    return answer
                why = str(answer.status_code)
            except requests.RequestException as error:
                why = type(error).__name__
            with self._lock:
                (self.seen.asked_again if retries else self.seen.refused_jobs)[why] += 1
            if not retries or self._stopping.is_set():
                return None
            time.sleep(1.0)


class Faults:
    """One fault after another, and all well again at the end."""

    def __init__(self, services: list[psutil.Process], storage: psutil.Process, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._services = services
        self._storage = storage
        self._dice = random.Random(seed)  # noqa: S311 the same faults in each run

    def inject(self) -> None:
        """The next one; returns when it is over."""
        kinds: list[tuple[str, Callable[[], None]]] = [
            ("a replica killed", self._kill),
            ("a replica stopped for 8 s", lambda: self._stop(self._replica(), 8)),
            ("a replica stopped for 45 s, its lease is 30 s", lambda: self._stop(self._replica(), 45)),
            ("storage away for 20 s", lambda: self._stop(self._storage, 20)),
        ]
        name, act = self._dice.choice(kinds)
        try:
            act()
        except (psutil.NoSuchProcess, StopIteration):
            return  # one that was killed before is not back yet, or is gone meanwhile
        self.done[name] += 1

    def _replica(self) -> psutil.Process:
        return find_replica(self._dice.choice(self._services))

    def _kill(self) -> None:
        self._replica().kill()

    def _stop(self, process: psutil.Process, seconds: float) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)


def main() -> None:
    """Serve, ask, break, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="demo-64")
    parser.add_argument("--services", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--pause", type=float, default=20.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedS3(Path(folder) / "s3", port=choose_free_ports(1)[0]) as s3,
        ExitStack() as stack,
    ):
        model = Path(folder) / "model"
        save_model(options.preset, model)
        references = draw_references(model, SEEDS, STEPS, [SAMPLER])
        environment = {**os.environ, **s3.environment}
        started = [
            stack.enter_context(
                serving(model, "--jobs", f"s3://{DEFAULT_BUCKET}/jobs", environment=environment)
            )
            for _ in range(options.services)
        ]
        stopping = threading.Event()
        client = Client([url for url, _ in started], references, stopping)
        faults = Faults([process for _, process in started], psutil.Process(s3.pid), options.seed)
        with ThreadPoolExecutor(CLIENTS + 2) as pool:
            asking = [pool.submit(client.ask_for_images, number) for number in range(CLIENTS)]
            asking += [pool.submit(client.ask_for_jobs), pool.submit(client.watch_readiness)]
            ends = time.monotonic() + 60 * options.minutes
            while time.monotonic() < ends:
                time.sleep(options.pause)
                faults.inject()
            stopping.set()
        for done in asking:
            done.result()
        jobs = await_jobs(client, references)
    print(json.dumps(describe(options, client.seen, faults, jobs), indent=2))


def await_jobs(client: Client, references: Digests) -> dict[str, Any]:
    """How the accepted jobs ended, once all have; at most ten minutes after the last fault."""
    begun, ends = time.monotonic(), time.monotonic() + 600
    waiting, ended = dict(client.seen.jobs), Counter[str]()
    images = wrong = 0
    while waiting and time.monotonic() < ends:
        for job_id, wanted in list(waiting.items()):
            job = client.look(job_id)
            if job is None or job["status"] in ("queued", "running"):
                continue
            ended[job["status"]] += 1
            del waiting[job_id]
            right = [
                references[SAMPLER, wanted["steps"], seed]
                for seed in range(wanted["seed"], wanted["seed"] + wanted["n"])
            ]
            images += len(right)
            found = [one["sha256"] for one in job["results"]]
            wrong += len(right) - sum(a == b for a, b in zip(found, right, strict=False))
        time.sleep(1.0)
    return {
        "accepted": len(client.seen.jobs),
        "ended": dict(ended),
        "not_ended": len(waiting),
        "images": images,
        "images_missing_or_wrong": wrong,
        "seconds_from_the_last_fault_to_the_last_end": round(time.monotonic() - begun, 1),
    }


def describe(
    options: argparse.Namespace, seen: Seen, faults: Faults, jobs: Mapping[str, Any]
) -> dict[str, Any]:
    """The figures, with all that they depend on."""
    configuration = {
        **vars(options),
        "steps": STEPS,
        "profile": STRICT_1.name,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "machine": platform.platform(),
        "torch": torch.__version__,
    }
    figures = {name: value for name, value in vars(seen).items() if name != "jobs"}
    return {"configuration": configuration, "faults": faults.done, "jobs": jobs, "single_images": figures}


if __name__ == "__main__":
    main()

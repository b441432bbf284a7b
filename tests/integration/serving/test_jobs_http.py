"""Jobs over a real HTTP server, a real engine and a real S3."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from intercepted_stores import FailingStore
from memory_store import MemoryStore
from served import SETTINGS, build_app, listening, load_tiny_model, tiny_service

from synthray.errors import Unavailable
from synthray.generation.generator import Generator
from synthray.generation.profile import STRICT_1
from synthray.serving.job_store import JobStore
from synthray.serving.jobs import Jobs
from synthray.serving.service import Service
from synthray.serving.settings import JobLimits
from synthray.storage import ObjectInfo, ObjectStore, S3Settings, open_store

PATIENCE_SECONDS = 120.0
LIMITS = JobLimits(max_open=3, lease_seconds=2.0, retry_seconds=0.2)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with tiny_service() as service:
        yield service


@pytest.fixture(scope="module")
def kept(s3_settings: S3Settings) -> ObjectStore:
    return open_store(f"s3://xray/{uuid4().hex}", s3_settings)


@pytest.fixture(scope="module")
def url(service: Service, kept: ObjectStore) -> Iterator[str]:
    jobs = Jobs(JobStore(kept), service, LIMITS)
    with listening(build_app(service, jobs=jobs)) as url:
        yield f"{url}/v1/jobs"


def post(url: str, **body: Any) -> requests.Response:
    return requests.post(url, json=body, timeout=60)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(url: str, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{url}/{job_id}", timeout=60).json()
        return found

    wait_until(lambda: look()["status"] not in ("queued", "running"))
    return look()


def reference(seeds: range, steps: int) -> list[str]:
    loaded = load_tiny_model()
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    found = {image.seed: image.sha256 for image in generator.generate(seeds, "ddim", steps)}
    return [found[seed] for seed in seeds]


def test_a_job_is_accepted_drawn_and_kept_where_its_answer_says(url: str, kept: ObjectStore) -> None:
    accepted = post(url, seed=42, n=20, steps=3)
    job = accepted.json()
    assert (accepted.status_code, accepted.headers["Location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["status"], job["results"]) == ("queued", [])
    done = finish(url, job["id"])
    assert (done["status"], done["done"], done["progress"]) == ("succeeded", 20, 1.0)
    assert [one["seed"] for one in done["results"]] == list(range(42, 62))
    assert [one["sha256"] for one in done["results"]] == reference(range(42, 62), 3)
    first = done["results"][0]
    png = kept.read(first["uri"].removeprefix(f"{kept.uri}/"))
    answer = requests.get(url.removesuffix("/v1/jobs") + first["url"], timeout=60)
    assert (answer.content, answer.headers["ETag"]) == (png, f'"{first["sha256"]}"')
    lines = kept.read(done["csv"].removeprefix(f"{kept.uri}/")).decode().splitlines()
    assert lines[1].startswith(f"42,{first['sha256']},images/")


def read_events(url: str, job_id: str) -> list[tuple[str, Any]]:
    """Each event until the last; a stream that ends is asked for anew, as EventSource does."""
    text = ""
    while "event: end" not in text:
        with requests.get(f"{url}/{job_id}/events", stream=True, timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            text += answer.content.decode()
    events = [event.split("\n") for event in text.strip().split("\n\n") if event.startswith("event:")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in events]


def test_events_end_with_the_jobs_success(url: str) -> None:
    told = read_events(url, post(url, seed=1, n=12, steps=3).json()["id"])
    assert [name for name, _ in told].count("end") == 1
    assert (told[-1][0], told[-1][1]["status"], told[-1][1]["done"]) == ("end", "succeeded", 12)


def test_events_tell_of_progress_while_a_job_is_drawn(url: str) -> None:
    job_id = post(url, seed=1, n=10_000, steps=30).json()["id"]
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(read_events, url, job_id)
        wait_until(lambda: requests.get(f"{url}/{job_id}", timeout=60).json()["done"] >= 8)
        requests.delete(f"{url}/{job_id}", timeout=60)
        told = reading.result(timeout=60)
    counts = [data["done"] for _, data in told]
    assert counts == sorted(counts)
    assert counts[-1] >= 8
    assert [name for name, _ in told].count("end") == 1
    assert (told[-1][0], told[-1][1]["status"]) == ("end", "canceled")


def test_an_image_beside_a_job_of_thousands_does_not_wait_for_it(url: str, service: Service) -> None:
    job_id = post(url, seed=1, n=10_000, steps=50).json()["id"]
    wait_until(lambda: service.figures().busy_slots == 4)
    before = service.figures()
    answer = post(url.removesuffix("/jobs") + "/images/generations", seed=5, steps=2)
    after = service.figures()
    assert answer.status_code == 200
    # A slot is free after 50 steps at most; then it is this image's turn, or the next one's.
    assert after.steps - before.steps <= 50 + 3 + 2 + 50
    assert requests.get(f"{url}/{job_id}", timeout=60).json()["status"] == "running"
    canceled = requests.delete(f"{url}/{job_id}", timeout=60)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    wait_until(lambda: service.figures().busy_slots == 0)


def test_beyond_the_jobs_that_may_wait_more_get_429(url: str) -> None:
    ids = [post(url, seed=1, n=10_000, steps=500).json()["id"] for _ in range(3)]
    refused = post(url, seed=1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_jobs")
    assert int(refused.headers["Retry-After"]) >= 1
    for job_id in ids:
        assert requests.delete(f"{url}/{job_id}", timeout=60).json()["status"] == "canceled"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "seed"),
        ({"seed": 1, "n": 10_001}, "n"),
        ({"seed": 1, "steps": 501}, "steps"),
        ({"sede": 1}, "seed"),
    ],
)
def test_what_can_not_be_drawn_is_refused_at_once(url: str, body: dict[str, Any], field: str) -> None:
    answer = post(url, **body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, field)


@pytest.mark.parametrize(
    "path", ["/nothing", f"/{'0' * 32}", f"/{'0' * 32}/events", f"/{'0' * 32}/files/a.png"]
)
def test_a_job_that_does_not_exist_is_404(url: str, path: str) -> None:
    assert requests.get(url + path, timeout=60).status_code == 404


class UnlistableStore(MemoryStore):
    """Lists nothing: its storage is away."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise Unavailable(f"nobody answered for {prefix}")


def test_a_replica_without_a_job_says_that_it_cannot_see_new_ones() -> None:
    with (
        tiny_service() as service,
        listening(build_app(service, jobs=Jobs(JobStore(UnlistableStore()), service, LIMITS))) as url,
    ):
        wait_until(lambda: "new jobs wait" in requests.get(f"{url}/readyz", timeout=60).text)
        ready = requests.get(f"{url}/readyz", timeout=60)
    assert ready.status_code == 200
    assert "held up" not in ready.text


def test_without_storage_a_replica_is_ready_and_says_what_waits() -> None:
    store = FailingStore(MemoryStore())
    with (
        tiny_service() as service,
        listening(build_app(service, jobs=Jobs(JobStore(store), service, LIMITS))) as url,
    ):
        job_id = post(f"{url}/v1/jobs", seed=1, n=200, steps=20).json()["id"]
        wait_until(lambda: requests.get(f"{url}/v1/jobs/{job_id}", timeout=60).json()["done"] > 0)
        store.is_away = True
        wait_until(lambda: "jobs wait" in requests.get(f"{url}/readyz", timeout=60).text)
        ready = requests.get(f"{url}/readyz", timeout=60)
        image = post(f"{url}/v1/images/generations", seed=1, steps=1)
        refused = post(f"{url}/v1/jobs", seed=1)
        message = requests.get(f"{url}/v1/jobs/{job_id}", timeout=60).json()["message"]
        store.is_away = False
        requests.delete(f"{url}/v1/jobs/{job_id}", timeout=60)
    assert (ready.status_code, image.status_code, refused.status_code) == (200, 200, 503)
    assert "the store went away" in message
    assert int(refused.headers["Retry-After"]) >= 1


REPLICA = """
import sys
from intercepted_stores import FailingStore
from memory_store import MemoryStore
from served import tiny_service
from synthray.serving.job_store import JobRecord, JobStore
from synthray.serving.jobs import Jobs
from synthray.serving.settings import JobLimits
from synthray.storage import open_store, s3_settings_from_environment
import os, threading
with tiny_service() as service:
    store = JobStore(open_store(sys.argv[1], s3_settings_from_environment(os.environ)))
    jobs = Jobs(store, service, JobLimits(lease_seconds=1.0))
    threading.Event().wait()
"""


@pytest.mark.timeout(200)
def test_a_replica_that_is_killed_loses_no_image_and_another_draws_the_rest(
    service: Service, s3: ObjectStore, s3_environment: Mapping[str, str]
) -> None:
    jobs = JobStore(s3)
    support = str(Path(__file__).parents[2] / "support")
    with tiny_service(SETTINGS) as other:
        accepting = Jobs(jobs, other, JobLimits(max_running=0))
        with listening(build_app(other, jobs=accepting)) as url:
            job_id = post(f"{url}/v1/jobs", seed=100, n=20, steps=30).json()["id"]
    with subprocess.Popen(
        [sys.executable, "-c", REPLICA, s3.uri], env={**s3_environment, "PYTHONPATH": support}
    ) as replica:
        wait_until(lambda: len(jobs.list_done(jobs.read(job_id))) >= 5 or replica.poll() is not None)
        replica.send_signal(signal.SIGKILL)
    before = {info.key: info.modified for info in s3.list(f"{job_id}/images/")}
    assert 5 <= len(before) < 20
    next_one = Jobs(jobs, service, LIMITS)
    wait_until(lambda: next_one.look(job_id).has_ended)
    next_one.stop(PATIENCE_SECONDS)
    after = {info.key: info.modified for info in s3.list(f"{job_id}/images/")}
    assert {key: after[key] for key in before} == before
    done = jobs.list_done(jobs.read(job_id))
    assert [done[seed] for seed in sorted(done)] == reference(range(100, 120), 30)

import csv
import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import pytest
import torch
from committed_run import build_tiny_unet
from intercepted_stores import FailingStore, InterceptedStore
from memory_store import MemoryStore
from PIL import Image

from synthray.diffusion.schedule import build_schedule
from synthray.errors import NotFound
from synthray.generation.generator import Generator
from synthray.generation.identity import ModelIdentity, identify
from synthray.generation.models import LoadedModel
from synthray.generation.profile import STRICT_1
from synthray.serving.job_store import Claim, JobEnd, JobRecord, JobStore, NumberedClaim, new_job_id
from synthray.serving.jobs import Jobs, JobView, TooManyJobs
from synthray.serving.service import Service
from synthray.serving.settings import JobLimits, ServingSettings

PATIENCE_SECONDS = 60.0
LIMITS = JobLimits(lease_seconds=0.6, retry_seconds=0.05)


def load(model_seed: int, uri: str = "memory:/models/1") -> LoadedModel:
    unet = build_tiny_unet(model_seed)
    schedule = build_schedule("cosine", 16, zero_terminal_snr=True)
    return LoadedModel(unet, schedule, "v_prediction", identify(unet, schedule, "v_prediction", uri))


def open_model(uri: str) -> LoadedModel:
    if uri != "memory:/models/0":
        raise NotFound(f"{uri} does not exist")
    return load(1, uri)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service(load(0), ServingSettings(model_uri="memory:/models"), open_model)
    yield service
    service.stop(grace_seconds=0)


@pytest.fixture
def start(service: Service) -> Iterator[Callable[..., Jobs]]:
    started = []

    def begin(store: MemoryStore | InterceptedStore, limits: JobLimits = LIMITS) -> Jobs:
        started.append(Jobs(JobStore(store), service, limits))
        return started[-1]

    yield begin
    for jobs in started:
        jobs.stop(PATIENCE_SECONDS)


def ask(service: Service, n: int = 6, steps: int = 2, model: ModelIdentity | None = None) -> JobRecord:
    model = model or service.model
    return JobRecord(
        id=new_job_id(),
        created=int(time.time()),
        seed=7,
        n=n,
        sampler="ddim",
        steps=steps,
        profile="strict-1",
        model_uri=model.uri,
        model_digest=model.digest,
        architecture_digest=model.architecture_digest,
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_end(jobs: Jobs, record: JobRecord) -> JobView:
    wait_until(lambda: jobs.look(record.id).has_ended)
    return jobs.look(record.id)


def images_in(store: MemoryStore) -> list[str]:
    return [key for key in store.objects if "/images/" in key]


def test_a_job_leaves_its_images_under_their_contents_names_and_a_list_of_them(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = MemoryStore()
    jobs = start(store)
    record = ask(service)
    assert jobs.accept(record).status == "queued"
    view = wait_for_end(jobs, record)
    assert (view.status, view.num_done) == ("succeeded", 6)
    loaded = load(0)
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, STRICT_1)
    for image in generator.generate(record.seeds, "ddim", 2):
        png = store.objects[f"{record.id}/images/{image.seed}-{image.sha256}.png"]
        assert np.array_equal(np.asarray(Image.open(BytesIO(png))), image.pixels[:, :, 0])
        assert view.done[image.seed] == image.sha256
    rows = list(csv.DictReader(io.StringIO(store.objects[f"{record.id}/images.csv"].decode())))
    assert [(int(row["seed"]), row["sha256"]) for row in rows] == sorted(view.done.items())
    assert all(f"{record.id}/{row['file']}" in store.objects for row in rows)
    assert JobStore(store).list_open() == []


def test_a_restart_draws_what_is_left_and_nothing_twice(service: Service, start: Callable[..., Jobs]) -> None:
    store = InterceptedStore(MemoryStore())
    first = start(store)
    record = ask(service, n=40)
    first.accept(record)
    wait_until(lambda: first.look(record.id).num_done >= 4)
    first.stop(PATIENCE_SECONDS)
    assert first.look(record.id).status == "queued"
    second = start(store)
    assert wait_for_end(second, record).num_done == 40
    images = [key for key in store.changes if "/images/" in key]
    assert len(images) == len(set(images)) == 40


def test_what_a_dead_replica_left_is_taken_over_once_its_claim_stands_still(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = MemoryStore()
    record = ask(service)
    JobStore(store).create(record)
    assert JobStore(store).claim(record.id, "dead", after=None) is not None
    jobs = start(store)
    assert wait_for_end(jobs, record).status == "succeeded"
    claim = JobStore(store).read_claim(record.id)
    assert claim is not None
    assert claim.number == 2


def test_what_a_living_replica_draws_is_left_to_it(service: Service, start: Callable[..., Jobs]) -> None:
    store = InterceptedStore(MemoryStore())
    living = JobStore(store)
    record, other = ask(service), ask(service, n=1)
    living.create(record)
    claim = living.claim(record.id, "living", after=None)
    assert claim is not None
    jobs = start(store)
    jobs.accept(other)
    beats = itertools.count()

    def has_beaten_for_long() -> bool:
        beat = next(beats)
        assert living.beat(record.id, NumberedClaim(1, Claim(replica="living", beat=beat, done=3)))
        return beat > 100

    wait_until(has_beaten_for_long)
    assert wait_for_end(jobs, other).status == "succeeded"
    view = jobs.look(record.id, with_done=False)
    assert (view.status, view.num_done) == ("running", 3)
    assert not [key for key in store.changes if key.startswith(f"{record.id}/images/")]


def test_a_claim_that_stands_still_is_respected_until_its_time_is_over(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = InterceptedStore(MemoryStore())
    claimed = ask(service)
    JobStore(store).create(claimed)
    JobStore(store).claim(claimed.id, "slow", after=None)
    jobs = start(store, JobLimits(lease_seconds=1000.0))
    # Each job that is accepted makes it look around anew.
    for _ in range(3):
        other = ask(service, n=1)
        jobs.accept(other)
        assert wait_for_end(jobs, other).status == "succeeded"
    assert not [key for key in store.changes if key.startswith(f"{claimed.id}/images/")]


def test_two_replicas_share_the_jobs_and_draw_each_once(service: Service, start: Callable[..., Jobs]) -> None:
    store = InterceptedStore(MemoryStore())
    replicas = [start(store, JobLimits(retry_seconds=0.05)) for _ in range(2)]
    records = [ask(service) for _ in range(4)]
    for number, record in enumerate(records):
        replicas[number % 2].accept(record)
    for record in records:
        assert wait_for_end(replicas[0], record).status == "succeeded"
    images = [key for key in store.changes if "/images/" in key]
    assert len(images) == len(set(images)) == 24


def test_of_two_that_want_a_job_one_gets_it() -> None:
    store = JobStore(MemoryStore())
    assert store.claim("a" * 32, "one", after=None) is not None
    assert store.claim("a" * 32, "two", after=None) is None


def test_who_lost_its_claim_hears_so_at_its_next_heartbeat() -> None:
    store = JobStore(MemoryStore())
    mine = store.claim("a" * 32, "one", after=None)
    assert mine is not None
    assert store.beat("a" * 32, mine)
    store.claim("a" * 32, "two", after=mine)
    assert not store.beat("a" * 32, mine)


def test_a_cancelled_job_draws_no_more_and_keeps_what_is_done(
    service: Service, start: Callable[..., Jobs]
) -> None:
    jobs = start(MemoryStore())
    record = ask(service, n=10_000, steps=10)
    jobs.accept(record)
    wait_until(lambda: jobs.look(record.id).num_done > 0)
    assert jobs.cancel(record.id).status == "canceled"
    wait_until(lambda: service.figures().busy_slots == 0)
    wait_until(lambda: jobs.look(record.id).num_done > 0)
    assert service.figures().waiting_images == 0
    assert jobs.cancel(record.id).status == "canceled"


def test_a_job_that_another_replica_cancelled_ends_here_too(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = MemoryStore()
    jobs = start(store)
    record = ask(service, n=10_000, steps=10)
    jobs.accept(record)
    wait_until(lambda: service.figures().busy_slots > 0)
    JobStore(store).end(record.id, JobEnd(status="canceled"))
    wait_until(lambda: service.figures().busy_slots == 0)
    assert wait_for_end(jobs, record).status == "canceled"


def test_without_storage_a_job_goes_on_from_memory_within_a_bound_and_then_waits(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = FailingStore(MemoryStore())
    image_bytes = 16 * 16
    limits = JobLimits(max_unstored_bytes=10 * image_bytes, lease_seconds=0.6, retry_seconds=0.05)
    jobs = start(store, limits)
    record = ask(service, n=150)
    jobs.accept(record)
    wait_until(lambda: jobs.look(record.id).num_done > 0)
    store.is_away = True

    def count_unstored() -> int:
        return int(jobs.troubles.split(", ")[-1].split()[0]) if jobs.troubles else 0

    wait_until(lambda: count_unstored() >= 10 and service.figures().busy_slots == 0)
    before = service.figures().images
    assert count_unstored() <= 14
    wait_until(lambda: "the store went away" in jobs.look(record.id).message)
    assert service.figures().images == before
    store.is_away = False
    assert wait_for_end(jobs, record).status == "succeeded"
    assert jobs.troubles == ""
    images = [key for key in store.changes if "/images/" in key]
    assert len(images) == len(set(images)) == 150


def test_more_jobs_than_may_wait_are_refused(service: Service, start: Callable[..., Jobs]) -> None:
    jobs = start(MemoryStore(), JobLimits(max_open=2, lease_seconds=0.6))
    records = [ask(service, n=10_000, steps=10) for _ in range(2)]
    for record in records:
        jobs.accept(record)
    with pytest.raises(TooManyJobs, match="2 jobs have not ended"):
        jobs.accept(ask(service))
    jobs.cancel(records[0].id)
    jobs.accept(ask(service, n=1))


def test_no_more_jobs_run_than_may_and_the_oldest_comes_first(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = MemoryStore()
    first, second = ask(service, n=3), ask(service, n=3).model_copy(update={"created": 0})
    JobStore(store).create(first)
    JobStore(store).create(second)
    jobs = start(store, JobLimits(max_running=1, lease_seconds=0.6))
    wait_for_end(jobs, first)
    assert jobs.look(second.id).status == "succeeded"


def test_a_job_is_drawn_by_the_model_that_it_was_accepted_for(
    service: Service, start: Callable[..., Jobs]
) -> None:
    jobs = start(MemoryStore())
    former = load(1, "memory:/models/0")
    record = ask(service, model=former.identity)
    jobs.accept(record)
    view = wait_for_end(jobs, record)
    generator = Generator(former.unet, former.schedule, former.prediction_type, STRICT_1)
    assert view.done == {image.seed: image.sha256 for image in generator.generate(record.seeds, "ddim", 2)}


@pytest.mark.parametrize(
    ("uri", "words"), [("memory:/models/9", "does not exist"), ("memory:/models/0", "another one by now")]
)
def test_a_job_whose_model_is_gone_fails_with_the_reason(
    service: Service, start: Callable[..., Jobs], uri: str, words: str
) -> None:
    jobs = start(MemoryStore())
    record = ask(service, model=ModelIdentity(uri, "0" * 64, "0" * 64))
    jobs.accept(record)
    view = wait_for_end(jobs, record)
    assert view.status == "failed"
    assert words in view.message


def test_a_job_whose_images_are_not_finite_fails_with_the_reason() -> None:
    loaded = load(0)
    service = Service(loaded, ServingSettings(model_uri="memory:/models"))
    with torch.no_grad():
        loaded.unet.conv_out.bias.fill_(np.nan)
    jobs = Jobs(JobStore(MemoryStore()), service, LIMITS)
    record = ask(service)
    jobs.accept(record)
    view = wait_for_end(jobs, record)
    assert view.status == "failed"
    assert "not finite" in view.message
    jobs.stop(PATIENCE_SECONDS)
    service.stop(grace_seconds=0)


def test_one_damaged_job_does_not_keep_the_others_waiting(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = MemoryStore({f"open/{'0' * 32}": b"", f"{'0' * 32}/job.json": b"{", f"open/{'1' * 32}": b""})
    damaged = ask(service).model_copy(update={"created": 0})
    JobStore(store).create(damaged)
    store.objects[f"{damaged.id}/end.json"] = b"{"
    jobs = start(store)
    record = ask(service)
    jobs.accept(record)
    assert wait_for_end(jobs, record).status == "succeeded"


def test_what_else_lies_among_a_jobs_images_is_not_the_jobs(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = MemoryStore()
    record = ask(service, n=3)
    JobStore(store).create(record)
    for name in (f"999-{'0' * 64}.png", "notes.txt"):
        store.objects[f"{record.id}/images/{name}"] = b""
    view = wait_for_end(start(store), record)
    assert (view.status, sorted(view.done)) == ("succeeded", [7, 8, 9])


def test_troubles_name_no_job_for_they_are_told_to_anybody(
    service: Service, start: Callable[..., Jobs]
) -> None:
    store = FailingStore(MemoryStore())
    jobs = start(store)
    record = ask(service, n=500)
    jobs.accept(record)
    wait_until(lambda: jobs.look(record.id).num_done > 0)
    store.is_away = True
    wait_until(lambda: bool(jobs.troubles))
    assert record.id not in jobs.troubles
    jobs.stop(PATIENCE_SECONDS)


@pytest.mark.parametrize("job_id", ["", "a", "0" * 32, "../../etc/passwd", "open"])
def test_a_job_that_does_not_exist_is_not_found(start: Callable[..., Jobs], job_id: str) -> None:
    jobs = start(MemoryStore())
    for ask_for in (jobs.look, jobs.cancel):
        with pytest.raises(NotFound, match="use the id"):
            ask_for(job_id)


@pytest.mark.parametrize("file", ["job.json", "end.json", "../x", "1-ff.png", ""])
def test_only_images_and_their_list_are_handed_out(service: Service, file: str) -> None:
    store = JobStore(MemoryStore())
    record = ask(service)
    store.create(record)
    with pytest.raises(NotFound, match="no file of a job"):
        store.read_file(record.id, file)


def test_an_end_that_was_said_first_stays() -> None:
    store = JobStore(MemoryStore())
    assert store.end("a" * 32, JobEnd(status="canceled")).status == "canceled"
    assert store.end("a" * 32, JobEnd(status="succeeded")).status == "canceled"


def test_jobs_ends_with_threads_gone(service: Service, start: Callable[..., Jobs]) -> None:
    jobs = start(MemoryStore())
    record = ask(service, n=10_000, steps=10)
    jobs.accept(record)
    wait_until(lambda: service.figures().busy_slots > 0)
    jobs.stop(PATIENCE_SECONDS)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("job")]
    assert jobs.look(record.id).status == "queued"

"""A storage server that stands still for a while: training waits, hears a stop, and loses nothing."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from uuid import uuid4

import pytest
from tiny_run import CPU, Control, TinyRun, train, write_tiny_run

from synthray.data import stream
from synthray.storage import EmbeddedS3, ObjectStore, S3Settings, open_store
from synthray.telemetry.report import SegmentReport
from synthray.training import waiting
from synthray.training.loop import train_segment
from synthray.training.preflight import check_run, observe_resume_point, start_attempt
from synthray.training.world import World

NewRun = Callable[..., TinyRun]
UNCACHED = "spec.workers.cacheSize=1"
AWAY_SECONDS = 1.0


class Server:
    """The real server, which a test pauses and wakes up."""

    def __init__(self, server: EmbeddedS3) -> None:
        self._pid = server.pid

    def pause(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.fixture
def server(s3_server: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(stream, "_AWAY_PAUSE_SECONDS", 0.05)
    server = Server(s3_server)
    try:
        yield server
    finally:
        server.wake()


@pytest.fixture
def environment(s3_environment: Mapping[str, str]) -> Mapping[str, str]:
    """Each try of a request ends soon, but not because a busy machine is slow."""
    return {**s3_environment, "SYNTHRAY_STORAGE_DEADLINE_SECONDS": "5"}


@pytest.fixture
def on_s3(new_run: NewRun, environment: Mapping[str, str]) -> TinyRun:
    """A run with a local dataset whose checkpoints go to the server."""
    return new_run("broken", uri=f"s3://xray/{uuid4().hex}", environment=environment)


class Outage(Control):
    """Pauses the server after some steps, and wakes it once training has been waiting for a second."""

    def __init__(self, server: Server, *, after_steps: int, wakes: bool = True, stops: bool = False) -> None:
        super().__init__(stop_once=self._look)
        self._server = server
        self._after_steps = after_steps
        self._wakes = wakes
        self._stops = stops
        self._paused = False
        self.waited = False

    def _look(self, report: SegmentReport) -> bool:
        if not self._paused and report.totals.steps >= self._after_steps:
            self._paused = True
            self._server.pause()
        if report.state == "WaitingForStorage":
            self.waited = self.waited or report.totals.storage_wait_seconds > AWAY_SECONDS
            if self.waited and self._wakes:
                self._server.wake()
        return self._stops and report.state == "WaitingForStorage"


class PatientOutage(Outage):
    """Stops for others to go on, who need what it saves."""

    def stop_is_patient(self) -> bool:
        return True


def copy_dataset(source_uri: str, destination: ObjectStore) -> None:
    source = open_store(source_uri, S3Settings())
    for info in source.list():
        destination.write(info.key, source.read(info.key))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_data_that_is_away_is_waited_for_and_not_called_bad(
    new_run: NewRun,
    dataset_uri: str,
    s3: ObjectStore,
    server: Server,
    environment: Mapping[str, str],
    num_workers: int,
) -> None:
    alone = new_run("alone")
    train(alone, UNCACHED)
    copy_dataset(dataset_uri, s3)
    broken = write_tiny_run(alone.file.parent, "broken", s3.uri, environment=environment)
    outage = Outage(server, after_steps=1)
    assert train(broken, UNCACHED, num_workers=num_workers, controls={0: outage}) == "complete"
    assert outage.waited
    assert broken.digests() == alone.digests()
    assert broken.progress()["bad_samples"] == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_saves_that_must_wait_wait_together_for_as_long_as_it_takes(
    new_run: NewRun, on_s3: TinyRun, server: Server, num_workers: int
) -> None:
    alone = new_run("alone")
    train(alone)
    outage = Outage(server, after_steps=1)
    assert train(on_s3, num_workers=num_workers, controls={0: outage}) == "complete"
    assert outage.waited
    assert on_s3.digests() == alone.digests()
    assert [model.epoch for model in on_s3.checkpoints().list_models()] == [1, 2]


def test_training_goes_on_from_the_cache_while_a_save_is_sent_again(on_s3: TinyRun, server: Server) -> None:
    """The first epoch is saved after two steps; only the next save that must be needs the buffer."""
    outage = Outage(server, after_steps=1)
    assert train(on_s3, controls={0: outage}) == "complete"
    waited_first = next(report for report in outage.reports if report.state == "WaitingForStorage")
    assert waited_first.totals.steps == 3
    assert sum(waited_first.totals.checkpoint_failures.values()) > 0, "told while it waits, not afterwards"


def test_a_stop_in_an_outage_is_heard_and_loses_nothing_that_was_committed(
    new_run: NewRun, on_s3: TinyRun, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "STOP_PATIENCE_SECONDS", 2.0)
    alone = new_run("alone")
    train(alone)
    assert train(on_s3, num_workers=2, stop_after_steps=1) == "stopped"
    outage = Outage(server, after_steps=1, wakes=False, stops=True)
    began = time.monotonic()
    assert train(on_s3, num_workers=2, controls={0: outage}) == "stopped"
    assert time.monotonic() - began < 30
    server.wake()
    assert on_s3.checkpoints().list_states()[-1].images_seen == 14
    assert train(on_s3) == "complete"
    assert on_s3.digests() == alone.digests()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_stop_for_others_to_go_on_waits_for_storage_and_saves_every_step(
    on_s3: TinyRun, server: Server, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    monkeypatch.setattr(waiting, "STOP_PATIENCE_SECONDS", 0.2)
    outage = PatientOutage(server, after_steps=1, stops=True)
    assert train(on_s3, num_workers=num_workers, controls={0: outage}) == "stopped"
    assert outage.waited
    reached = outage.reports[-1].figures
    newest = on_s3.checkpoints().list_states()[-1]
    assert reached is not None
    assert newest.images_seen == reached.images_seen
    assert outage.reports[-1].last_checkpoint is not None
    assert outage.reports[-1].last_checkpoint.name == str(newest.name)


@pytest.mark.parametrize("stops", [False, True])
def test_a_segment_that_opens_in_an_outage_waits_or_is_stopped(
    new_run: NewRun, on_s3: TinyRun, server: Server, *, stops: bool
) -> None:
    alone = new_run("alone")
    train(alone)
    assert train(on_s3, stop_after_steps=1) == "stopped"
    settings = on_s3.settings()
    preflight = check_run(settings, adopt=False)
    point = observe_resume_point(preflight, frozenset())
    attempt = start_attempt(preflight, point, images_reached=None, cause=None)
    server.pause()
    outage = Outage(server, after_steps=0, stops=stops)
    world = World(0, 1, CPU)
    assert train_segment(settings, attempt, world, outage) == ("stopped" if stops else "complete")
    assert outage.reports[0].state == "WaitingForStorage"
    if not stops:
        assert on_s3.digests() == alone.digests()

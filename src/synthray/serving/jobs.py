"""Jobs of one replica: which it draws, which it leaves to others, and what it tells of them.

A replica takes a job by a claim in storage, keeps the claim alive while it draws, and takes over jobs whose
claim no longer changes. It needs no clock but its own and no word from other replicas. This module must not
know HTTP.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from synthray.errors import NotFound, SynthrayError, VerificationFailed
from synthray.serving.engine import Busy
from synthray.serving.job_run import Desk, JobRun
from synthray.serving.job_store import Claim, EndStatus, JobEnd, JobRecord, JobStore, NumberedClaim
from synthray.serving.settings import JobLimits

_RETRY_AFTER_SECONDS: Final = 60

JobStatus = Literal["queued", "running"] | EndStatus

_log = logging.getLogger(__name__)


class TooManyJobs(Busy):
    """So many jobs have not ended that no other is accepted now."""

    code = "too_many_jobs"

    def __init__(self, num_open: int) -> None:
        super().__init__(
            f"{num_open} jobs have not ended, as many as may be; cancel one or try later",
            _RETRY_AFTER_SECONDS,
        )


@dataclass(frozen=True)
class JobView:
    """Where a job stands; `done` maps seeds to SHA-256 of pixels, and is empty if it was not asked for."""

    record: JobRecord
    status: JobStatus
    num_done: int
    message: str = ""
    is_here: bool = False
    done: Mapping[int, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in ("queued", "running")


@dataclass(eq=False)
class _Held:
    """A job that this replica has claimed."""

    run: JobRun
    claim: NumberedClaim
    thread: threading.Thread | None = None


@dataclass(frozen=True)
class _Sighting:
    """When another replica's claim was first seen to be as it is."""

    claim: NumberedClaim
    seen_seconds: float


class Jobs:
    """Accepts jobs, draws those that it gets hold of, and tells of all; any thread may call its methods.

    They raise what JobStore does.
    """

    def __init__(self, store: JobStore, desk: Desk, limits: JobLimits) -> None:
        self._store = store
        self._desk = desk
        self._limits = limits
        self._replica = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._sightings: dict[str, _Sighting] = {}
        self._records: dict[str, JobRecord] = {}
        self._wake = threading.Event()
        self._is_stopping = False
        self._is_blind = False
        self._thread = threading.Thread(target=self._tend, name="jobs", daemon=True)
        self._thread.start()

    @property
    def uri(self) -> str:
        """Where jobs are kept."""
        return self._store.uri

    @property
    def troubles(self) -> str:
        """What keeps this replica's jobs waiting, in words; empty if nothing does. Names no job."""
        runs = [held.run for held in self._list_held() if held.run.trouble]
        if not runs:
            return (
                "new jobs wait: their list can't be read, most often for storage; the log says more"
                if self._is_blind
                else ""
            )
        num_unstored = sum(run.num_unstored for run in runs)
        return (
            f"jobs wait, most often for storage: {len(runs)} are held up, "
            f"{num_unstored} finished images are in memory; the log says more"
        )

    def accept(self, record: JobRecord) -> JobView:
        """Keep a job; once this returns, some replica will draw it. Raises TooManyJobs."""
        num_open = len(self._store.list_open())
        if num_open >= self._limits.max_open:
            raise TooManyJobs(num_open)
        self._store.create(record)
        self._wake.set()
        return JobView(record, "queued", 0)

    def draws(self, job_id: str) -> bool:
        """Whether this replica draws a job at the moment; asks nobody."""
        with self._lock:
            return job_id in self._held

    def look(self, job_id: str, *, with_done: bool = True) -> JobView:
        """Where a job stands."""
        with self._lock:
            held = self._held.get(job_id)
        if held is not None:
            done = dict(held.run.done)
            return JobView(held.run.record, "running", len(done), held.run.trouble, is_here=True, done=done)
        record = self._store.read(job_id)
        end = self._store.read_end(job_id)
        claim = None if end else self._store.read_claim(job_id)
        done = self._store.list_done(record) if with_done or end else {}
        num_done = len(done) or (claim.claim.done if claim else 0)
        if end:
            return JobView(record, end.status, num_done, end.message, done=done)
        is_running = claim is not None and not claim.claim.is_given_up
        return JobView(record, "running" if is_running else "queued", num_done, done=done)

    def cancel(self, job_id: str) -> JobView:
        """End a job, unless it has ended; what is done stays."""
        self._store.read(job_id)
        self._store.end(job_id, JobEnd(status="canceled"))
        with self._lock:
            held = self._held.pop(job_id, None)
        if held is not None:
            held.run.stop()
        return self.look(job_id)

    def read_file(self, job_id: str, file: str) -> bytes:
        """One of a job's images, or its list of them."""
        return self._store.read_file(job_id, file)

    def stop(self, grace_seconds: float) -> None:
        """Store what is drawn, and leave the rest to another replica or to this one's next start."""
        deadline = time.monotonic() + grace_seconds
        self._is_stopping = True
        self._wake.set()
        self._thread.join(grace_seconds)
        held_ones = self._list_held()
        for held in held_ones:
            held.run.stop()
        for held in held_ones:
            if held.thread is not None:
                held.thread.join(max(0.0, deadline - time.monotonic()))

    def _list_held(self) -> list[_Held]:
        with self._lock:
            return list(self._held.values())

    def _tend(self) -> None:
        while not self._is_stopping:
            try:
                self._beat()
                self._look_for_work()
                self._is_blind = False
            except SynthrayError as error:
                self._is_blind = True
                _log.warning("jobs can't be looked after now: %s", error.message)
            except Exception:  # noqa: BLE001 a defect must not end the looking after
                _log.exception("a defect in looking after jobs")
            self._wake.wait(self._limits.lease_seconds / 3)
            self._wake.clear()

    def _beat(self) -> None:
        for held in self._list_held():
            job_id = held.run.record.id
            with _passing_over(job_id):
                held.claim = replace(held.claim, claim=self._build_claim(held))
                is_mine = self._store.beat(job_id, held.claim)
                if not is_mine or self._desk.failure or self._store.read_end(job_id) is not None:
                    held.run.stop()

    def _build_claim(self, held: _Held, *, is_given_up: bool = False) -> Claim:
        return Claim(
            replica=self._replica,
            beat=held.claim.claim.beat + 1,
            done=len(held.run.done),
            is_given_up=is_given_up,
        )

    def _look_for_work(self) -> None:
        records = self._read_open()
        self._sightings = {key: self._sightings[key] for key in records if key in self._sightings}
        for record in sorted(records.values(), key=lambda record: (record.created, record.id)):
            held = {one.run.record.id for one in self._list_held()}
            if self._desk.failure or self._is_stopping or len(held) >= self._limits.max_running:
                return
            if record.id in held:
                continue
            with _passing_over(record.id):
                end = self._store.read_end(record.id)
                if end is not None:
                    self._store.end(record.id, end)
                else:
                    self._take_if_free(record)

    def _read_open(self) -> Mapping[str, JobRecord]:
        known, self._records = self._records, {}
        for job_id in self._store.list_open():
            with _passing_over(job_id):
                self._records[job_id] = known.get(job_id) or self._store.read(job_id)
        return self._records

    def _take_if_free(self, record: JobRecord) -> None:
        found = self._store.read_claim(record.id)
        if found is not None and not self._is_nobodys(record.id, found):
            return
        claim = self._store.claim(record.id, self._replica, after=found)
        if claim is None:
            return
        held = _Held(JobRun(record, self._store, self._desk, self._limits), claim)
        held.thread = threading.Thread(target=self._run, args=(held,), name="job", daemon=True)
        with self._lock:
            self._held[record.id] = held
        held.thread.start()

    def _is_nobodys(self, job_id: str, found: NumberedClaim) -> bool:
        if found.claim.is_given_up:
            return True
        sighting = self._sightings.get(job_id)
        if sighting is None or sighting.claim != found:
            self._sightings[job_id] = _Sighting(found, time.monotonic())
            return False
        return time.monotonic() - sighting.seen_seconds >= self._limits.lease_seconds

    def _run(self, held: _Held) -> None:
        job_id = held.run.record.id
        try:
            end = held.run.run()
        except Exception:  # noqa: BLE001 a defect ends its job, with a word
            _log.exception("job %s", job_id)
            end = JobEnd(status="failed", message="a defect of synthray; the service's log tells more")
        self._say(held, end)
        with self._lock:
            if self._held.get(job_id) is held:
                del self._held[job_id]
        # There may be room for the next.
        self._wake.set()

    def _say(self, held: _Held, end: JobEnd | None) -> None:
        """Store how a run ended, or that it was given up; as long as it takes, but once while stopping."""
        job_id = held.run.record.id
        while True:
            try:
                if end is not None:
                    self._store.end(job_id, end)
                else:
                    given_up = self._build_claim(held, is_given_up=True)
                    self._store.beat(job_id, replace(held.claim, claim=given_up))
            except SynthrayError as error:
                held.run.trouble = f"storage is away: {error.message}"
                if self._is_stopping or end is None:
                    return
                time.sleep(self._limits.retry_seconds)
            else:
                return


@contextmanager
def _passing_over(job_id: str) -> Iterator[None]:
    """One job that somebody damaged must not keep the others waiting."""
    try:
        yield
    except (NotFound, VerificationFailed) as error:
        _log.warning("job %s is passed over: %s", job_id, error.message)

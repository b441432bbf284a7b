"""Jobs as objects, so that they outlive the process that draws them.

Under the root of all jobs:

    open/<id>                            there is such a job, and it has not ended
    <id>/job.json                        what was asked for
    <id>/claims/<n>.json                 the n-th replica that took it, and its heartbeat
    <id>/images/<seed>-<SHA-256>.png     an image that is done, by the SHA-256 of its pixels
    <id>/images.csv                      seeds, hashes and files, once all are done
    <id>/end.json                        how it ended, by whoever said so first

The names of images say what is done, so nothing can be lost between an image and a note of it. Claims and
ends are created, never replaced: of two replicas one wins. A claim is judged by whether its heartbeat changes
while one looks, so no two clocks are compared; should two replicas draw one job all the same, they store the
same bytes under the same names. This module must not know engines or HTTP.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthray.errors import NotFound, Reason, VerificationFailed
from synthray.generation.identity import ModelIdentity
from synthray.generation.receipts import MAX_SEED, MAX_STEPS
from synthray.storage import ObjectExists, ObjectStore

MAX_JOB_IMAGES: Final = 10_000
CSV_FILE: Final = "images.csv"
_OPEN_PREFIX: Final = "open/"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_IMAGE: Final = re.compile(r"(?P<seed>0|[1-9][0-9]{0,15})-(?P<sha256>[0-9a-f]{64})\.png")

EndStatus = Literal["succeeded", "failed", "canceled"]
Document = TypeVar("Document", bound="StoredDocument")


class StoredDocument(BaseModel):
    """What lies in storage as JSON; a later version may add fields, which are ignored here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class JobRecord(StoredDocument):
    """What was asked for: images of the seeds seed to seed + n - 1, by one model; never changes."""

    id: str
    created: int
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    n: Annotated[int, Field(ge=1, le=MAX_JOB_IMAGES)]
    sampler: str
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    profile: str
    model_uri: str
    model_digest: str
    architecture_digest: str

    @property
    def model(self) -> ModelIdentity:
        """What draws it, whatever is served by then."""
        return ModelIdentity(self.model_uri, self.model_digest, self.architecture_digest)

    @property
    def seeds(self) -> range:
        """Of its images."""
        return range(self.seed, self.seed + self.n)


class JobEnd(StoredDocument):
    """How a job ended, and why if not well."""

    status: EndStatus
    message: str = ""


class Claim(StoredDocument):
    """Who draws a job, and that it still does: `beat` grows; `is_given_up` says that it no longer does."""

    replica: str
    beat: int = 0
    done: int = 0
    is_given_up: bool = False


@dataclass(frozen=True)
class NumberedClaim:
    """A claim with its place among those of its job; the highest number counts."""

    number: int
    claim: Claim


def new_job_id() -> str:
    """Unguessable, since whoever knows it may read and cancel the job."""
    return secrets.token_hex(16)


def image_file(seed: int, sha256: str) -> str:
    """The name of an image's file."""
    return f"{seed}-{sha256}.png"


def build_csv(done: Mapping[int, str]) -> str:
    """Seeds, the SHA-256 of their pixels, and their files, in the order of the seeds."""
    rows = (f"{seed},{sha256},images/{image_file(seed, sha256)}" for seed, sha256 in sorted(done.items()))
    return "\n".join(["seed,sha256,file", *rows, ""])


class JobStore:
    """All jobs under one root; thread-safe, and nothing is remembered here.

    Methods raise NotFound for a job that does not exist, VerificationFailed for a document that is not
    synthray's, and what ObjectStore raises.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        """The root."""
        return self._store.uri

    def create(self, record: JobRecord) -> None:
        """Keep a new job; it is drawn from the moment that this returns, and never if it raises."""
        self._store.create(f"{record.id}/job.json", record.model_dump_json().encode())
        self._store.create(f"{_OPEN_PREFIX}{record.id}", b"")

    def list_open(self) -> list[str]:
        """The jobs that have not ended."""
        return [info.key.removeprefix(_OPEN_PREFIX) for info in self._store.list(_OPEN_PREFIX)]

    def read(self, job_id: str) -> JobRecord:
        """What was asked for."""
        record = self._read(f"{job_id}/job.json", JobRecord) if _ID.fullmatch(job_id) else None
        if record is None:
            raise NotFound(f"job {job_id[:64]!r} does not exist; use the id that POST /v1/jobs answered")
        return record

    def read_end(self, job_id: str) -> JobEnd | None:
        """How it ended, if it has."""
        return self._read(f"{job_id}/end.json", JobEnd)

    def end(self, job_id: str, end: JobEnd) -> JobEnd:
        """Say how a job ended; how it really did, if that was said before."""
        try:
            self._store.create(f"{job_id}/end.json", end.model_dump_json().encode())
        except ObjectExists:
            end = self.read_end(job_id) or end
        self._store.delete([f"{_OPEN_PREFIX}{job_id}"])
        return end

    def read_claim(self, job_id: str) -> NumberedClaim | None:
        """The one that counts."""
        last = max((info.key for info in self._store.list(f"{job_id}/claims/")), default=None)
        claim = self._read(last, Claim) if last else None
        return (
            NumberedClaim(int(last[-len("000000.json") : -len(".json")]), claim) if last and claim else None
        )

    def claim(self, job_id: str, replica: str, *, after: NumberedClaim | None) -> NumberedClaim | None:
        """Take a job that nobody draws; None if another replica was first."""
        taken = NumberedClaim(after.number + 1 if after else 1, Claim(replica=replica))
        try:
            self._store.create(_claim_key(job_id, taken.number), taken.claim.model_dump_json().encode())
        except ObjectExists:
            # The answer to a create can be lost: then it is one's own.
            found = self._read(_claim_key(job_id, taken.number), Claim)
            return taken if found == taken.claim else None
        return taken

    def beat(self, job_id: str, claim: NumberedClaim) -> bool:
        """Store one's own claim with its new heartbeat; whether it still counts."""
        self._store.write(_claim_key(job_id, claim.number), claim.claim.model_dump_json().encode())
        return self._store.stat(_claim_key(job_id, claim.number + 1)) is None

    def list_done(self, record: JobRecord) -> dict[int, str]:
        """Seeds of the images that are done, with the SHA-256 of their pixels."""
        names = (info.key.rpartition("/")[2] for info in self._store.list(f"{record.id}/images/"))
        found = (match for name in names if (match := _IMAGE.fullmatch(name)))
        # Whatever else somebody put there is not the job's.
        return {int(one["seed"]): one["sha256"] for one in found if int(one["seed"]) in record.seeds}

    def keep_image(self, job_id: str, seed: int, sha256: str, png: bytes) -> None:
        """Store an image."""
        self._store.write(f"{job_id}/images/{image_file(seed, sha256)}", png)

    def keep_csv(self, job_id: str, done: Mapping[int, str]) -> None:
        """Store the list of images."""
        self._store.write(f"{job_id}/{CSV_FILE}", build_csv(done).encode())

    def read_file(self, job_id: str, file: str) -> bytes:
        """An image, or the list of them."""
        if file != CSV_FILE and not _IMAGE.fullmatch(file):
            raise NotFound(f"{file[:100]!r} is no file of a job; use images.csv or one that it lists")
        self.read(job_id)
        return self._store.read(f"{job_id}/{file}" if file == CSV_FILE else f"{job_id}/images/{file}")

    def _read(self, key: str, kind: type[Document]) -> Document | None:
        try:
            data = self._store.read(key)
        except NotFound as error:
            if error.reason is Reason.BUCKET_MISSING:
                raise
            return None
        try:
            return kind.model_validate(json.loads(data))
        except (ValueError, ValidationError) as error:
            raise VerificationFailed(
                f"{self.uri}/{key} is damaged or not of synthray's jobs ({str(error)[:200]}); move it away"
            ) from error


def _claim_key(job_id: str, number: int) -> str:
    return f"{job_id}/claims/{number:06d}.json"

"""What the trainer tells the uploader process and what it hears back, as plain data that JSON can carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from synthray import errors
from synthray.errors import Reason, SynthrayError
from synthray.storage import S3Settings


@dataclass(frozen=True)
class RetentionPolicy:
    """How many checkpoints outlive the next save.

    The newest `states` states; of the models every `models_every_nth_epoch`-th epoch's, the `best` ones by
    validation loss, and the newest.
    """

    states: int
    models_every_nth_epoch: int
    best: int


@dataclass(frozen=True)
class RunContext:
    """What all saves of one attempt have in common.

    `model_files` are the texts of a model's other files (model_index.json, unet/config.json,
    scheduler/scheduler_config.json) by path; without a `retention` nothing is ever deleted.
    """

    run: str
    attempt: int
    nonce: str
    resumes_from: str | None
    rng_key: str
    config_digest: str
    config: Mapping[str, Any]
    dataset_digest: str
    fingerprint: Mapping[str, str]
    model_files: Mapping[str, str]
    retention: RetentionPolicy | None = None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class SaveRequest:
    """One save; the tensors lie in the host buffer, `progress` is everything else that resuming needs."""

    images_seen: int
    step: int
    epoch: int
    write_model: bool
    progress: Mapping[str, Any]
    ledger: Mapping[str, Any]
    validation_loss: float | None = None
    created: str = field(default_factory=_now)


@dataclass(frozen=True)
class Opening:
    """The uploader's first line: where to write, what it serves, and where in the host buffer files lie.

    Descriptor `descriptor` holds `buffer_bytes` bytes; `regions` gives (start, size) of each tensor part.
    """

    store_uri: str
    settings: S3Settings
    context: RunContext
    parent_pid: int
    descriptor: int
    buffer_bytes: int
    regions: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class SaveOrder:
    """A later line: save now; `parent` is the state that this one follows."""

    request: SaveRequest
    parent: str | None


@dataclass(frozen=True)
class CommitReport:
    """A commit: directory names, and what it took."""

    state: str
    model: str | None
    hash_seconds: float
    upload_seconds: float
    commit_seconds: float
    uploaded_bytes: int


@dataclass(frozen=True)
class SaveAnswer:
    """The uploader's line for each order; exactly one of `report` and `error_class` is set.

    `requests` (operation, outcome, count), `read_bytes` and `retries` are what this order asked of the store.
    """

    report: CommitReport | None = None
    error_class: str = ""
    error_reason: str = ""
    error_message: str = ""
    deleted: tuple[str, ...] = ()
    retention_problem: str = ""
    requests: tuple[tuple[str, str, int], ...] = ()
    read_bytes: int = 0
    retries: int = 0

    def error(self) -> SynthrayError | None:
        """The failure as an exception again; None after a commit."""
        if not self.error_class:
            return None
        kind: type[SynthrayError] = getattr(errors, self.error_class, SynthrayError)
        return kind(self.error_message, reason=Reason(self.error_reason))


OPENING = TypeAdapter(Opening)
SAVE_ORDER = TypeAdapter(SaveOrder)
SAVE_ANSWER = TypeAdapter(SaveAnswer)

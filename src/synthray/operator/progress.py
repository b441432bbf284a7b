"""What a run's driver says of itself on /progress, checked: a pod's words are input like any other.

Pure; who fetches it is another module's business.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict, Field, ValidationError

from synthray.api.v1alpha1.fields import StatusModel
from synthray.api.v1alpha1.training_run_status import RunState
from synthray.errors import VerificationFailed

_MAX_COUNT: Final = 2**63 - 1
_Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]


class DriverModel(StatusModel):
    """A part of /progress: snake_case, as the driver writes it; unknown fields are ignored."""

    model_config = ConfigDict(alias_generator=None)


class DriverWorkers(DriverModel):
    """Workers as the driver sees them."""

    desired: _Count = 0
    ready: _Count = 0


class DriverCheckpoint(DriverModel):
    """The newest committed state; `time` is in seconds since 1970."""

    epoch: _Count
    images_seen: _Count
    uri: str = Field(max_length=1024)
    time: float = Field(ge=0, le=1e11, strict=False)


class DriverGoodput(DriverModel):
    """How much of the run's life was new work."""

    ratio: float | None = Field(default=None, ge=0, le=1, strict=False)


class DriverProgress(DriverModel):
    """Where the driver stands."""

    run: str = Field(max_length=63)
    attempt: _Count = 0
    state: RunState
    reason: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9]*$")
    message: str = Field(default="", max_length=4096)
    epoch: _Count = 0
    epochs: _Count = 0
    images_seen: _Count = 0
    images_total: _Count = 0
    loss: float | None = Field(default=None, strict=False)
    images_per_second: float | None = Field(default=None, ge=0, strict=False)
    eta_seconds: float | None = Field(default=None, ge=0, strict=False)
    workers: DriverWorkers = DriverWorkers()
    last_checkpoint: DriverCheckpoint | None = None
    goodput: DriverGoodput = DriverGoodput()


@dataclass(frozen=True)
class ProgressView:
    """The newest word of the driver in one head's pod, and when it came."""

    pod_uid: str
    received: datetime
    progress: DriverProgress


def parse_progress(body: bytes) -> DriverProgress:
    """The driver's document; raises VerificationFailed if it is none."""
    try:
        return DriverProgress.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise VerificationFailed(f"/progress: {where}: {first['msg']}") from error

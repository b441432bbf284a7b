"""What a service is started with; read once, at its edge."""

from dataclasses import dataclass, field

from synthray.generation.profile import STRICT_1, Profile
from synthray.generation.sources import LATEST


@dataclass(frozen=True)
class ServingLimits:
    """What a request may ask for, and how much may wait; as in GenerationService."""

    max_images_per_request: int = 16
    max_steps: int = 200
    max_queued_images: int = 256


@dataclass(frozen=True)
class JobLimits:
    """How many jobs there may be, and how long a replica waits for storage and for other replicas.

    `max_open`: jobs of all replicas that have not ended; `max_running`: of one replica at a time;
    `max_unstored_bytes`: pixels of one job that may wait in memory while storage is away; `lease_seconds`:
    a claim that has not changed for so long is nobody's; `retry_seconds`: between two tries of storage.
    """

    max_open: int = 16
    max_running: int = 4
    max_unstored_bytes: int = 32 << 20
    lease_seconds: float = 30.0
    retry_seconds: float = 2.0


@dataclass(frozen=True)
class ServingSettings:
    """A model and how it is drawn with; `which` chooses among a run's models.

    latest and best are looked up again every `follow_seconds`, never if that is 0. `jobs_uri`: where jobs are
    kept; empty: there are none. `token_file`: holds what a client must know; empty: nothing.
    """

    model_uri: str
    which: str | int = LATEST
    sampler: str = "ddim"
    steps: int = 50
    profile: Profile = STRICT_1
    limits: ServingLimits = field(default_factory=ServingLimits)
    jobs_uri: str = ""
    token_file: str = ""
    max_wait_seconds: float = 300.0
    self_test_seconds: float = 3600.0
    follow_seconds: float = 15.0

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
class ServingSettings:
    """A model and how it is drawn with; `which` chooses among a run's models.

    latest and best are looked up again every `follow_seconds`, never if that is 0.
    """

    model_uri: str
    which: str | int = LATEST
    sampler: str = "ddim"
    steps: int = 50
    profile: Profile = STRICT_1
    limits: ServingLimits = field(default_factory=ServingLimits)
    max_wait_seconds: float = 300.0
    self_test_seconds: float = 3600.0
    follow_seconds: float = 15.0

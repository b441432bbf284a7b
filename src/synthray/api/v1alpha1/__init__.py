"""`synthray.io/v1alpha1`: the objects as pydantic models, one file for each part that is understood alone."""

from synthray.api.v1alpha1.generation_service import GenerationService, GenerationServiceSpec
from synthray.api.v1alpha1.model import ModelSpec, resolve_architecture
from synthray.api.v1alpha1.training_run import TrainingRun, TrainingRunSpec
from synthray.api.v1alpha1.training_run_status import TrainingRunStatus

__all__ = [
    "GenerationService",
    "GenerationServiceSpec",
    "ModelSpec",
    "TrainingRun",
    "TrainingRunSpec",
    "TrainingRunStatus",
    "resolve_architecture",
]

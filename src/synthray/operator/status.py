"""What a run's status says, from what is observed and decided; and when it is worth a write. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from synthray.api.v1alpha1 import TrainingRunStatus
from synthray.api.v1alpha1.training_run_status import LastCheckpoint, RunState, WorkersStatus
from synthray.errors import Reason
from synthray.operator.conditions import Answer, Answers, build_conditions
from synthray.operator.kuberay import build_worker_selector
from synthray.operator.observation import Observation
from synthray.operator.progress import DriverProgress
from synthray.operator.scaling import count_possible

_LEAST_SECONDS_BETWEEN_WRITES: Final = 10.0
_WRITES_PER_SECOND: Final = 20.0
# Figures move with every step; all else is news that is written at once.
_FIGURES: Final = frozenset(
    {"epoch", "images_seen", "progress", "loss", "images_per_second", "eta", "last_checkpoint", "goodput"}
)


def build_status(
    observation: Observation,
    base: TrainingRunStatus,
    answers: Answers,
    state: RunState,
    *,
    below_minimum_since: datetime | None = None,
) -> TrainingRunStatus:
    """The status to show: `base` with the answers, the workers and the newest figures.

    `below_minimum_since`: since when an attempt that wants workers has had too few.
    """
    run = observation.run
    updates: dict[str, object] = {
        "conditions": build_conditions(answers, base.conditions, run.metadata.generation, observation.now),
        "observed_generation": run.metadata.generation,
        "state": state,
        "workers": count_workers(observation, base),
        "epochs": run.spec.optimization.epochs,
        "below_minimum_since": below_minimum_since,
    }
    word = observation.current_word
    if word is not None:
        updates |= _figures(word.progress, base)
    return base.model_copy(update=updates)


def describe_invalid(
    base: TrainingRunStatus, document: Mapping[str, Any], message: str, now: datetime
) -> TrainingRunStatus:
    """The status of a run that the server keeps and this release can't read: blocked, else as it was."""
    generation = document["metadata"].get("generation", 0)
    answers = Answers(
        ready=Answer(False, Reason.INVALID_INPUT, message),
        progressing=Answer(False, Reason.INVALID_INPUT),
        blocked=Answer(True, Reason.INVALID_INPUT, message),
    )
    conditions = build_conditions(answers, base.conditions, generation, now)
    return base.model_copy(update={"conditions": conditions, "observed_generation": generation})


def is_news(previous: TrainingRunStatus, wanted: TrainingRunStatus) -> bool:
    """Whether the difference is more than figures that move with every step."""
    return previous.model_dump(exclude=set(_FIGURES)) != wanted.model_dump(exclude=set(_FIGURES))


def seconds_between_figures(num_runs: int, uid: str) -> float:
    """How long figures may be old: longer with many runs, and not at the same moment for all."""
    share = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4]) / 2**32
    return max(_LEAST_SECONDS_BETWEEN_WRITES, num_runs / _WRITES_PER_SECOND) * (0.9 + 0.2 * share)


def count_workers(observation: Observation, base: TrainingRunStatus) -> WorkersStatus:
    """Workers wanted, possible, present and at work."""
    word = observation.current_word
    ready = sum(pod.ready for pod in observation.workers)
    return WorkersStatus(
        desired=observation.run.spec.workers.replicas,
        ready=min(ready, word.progress.workers.ready) if word else 0,
        possible=count_possible(observation) if observation.workers else base.workers.possible,
        replicas=sum(pod.gone_by is None for pod in observation.workers),
        selector=build_worker_selector(observation.run.metadata.name),
    )


def _figures(progress: DriverProgress, base: TrainingRunStatus) -> dict[str, object]:
    """The driver's figures; one that is not known yet leaves the last one standing."""
    total = progress.images_total
    if not total:
        # It has not read the run's state yet.
        return {"images_per_second": None, "eta": ""}
    figures: dict[str, object] = {
        "epoch": progress.epoch,
        "images_seen": progress.images_seen,
        "loss": _round(progress.loss) if progress.loss is not None else base.loss,
        "images_per_second": _round(progress.images_per_second),
        "eta": _format_eta(progress.eta_seconds),
        "images_total": total,
        "progress": f"{min(100, 100 * progress.images_seen // total)}%",
    }
    if progress.goodput.ratio is not None:
        figures["goodput"] = round(progress.goodput.ratio, 4)
    checkpoint = progress.last_checkpoint
    if checkpoint is not None:
        figures["last_checkpoint"] = LastCheckpoint(
            epoch=checkpoint.epoch,
            images_seen=checkpoint.images_seen,
            uri=checkpoint.uri,
            time=datetime.fromtimestamp(int(checkpoint.time), UTC),
        )
    return figures


def _round(figure: float | None) -> float | None:
    """Four digits: what people compare in a column."""
    return None if figure is None else float(f"{figure:.4g}")


def _format_eta(seconds: float | None) -> str:
    """`3h12m`, `12m`, `40s`; empty if it is not known."""
    if seconds is None:
        return ""
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86_400
    if days >= 2:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m" if minutes else f"{int(seconds)}s"

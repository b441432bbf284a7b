"""An independent record of the samples that each worker computed, for whoever checks a run from outside.

One file per attempt and rank, one line per step, written when the step is accepted and handed to the kernel
at once, so that a SIGKILL takes nothing of it. It decides nothing and is no part of a run's state.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from synthray.training.batches import TrainingBatch
from synthray.training.world import World


class SampleAudit:
    """The lines of one worker in one attempt."""

    def __init__(self, directory: Path, attempt: int, world: World) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{attempt:06d}-{world.rank}.jsonl"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._who = {"attempt": attempt, "rank": world.rank, "world_size": world.size}

    def record(self, step: int, batches: Sequence[TrainingBatch], *, images_seen: int) -> None:
        """Write this worker's part of `step`, after which the run has seen so many images."""
        line = {
            **self._who,
            "step": step,
            "positions": [position for batch in batches for position in batch.positions],
            "samples": [sample for batch in batches for sample in batch.samples],
            "images_seen": images_seen,
            "accepted": True,
        }
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def open_audit(directory: str, attempt: int, world: World) -> SampleAudit | None:
    """The audit in `directory`; None where it is empty: nobody asked for one."""
    return SampleAudit(Path(directory), attempt, world) if directory else None

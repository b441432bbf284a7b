"""The `/progress` document: one JSON object that the operator, `synthray status` and people read."""

import math
from dataclasses import asdict
from typing import Any

from synthray.telemetry.report import RunSnapshot

MAX_MESSAGE_CHARACTERS = 2048


def build_progress(snapshot: RunSnapshot) -> dict[str, Any]:
    """Where the run stands; figures that are not known yet are null."""
    figures, lifetime = snapshot.figures, snapshot.lifetime
    checkpoint = snapshot.last_checkpoint
    # images_total is epochs times the dataset's size, so the division below counts whole epochs.
    images_total = max(1, snapshot.images_total)
    loss = figures.loss if figures and math.isfinite(figures.loss) else None
    return {
        "run": snapshot.run,
        "namespace": snapshot.namespace,
        "attempt": snapshot.attempt,
        "state": snapshot.state,
        "reason": snapshot.reason,
        "message": snapshot.message[:MAX_MESSAGE_CHARACTERS],
        "resumed_from": snapshot.resumed_from,
        "committed_states": snapshot.committed_states,
        "epoch": figures.epoch if figures else lifetime.images_seen * snapshot.epochs // images_total,
        "epochs": snapshot.epochs,
        "images_seen": figures.images_seen if figures else lifetime.images_seen,
        "images_total": snapshot.images_total,
        "loss": loss,
        "validation_loss": figures.validation_loss if figures else None,
        "images_per_second": figures.images_per_second if figures else None,
        "eta_seconds": snapshot.eta_seconds,
        "workers": {
            "desired": snapshot.workers_desired,
            "ready": snapshot.workers_ready,
            "ranks": [asdict(place) for place in snapshot.ranks],
        },
        "last_checkpoint": asdict(checkpoint) if checkpoint else None,
        "goodput": {
            "ratio": lifetime.goodput_ratio,
            "useful_seconds": lifetime.useful_seconds,
            "data_wait_seconds": lifetime.data_wait_seconds,
            "checkpoint_stall_seconds": lifetime.checkpoint_stall_seconds,
            "restart_seconds": lifetime.restart_seconds,
            "redone_images": lifetime.redone_images,
        },
        "version": snapshot.version,
    }

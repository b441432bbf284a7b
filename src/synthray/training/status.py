"""Where a run stands, told by what it has committed: works without a driver and after the cluster is gone."""

from typing import Any

from synthray.checkpoints.identity import read_identity
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import NotFound
from synthray.training.ledger import Ledger


def build_status(checkpoints: CheckpointStore) -> dict[str, Any]:
    """The newest accepted state and the ledger in it; raises NotFound where no run has begun."""
    identity = read_identity(checkpoints.store)
    if identity is None:
        raise NotFound(f"{checkpoints.uri} holds no run; begin one with `synthray train RUN.yaml`")
    states = checkpoints.list_states()
    document: dict[str, Any] = {"run": identity.run, "uri": checkpoints.uri, "began": identity.created}
    if not states:
        return {**document, "epoch": 0, "images_seen": 0, "last_checkpoint": None}
    newest = states[-1]
    ledger = Ledger.from_json(newest.ledger)
    last = ledger.history[-1] if ledger.history else None
    return {
        **document,
        "epoch": newest.epoch,
        "images_seen": newest.images_seen,
        "step": newest.step,
        "loss": last.loss if last else None,
        "validation_loss": last.validation_loss if last else None,
        "last_checkpoint": newest.created,
        "attempts": ledger.attempts,
        "faults": ledger.num_faults,
        "redone_images": ledger.redone_images,
        "goodput_ratio": round(ledger.goodput_ratio, 4),
        "useful_seconds": round(ledger.useful_seconds, 1),
        "data_wait_seconds": round(ledger.data_wait_seconds, 1),
        "checkpoint_stall_seconds": round(ledger.checkpoint_stall_seconds, 1),
        "restart_seconds": round(ledger.restart_seconds, 1),
    }

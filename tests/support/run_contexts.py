"""What all saves of one attempt have in common, for runs that only tests know."""

from collections.abc import Mapping
from typing import Any

from synthray.checkpoints.attempts import AttemptRecord
from synthray.checkpoints.identity import RunIdentity
from synthray.checkpoints.requests import RunContext

MODEL_FILES = {
    "model_index.json": "{}",
    "unet/config.json": '{"sample_size": 64}',
    "scheduler/scheduler_config.json": "{}",
}


def build_identity(run: str) -> RunIdentity:
    return RunIdentity(
        run=run,
        config_digest="c" * 64,
        config={"seed": 0},
        dataset_digest="d" * 64,
        created="2026-01-01T00:00:00+00:00",
    )


def build_context(
    record: AttemptRecord, run: str = "small", *, model_files: Mapping[str, str] = MODEL_FILES, **changes: Any
) -> RunContext:
    identity = build_identity(run)
    fields: dict[str, Any] = {
        "run": run,
        "attempt": record.number,
        "nonce": record.nonce,
        "resumes_from": record.resumes_from,
        "rng_key": "0",
        "config_digest": identity.config_digest,
        "config": identity.config,
        "dataset_digest": identity.dataset_digest,
        "fingerprint": {"device": "cpu"},
        "model_files": model_files,
    }
    return RunContext(**{**fields, **changes})

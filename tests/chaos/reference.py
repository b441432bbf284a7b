"""The run that is left alone: what every other one must equal, computed once and kept.

One worker, no faults, checkpoints in a folder. What is kept is bound to the source code and the
configuration, so that a campaign that is continued after a change computes it anew.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tiny_run import write_tiny_run

import synthray
from synthray.checkpoints.store import CheckpointStore
from synthray.storage import S3Settings, open_store

from .configuration import PROCESSES, Configuration
from .train_command import TrainCommand

_DEADLINE_SECONDS = 3 * 3600.0
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """A finished run: digests of its last state, and of each epoch's model by images seen."""

    state: tuple[str, ...]
    models: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class Reference:
    """The unbroken run's result, goodput and time."""

    result: Result
    goodput_ratio: float
    seconds: float


def read_result(checkpoints: CheckpointStore) -> Result:
    """From a run's checkpoints."""
    newest = checkpoints.list_states()[-1]
    return Result(
        (str(newest.images_seen), newest.weights_sha256, newest.ema_sha256, newest.optimizer_sha256),
        {model.images_seen: (model.ema_sha256,) for model in checkpoints.list_models()},
    )


def read_ledger(checkpoints: CheckpointStore) -> dict[str, Any]:
    """The newest state's, with the ratio of useful to elapsed seconds."""
    ledger = dict(checkpoints.list_states()[-1].ledger)
    elapsed = ledger["saved"] - ledger["started"]
    return {
        name: ledger[name]
        for name in (
            "attempts",
            "useful_seconds",
            "data_wait_seconds",
            "checkpoint_stall_seconds",
            "restart_seconds",
            "redone_images",
        )
    } | {"elapsed_seconds": elapsed, "goodput_ratio": ledger["useful_seconds"] / elapsed}


def find_reference(configuration: Configuration, dataset_uri: str, folder: Path) -> Reference:
    """The kept one, or one that is computed now."""
    configuration = replace(configuration, through=PROCESSES, num_workers=1, streams=False)
    file = folder / f"reference-{_key(configuration, dataset_uri)}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        models = {int(images): tuple(digests) for images, digests in kept["result"]["models"].items()}
        result = Result(tuple(kept["result"]["state"]), models)
        return Reference(result, kept["goodput_ratio"], kept["seconds"])
    reference = _compute(configuration, dataset_uri, folder)
    file.write_text(json.dumps(asdict(reference)))
    return reference


def _compute(configuration: Configuration, dataset_uri: str, folder: Path) -> Reference:
    name = f"alone-{time.time_ns()}"
    run = write_tiny_run(folder, name, dataset_uri)
    started = time.monotonic()
    command = TrainCommand(
        run.file,
        [*configuration.arguments(), "--cache", str(folder / "cache")],
        log=folder / f"{name}.log",
        environment={},
        mark=name,
    )
    try:
        while command.exit_code is None and time.monotonic() - started < _DEADLINE_SECONDS:
            time.sleep(_LOOK_SECONDS)
        if command.exit_code != 0:
            raise RuntimeError(f"the unbroken run ended with {command.exit_code}:\n{command.tail()}")
    finally:
        command.kill_everything()
    checkpoints = CheckpointStore(open_store(run.checkpoints_uri, S3Settings()))
    ratio: float = read_ledger(checkpoints)["goodput_ratio"]
    return Reference(read_result(checkpoints), ratio, time.monotonic() - started)


def _key(configuration: Configuration, dataset_uri: str) -> str:
    digest = hashlib.sha256("\n".join([*configuration.changes(), dataset_uri]).encode())
    package = Path(synthray.__file__).parent
    for source in sorted(package.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]

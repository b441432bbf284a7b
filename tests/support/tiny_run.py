"""A tiny run that is real in every part: a prepared dataset, a UNet of 20,000 parameters, a store.

`train_alone` walks a segment in this process; `ThreadWorld` lets threads be workers, so that worlds of many
sizes cost nothing to start.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from torch import Tensor

from synthray.api.loading import load_training_run
from synthray.checkpoints.store import CheckpointStore
from synthray.data.dataset import read_description
from synthray.data.phantom import write_phantom_dataset
from synthray.data.prepare import prepare
from synthray.storage import ObjectStore, S3Settings, open_store, s3_settings_from_environment
from synthray.telemetry.report import SegmentReport
from synthray.training.loop import train_segment
from synthray.training.preflight import check_run, observe_resume_point, start_attempt
from synthray.training.resolution import observe_compute_capability, resolve_run
from synthray.training.settings import RunSettings
from synthray.training.world import World, pick_device

T = TypeVar("T")
CPU = torch.device("cpu")
Digests = tuple[str, str, str]


@dataclass(frozen=True)
class TinyRun:
    """A TrainingRun's file of which tests change single fields."""

    file: Path
    checkpoints_uri: str
    cache: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def settings(self, *changes: str) -> RunSettings:
        run = load_training_run(self.file, changes)
        return resolve_run(
            run,
            self.environment,
            cache_directory=self.cache,
            compute_capability=observe_compute_capability(),
        ).settings

    def digests(self) -> Digests:
        """Of weights, EMA and optimizer in the newest state."""
        newest = self.checkpoints().list_states()[-1]
        return newest.weights_sha256, newest.ema_sha256, newest.optimizer_sha256

    def progress(self) -> Mapping[str, Any]:
        """What the newest state holds beside tensors."""
        checkpoints = self.checkpoints()
        return checkpoints.load_progress(checkpoints.list_states()[-1])

    def num_train(self) -> int:
        """Images of an epoch."""
        return read_description(self._open(load_training_run(self.file).spec.dataset.uri)).num_train

    def checkpoints(self) -> CheckpointStore:
        return CheckpointStore(self._open(self.checkpoints_uri))

    def _open(self, uri: str) -> ObjectStore:
        return open_store(uri, s3_settings_from_environment(self.environment))


def prepare_tiny_dataset(folder: Path) -> str:
    """Some forty 16 px images of phantoms to train on, a few patients held out; its place."""
    raw, prepared = (open_store(str(folder / name), S3Settings()) for name in ("raw", "prepared"))
    write_phantom_dataset(raw, num_images=50, size_px=200, seed=0, workers=1)
    prepare(raw, prepared, size_px=16, holdout=0.2, max_bad=0.5)
    return prepared.uri


def write_tiny_run(
    folder: Path,
    name: str,
    dataset_uri: str,
    *,
    uri: str = "",
    environment: Mapping[str, str] | None = None,
    epochs: int = 2,
) -> TinyRun:
    """A run of its own, whose checkpoints go to `uri` or into the folder."""
    checkpoints_uri = uri or str(folder / name)
    document = {
        "apiVersion": "synthray.io/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "tiny"},
        "spec": {
            "dataset": {"uri": dataset_uri},
            "model": {
                "preset": "demo-64",
                "resolution": 16,
                "blockOutChannels": [8, 8],
                "downBlockTypes": ["DownBlock2D", "AttnDownBlock2D"],
                "upBlockTypes": ["AttnUpBlock2D", "UpBlock2D"],
                "normNumGroups": 4,
            },
            "optimization": {
                "epochs": epochs,
                "globalBatchSize": 14,
                "microBatchSize": 2,
                "learningRate": 1.0e-3,
                "learningRateSchedule": {"warmupImages": 20},
            },
            "previews": {"seeds": []},
            "checkpoints": {"uri": checkpoints_uri, "maxWorkAtRiskSeconds": 10},
        },
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document))
    return TinyRun(file, checkpoints_uri, folder / "cache", environment or {})


class Control:
    """A platform that asks to stop after some steps, or once a report is as awaited; keeps the reports."""

    def __init__(
        self,
        stop_after_steps: int | None = None,
        stop_once: Callable[[SegmentReport], bool] = lambda _: False,
    ) -> None:
        self._stop_after_steps = stop_after_steps
        self._stop_once = stop_once
        self._stopping = False
        self.reports: list[SegmentReport] = []

    def stop_requested(self) -> bool:
        return self._stopping

    def stop_is_patient(self) -> bool:
        return False

    def report(self, report: SegmentReport) -> None:
        self.reports.append(report)
        steps = self._stop_after_steps
        if (steps is not None and report.totals.steps >= steps) or self._stop_once(report):
            self._stopping = True


@dataclass(frozen=True)
class ThreadWorld(World):
    """Workers that are threads of one process; sums are made by the first."""

    shared: dict[int, object] = field(default_factory=dict)
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def add_over_workers(self, tensor: Tensor) -> None:
        items = self.gather_objects(tensor.clone())
        tensor.copy_(sum(items[1:], start=items[0].clone()))

    def sum_piece(self, tensor: Tensor, scratch: Tensor) -> Tensor:
        scratch.copy_(tensor)
        self.add_over_workers(scratch)
        return scratch.chunk(self.size)[self.rank]

    def join_pieces(self, piece: Tensor, joined: Tensor) -> None:
        torch.cat(self.gather_objects(piece), out=joined)

    def copy_from_first(self, tensor: Tensor) -> None:
        tensor.copy_(self.gather_objects(tensor.clone())[0])

    def gather_objects(self, item: object) -> list:  # type: ignore[type-arg]
        self.barrier.wait()
        self.shared[self.rank] = item
        self.barrier.wait()
        return [self.shared[rank] for rank in range(self.size)]


def run_workers(
    num_workers: int,
    work: Callable[[ThreadWorld], T],
    *,
    device: torch.device = CPU,
    world: type[ThreadWorld] = ThreadWorld,
) -> list[T]:
    """What `work` returns in each of a world of threads; the failure that came first, if one did."""
    barrier, shared = threading.Barrier(num_workers), dict[int, object]()

    def run(rank: int) -> T:
        try:
            return work(world(rank, num_workers, device, shared, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(num_workers) as pool:
        futures = [pool.submit(run, rank) for rank in range(num_workers)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    return [future.result() for future in futures]


def train(
    run: TinyRun,
    *changes: str,
    num_workers: int = 1,
    stop_after_steps: int | None = None,
    controls: Mapping[int, Control] | None = None,
) -> str:
    """One attempt with threads as workers, from the newest state; how it ended.

    `controls` are the platforms of some ranks; the first worker's asks to stop after `stop_after_steps` else.
    """
    settings = run.settings(*changes)
    preflight = check_run(settings, adopt=False)
    attempt = start_attempt(
        preflight, observe_resume_point(preflight, frozenset()), images_reached=0, cause=None
    )
    asked = {0: Control(stop_after_steps), **(controls or {})}

    def work(world: ThreadWorld) -> str:
        return train_segment(settings, attempt, world, asked.get(world.rank, Control()))

    return run_workers(num_workers, work, device=pick_device(settings.device))[0]

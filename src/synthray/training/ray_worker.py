"""Ray Train's part: start the workers of one segment and let each run the plain loop.

The only file that knows `ray.train`. It must stay importable without torch, which only the workers need: the
driver starts, watches and decides without it.
"""

import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from synthray.errors import SynthrayError, Unavailable
from synthray.telemetry.report import SegmentReport
from synthray.training.board import Wishes
from synthray.training.settings import AttemptSettings, RunSettings

_EXCHANGE_SECONDS = 0.25
_MEETING_DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class RaySegment:
    """What every worker of a segment gets."""

    settings: RunSettings
    attempt: AttemptSettings
    board: Any  # an actor handle of RunBoard; Ray publishes no type for it


def fit_segment(segment: RaySegment, num_workers: int, *, scratch_directory: str) -> None:
    """Run one segment with a fixed number of workers; returns when it ends, raises when Ray saw it fail."""
    use_gpu = segment.settings.device == "cuda"
    trainer = DataParallelTrainer(
        train_worker,
        train_loop_config={"segment": segment},
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if use_gpu else {})},
        ),
        run_config=RunConfig(
            name=f"{segment.settings.run}-{segment.attempt.number}",
            storage_path=scratch_directory,
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    trainer.fit()


def train_worker(config: dict[str, Any]) -> None:
    """One worker: meet the others, run the loop, say how it ended."""
    segment: RaySegment = config["segment"]
    # Torch and the model are imported here, in the worker alone.
    from synthray.training.loop import run_segment  # noqa: PLC0415
    from synthray.training.segment import open_segment  # noqa: PLC0415
    from synthray.training.world import join_world, leave_world, pick_device  # noqa: PLC0415

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    control = BoardControl(segment, rank)
    try:
        device = pick_device(segment.settings.device)
        world = join_world(rank, size, init_method=_meet(segment, rank, size), device=device)
        with open_segment(segment.settings, segment.attempt, world) as opened:
            outcome = run_segment(opened, control)
        leave_world(world)
        if rank == 0:  # the others are through before the last save is committed
            ray.get(segment.board.finish.remote(segment.attempt.number, outcome))
    except SynthrayError as error:
        ray.get(segment.board.fail.remote(segment.attempt.number, error))
        raise
    finally:
        control.close()


def _meet(segment: RaySegment, rank: int, size: int) -> str:
    """Agree on an address: the first worker offers one, the others ask for it."""
    if size == 1:
        return ""
    number = segment.attempt.number
    if rank == 0:
        host = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        return str(ray.get(segment.board.meet.remote(number, f"tcp://{host}:{port}")))
    deadline = time.monotonic() + _MEETING_DEADLINE_SECONDS
    while (address := ray.get(segment.board.meet.remote(number, None))) is None:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"worker {rank} heard nothing of worker 0 for {_MEETING_DEADLINE_SECONDS:.0f} s"
            )
        time.sleep(0.02)
    return str(address)


class BoardControl:
    """`RunControl` through the board: a thread of its own talks, so that the loop never waits for Ray."""

    def __init__(self, segment: RaySegment, rank: int) -> None:
        self._board = segment.board
        self._report: SegmentReport | None = None
        self._wishes = Wishes()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._exchange, name=f"board-{rank}", daemon=True)
        self._thread.start()

    def stop_requested(self) -> bool:
        """Whether the driver wants the segment to end."""
        return self._wishes.stop

    def save_requested(self) -> bool:
        """Whether the driver wants a save."""
        return self._wishes.save

    def report(self, report: SegmentReport) -> None:
        """Keep the newest report for the next exchange."""
        self._report = report

    def close(self) -> None:
        """Send the last report."""
        self._closing.set()
        self._thread.join()

    def _exchange(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(_EXCHANGE_SECONDS)
            report = self._report
            if report is not None:
                self._wishes = ray.get(self._board.exchange.remote(report))

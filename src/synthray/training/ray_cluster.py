"""The platform that stands on Ray: a Ray of this machine for the time of a run.

Starts and stops Ray, and opens crews on it. No torch here.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from synthray.errors import Reason, Unavailable
from synthray.training.board import RunBoard
from synthray.training.ray_worker import RayBoard, RayCrew, RayPost
from synthray.training.worker_launch import StandbyAddress

_START_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_ENVIRONMENT = {
    # Where images of patients are near, nothing reports home.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # A drain is heard by the driver, for all workers at once.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # cuBLAS repeats its results only with a workspace of fixed size.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}

_log = logging.getLogger(__name__)


@contextmanager
def local_ray_platform(
    directory: Path, logs: Path, *, max_workers: int, use_gpu: bool
) -> Iterator["RayPlatform"]:
    """A Ray of this machine, on which the run's workers and those that relieve them find room."""
    os.environ.update(_ENVIRONMENT)
    standby_directory = directory / "standby"
    # Imports torch while Ray starts; ends with this process.
    StandbyAddress(standby_directory, os.getpid()).start()
    try:
        _start_ray(2 * max_workers + 1)
        yield RayPlatform(directory, standby_directory, logs, use_gpu=use_gpu)
    finally:
        ray.shutdown()


def _start_ray(num_cpus: int) -> None:
    """Start Ray; on a busy machine it may miss its own deadline of 30 seconds, so it gets more than one."""
    for attempts_left in reversed(range(_START_ATTEMPTS)):
        try:
            ray.init(
                num_cpus=num_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
        except Exception as error:
            ray.shutdown()
            if attempts_left:
                _log.info("Ray did not start in time; once more")
                continue
            raise Unavailable(
                f"Ray did not start on this machine ({error}); its logs are in /tmp/ray/session_latest/logs. "
                "The same command may succeed when the machine is less busy",
                reason=Reason.RAY_UNAVAILABLE,
            ) from error
        return


class RayPlatform:
    """Opens crews on the Ray that this process is connected to."""

    def __init__(self, directory: Path, standby_directory: Path, logs: Path, *, use_gpu: bool) -> None:
        self.board = RayBoard(ray.remote(num_cpus=0, max_concurrency=1)(RunBoard).remote())
        self._directory = directory
        self._standby_directory = standby_directory
        self._logs = logs
        self._use_gpu = use_gpu

    def open_crew(self, number: int, size: int) -> RayCrew:
        """One `fit()`."""
        return RayCrew(
            RayPost(number, self.board, str(self._standby_directory), str(self._logs)),
            size,
            resources={"CPU": 1, **({"GPU": 1} if self._use_gpu else {})},
            use_gpu=self._use_gpu,
            scratch=self._directory,
        )

    def places(self) -> int | None:
        """On one machine only the wish counts."""
        return None

    def logs(self) -> str:
        """The folder of the workers' logs."""
        return str(self._logs)

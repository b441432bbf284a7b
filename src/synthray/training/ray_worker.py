"""Ray Train's part: a supervisor in each of its workers, which looks after the process that trains.

The only file that knows `ray.train`. No torch here: the worker process has it, and Ray's own processes stay
light. One `fit()` is one crew: it lives as long as its number of workers is wanted, over many attempts.
"""

import logging
import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from synthray.training.board import Note, Orders, Posting, Seat
from synthray.training.supervisor import Supervisor
from synthray.training.worker_launch import StandbyAddress

_log = logging.getLogger(__name__)


class RayBoard:
    """The board as an actor: every method is one call to it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def exchange(self, seat: Seat, note: Note) -> tuple[Orders, str]:
        """Leave a supervisor's note; answer with the orders, and where the workers meet."""
        answer: tuple[Orders, str] = ray.get(self._actor.exchange.remote(seat, note))
        return answer

    def direct(self, crew: int, orders: Orders) -> None:
        """Leave the driver's orders for a crew."""
        ray.get(self._actor.direct.remote(crew, orders))

    def posting(self, crew: int) -> Posting:
        """What the supervisors of a crew left."""
        posting: Posting = ray.get(self._actor.posting.remote(crew))
        return posting


@dataclass(frozen=True)
class RayPost:
    """What every worker of a `fit()` gets to know."""

    crew: int
    board: RayBoard
    standby_directory: str
    log_directory: str


def supervise(config: dict[str, RayPost]) -> None:
    """One Ray Train worker: agree on the group with the others, then supervise until dismissed."""
    post = config["post"]
    context = ray.train.get_context()
    group = ray.train.collective.broadcast_from_rank_zero(uuid.uuid4().hex)
    Supervisor(
        Seat(post.crew, group, context.get_world_rank(), context.get_world_size()),
        post.board,
        # This node's raylet is the parent of its workers; the standby serves them all and ends with it.
        StandbyAddress(Path(post.standby_directory), os.getppid()),
        logs=Path(post.log_directory),
        host=ray.util.get_node_ip_address(),
        actor=ray.get_runtime_context().current_actor,
    ).run()


class RayCrew:
    """One `fit()`, in a thread of its own; Ray Train replaces workers that die."""

    def __init__(
        self, post: RayPost, size: int, *, resources: dict[str, float], use_gpu: bool, scratch: Path
    ) -> None:
        self.number = post.crew
        self.size = size
        self._post = post
        self._trainer = DataParallelTrainer(
            supervise,
            train_loop_config={"post": post},
            scaling_config=ScalingConfig(num_workers=size, use_gpu=use_gpu, resources_per_worker=resources),
            run_config=RunConfig(
                name=f"crew-{post.crew}",
                storage_path=str(scratch),
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
        self._thread = threading.Thread(target=self._fit, name=f"fit-{post.crew}", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether `fit()` still runs."""
        return self._thread.is_alive()

    def end_silent(self, note: Note) -> None:
        """Kill the actor; Ray Train brings up another."""
        ray.kill(note.actor)

    def close(self) -> None:
        """Dismiss the supervisors; `fit()` ends by itself when they have gone."""
        self._post.board.direct(self.number, Orders(dismissed=True))

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except TrainingFailedError as error:
            _log.info("Ray Train gave crew %d up: %s", self.number, str(error).strip().partition("\n")[0])
        except Exception:  # noqa: BLE001 Ray raises many things; all of them end the crew, and the driver decides
            _log.debug("crew %d ended", self.number, exc_info=True)

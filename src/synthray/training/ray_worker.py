"""Ray Train's part: a supervisor in each of its workers, which looks after the process that trains.

The only file that knows `ray.train`. No torch here: the worker process has it, and Ray's own processes stay
light. One `fit()` is one crew: it lives as long as its number of workers is wanted, over many attempts.
"""

import logging
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from synthray.errors import Reason, Unavailable
from synthray.training.board import Note, Orders, Posting, Seat
from synthray.training.ray_environment import RAY_ENVIRONMENT
from synthray.training.standby_client import StandbyClient
from synthray.training.supervisor import Supervisor

_FAREWELL_SECONDS = 10.0
_BOARD_SECONDS = 60.0

_log = logging.getLogger(__name__)


class RayBoard:
    """The board as an actor: every method is one call to it, and raises Unavailable if it does not answer."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def exchange(self, seat: Seat, note: Note) -> tuple[Orders, str]:
        """Leave a supervisor's note; answer with the orders, and where the workers meet."""
        answer: tuple[Orders, str] = _answer(self._actor.exchange.remote(seat, note))
        return answer

    def direct(self, crew: int, orders: Orders) -> None:
        """Leave the driver's orders for a crew."""
        _answer(self._actor.direct.remote(crew, orders))

    def introduce(self, crew: int, controller: Any) -> None:
        """Leave the handle of the actor that controls a crew's `fit()`."""
        _answer(self._actor.introduce.remote(crew, controller))

    def controller(self, crew: int) -> Any:
        """The handle of the actor that controls a crew's `fit()`; None before it has started."""
        return _answer(self._actor.controller.remote(crew))

    def posting(self, crew: int) -> Posting:
        """What the supervisors of a crew left."""
        posting: Posting = _answer(self._actor.posting.remote(crew))
        return posting


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=_BOARD_SECONDS)
    except RayError as error:
        raise Unavailable(
            f"the run's board, an actor of Ray on the driver's node, does not answer "
            f"({type(error).__name__}); the same command goes on from the newest state",
            reason=Reason.RAY_UNAVAILABLE,
        ) from error


class Introduction(ControllerCallback):  # type: ignore[misc]  # Ray publishes no types
    """Leaves the controller's handle on the board, so that a `fit()` that waits for ever can be ended."""

    def __init__(self, crew: int, board: RayBoard) -> None:
        self._crew = crew
        self._board = board

    def after_controller_start(self, train_run_context: Any) -> None:  # noqa: ARG002 the base's signature
        """Called in the controller's process, before it starts any worker."""
        self._board.introduce(self._crew, ray.get_runtime_context().current_actor)


class CrewTrainer(DataParallelTrainer):  # type: ignore[misc]  # Ray publishes no types
    """Without Ray Train's own cleaner of reservations, which asks whatever Ray answers on this machine.

    Where another Ray had started, it took a living controller for dead and killed the crew. The platform
    gives back what a dead controller reserved, by the word of the run's own Ray.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()
        return [one for one in callbacks if not isinstance(one, PlacementGroupCleanerCallback)]


@dataclass(frozen=True)
class RayPost:
    """What every worker of a `fit()` gets to know."""

    crew: int
    board: RayBoard
    standby_directory: str
    log_directory: str


@dataclass(frozen=True)
class RayLayout:
    """What Ray reserves for a worker, and how it spreads workers over nodes."""

    resources: dict[str, float]
    placement_strategy: str


def supervise(config: dict[str, RayPost]) -> None:
    """One Ray Train worker: agree on the group with the others, then supervise until dismissed."""
    post = config["post"]
    context = ray.train.get_context()
    group = ray.train.collective.broadcast_from_rank_zero(uuid.uuid4().hex)
    Supervisor(
        Seat(post.crew, group, context.get_world_rank(), context.get_world_size()),
        post.board,
        # This node's raylet is the parent of its workers; the standby serves them all and ends with it.
        StandbyClient(Path(post.standby_directory), os.getppid()),
        environment={**os.environ, **RAY_ENVIRONMENT},
        logs=Path(post.log_directory),
        host=ray.util.get_node_ip_address(),
        place=ray.get_runtime_context().get_node_id(),
        actor=ray.get_runtime_context().current_actor,
    ).run()


class RayCrew:
    """One `fit()`, in a thread of its own; Ray Train replaces workers that die."""

    def __init__(self, post: RayPost, size: int, layout: RayLayout, *, scratch: Path) -> None:
        self.number = post.crew
        self.size = size
        self._post = post
        self._closing: threading.Thread | None = None
        self._trainer = CrewTrainer(
            supervise,
            train_loop_config={"post": post},
            scaling_config=ScalingConfig(
                num_workers=size,
                use_gpu="GPU" in layout.resources,
                resources_per_worker=layout.resources,
                placement_strategy=layout.placement_strategy,
            ),
            run_config=RunConfig(
                name=f"crew-{post.crew}",
                storage_path=str(scratch),
                failure_config=FailureConfig(max_failures=-1),
                callbacks=[Introduction(post.crew, post.board)],
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
        """Dismiss the supervisors; `fit()` ends when they have gone, or is ended where there are none."""
        with suppress(Unavailable):
            self._post.board.direct(self.number, Orders(dismissed=True))
        self._closing = threading.Thread(target=self._see_off, name=f"close-{self.number}", daemon=True)
        self._closing.start()

    def wait_closed(self) -> None:
        """Wait until `fit()` is over: whoever calls Ray after its shutdown is ended by it."""
        if self._closing is not None:
            self._closing.join()

    def _see_off(self) -> None:
        self._thread.join(_FAREWELL_SECONDS)
        with suppress(Unavailable):
            if self._thread.is_alive() and (controller := self._post.board.controller(self.number)):
                ray.kill(controller)
                self._thread.join(_FAREWELL_SECONDS)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except TrainingFailedError as error:
            _log.info("Ray Train gave crew %d up: %s", self.number, str(error).strip().partition("\n")[0])
        except Exception as error:  # noqa: BLE001 Ray raises many things; all of them end the crew
            if self._closing is None:
                _log.warning("Ray Train ended crew %d: %s", self.number, error)

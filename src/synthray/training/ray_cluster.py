"""The platforms that stand on Ray: one of this machine for the time of a run, or a cluster that is there.

Starts, stops or joins Ray, opens crews on it and sees where there is room for workers. No torch here.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import ray
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from synthray.errors import InvalidInput, Reason, Unavailable
from synthray.training.board import RunBoard
from synthray.training.places import HALF_A_PLACE, Places
from synthray.training.ray_environment import RAY_ENVIRONMENT
from synthray.training.ray_worker import RayBoard, RayCrew, RayLayout, RayPost
from synthray.training.standby_client import StandbyClient

_START_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 128 * 1024 * 1024
_OBSERVE_SECONDS = 1.0
_KNOCK_SECONDS = 10.0
_KNOCK_AGAIN_SECONDS = 0.5

_log = logging.getLogger(__name__)


@contextmanager
def local_ray_platform(
    directory: Path, logs: Path, *, max_workers: int, use_gpu: bool
) -> Iterator["RayPlatform"]:
    """A Ray of this machine, with room for the run's workers and, without GPUs, for their relief."""
    os.environ.update(RAY_ENVIRONMENT)
    # Imports torch while Ray starts; ends with this process.
    StandbyClient(directory / "standby", os.getpid()).start()
    resources = {"CPU": 1.0, "GPU": 1.0} if use_gpu else {"CPU": 1.0}
    with _talk_to_a_file(logs):
        try:
            _start_ray(2 * max_workers + 1)
            platform = RayPlatform(directory, logs, RayLayout(resources, "PACK"))
            try:
                yield platform
            finally:
                platform.wait_closed()
        finally:
            ray.shutdown()


@contextmanager
def attached_ray_platform(
    directory: Path, logs: Path, *, address: str, use_gpu: bool, patience_seconds: float = 0.0
) -> Iterator["ClusterRayPlatform"]:
    """A Ray cluster that is there: one worker on each node that has room and is not drained.

    `patience_seconds`: how long it may take to answer. Raises Unavailable.
    """
    os.environ.update(RAY_ENVIRONMENT)
    kind = "GPU" if use_gpu else "CPU"
    with _talk_to_a_file(logs):
        try:
            _join_ray(address, time.monotonic() + patience_seconds)
            layout = RayLayout({kind: HALF_A_PLACE}, "STRICT_SPREAD")
            platform = ClusterRayPlatform(directory, logs, layout, kind)
            try:
                yield platform
            finally:
                platform.wait_closed()
        finally:
            ray.shutdown()


@contextmanager
def _talk_to_a_file(logs: Path) -> Iterator[None]:
    """Ray prints its news on standard output, which belongs to the command's result."""
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (logs / "ray.log").open("a", buffering=1) as news, redirect_stdout(news):
        yield


def _join_ray(address: str, deadline: float) -> None:
    """Connect to the cluster; Ray itself would ask a dead address for minutes, so it is knocked at first."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidInput(
            f"--ray-address {address!r} is no address; give host:port, as `ray start` prints it"
        )
    while True:
        try:
            socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            if time.monotonic() < deadline:
                time.sleep(_KNOCK_AGAIN_SECONDS)
                continue
            raise Unavailable(
                f"no Ray cluster answers at --ray-address {address} ({error}); start one with `ray start "
                "--head`, or leave the option out to train on this machine",
                reason=Reason.RAY_UNAVAILABLE,
            ) from error
        return


def _start_ray(num_cpus: int) -> None:
    """Start Ray; on a busy machine it may miss its own deadline of 30 seconds, so it gets more than one."""
    for attempts_left in reversed(range(_START_ATTEMPTS)):
        try:
            ray.init(
                address="local",  # not one that RAY_ADDRESS names, or that somebody left running here
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
    """Opens crews on the Ray that this process is connected to; only the wish counts."""

    def __init__(self, directory: Path, logs: Path, layout: RayLayout) -> None:
        # Beside the driver: without resources Ray would put it on any node, and that one may be taken away.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board = RayBoard(ray.remote(num_cpus=0, scheduling_strategy=here)(RunBoard).remote())
        self._directory = directory
        self._logs = logs
        self._layout = layout
        self._crews: list[RayCrew] = []
        self._observed_at = -_OBSERVE_SECONDS

    def open_crew(self, number: int, size: int) -> RayCrew:
        """One `fit()`."""
        post = RayPost(number, self.board, str(self._directory / "standby"), str(self._logs))
        crew = RayCrew(post, size, self._layout, scratch=self._directory)
        self._crews.append(crew)
        return crew

    def wait_closed(self) -> None:
        """Wait until the crews that were closed have gone."""
        for crew in self._crews:
            crew.wait_closed()

    def places(self) -> int | None:
        """As many as wanted."""
        if self._is_look_due():
            _remove_orphans()
        return None

    def leaving_seconds(self, places: Set[str]) -> float | None:  # noqa: ARG002 there is one place
        """This machine is never given up."""
        return None

    def has_room_for_relief(self) -> bool:
        """CPUs of one machine are shared; a GPU belongs to one worker."""
        return "GPU" not in self._layout.resources

    def logs(self) -> str:
        """The folder of the workers' logs."""
        return str(self._logs)

    def _is_look_due(self) -> bool:
        """Whether it is time to ask Ray how things stand; once a second."""
        due = time.monotonic() - self._observed_at >= _OBSERVE_SECONDS
        if due:
            self._observed_at = time.monotonic()
        return due


class ClusterRayPlatform(RayPlatform):
    """A place is a node that lives, is not drained, and has room for a crew that is free or ours already."""

    def __init__(self, directory: Path, logs: Path, layout: RayLayout, kind: str) -> None:
        super().__init__(directory, logs, layout)
        self._kind = kind
        self._rooms = Places()
        self._places: frozenset[str] = frozenset()
        self._draining: dict[str, int] = {}

    def places(self) -> int | None:
        """Nodes for workers, observed once a second."""
        if self._is_look_due():
            self._observe()
        return len(self._places - self._draining.keys())

    def leaving_seconds(self, places: Set[str]) -> float | None:
        """Seconds until the first of these nodes is gone, by its drain's deadline; some drains have none.

        As of the last look at the places, so that both tell of the same moment.
        """
        deadlines = [self._draining[place] / 1000 or math.inf for place in places & self._draining.keys()]
        return min(deadlines) - time.time() if deadlines else None

    def has_room_for_relief(self) -> bool:
        """A worker reserves half of its place."""
        return True

    def _observe(self) -> None:
        _remove_orphans()
        # Ray has no public call for this; Ray Train's own watcher asks in the same way.
        self._draining = ray._private.state.state.get_draining_nodes()
        free, ours = ray._private.state.available_resources_per_node(), self._observe_reservations()
        living = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        self._places = self._rooms.observe(
            time.monotonic(),
            {node: free.get(node, {}).get(self._kind, 0.0) + ours.get(node, 0.0) for node in living},
        )

    def _observe_reservations(self) -> dict[str, float]:
        """What the crews of this driver hold on each node; a placement group's name ends with its job's."""
        job = ray.get_runtime_context().get_job_id()
        held: dict[str, float] = {}
        for group in ray.util.placement_group_table().values():
            if not group["placement_group_id"].endswith(job) or group["state"] == "REMOVED":
                continue
            for bundle, node in group["bundles_to_node_id"].items():
                held[node] = held.get(node, 0.0) + group["bundles"][bundle].get(self._kind, 0.0)
        return held


def _remove_orphans() -> None:
    """Give back what a crew reserved whose controller is dead: Ray keeps it until the whole job ends.

    A crew that found no room and was dismissed would take the room as soon as there is some, and keep it.
    """
    job = ray.get_runtime_context().get_job_id()
    for data in ray._private.state.state._connect_and_get_accessor().get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(data)
        is_removed = group.state == gcs_pb2.PlacementGroupTableData.REMOVED
        if group.creator_job_id.hex() == job and group.creator_actor_dead and not is_removed:
            _log.info("a dismissed crew's reservation is given back")
            ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))

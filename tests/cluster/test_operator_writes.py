"""The operator dies after each of its writes, for every write of five life cycles.

API server and KubeRay are real; without nodes nothing starts the pods, and the test speaks for the drivers.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_programs import Programs
from live_operator import RUN, LiveOperator, MortalServer

from synthray.api.crd import build_crds
from synthray.operator.cluster import Cluster, Conflict, connect
from synthray.operator.cluster.watching import RAY_CLUSTERS, RUNS
from synthray.operator.kuberay import build_replicas_patch

from .conftest import say
from .environment.api_server import ApiServerAlone
from .environment.kuberay_alone import running_kuberay
from .environment.places import find_places
from .environment.programs import CONTROL_PLANE_PROGRAMS, build_programs

pytestmark = pytest.mark.timeout(900)

Step = Callable[[LiveOperator], None]


@pytest.fixture(scope="module")
def kubeconfig(foreign_kubeconfig: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An API server that KubeRay acts on."""
    if foreign_kubeconfig:
        pytest.skip("speaks for drivers: not where kubelets start them")
    places, folder = find_places(), tmp_path_factory.mktemp("api-server-with-kuberay")
    build_programs(places, (*CONTROL_PLANE_PROGRAMS, "kuberay-operator"), say)
    with (
        ApiServerAlone(folder, programs=places.programs, controllers=True) as server,
        running_kuberay(server.kubeconfig, programs=places.programs, folder=folder),
    ):
        yield server.kubeconfig


@pytest.fixture(scope="module")
def programs(kubeconfig: Path) -> Programs:
    programs = Programs(kubeconfig)
    programs.install_kinds(build_crds())
    return programs


def _change(**spec: object) -> Step:
    def act(operator: LiveOperator) -> None:
        operator.change({"spec": spec})

    return act


def _head_comes(operator: LiveOperator) -> None:
    operator.await_kuberay()


def _say(state: str, **figures: object) -> Step:
    return lambda operator: operator.say(state, **figures)


_TRAIN: tuple[Step, ...] = (_head_comes, _say("WaitingForWorkers"), _say("Running", attempt=1))
_END: tuple[Step, ...] = (_say("Complete"), _head_comes)
LIVES: dict[str, tuple[Step, ...]] = {
    "create": (*_TRAIN, *_END),
    "scale": (*_TRAIN, _change(workers={"replicas": 4}), _change(workers={"replicas": 1}), *_END),
    "suspend": (*_TRAIN, _change(suspend=True), _head_comes, _change(suspend=False), *_TRAIN, *_END),
    "fail": (*_TRAIN, _say("Failed", reason="NonFiniteLoss"), _head_comes),
    "delete": (*_TRAIN, _say("Complete"), _head_comes, _change(ttlSecondsAfterFinished=0)),
}


def _live(server: MortalServer, namespace: str, life: str, dies_after: int | None) -> object:
    """A whole life; the end of it as the API server holds it."""
    server.writes, server.dies_after = 0, dies_after
    operator = LiveOperator(server, namespace)
    operator.create(RUN)
    for step in (lambda _: None, *LIVES[life]):
        step(operator)
        operator.settle()
    return _describe_end(operator)


def _describe_end(operator: LiveOperator) -> object:
    runs = [
        (
            run["status"]["state"],
            run["status"]["attempt"],
            run["status"]["recovery"]["failures"],
            [(item["type"], item["status"], item["reason"]) for item in run["status"]["conditions"]],
        )
        for run in operator.list(RUNS.url(operator.namespace))
    ]
    clusters = [item["metadata"]["name"] for item in operator.list(RAY_CLUSTERS.url(operator.namespace))]
    return json.dumps([runs, clusters])


@pytest.mark.parametrize("life", LIVES)
def test_the_operator_may_die_after_any_write_of_a_life(
    programs: Programs, kubeconfig: Path, life: str
) -> None:
    server = MortalServer(connect(str(kubeconfig)))
    with programs.namespace() as namespace:
        whole = _live(server, namespace, life, None)
    writes = server.writes
    assert writes >= 5
    for dies_after in range(1, writes + 1):
        with programs.namespace() as namespace:
            assert _live(server, namespace, life, dies_after) == whole, f"died after write {dies_after}"


def test_a_number_of_workers_that_another_hand_was_quicker_to_change_is_a_conflict(
    programs: Programs, kubeconfig: Path
) -> None:
    server = MortalServer(connect(str(kubeconfig)))
    with programs.namespace() as namespace:
        operator = LiveOperator(server, namespace)
        operator.create(RUN)
        operator.settle()
        with pytest.raises(Conflict):
            Cluster(server).patch("RayCluster", namespace, "chest-1", build_replicas_patch(7, 3, ()))

"""The operator dies after any of its writes: the next one goes on, and the end is the same."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cluster import PRODUCT, SimulatedCluster, build_document, build_node

Life = Iterator[Callable[[SimulatedCluster], None]]


def _runs(cluster: SimulatedCluster) -> None:
    cluster.run_kuberay()


def _says(state: str, **figures: object) -> Callable[[SimulatedCluster], None]:
    return lambda cluster: cluster.say(state, **figures)


def _changes(**spec: object) -> Callable[[SimulatedCluster], None]:
    return lambda cluster: cluster.change(**spec)


def _waits(seconds: float) -> Callable[[SimulatedCluster], None]:
    return lambda cluster: cluster.pass_seconds(seconds)


_TRAINS = (_runs, _says("Preflight"), _says("WaitingForWorkers"), _runs, _says("Running", attempt=1))
_ENDS = (_says("Complete"), _runs)

LIVES: dict[str, tuple[Callable[[SimulatedCluster], None], ...]] = {
    "create": (*_TRAINS, *_ENDS),
    "scale": (
        *_TRAINS,
        _changes(workers={"replicas": 4, "gpu": {"product": PRODUCT}}),
        _runs,
        _changes(workers={"replicas": 1, "gpu": {"product": PRODUCT}}),
        _runs,
        *_ENDS,
    ),
    "suspend": (*_TRAINS, _changes(suspend=True), _runs, _changes(suspend=False), *_TRAINS, *_ENDS),
    "fail": (
        *_TRAINS,
        _says("Failed", reason="WorkerLost"),
        _runs,
        _waits(20),
        *_TRAINS,
        _says("Failed", reason="NonFiniteLoss"),
        _runs,
    ),
    "delete": (
        *_TRAINS,
        _says("Complete"),
        _runs,
        _changes(ttlSecondsAfterFinished=5),
        _waits(10),
    ),
}


def _live(life: str, *, dies_at: int | None = None) -> SimulatedCluster:
    """A whole life; the operator dies after its write number `dies_at` and another one takes over."""
    cluster = SimulatedCluster()
    for happens in (lambda _: None, *LIVES[life]):
        happens(cluster)
        for _ in range(10):
            left = None if dies_at is None else dies_at - cluster.writes
            if cluster.operate(stop_after=left if left is not None and left > 0 else None) == 0:
                break
    return cluster


def _end_of(cluster: SimulatedCluster) -> object:
    conditions = [(item.type, item.status, item.reason) for item in cluster.status.conditions]
    recovery = cluster.status.recovery
    return (
        conditions,
        cluster.status.attempt,
        recovery.failures,
        recovery.reason,
        list(cluster.clusters),
        cluster.attempts_made,
        cluster.is_run_deleted,
    )


@pytest.mark.parametrize("life", LIVES)
def test_the_operator_may_die_after_any_write_of_a_life(life: str) -> None:
    whole = _live(life)
    assert whole.writes > 5
    for dies_at in range(1, whole.writes + 1):
        assert _end_of(_live(life, dies_at=dies_at)) == _end_of(whole), f"died after write {dies_at}"


_EVENTS = st.sampled_from(
    [
        _runs,
        _says("Preflight"),
        _says("WaitingForWorkers"),
        _says("Running", attempt=1),
        _says("Blocked", reason="CredentialsRejected"),
        _says("Failed", reason="WorkerLost"),
        _says("Failed", reason="NonFiniteLoss"),
        _says("Complete"),
        _changes(suspend=True),
        _changes(suspend=False),
        _changes(workers={"replicas": 7, "gpu": {"product": PRODUCT}}),
        _changes(optimization={"epochs": 5}),
        _waits(20),
        _waits(400),
        lambda cluster: cluster.clusters.clear(),
        lambda cluster: cluster.document.pop("status", None),
        lambda cluster: cluster.annotate("synthray.io/retry", str(cluster.now)),
        lambda cluster: setattr(cluster, "nodes", (build_node(ready=False),)),
        lambda cluster: setattr(
            cluster,
            "pods",
            {name: replace(pod, phase="Failed", exit_code=1) for name, pod in cluster.pods.items()},
        ),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_EVENTS, st.integers(0, 3)), max_size=25))
def test_whatever_happens_the_operator_comes_to_rest_and_asking_twice_writes_nothing(
    story: list[tuple[Callable[[SimulatedCluster], None], int]],
) -> None:
    cluster = SimulatedCluster(build_document(backoffLimit=3))
    for happens, writes in story:
        happens(cluster)
        cluster.operate(stop_after=writes)
        assert len(cluster.clusters) <= 1, "two attempts at once"
    cluster.settle()
    assert cluster.operate() == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(_EVENTS, max_size=15))
def test_after_any_story_the_last_wish_alone_decides_what_stands(
    story: list[Callable[[SimulatedCluster], None]],
) -> None:
    cluster = SimulatedCluster()
    for happens in story:
        happens(cluster)
        cluster.operate()
    cluster.settle()
    cluster.nodes = (build_node(),)
    cluster.change(suspend=False, workers={"replicas": 3, "gpu": {"product": PRODUCT}})
    cluster.annotate("synthray.io/retry", "last")
    for _ in range(4):
        cluster.settle()
        cluster.run_kuberay()
        cluster.say("Running", attempt=1)
        cluster.pass_seconds(301)
    cluster.settle()
    assert [item.replicas for item in cluster.clusters.values()] == [3]
    assert cluster.status.state == "Running"

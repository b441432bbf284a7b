"""Whatever is changed in whatever order, a run ends where its latest spec alone would have led it.

Each change is accepted by a real API server and followed by the operator, or refused there with a message
that names the field. Another run, made of the latest spec alone, says where that leads.
"""

import copy
import json
from pathlib import Path
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from cluster_programs import Programs
from hypothesis import HealthCheck, Phase, given, settings
from live_operator import RAY_CLUSTER_CRD, RUN, LiveOperator, MortalServer

from synthray.api.crd import build_crds
from synthray.api.names import RUN_DOCUMENT_ANNOTATION
from synthray.api.v1alpha1 import TrainingRunSpec
from synthray.operator.cluster import Refused, connect
from synthray.operator.cluster.watching import RAY_CLUSTERS, RUNS
from synthray.operator.digest import digest_spec

Document = dict[str, Any]

CHANGES_IN_A_ROW: Final = 20

# Some are refused alone, some together with what stands there already, such as replicas beyond maxReplicas.
REPLICAS = st.integers(min_value=-1, max_value=6)
CHANGES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "workers.replicas": REPLICAS,
    "workers.minReplicas": REPLICAS,
    "workers.maxReplicas": REPLICAS | st.none(),
    "workers.cpu": st.sampled_from(["1", "2", "500m", "much"]),
    "workers.memory": st.sampled_from(["4Gi", "6Gi", "-1"]),
    "workers.nodeSelector": st.sampled_from([None, {"zone": "a"}, {"zone": 1}]),
    "workers.gpu": st.sampled_from([None, {"product": "Tesla-T4"}]),
    "suspend": st.booleans(),
    "backoffLimit": st.integers(min_value=-1, max_value=7),
    "ttlSecondsAfterFinished": st.sampled_from([None, 3600, -1]),
    "optimization.epochs": st.integers(min_value=0, max_value=3),
    "optimization.learningRate": st.sampled_from([1e-4, 2e-4]),
    "checkpoints.maxWorkAtRiskSeconds": st.sampled_from([60, 120, 0]),
    "checkpoints.uri": st.sampled_from(["s3://xray/runs/chest", "s3://xray/runs/other", "nowhere"]),
    "seed": st.integers(min_value=-1, max_value=1),
    "priorityClassName": st.sampled_from(["", "high", "Not A Name"]),
    "objectStorage.endpointURL": st.sampled_from(["http://s3:9000", "http://s3:9001", "s3:9000"]),
    "unknown": st.just(1),
}


changes = st.sampled_from(sorted(CHANGES)).flatmap(lambda path: st.tuples(st.just(path), CHANGES[path]))


@pytest.fixture(scope="module")
def server(api_server_kubeconfig: Path) -> MortalServer:
    Programs(api_server_kubeconfig).install_kinds([*build_crds(), RAY_CLUSTER_CRD])
    return MortalServer(connect(str(api_server_kubeconfig)))


class Ends:
    """Where a spec alone leads, computed once for each."""

    def __init__(self, server: MortalServer, programs: Programs) -> None:
        self._server = server
        self._programs = programs
        self._known: dict[str, str] = {}

    def of(self, spec: Document) -> str:
        key = json.dumps(spec, sort_keys=True)
        if key not in self._known:
            with self._programs.namespace() as namespace:
                operator = LiveOperator(self._server, namespace)
                operator.create({**RUN, "spec": spec})
                self._known[key] = follow(operator)
        return self._known[key]


@pytest.fixture(scope="module")
def ends(server: MortalServer, api_server_kubeconfig: Path) -> Ends:
    return Ends(server, Programs(api_server_kubeconfig))


def change(operator: LiveOperator, path: str, value: object) -> str:
    """The API server's refusal; empty if the change is accepted."""
    patch: object = value
    for name in reversed(path.split(".")):
        patch = {name: patch}
    try:
        operator.change({"spec": patch})
    except Refused as refusal:
        return str(refusal)
    return ""


def follow(operator: LiveOperator) -> str:
    """Let the operator, KubeRay and the driver do what they do; where that leads."""
    for _ in range(3):
        operator.settle()
        operator.play_kuberay()
        operator.say("Running", attempt=1)
    operator.settle()
    return describe(operator)


def describe(operator: LiveOperator) -> str:
    """All but the number of the attempt, and times."""
    (run,) = operator.list(RUNS.url(operator.namespace))
    status = run["status"]
    clusters = [item["spec"] for item in operator.list(RAY_CLUSTERS.url(operator.namespace))]
    for cluster in clusters:
        # What KubeRay is to delete first, not what is wanted.
        cluster["workerGroupSpecs"][0].pop("scaleStrategy", None)
        _forget_what_no_attempt_depends_on(cluster)
    end = {
        "state": status["state"],
        "observed": status["observedGeneration"] == run["metadata"]["generation"],
        "wanted": status["workers"]["desired"],
        "failures": status["recovery"]["failures"],
        "conditions": [(one["type"], one["status"], one["reason"]) for one in status["conditions"]],
        "clusters": clusters,
    }
    text = json.dumps(end, sort_keys=True, indent=1).replace(operator.namespace, "NAMESPACE")
    for attempt in range(status["attempt"], 0, -1):
        text = text.replace(f"chest-{attempt}", "chest-N")
    return text.replace(f'"synthray.io/attempt": "{status["attempt"]}"', '"synthray.io/attempt": "N"')


def _forget_what_no_attempt_depends_on(cluster: Document) -> None:
    """An attempt is told the run as it was then; the operator heeds these fields for it."""
    annotations = cluster["headGroupSpec"]["template"]["metadata"]["annotations"]
    run = json.loads(annotations[RUN_DOCUMENT_ANNOTATION])
    run["metadata"].pop("uid")
    run["spec"] = digest_spec(TrainingRunSpec.model_validate(run["spec"]))
    annotations[RUN_DOCUMENT_ANNOTATION] = json.dumps(run)


@pytest.mark.timeout(3600)
def test_a_run_ends_where_its_latest_spec_alone_would_have_led_it(
    server: MortalServer, ends: Ends, api_server_kubeconfig: Path, num_transitions: int
) -> None:
    programs = Programs(api_server_kubeconfig)
    told = {"accepted": 0, "refused": 0}

    @settings(
        max_examples=num_transitions // CHANGES_IN_A_ROW,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(changes, min_size=CHANGES_IN_A_ROW, max_size=CHANGES_IN_A_ROW))
    def play(row: list[tuple[str, Any]]) -> None:
        with programs.namespace() as namespace:
            operator = LiveOperator(server, namespace)
            operator.create(copy.deepcopy(RUN))
            follow(operator)
            for path, value in row:
                refusal = change(operator, path, value)
                told["refused" if refusal else "accepted"] += 1
                if refusal:
                    assert path.rpartition(".")[2] in refusal, f"{path}={value!r}: {refusal}"
                    continue
                reached = follow(operator)
                assert reached == ends.of(operator.spec()), f"after {path}={value!r} of {row}"

    play()
    print(told)
    assert told["accepted"] > num_transitions // 4
    assert told["refused"] > num_transitions // 10

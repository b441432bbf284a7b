"""What the operator does about a service, as a table of stories."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthray.api.loading import build_generation_service
from synthray.api.v1alpha1.generation_service import GenerationServiceStatus
from synthray.api.v1alpha1.placement import ObjectStorage
from synthray.operator.actions import SetReplicas
from synthray.operator.configuration import Images, OperatorConfiguration
from synthray.operator.services.actions import ChangeService, EndService, StartService
from synthray.operator.services.decide import ServiceDecision, decide_service
from synthray.operator.services.observation import ModelPlace, ServiceObservation
from synthray.operator.services.replica_words import ReplicaWord
from synthray.operator.views import ClusterView, PodView, RayServiceView, view_ray_service

CONFIGURATION = OperatorConfiguration(images=Images(worker="synthray/worker:1"))
START = datetime(2026, 1, 1, tzinfo=UTC)
STORAGE = ObjectStorage(endpoint_url="http://s3:8333", credentials_secret_name="s3-credentials")  # noqa: S106 a name
PLACE = ModelPlace("s3://xray/runs/chest", STORAGE)


def build_spec(**changes: Any) -> dict[str, Any]:
    return {"model": {"trainingRun": "chest"}, "replicas": 2, **changes}


@dataclass
class World:
    """A service on a cluster that does what it is told; KubeRay and replicas act when the test says so."""

    spec: dict[str, Any] = field(default_factory=build_spec)
    place: ModelPlace | None = PLACE
    annotations: dict[str, str] = field(default_factory=dict)
    now: datetime = START
    status: GenerationServiceStatus | None = None
    ray_service: dict[str, Any] | None = None
    clusters: dict[str, ClusterView] = field(default_factory=dict)
    pods: tuple[PodView, ...] = ()
    words: dict[str, ReplicaWord] = field(default_factory=dict)
    is_kuberay_installed: bool = True
    refused: str = ""
    troubles: tuple[str, ...] = ()
    made: list[str] = field(default_factory=list)

    def look(self) -> ServiceDecision:
        document = {
            "apiVersion": "synthray.io/v1alpha1",
            "kind": "GenerationService",
            "metadata": {"name": "images", "namespace": "lab", "uid": "1", "annotations": self.annotations},
            "spec": self.spec,
        }
        service = build_generation_service(document).model_copy(update={"status": self.status})
        observation = ServiceObservation(
            service=service,
            now=self.now,
            place=self.place,
            ray_service=self.view,
            clusters=tuple(self.clusters.values()),
            pods=self.pods,
            words=self.words,
            is_kuberay_installed=self.is_kuberay_installed,
            refused=self.refused,
            troubles=self.troubles,
        )
        return decide_service(observation, CONFIGURATION)

    @property
    def view(self) -> RayServiceView | None:
        return view_ray_service(self.ray_service) if self.ray_service else None

    def operate(self) -> ServiceDecision:
        decision = self.look()
        if decision.status is not None:
            self.status = decision.status
        for action in decision.actions:
            self._apply(action)
        return decision

    def settle(self) -> None:
        for _ in range(5):
            before = self.status
            if not self.operate().actions and self.status == before:
                return
        raise AssertionError("it does not come to rest")

    def serve(self) -> None:
        """Let all replicas that are wanted run and answer."""
        self.settle()
        replicas = int(self.spec["replicas"])
        self.clusters = {"images-abcde": build_cluster(replicas)}
        self.pods = tuple(build_pod(f"images-{number}") for number in range(replicas))
        self.words = {pod.uid: build_word() for pod in self.pods}
        self.settle()

    def condition(self, name: str) -> tuple[str, str, str]:
        assert self.status is not None
        (found,) = (one for one in self.status.conditions if one.type == name)
        return found.status, found.reason, found.message

    def _apply(self, action: object) -> None:
        self.made.append(type(action).__name__)
        match action:
            case StartService(ray_service, _):
                metadata = {**ray_service["metadata"], "uid": "2", "resourceVersion": "1"}
                self.ray_service = {**ray_service, "metadata": metadata}
            case ChangeService(_, patch, _):
                assert self.ray_service is not None
                self.ray_service = apply_json_patch(self.ray_service, patch)
            case EndService():
                self.ray_service, self.clusters, self.pods = None, {}, ()
            case SetReplicas(name, current, wanted, _):
                assert self.clusters[name].replicas == current
                self.clusters[name] = replace(self.clusters[name], replicas=wanted)


def apply_json_patch(document: dict[str, Any], patch: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Just the two operations that are used."""
    changed: dict[str, Any] = json.loads(json.dumps(document))
    for operation in patch:
        *parents, last = operation["path"].strip("/").split("/")
        place: Any = changed
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if operation["op"] == "test":
            assert place[last] == operation["value"]
        else:
            assert last in place
            place[last] = operation["value"]
    version = int(changed["metadata"]["resourceVersion"])
    changed["metadata"]["resourceVersion"] = str(version + 1)
    return changed


def build_cluster(replicas: int) -> ClusterView:
    return ClusterView("images-abcde", "3", 0, START, False, replicas, "", (), True, False)


def build_pod(name: str, **changes: Any) -> PodView:
    pod = PodView(
        name=name,
        uid=f"uid-{name}",
        attempt=0,
        role="replica",
        phase="Running",
        node="node",
        ip="10.0.0.1",
        ready=True,
        created=START,
        gone_by=None,
        waiting="",
        waiting_message="",
        ended="",
        last_words="",
        exit_code=None,
        unschedulable="",
        image="synthray/worker:1",
        image_id="",
    )
    return replace(pod, **changes)


def build_word(**changes: Any) -> ReplicaWord:
    return ReplicaWord.model_validate(
        {"model": "s3://xray/runs/chest/models/7", "model_digest": "ab", "queued_images": 3, **changes}
    )


def test_a_service_becomes_one_ray_service_whose_replicas_know_where_the_model_lies() -> None:
    world = World()
    world.settle()
    assert world.made == ["StartService"]
    assert world.view is not None
    arguments = json.loads(world.view.serve_configuration)["applications"][0]["args"]
    assert arguments["modelUri"] == "s3://xray/runs/chest"
    assert arguments["endpointURL"] == "http://s3:8333"
    assert world.view.replicas == 2
    assert world.condition("Ready")[:2] == ("False", "Starting")


def test_replicas_that_answer_make_it_ready_and_show_their_model_and_queue() -> None:
    world = World()
    world.serve()
    assert world.status is not None
    assert world.condition("Ready")[:2] == ("True", "Serving")
    assert (world.status.replicas, world.status.ready_replicas, world.status.queued_images) == (2, 2, 6)
    assert world.status.model == "s3://xray/runs/chest/models/7"
    assert world.status.url == "http://images-serve-svc.lab.svc.cluster.local:8000"


def test_no_card_is_taken_before_the_run_has_a_model() -> None:
    world = World(place=replace(PLACE, is_there=False))
    world.settle()
    assert world.made == []
    assert world.condition("Ready")[:2] == ("False", "WaitingForModel")
    world.place = PLACE
    world.settle()
    assert world.made == ["StartService"]


def test_a_run_that_does_not_exist_is_named_with_the_remedy() -> None:
    world = World(place=None)
    world.settle()
    assert world.made == []
    status, reason, message = world.condition("Blocked")
    assert (status, reason) == ("True", "NotFound")
    assert "TrainingRun chest of spec.model.trainingRun does not exist in namespace lab" in message


def test_a_service_whose_run_was_deleted_later_goes_on_unchanged() -> None:
    world = World()
    world.serve()
    world.place = None
    world.settle()
    assert world.made == ["StartService"]


@pytest.mark.parametrize("replicas", [1, 5])
def test_scaling_changes_the_service_and_the_cluster_that_serves_and_nothing_else(replicas: int) -> None:
    world = World()
    world.serve()
    before = world.view
    world.spec = build_spec(replicas=replicas)
    world.settle()
    assert world.made == ["StartService", "ChangeService", "SetReplicas"]
    after = world.view
    assert before is not None
    assert after is not None
    assert after.replicas == world.clusters["images-abcde"].replicas == replicas
    assert after.pods_digest == before.pods_digest
    assert json.loads(after.serve_configuration)["applications"][0]["deployments"] == [
        {"name": "synthray", "num_replicas": replicas}
    ]


def test_other_limits_change_serves_configuration_in_place() -> None:
    world = World()
    world.serve()
    assert world.ray_service is not None
    pods_before = world.ray_service["spec"]["rayClusterConfig"]
    world.spec = build_spec(limits={"maxSteps": 100})
    world.settle()
    assert world.made == ["StartService", "ChangeService"]
    assert world.ray_service["spec"]["rayClusterConfig"] == pods_before
    assert '"maxSteps": 100' in world.ray_service["spec"]["serveConfigV2"]


def test_another_card_makes_another_cluster() -> None:
    world = World()
    world.serve()
    world.spec = build_spec(gpu={"product": "NVIDIA-A40"})
    world.settle()
    assert world.made == ["StartService", "ChangeService"]
    assert "NVIDIA-A40" in json.dumps(world.ray_service)


def test_no_replica_wanted_leaves_nothing_behind() -> None:
    world = World()
    world.serve()
    world.spec = build_spec(replicas=0)
    world.settle()
    assert world.ray_service is None
    assert world.condition("Ready")[:2] == ("False", "ScaledToZero")


def test_a_replica_that_complains_degrades_the_service_and_one_that_failed_its_test_is_not_counted() -> None:
    world = World()
    world.serve()
    world.words["uid-images-0"] = build_word(rollout_problem="models/8 is not finite")
    world.settle()
    assert world.condition("Degraded") == ("True", "ReplicaComplains", "models/8 is not finite")
    assert world.condition("Ready")[0] == "True"
    world.words["uid-images-0"] = build_word(problem="seeds [1] give other pixels")
    world.settle()
    assert world.status is not None
    assert world.status.ready_replicas == 1


def test_a_replica_without_a_node_says_why() -> None:
    world = World(spec=build_spec(replicas=1, gpu={"product": "NVIDIA-A40"}))
    world.settle()
    world.clusters = {"images-abcde": build_cluster(1)}
    world.pods = (build_pod("images-0", phase="Pending", ready=False, unschedulable="0/3 nodes"),)
    world.now += timedelta(seconds=30)
    world.settle()
    status, reason, message = world.condition("Blocked")
    assert (status, reason) == ("True", "Unschedulable")
    assert "nvidia.com/gpu.product=NVIDIA-A40" in message


def waiting_world(**spec: Any) -> World:
    """A service whose one replica hangs while its volumes are mounted."""
    world = World(spec=build_spec(replicas=1, **spec))
    world.settle()
    world.clusters = {"images-abcde": build_cluster(1)}
    world.pods = (build_pod("images-0", phase="Pending", ready=False, waiting="ContainerCreating"),)
    world.now += timedelta(seconds=30)
    return world


@pytest.mark.parametrize(
    "words",
    [
        'MountVolume.SetUp failed for volume "token" : secret "door" not found',
        'MountVolume.SetUp failed for volume "token" : references non-existent secret key: token',
    ],
)
def test_a_token_that_is_missing_is_told_apart_from_credentials(words: str) -> None:
    world = waiting_world(tokenSecretName="door")
    world.troubles = (words,)
    world.settle()
    status, reason, message = world.condition("Blocked")
    assert (status, reason) == ("True", "SecretMissing")
    assert "create secret generic door --from-literal=token=" in message


def test_missing_credentials_of_a_service_with_a_token_are_named_as_such() -> None:
    world = waiting_world(tokenSecretName="door")
    world.troubles = ('MountVolume.SetUp failed for volume "credentials" : secret "s3" not found',)
    world.settle()
    assert "AWS_ACCESS_KEY_ID" in world.condition("Blocked")[2]


def test_the_token_is_mounted_in_replicas_alone_and_its_words_stand_in_no_configuration() -> None:
    world = World(spec=build_spec(tokenSecretName="door", jobs={"uri": "s3://xray/images"}))
    world.settle()
    assert world.ray_service is not None
    cluster = world.ray_service["spec"]["rayClusterConfig"]
    (replica,) = (group["template"]["spec"] for group in cluster["workerGroupSpecs"])
    head = cluster["headGroupSpec"]["template"]["spec"]
    mounts = [mount["mountPath"] for mount in replica["containers"][0]["volumeMounts"]]
    assert mounts.count("/var/run/synthray/token") == 1
    assert "token" not in {volume["name"] for volume in head["volumes"]}
    arguments = json.loads(world.ray_service["spec"]["serveConfigV2"])["applications"][0]["args"]
    assert arguments["tokenFile"] == "/var/run/synthray/token/token"
    assert arguments["jobsUri"] == "s3://xray/images"


def test_what_a_replica_said_when_it_could_not_start_is_told_with_the_way_out() -> None:
    world = World(spec=build_spec(replicas=1))
    world.settle()
    assert world.ray_service is not None
    said = "failed to start 3 times\nsynthray.errors.InvalidInput: the token file X is bad\n"
    application = {"status": "DEPLOY_FAILED", "serveDeploymentStatuses": {"synthray": {"message": said}}}
    world.ray_service["status"] = {"pendingServiceStatus": {"applicationStatuses": {"synthray": application}}}
    world.settle()
    status, reason, message = world.condition("Blocked")
    assert (status, reason) == ("True", "InvalidInput")
    assert "the token file X is bad; correct it, then kubectl -n lab delete rayservice images" in message


def test_a_quota_is_named_and_what_kuberay_warns_of_in_passing_is_not() -> None:
    world = World()
    world.settle()
    world.clusters = {"images-abcde": build_cluster(2)}
    world.troubles = ("Failed to update serve applications: the head does not answer",)
    world.settle()
    assert world.condition("Blocked")[0] == "False"
    world.troubles = ("pods is forbidden: exceeded quota: small", *world.troubles)
    world.settle()
    assert world.condition("Blocked")[1] == "QuotaExceeded"
    assert "lower spec.replicas" in world.condition("Blocked")[2]


def test_a_missing_kuberay_and_a_forbidden_image_take_nothing() -> None:
    for world, reason in (
        (World(is_kuberay_installed=False), "KubeRayMissing"),
        (World(refused="spec.image=x is not allowed here"), "NotAllowed"),
    ):
        world.settle()
        assert world.made == []
        assert world.condition("Blocked")[1] == reason


def test_a_paused_service_is_left_alone() -> None:
    world = World(annotations={"synthray.io/paused": "true"})
    assert world.look() == ServiceDecision(None)


SPECS = st.fixed_dictionaries(
    {"model": st.just({"trainingRun": "chest"}), "replicas": st.integers(0, 4)},
    optional={
        "gpu": st.sampled_from([{"product": "A"}, {"product": "B"}]),
        "limits": st.sampled_from([{"maxSteps": 60}, {"maxSteps": 90}]),
        "sampler": st.sampled_from([{"name": "ddpm"}, {"steps": 40}]),
    },
)


@settings(max_examples=100, deadline=None)
@given(changes=st.lists(st.tuples(SPECS, st.booleans()), min_size=1, max_size=6))
def test_whatever_is_changed_a_service_ends_where_its_last_spec_alone_leads(
    changes: list[tuple[dict[str, Any], bool]],
) -> None:
    world = World()
    for spec, is_interrupted in changes:
        world.spec = spec
        if is_interrupted:
            # The operator dies after its status and before its actions.
            world.status = world.look().status
        world.settle()
    fresh = World(spec=changes[-1][0])
    fresh.settle()
    left, alone = world.ray_service, fresh.ray_service
    assert (left or {}).get("spec") == (alone or {}).get("spec")

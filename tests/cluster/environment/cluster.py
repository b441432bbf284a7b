"""The full cluster: a control plane as processes of the machine, real nodes, cluster DNS.

Every step makes what is missing and leaves what is there, so `start` also mends what an interruption left.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from shutil import rmtree

from .addresses import CLUSTER_ENDPOINTS, plan_nodes
from .commands import run_command, wait_until
from .control_plane import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    READY_SECONDS,
    SCHEDULER,
    ControlPlane,
    make_control_plane,
)
from .daemons import Daemon
from .image_loading import load_image
from .images import make_program_image
from .machine import make_bridge, remove_bridge_and_cgroups
from .node_files import PAUSE_IMAGE
from .nodes import Node, build_nodes, find_node
from .places import SOURCES, ClusterSettings, Places
from .programs import CLUSTER_PROGRAMS, build_programs, install_packages

MANIFESTS = SOURCES / "manifests"
_COREDNS_IMAGE = "localhost/coredns:1"
_CONTROLLER_PORT, _SCHEDULER_PORT = 10257, 10259
_GRACE_SECONDS = 3.0
_ETCD_GRACE_SECONDS = 20.0
KWOK = "kwok"


@dataclass(frozen=True)
class Cluster:
    """The one full cluster of this machine."""

    places: Places
    settings: ClusterSettings
    say: Callable[[str], None]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its real nodes, with power or without."""
        return build_nodes(plan_nodes(self.settings.node_names), self.places)

    def daemon(self, name: str) -> Daemon:
        """A process of the control plane."""
        return Daemon(self.places.control / f"{name}.pid")

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """kubectl as the administrator; raises Unavailable with its complaint."""
        kubectl = str(self.places.programs / "kubectl")
        command = [kubectl, f"--kubeconfig={self.places.kubeconfig}", *arguments]
        return run_command(command, given=given.encode() if given else None)

    def start(self) -> None:
        """Bring everything up that is not; about ten seconds for a new cluster once programs are built."""
        install_packages(self.say)
        build_programs(self.places, CLUSTER_PROGRAMS, self.say)
        self._start_control_plane()
        self.say("control plane is up")
        make_program_image(self.places, PAUSE_IMAGE, "pause", "/pause")
        make_program_image(self.places, _COREDNS_IMAGE, "coredns", "/coredns")
        started = [node for node in self.nodes if not node.is_running]
        for node in started:
            node.start(memory_gibibytes=self.settings.node_memory_gibibytes)
        for image in (PAUSE_IMAGE, _COREDNS_IMAGE):
            load_image(self.places.images, image, started)
        self._wait_ready(self.nodes)
        self.say("nodes are ready")
        self._forget_silent_fake_nodes()
        self.kubectl("apply", "-f", str(MANIFESTS / "coredns.yaml"))
        self.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
        self.say("cluster DNS is ready")

    def stop(self, *, forget: bool) -> None:
        """End everything; `forget` also deletes keys, etcd and the nodes' disks, but no program or image."""
        self.daemon(KWOK).stop(grace_seconds=_GRACE_SECONDS)
        earlier = {path.name for path in self.places.nodes.glob("*")} - set(self.settings.node_names)
        names = (*self.settings.node_names, *sorted(earlier))
        for node in build_nodes(plan_nodes(names), self.places):
            node.cut_power()
        with ThreadPoolExecutor() as pool:  # the API server alone would wait for its watchers
            list(pool.map(self._stop_component, (SCHEDULER, CONTROLLER_MANAGER, API_SERVER)))
        self.daemon(ETCD).stop(grace_seconds=_ETCD_GRACE_SECONDS)
        remove_bridge_and_cgroups()
        if forget:
            for folder in (self.places.control, self.places.nodes, self.places.keys):
                rmtree(folder, ignore_errors=True)
            self.places.kubeconfig.unlink(missing_ok=True)

    def cut_power(self, name: str) -> None:
        """What happens to a node whose cable is pulled."""
        find_node(self.nodes, name).cut_power()

    def return_power(self, name: str) -> None:
        """Start a node again; returns when it is ready, with its GPU."""
        node = find_node(self.nodes, name)
        node.start(memory_gibibytes=self.settings.node_memory_gibibytes)
        self._wait_ready([node])

    def stop_serving(self) -> None:
        """End the API server alone, as an outage does."""
        self._stop_component(API_SERVER)

    def serve_again(self) -> None:
        """Start the API server; returns when it is ready."""
        self._start_control_plane()

    def load(self, image: str, node_names: Sequence[str] = ()) -> None:
        """Give an image to the named nodes, or all."""
        nodes = [find_node(self.nodes, name) for name in node_names] or list(self.nodes)
        names = load_image(self.places.images, image, nodes)
        self.say(f"{image} is on {', '.join(names) or 'no node: none runs'}")

    def observe_ready_nodes(self) -> dict[str, tuple[str, str]]:
        """Of each node that is Ready: the number of its start, and its GPUs."""
        ready = {}
        for node in json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]:
            conditions = node["status"].get("conditions", [])
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                boot = node["status"].get("nodeInfo", {}).get("bootID", "")
                ready[node["metadata"]["name"]] = (
                    boot,
                    node["status"]["allocatable"].get("nvidia.com/gpu", "0"),
                )
        return ready

    def _start_control_plane(self) -> None:
        plane = make_control_plane(
            programs=self.places.programs,
            folder=self.places.control,
            keys=self.places.keys,
            kubeconfig=self.places.kubeconfig,
            endpoints=CLUSTER_ENDPOINTS,
        )
        make_bridge()
        evict_after = self.settings.evict_after_seconds
        self._launch(ETCD, plane.build_etcd_command())
        self._launch(API_SERVER, plane.build_api_server_command(evict_after_seconds=evict_after))
        wait_until("the API server", plane.is_ready, seconds=READY_SECONDS, logs=self.places.control)
        self._launch_controllers(plane)

    def _launch_controllers(self, plane: ControlPlane) -> None:
        controllers = plane.build_controller_manager_command(
            node_grace_seconds=self.settings.node_grace_seconds, secure_port=_CONTROLLER_PORT
        )
        self._launch(CONTROLLER_MANAGER, controllers)
        self._launch(SCHEDULER, plane.build_scheduler_command(secure_port=_SCHEDULER_PORT))

    def _launch(self, name: str, command: list[str]) -> None:
        daemon = self.daemon(name)
        if daemon.pid is None:
            daemon.start(command, log=self.places.control / f"{name}.log")

    def _stop_component(self, name: str) -> None:
        self.daemon(name).stop(grace_seconds=_GRACE_SECONDS)

    def _wait_ready(self, nodes: Sequence[Node]) -> None:
        """Ready since this start: the API server may still hold the word of the start before."""
        wanted = {node.name: (node.observe_boot_id(), "1" if node.plan.has_gpu else "0") for node in nodes}
        wait_until(
            "ready nodes",
            lambda: wanted.items() <= self.observe_ready_nodes().items(),
            seconds=READY_SECONDS,
            logs=self.places.nodes,
        )
        for node in nodes:
            self._mark(node)

    def _mark(self, node: Node) -> None:
        """What an administrator would set on the node's object."""
        if not node.plan.has_gpu:
            label = "node-role.kubernetes.io/control-plane="
            self.kubectl("label", "--overwrite", "node", node.name, label)
        pods = str(node.plan.pods)
        patch = json.dumps({"spec": {"podCIDR": pods, "podCIDRs": [pods]}})
        self.kubectl("patch", "node", node.name, "--patch", patch)

    def _forget_silent_fake_nodes(self) -> None:
        """Left by an earlier start: where most nodes are silent, Kubernetes evicts nowhere."""
        if self.daemon(KWOK).pid is None:
            self.kubectl("delete", "nodes", "--selector=type=kwok", "--wait=false")

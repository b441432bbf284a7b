"""A node: a kubelet, a containerd and a kube-proxy in namespaces of their own, on a common bridge.

Its PID 1 is `node-init.sh`; killing that is the node's power cut. Needs root.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from synthray.errors import InvalidInput, Unavailable

from .addresses import HOST_ADDRESS, NODE_NETWORK, NodePlan
from .certificates import KeyRing
from .commands import run_command, succeeds, wait_until
from .daemons import Daemon
from .machine import BRIDGE, find_cgroups, measure_memory_mebibytes
from .node_files import write_node_files
from .places import SOURCES, Places

# What all nodes together leave to the machine.
_MACHINE_MEMORY_MEBIBYTES = 2048
_START_SECONDS = 60.0
_EMPTY_SECONDS = 5.0
_CGROUP_TOP = "synthray"


@dataclass(frozen=True)
class Node:
    """One node of the cluster in these places; `others` are the nodes that its pods must reach."""

    plan: NodePlan
    others: tuple[NodePlan, ...]
    places: Places

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.plan.name

    @property
    def folder(self) -> Path:
        """Its disk, settings and logs."""
        return self.places.nodes / self.name

    @property
    def is_running(self) -> bool:
        """Whether it has power."""
        return self._init.pid is not None

    @property
    def containerd_socket(self) -> str:
        """As the machine sees it; raises Unavailable for a node without power."""
        return f"/proc/{self._init_pid()}/root/run/containerd/containerd.sock"

    def observe_boot_id(self) -> str:
        """What the kubelet takes for the number of this start."""
        return Path(f"/proc/{self._init_pid()}/root/proc/sys/kernel/random/boot_id").read_text().strip()

    def start(self, *, memory_gibibytes: int) -> None:
        """Give it power; its containerd answers when this returns, its kubelet soon after."""
        if self.is_running:
            return
        self.cut_power()
        reserved = max(measure_memory_mebibytes() - memory_gibibytes * 1024, 0)
        write_node_files(
            self.plan, self.folder, keys=KeyRing(self.places.keys), reserved_memory_mebibytes=reserved
        )
        self._connect()
        self._make_cgroups()
        shell = Daemon(self.folder / "node.pid")
        pid = shell.start(
            [
                "nsenter", f"--net=/run/netns/{self.plan.network_namespace}",
                "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc",
                SOURCES / "node-init.sh", self.name, self.folder, self.places.programs,
            ],
            log=self.folder / "node.log",
            before=self._enter_cgroups,
        )  # fmt: skip
        children = Path(f"/proc/{pid}/task/{pid}/children")
        wait_until(
            f"node {self.name}", lambda: bool(_read(children)), seconds=_START_SECONDS, logs=self.folder
        )
        self._init.adopt(int(_read(children).split()[0]))
        wait_until(
            f"containerd of {self.name}",
            lambda: succeeds(["ctr", "--address", self.containerd_socket, "version"]),
            seconds=_START_SECONDS,
            logs=self.folder,
        )

    def cut_power(self) -> None:
        """The kernel kills all its processes at once; /run, links and rules are gone, its disk stays."""
        self._init.stop(grace_seconds=0)
        Daemon(self.folder / "node.pid").stop(grace_seconds=0)
        succeeds(["ip", "link", "del", self.plan.interface])
        succeeds(["ip", "netns", "del", self.plan.network_namespace])
        for tree in find_cgroups():
            _remove_cgroups(tree / _CGROUP_TOP / self.name)

    @property
    def _init(self) -> Daemon:
        return Daemon(self.folder / "init.pid")

    def _init_pid(self) -> int:
        pid = self._init.pid
        if pid is None:
            raise Unavailable(f"node {self.name} has no power; node-start {self.name} brings it back")
        return pid

    def _connect(self) -> None:
        plan, namespace = self.plan, self.plan.network_namespace
        inside = ["ip", "-n", namespace]
        for command in (
            ["ip", "netns", "add", namespace],
            ["ip", "link", "add", plan.interface, "master", BRIDGE, "type", "veth",
             "peer", "name", "eth0", "netns", namespace],
            ["ip", "link", "set", plan.interface, "up"],
            [*inside, "link", "set", "lo", "up"],
            [*inside, "addr", "add", f"{plan.address}/{NODE_NETWORK.prefixlen}", "dev", "eth0"],
            [*inside, "link", "set", "eth0", "up"],
            [*inside, "route", "add", "default", "via", str(HOST_ADDRESS)],
            *([*inside, "route", "add", str(other.pods), "via", str(other.address)] for other in self.others),
            ["ip", "route", "replace", str(plan.pods), "via", str(plan.address)],
            ["ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"],
        ):  # fmt: skip
            run_command(command)

    def _make_cgroups(self) -> None:
        for tree in find_cgroups():
            group = tree / _CGROUP_TOP / self.name / "system"
            group.mkdir(parents=True, exist_ok=True)
            if tree.name == "cpuset":
                for level in (group.parent.parent, group.parent, group):
                    for setting in ("cpuset.cpus", "cpuset.mems"):
                        (level / setting).write_text((level.parent / setting).read_text())
            if tree.name == "memory":
                limit = (measure_memory_mebibytes() - _MACHINE_MEMORY_MEBIBYTES) * 2**20
                (tree / _CGROUP_TOP / "memory.limit_in_bytes").write_text(str(limit))

    def _enter_cgroups(self) -> None:
        for tree in find_cgroups():
            (tree / _CGROUP_TOP / self.name / "system" / "cgroup.procs").write_text(str(os.getpid()))


def find_node(nodes: tuple[Node, ...], name: str) -> Node:
    """The node of that name; raises InvalidInput that lists those there are."""
    for node in nodes:
        if node.name == name:
            return node
    raise InvalidInput(f"no node {name}; there are {', '.join(node.name for node in nodes)}")


def build_nodes(plans: tuple[NodePlan, ...], places: Places) -> tuple[Node, ...]:
    """The cluster's nodes, running or not."""
    return tuple(Node(plan, tuple(other for other in plans if other is not plan), places) for plan in plans)


def _remove_cgroups(top: Path) -> None:
    """A killed process leaves its group a moment after it has gone."""
    deadline = time.monotonic() + _EMPTY_SECONDS
    for folder, _, _ in os.walk(top, topdown=False):
        while Path(folder).exists() and time.monotonic() < deadline:
            with suppress(OSError):
                Path(folder).rmdir()
                break
            time.sleep(0.1)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

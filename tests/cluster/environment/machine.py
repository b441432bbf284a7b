"""What the nodes share of this machine: a bridge, the cgroup trees, the memory."""

from pathlib import Path

from .addresses import HOST_ADDRESS, NODE_NETWORK
from .commands import run_command, succeeds

BRIDGE = "synthray0"
_CGROUP_ROOT = Path("/sys/fs/cgroup")


def find_cgroups() -> list[Path]:
    """The trees of controllers (cgroup v1 has one for each)."""
    return [path for path in _CGROUP_ROOT.iterdir() if (path / "cgroup.procs").exists()]


def measure_memory_mebibytes() -> int:
    """All memory of the machine."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemTotal")) // 1024


def make_bridge() -> None:
    """The network on which the nodes and the machine meet."""
    if succeeds(["ip", "link", "show", BRIDGE]):
        return
    run_command(["ip", "link", "add", BRIDGE, "type", "bridge"])
    run_command(["ip", "addr", "add", f"{HOST_ADDRESS}/{NODE_NETWORK.prefixlen}", "dev", BRIDGE])
    run_command(["ip", "link", "set", BRIDGE, "up"])


def remove_bridge_and_cgroups() -> None:
    """After the last node has gone."""
    succeeds(["ip", "link", "del", BRIDGE])
    for tree in find_cgroups():
        if (top := tree / "synthray").exists():
            top.rmdir()

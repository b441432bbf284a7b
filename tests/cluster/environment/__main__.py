"""A real Kubernetes cluster of several nodes on one machine, without Docker and without a registry.

    make cluster-up image test-cluster cluster-down
    python -m tests.cluster.environment --help

README.md beside this file says what is real about it, what is not, and what each step takes.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable

from synthray.errors import InvalidInput, SynthrayError

from .additions import install_kuberay, install_storage, set_fake_nodes
from .cluster import Cluster
from .images import (
    TARGETS,
    build_buildah_command,
    build_project_image,
    make_base_image,
    name_project_image,
)
from .places import find_places, read_settings
from .programs import CLUSTER_PROGRAMS, build_programs, install_packages

_STARTED = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds so far."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {text}", file=sys.stderr, flush=True)


def build(cluster: Cluster, _: argparse.Namespace) -> None:
    """Build the missing programs and install the missing Debian packages."""
    install_packages(say)
    build_programs(cluster.places, CLUSTER_PROGRAMS, say)


def up(cluster: Cluster, given: argparse.Namespace) -> None:
    """Start what is not running: control plane, nodes, DNS, KubeRay."""
    cluster.start()
    install_kuberay(cluster)
    env(cluster, given)


def down(cluster: Cluster, given: argparse.Namespace) -> None:
    """Stop it all; programs and images stay."""
    cluster.stop(forget=given.forget)
    say("down")


def env(cluster: Cluster, _: argparse.Namespace) -> None:
    """Print the shell line that selects this cluster."""
    print(f"export KUBECONFIG={cluster.places.kubeconfig} PATH={cluster.places.programs}:$PATH")


def status(cluster: Cluster, _: argparse.Namespace) -> None:
    """Print what runs."""
    for file in sorted(cluster.places.control.glob("*.pid")):
        pid = cluster.daemon(file.stem).pid
        print(f"{file.stem:25} {f'process {pid}' if pid else 'stopped'}")
    for node in cluster.nodes:
        print(f"node {node.name:20} {'has power' if node.is_running else 'stopped'}")


def node_stop(cluster: Cluster, given: argparse.Namespace) -> None:
    """Cut the power of a node."""
    cluster.cut_power(given.node)
    say(f"{given.node} has lost power")


def node_start(cluster: Cluster, given: argparse.Namespace) -> None:
    """Bring a node back."""
    cluster.return_power(given.node)
    say(f"{given.node} is ready")


def image(cluster: Cluster, given: argparse.Namespace) -> None:
    """Build the project's images from its Dockerfile and give them to the nodes that run."""
    make_base_image(cluster.places, say)
    for target in given.targets or TARGETS:
        name = name_project_image(given.prefix, target, given.tag)
        build_project_image(cluster.places, target, name, revision=given.revision)
        cluster.load(name)


def load(cluster: Cluster, given: argparse.Namespace) -> None:
    """Give an image of the store to nodes."""
    cluster.load(given.image, given.nodes)


def run_buildah(cluster: Cluster, given: argparse.Namespace) -> None:
    """Run buildah on the environment's store."""
    command = build_buildah_command(cluster.places, given.arguments)
    os.execvpe("buildah", command, {**os.environ, "BUILDAH_ISOLATION": "chroot"})  # noqa: S606


def storage(cluster: Cluster, given: argparse.Namespace) -> None:
    """Start an S3 server in the cluster."""
    install_storage(cluster, given.image)


def fake_nodes(cluster: Cluster, given: argparse.Namespace) -> None:
    """Have so many fake nodes beside the real ones."""
    set_fake_nodes(cluster, given.count)


def build_parser() -> argparse.ArgumentParser:
    """The commands; each one's first line of documentation is its help."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.environment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[Cluster, argparse.Namespace], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(function=function)
        return command

    for name, function in (("build", build), ("up", up), ("env", env), ("status", status)):
        add(name, function)
    add("down", down).add_argument(
        "--forget", action="store_true", help="also delete keys, etcd and the nodes' disks"
    )
    add("node-stop", node_stop).add_argument("node")
    add("node-start", node_start).add_argument("node")
    images = add("image", image)
    images.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all if none")
    images.add_argument("--prefix", default="synthray")
    images.add_argument("--tag", default="dev")
    images.add_argument("--revision", default="unknown")
    loading = add("load", load)
    loading.add_argument("image")
    loading.add_argument("nodes", nargs="*", metavar="NODE")
    add("buildah", run_buildah).add_argument("arguments", nargs=argparse.REMAINDER)
    add("storage", storage).add_argument("--image", default=name_project_image("synthray", "storage", "dev"))
    add("fake-nodes", fake_nodes).add_argument("count", type=int)
    return parser


def main() -> int:
    """Run one command; foreseen failures are one line."""
    given = build_parser().parse_args()
    try:
        if os.geteuid():
            raise InvalidInput(
                "a cluster of real nodes needs root; an API server alone, as tests start it, does not"
            )
        given.function(Cluster(find_places(), read_settings(), say), given)
    except SynthrayError as error:
        print(f"cluster: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

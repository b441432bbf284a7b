"""Builds what a cluster is made of: Kubernetes, etcd and the others from Go modules, the rest from Debian.

Versions are those of `modules/*/go.mod`. Proxies of Go modules and Debian's mirror are the machine's own.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from .commands import run_command, succeeds
from .places import SOURCES, Places

MODULES = SOURCES / "modules"
_KUBERNETES = "kubernetes"
_PACKAGES = (
    "buildah", "conntrack", "containerd", "containernetworking-plugins", "debootstrap", "iproute2",
    "iptables", "nftables", "openssl", "runc", "socat", "uidmap",
)  # fmt: skip
# program: (folder of its module, Go package)
_PROGRAMS = {
    **{
        name: (_KUBERNETES, f"k8s.io/kubernetes/cmd/{name}")
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    },
    "fake-gpu": (_KUBERNETES, "./fake-gpu"),
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "coredns": ("coredns", "github.com/coredns/coredns"),
    "helm": ("helm", "helm.sh/helm/v4/cmd/helm"),
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kuberay-operator": ("kuberay", "github.com/ray-project/kuberay/ray-operator"),
    "pause": ("pause", "."),
    "prometheus-operator": (
        "prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator/cmd/operator",
    ),
    # Debian's build leaves the discovery of Kubernetes' objects out.
    "prometheus-for-kubernetes": ("prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
}
_TAGS = {"prometheus-for-kubernetes": "remove_all_sd,enable_kubernetes_sd"}
# Helm and kubectl are for the tests themselves.
CONTROL_PLANE_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
MONITORING_PROGRAMS = ("prometheus-operator", "prometheus-for-kubernetes")
CLUSTER_PROGRAMS = tuple(name for name in _PROGRAMS if name not in MONITORING_PROGRAMS)


def build_programs(places: Places, names: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Build those that are missing; minutes each on a first build, nothing afterwards."""
    places.programs.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (places.programs / name).exists():
            started = time.monotonic()
            _build_program(places.programs / name, *_PROGRAMS[name])
            say(f"built {name} in {time.monotonic() - started:.0f} s")


def install_packages(say: Callable[[str], None]) -> None:
    """Debian packages of the nodes and of image building, where they are missing."""
    missing = [name for name in _PACKAGES if not succeeds(["dpkg", "-s", name])]
    if not missing:
        return
    say(f"installing {' '.join(missing)}")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if not succeeds(install):
        run_command(["apt-get", "update"], environment=environment)
        run_command(install, environment=environment)


def find_module(folder: str, module: str) -> Path:
    """The source of a Go module, for the manifests that come with it."""
    command: list[str | Path] = ["go", "list", "-C", MODULES / folder, "-m", "-f", "{{.Dir}}", module]
    return Path(run_command(command).strip())


def _build_program(target: Path, folder: str, package: str) -> None:
    flags = "-s -w" + (_kubernetes_version_flags() if folder == _KUBERNETES else "")
    # Under another name until it is whole: an interrupted build is no program.
    partial = target.with_suffix(".partial")
    run_command(
        [
            "go", "build", "-C", MODULES / folder, "-trimpath", "-buildvcs=false",
            "-tags", _TAGS.get(target.name, ""), "-ldflags", flags, "-o", partial, package,
        ],
        environment={**os.environ, "CGO_ENABLED": "0"},
    )  # fmt: skip
    partial.rename(target)


def _kubernetes_version_flags() -> str:
    """What Kubernetes' own build writes into its programs: without it they call themselves v0.0.0."""
    command: list[str | Path] = [
        "go",
        "list",
        "-C",
        MODULES / _KUBERNETES,
        "-m",
        "-f",
        "{{.Version}}",
        "k8s.io/kubernetes",
    ]
    release = run_command(command).strip()
    major, minor = release.removeprefix("v").split(".")[:2]
    values = {
        "gitVersion": release,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "module",
    }
    return "".join(f" -X k8s.io/component-base/version.{name}={value}" for name, value in values.items())

"""Which cluster the tests run on: any that a kubeconfig names, else the project's own environment.

`--kubeconfig FILE` may name kind, k3d or a GPU cluster with KubeRay; `--image` the worker image that its
nodes can have (those of operator and storage have the same name but for that word). Where no kubeconfig is
given, `api_server_kubeconfig` starts an API server alone, and `cluster_kubeconfig` the full cluster, which
stays up afterwards: `make cluster-down` ends it. What only a cluster of one's own can suffer asks for
`own_cluster` or `own_api_server` and is skipped on others, with the reason.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Final, Protocol

import pytest
from cluster_programs import Programs
from cluster_report import write_report
from cluster_runs import ClusterRun, train_alone, write_cluster_run
from cluster_storage import ClusterStorage, reach_storage
from installation import Installation, ProjectImages
from live_run import LiveRun
from tiny_run import Digests

from .environment.additions import install_kuberay, render_storage
from .environment.api_server import ApiServerAlone
from .environment.cluster import Cluster
from .environment.image_store import has_image
from .environment.images import name_project_image
from .environment.places import find_places, read_settings
from .environment.programs import CONTROL_PLANE_PROGRAMS, build_programs

# Some four minutes of one worker, on a machine of two cores.
STORY_EPOCHS: Final = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kubeconfig", type=Path, help="the cluster to test on; else the project's own")
    parser.addoption(
        "--image",
        default=name_project_image("synthray", "worker", "dev"),
        help="worker image on the cluster's nodes; operator and storage are found by its name",
    )
    parser.addoption("--all", action="store_true", help="the long stories too")
    parser.addoption("--report", type=Path, help="a Markdown file for what was run and what it measured")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long_story: minutes on a real cluster; told with --all alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    long = [item for item in items if item.get_closest_marker("long_story")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    file: Path | None = config.getoption("--report")
    if file is not None:
        stats = terminalreporter.stats
        ended = [one for outcome in ("passed", "failed") for one in stats.get(outcome, [])]
        write_report(file, [one for one in ended if one.when == "call"])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@pytest.fixture(scope="session")
def foreign_kubeconfig(pytestconfig: pytest.Config) -> Path | None:
    """What --kubeconfig names."""
    given: Path | None = pytestconfig.getoption("--kubeconfig")
    return given.absolute() if given else None


@pytest.fixture(scope="session")
def _api_server(
    foreign_kubeconfig: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServerAlone | None]:
    if foreign_kubeconfig:
        yield None
        return
    places = find_places()
    build_programs(places, CONTROL_PLANE_PROGRAMS, say)
    folder = tmp_path_factory.mktemp("api-server")
    with ApiServerAlone(folder, programs=places.programs, controllers=True) as server:
        yield server


@pytest.fixture(scope="session")
def api_server_kubeconfig(foreign_kubeconfig: Path | None, _api_server: ApiServerAlone | None) -> Path:
    """An API server with controllers; it may have no node."""
    if _api_server is not None:
        return _api_server.kubeconfig
    assert foreign_kubeconfig is not None
    return foreign_kubeconfig


@pytest.fixture
def own_api_server(tmp_path: Path, foreign_kubeconfig: Path | None) -> Iterator[ApiServerAlone]:
    """One of the test's own, which it may stop."""
    if foreign_kubeconfig:
        pytest.skip("stops the API server, which is not ours on the cluster of --kubeconfig")
    places = find_places()
    build_programs(places, CONTROL_PLANE_PROGRAMS, say)
    with ApiServerAlone(tmp_path / "api-server", programs=places.programs, controllers=True) as server:
        yield server


@pytest.fixture(scope="session")
def num_transitions(pytestconfig: pytest.Config) -> int:
    """How many changes of a run are tried on the API server."""
    return 2000 if pytestconfig.getoption("--all") else 100


@pytest.fixture(scope="session")
def _cluster(foreign_kubeconfig: Path | None, images: ProjectImages) -> Cluster | None:
    if foreign_kubeconfig:
        return None
    cluster = Cluster(find_places(), read_settings(), say)
    cluster.start()
    if not has_image(cluster.places.images, images.worker):
        pytest.fail(f"there is no image {images.worker}; `make image` builds it")
    install_kuberay(cluster)
    return cluster


@pytest.fixture(scope="session")
def cluster_kubeconfig(foreign_kubeconfig: Path | None, _cluster: Cluster | None) -> Path:
    """A whole cluster: nodes, DNS, KubeRay, and the project's images on its nodes."""
    if _cluster is not None:
        return _cluster.places.kubeconfig
    assert foreign_kubeconfig is not None
    return foreign_kubeconfig


@pytest.fixture
def own_cluster(_cluster: Cluster | None) -> Cluster:
    """For what nobody does to another's cluster."""
    if _cluster is None:
        pytest.skip("cuts a node's power or stops the API server: not on the cluster of --kubeconfig")
    return _cluster


@pytest.fixture
def programs(cluster_kubeconfig: Path) -> Programs:
    """kubectl and helm for a whole cluster; files that need less have their own."""
    return Programs(cluster_kubeconfig)


@pytest.fixture
def namespace(programs: Programs) -> Iterator[str]:
    with programs.namespace() as name:
        yield name


@pytest.fixture
def installation(programs: Programs, images: ProjectImages) -> Iterator[Installation]:
    """synthray, installed by Helm."""
    installation = Installation(programs, images)
    installation.install()
    yield installation
    installation.uninstall()


class WriteRun(Protocol):
    """Writes a run for the cluster whose GPUs are names."""

    def __call__(self, *, epochs: int, **workers: object) -> ClusterRun: ...


@pytest.fixture(scope="session")
def digests_alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Digests]:
    """Of so many epochs in one undisturbed process, computed once."""
    return cache(lambda epochs: train_alone(tmp_path_factory.mktemp("alone"), epochs))


@pytest.fixture
def write_run(
    programs: Programs,
    namespace: str,
    cluster_storage: ClusterStorage,
    tmp_path: Path,
    digests_alone: Callable[[int], Digests],
) -> WriteRun:
    """A run that nobody has applied yet."""

    def write(*, epochs: int, **workers: object) -> ClusterRun:
        workers = {"replicas": 1, "gpu": {"product": "Quadro-RTX-6000"}, **workers}
        kept = write_cluster_run(tmp_path, cluster_storage, programs, namespace, epochs=epochs, **workers)
        return ClusterRun(LiveRun(programs, namespace, "tiny"), kept, partial(digests_alone, epochs))

    return write


@pytest.fixture
def started(installation: Installation, write_run: WriteRun) -> ClusterRun:
    """A run of one worker that lasts some minutes, as soon as it is applied."""
    run = write_run(epochs=STORY_EPOCHS)
    run.live.apply(run.kept)
    return run


@pytest.fixture(scope="session")
def images(pytestconfig: pytest.Config) -> ProjectImages:
    return ProjectImages(str(pytestconfig.getoption("--image")))


@pytest.fixture(scope="session")
def cluster_storage(
    _cluster: Cluster | None,
    cluster_kubeconfig: Path,
    images: ProjectImages,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ClusterStorage]:
    """S3 in the cluster, as its pods reach it."""
    if _cluster is not None:
        _cluster.load(images.storage)
    manifest = render_storage(images.storage)
    folder = tmp_path_factory.mktemp("storage")
    with reach_storage(Programs(cluster_kubeconfig), manifest, folder) as storage:
        yield storage

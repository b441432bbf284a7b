"""The environment itself: addresses, settings, processes, and an API server that leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthray.errors import InvalidInput

from .environment.addresses import NODE_NETWORK, choose_endpoints, plan_nodes
from .environment.api_server import ApiServerAlone
from .environment.commands import wait_until
from .environment.daemons import Daemon, observe_start_time
from .environment.image_loading import parse_upper_folder
from .environment.image_store import chain_digests
from .environment.images import name_project_image
from .environment.places import Places, find_places, read_settings
from .environment.programs import CONTROL_PLANE_PROGRAMS, build_programs


def wait_for_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class TestAddresses:
    def test_a_node_keeps_its_address_when_others_come_after_it(self) -> None:
        few, many = plan_nodes(["control", "gpu-1"]), plan_nodes(["control", "gpu-1", "gpu-2"])
        assert many[:2] == few
        assert len({plan.address for plan in many} | {plan.pods for plan in many}) == 6
        assert all(plan.address in NODE_NETWORK for plan in many)

    def test_a_name_makes_a_gpu_node(self) -> None:
        assert [plan.has_gpu for plan in plan_nodes(["control", "gpu-1"])] == [False, True]

    @pytest.mark.parametrize(
        ("names", "complaint"),
        [
            (["Control"], "node name 'Control': use at most 11"),
            (["a-name-too-long"], "use at most 11"),
            (["control", "control"], "each name once"),
            ([], "0 nodes: from 1 to 200"),
            (["gpu-1"], "one must be no GPU node"),
        ],
    )
    def test_names_that_nodes_cannot_have_are_refused(self, names: list[str], complaint: str) -> None:
        with pytest.raises(InvalidInput, match=complaint):
            plan_nodes(names)

    def test_api_servers_side_by_side_share_no_port(self) -> None:
        endpoints = choose_endpoints()
        assert len({endpoints.api_port, endpoints.etcd_port, endpoints.etcd_peer_port}) == 3


class TestPlaces:
    def test_the_state_is_where_the_variable_says_or_in_the_cache(self, tmp_path: Path) -> None:
        assert find_places({"SYNTHRAY_CLUSTER": str(tmp_path)}).state == tmp_path
        assert find_places({"XDG_CACHE_HOME": str(tmp_path)}).state == tmp_path / "synthray-cluster"

    def test_settings_are_read_with_their_units(self) -> None:
        settings = read_settings({"SYNTHRAY_NODES": "control,gpu-1", "SYNTHRAY_NODE_MEMORY": "7Gi"})
        assert settings.node_names == ("control", "gpu-1")
        assert settings.node_memory_gibibytes == 7
        assert settings.node_grace_seconds == 50

    def test_a_setting_that_is_no_number_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="SYNTHRAY_NODE_GRACE=soon is no whole number above 0"):
            read_settings({"SYNTHRAY_NODE_GRACE": "soon"})


class TestImages:
    def test_a_layer_is_known_by_all_that_lies_below_it(self) -> None:
        one, other = chain_digests(["sha256:a", "sha256:b"]), chain_digests(["sha256:c", "sha256:b"])
        assert one[0] == "sha256:a"
        assert one[1] != other[1]

    @pytest.mark.parametrize(
        "mount",
        [
            "mount -t overlay overlay /mnt -o index=off,workdir=/w,upperdir=/var/lib/fs,lowerdir=/a:/b",
            "mount -t bind /var/lib/fs /mnt -o rw,rbind",
        ],
    )
    def test_a_snapshot_is_filled_where_its_mount_would_write(self, mount: str) -> None:
        assert parse_upper_folder(mount) == Path("/var/lib/fs")

    def test_a_tag_that_nodes_would_pull_is_refused(self) -> None:
        assert name_project_image("synthray", "worker", "dev") == "localhost/synthray/worker:dev"
        with pytest.raises(InvalidInput, match="the tag latest makes every node ask a registry"):
            name_project_image("synthray", "worker", "latest")


class TestDaemons:
    def test_a_daemon_is_found_again_and_stopped(self, tmp_path: Path) -> None:
        daemon = Daemon(tmp_path / "sleeper.pid")
        pid = daemon.start(["sleep", "600"], log=tmp_path / "log")
        assert Daemon(daemon.pid_file).pid == pid
        daemon.stop(grace_seconds=5)
        assert daemon.pid is None
        assert observe_start_time(pid) is None

    def test_a_number_that_another_process_has_now_is_no_daemon(self, tmp_path: Path) -> None:
        daemon = Daemon(tmp_path / "other.pid")
        daemon.pid_file.write_text(f"{os.getpid()} 1\n")
        assert daemon.pid is None


@pytest.fixture(scope="module")
def places() -> Places:
    places = find_places()
    build_programs(places, CONTROL_PLANE_PROGRAMS, print)
    return places


def kubectl(places: Places, kubeconfig: Path, *arguments: str) -> str:
    command = [str(places.programs / "kubectl"), f"--kubeconfig={kubeconfig}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_an_api_server_serves_survives_an_outage_and_leaves_no_process(
    places: Places, tmp_path: Path
) -> None:
    with ApiServerAlone(tmp_path, programs=places.programs, controllers=True) as server:
        pids = server.pids
        assert len(pids) == 3
        kubectl(places, server.kubeconfig, "create", "namespace", "kept")
        # The controllers have seen the namespace once its service account is there.
        kubectl(
            places, server.kubeconfig, "--namespace=kept", "wait", "--for=create", "serviceaccount/default"
        )
        server.stop_serving()
        with pytest.raises(subprocess.CalledProcessError):
            kubectl(places, server.kubeconfig, "--request-timeout=2s", "get", "namespaces")
        server.serve_again()
        assert "kept" in kubectl(places, server.kubeconfig, "get", "namespaces", "-o", "name")
        pids |= server.pids
    assert [pid for pid in pids if observe_start_time(pid) is not None] == []


def test_two_api_servers_stand_side_by_side_and_know_nothing_of_each_other(
    places: Places, tmp_path: Path
) -> None:
    with (
        ApiServerAlone(tmp_path / "one", programs=places.programs, controllers=False) as one,
        ApiServerAlone(tmp_path / "other", programs=places.programs, controllers=False) as other,
    ):
        kubectl(places, one.kubeconfig, "create", "namespace", "mine")
        names = json.loads(kubectl(places, other.kubeconfig, "get", "namespaces", "-o", "json"))["items"]
        assert "mine" not in {namespace["metadata"]["name"] for namespace in names}


def test_an_api_server_dies_with_the_process_that_started_it(places: Places, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from tests.cluster.environment.api_server import ApiServerAlone\n"
        "server = ApiServerAlone(Path(sys.argv[1]), programs=Path(sys.argv[2]), controllers=False)\n"
        "with server: print(*server.pids, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(places.programs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as owner:
        pids = [int(pid) for pid in wait_for_line(owner).split()]
        owner.kill()
    assert len(pids) == 2
    wait_until(
        "the end of the orphans",
        lambda: all(observe_start_time(pid) is None for pid in pids),
        seconds=20,
        logs=tmp_path,
    )

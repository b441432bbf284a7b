"""How the embedded server is started."""

import socket

import pytest

from synthray.storage.embedded import build_export_lines
from synthray.storage.ports import choose_free_ports, is_free_port
from synthray.storage.seaweed import INTERNAL_PORTS, build_arguments, build_environment


def test_it_serves_this_machine_alone_and_reports_to_nobody() -> None:
    arguments = build_arguments(s3_port=1, internal_ports=range(2, 11), bucket="xray")
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"} <= set(arguments)
    named = {argument.split("=")[0] for argument in arguments if "port" in argument}
    assert named >= {f"-{name}" for name in INTERNAL_PORTS}


def test_it_inherits_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "somebody's")
    monkeypatch.setenv("S3_BUCKET", "another")
    environment = build_environment({"AWS_ACCESS_KEY_ID": "own"})
    assert {name for name in environment if name.startswith(("AWS_", "S3_"))} == {"AWS_ACCESS_KEY_ID"}


def test_ports_are_free_and_different() -> None:
    ports = choose_free_ports(8)
    assert len(set(ports)) == 8
    assert all(is_free_port(port) for port in ports)


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free_port(listener.getsockname()[1])


def test_exported_values_survive_the_shell() -> None:
    assert build_export_lines({"A": "x", "B": "it's $5"}) == ["export A=x", "export B='it'\"'\"'s $5'"]

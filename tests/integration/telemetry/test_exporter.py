"""The driver's HTTP server, asked by real clients; promtool judges what it says."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from synthray.errors import InvalidInput
from synthray.telemetry.exporter import build_exporter
from synthray.telemetry.report import RunSnapshot, SegmentTotals, StepFigures

SNAPSHOT = RunSnapshot(
    namespace="default",
    run="demo",
    model="unet-64",
    version="0.1.0",
    epochs=2,
    images_total=100,
    workers_desired=1,
    totals=SegmentTotals(images=10, skipped_samples={"hash": 1}, checkpoint_failures={"Unavailable": 1}),
    figures=StepFigures(1, 50, 5, 0.5, (0.5,) * 10, 1.0, 1e-4, 1.0, 10.0, 0.5),
)


@pytest.fixture
def address() -> Iterator[str]:
    with build_exporter(lambda: SNAPSHOT, host="127.0.0.1", port=0) as exporter:
        yield exporter.address


def get(url: str, accept: str = "*/*") -> tuple[str, bytes]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read()


def test_promtool_accepts_the_metrics(address: str) -> None:
    _, metrics = get(f"{address}/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_prometheus_is_given_openmetrics_when_it_asks(address: str) -> None:
    content_type, body = get(f"{address}/metrics", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_progress_is_one_json_object(address: str) -> None:
    content_type, body = get(f"{address}/progress")
    assert content_type == "application/json"
    assert json.loads(body)["images_seen"] == 50


def test_healthz_answers_and_other_paths_say_what_there_is(address: str) -> None:
    assert get(f"{address}/healthz")[1] == b"ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404") as missing:
        get(f"{address}/nothing")
    with missing.value:
        assert b"/metrics" in missing.value.read()


def test_a_taken_port_is_named_with_the_remedy(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    with pytest.raises(InvalidInput) as refused:
        build_exporter(lambda: SNAPSHOT, host="127.0.0.1", port=port)
    assert refused.value.message == (
        f"port {port} is in use on 127.0.0.1; stop what uses it or choose another with --metrics-port"
    )

"""Every panel and every alert, asked of a real Prometheus that scraped real exporters.

A run of three attempts (one resized, one killed), the operator's metrics and the generation service, all
at the pace of the scrapes, so that no figure is missed.
"""

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from live_prometheus import LivePrometheus, scrape_these
from queries import Target, marks_of, metrics_in, substitute, targets_of
from served import build_app, listening, tiny_service
from simulated_cluster import build_document, build_node
from tiny_run import prepare_tiny_dataset, write_tiny_run
from tools.monitoring.alerts import ALERTS
from tools.monitoring.dashboards import DASHBOARDS
from tools.monitoring.rule import Alert
from watched_run import WatchedRun

from synthray.errors import Reason
from synthray.operator.fleet import build_fleet
from synthray.operator.health import Health, build_health_server
from synthray.operator.metrics import OperatorMetrics
from synthray.telemetry.exporter import build_exporter
from synthray.training.decisions import Decision, Verdict

RULES = Path(__file__).parents[3] / "helm" / "synthray" / "files" / "alerts.yaml"
NAMESPACE = "xray"
LOST = Decision(Verdict.AGAIN, Reason.WORKER_LOST, "worker 0 on here was killed")
TARGETS = [target for board in DASHBOARDS for target in targets_of(board.name)]
# What has figures only once something has gone wrong.
NEWS = {panel.title for board in DASHBOARDS for panel in board.panels if panel.is_news}
NEWS_METRICS = {"synthray_checkpoint_failures_total"}


@dataclass(frozen=True)
class Scraped:
    """What was scraped: since when, by whom, and where it still is."""

    prometheus: LivePrometheus
    began: float
    exporters: dict[str, str]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    folder = tmp_path_factory.mktemp("monitoring")
    run = write_tiny_run(folder, "run", prepare_tiny_dataset(folder))
    watched = WatchedRun(run, NAMESPACE)
    operator = OperatorMetrics(lambda: 0)
    began = time.time()
    with (
        build_exporter(watched.snapshot, host="127.0.0.1", port=0) as driver,
        build_health_server("127.0.0.1", 0, operator.registry, Health(lambda: True, lambda: True)) as health,
        tiny_service() as service,
        listening(build_app(service)) as images,
    ):
        exporters = {"runs": driver.address, "operator": health.address, "chest-images": images}
        with LivePrometheus(folder, scrape_these(exporters, RULES)) as prometheus:
            prometheus.wait_for("count(up == 1) == 3")
            operate(operator)
            watched.train(num_workers=2, stop_after_steps=2)
            watched.train(num_workers=1, dies_after_steps=2)
            ask_for_images(images)
            operate(operator)
            watched.train(num_workers=1, cause=LOST)
            prometheus.wait_for('synthray_run_state{state="Complete"}')
            prometheus.wait_for("synthray_generate_images_total > 0")
            yield Scraped(prometheus, began, exporters)


def operate(metrics: OperatorMetrics) -> None:
    """Lead and look at two runs, of which one waits for a person."""
    blocked = {"type": "Blocked", "status": "True", "reason": "SecretMissing"}
    runs: list[dict[str, Any]] = [build_document(), build_document()]
    runs[0]["metadata"]["name"] = "tiny"
    runs[0]["status"] = {"state": "Running", "workers": {"ready": 1, "replicas": 1}}
    runs[1]["status"] = {"state": "Blocked", "conditions": [blocked]}
    metrics.lead()
    with metrics.reconciling("TrainingRun"):
        metrics.show_fleet(build_fleet(runs, [build_node()]))


def ask_for_images(address: str) -> None:
    for seed in (1, 2):
        answer = requests.post(f"{address}/v1/images/generations", json={"seed": seed}, timeout=60)
        assert answer.status_code == 200


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.dashboard}: {target.place}")
def test_a_panels_expression_has_figures(scraped: Scraped, target: Target) -> None:
    found = scraped.prometheus.query(substitute(target.expression))
    assert found or target.place in NEWS
    assert all(series["value"][1] not in ("NaN", "+Inf") for series in found)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.dashboard}: {target.place}")
def test_a_panel_shows_what_is_chosen_alone(scraped: Scraped, target: Target) -> None:
    if "$" not in target.expression.replace("$__", ""):
        return  # of the whole cluster
    chosen = substitute(target.expression, namespace=NAMESPACE, run="another", service="another")
    assert scraped.prometheus.query(chosen) == []


@pytest.mark.parametrize("mark", marks_of("run"), ids=lambda mark: mark.place)
def test_a_runs_history_is_marked(scraped: Scraped, mark: Target) -> None:
    assert scraped.prometheus.query_since(substitute(mark.expression, window="1s"), scraped.began)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_can_be_evaluated_and_what_it_rests_on_is_there(scraped: Scraped, alert: Alert) -> None:
    scraped.prometheus.query(alert.expression)
    for metric in metrics_in(alert.expression) - NEWS_METRICS:
        assert scraped.prometheus.query(metric), metric


def test_prometheus_itself_evaluates_the_rules_of_the_chart(scraped: Scraped) -> None:
    scraped.prometheus.wait_for('ALERTS{alertname="SynthrayRunBlocked",namespace="xray",run="chest"}')
    rules = [rule for group in scraped.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: (rule["health"], rule.get("lastError")) for rule in rules} == {
        alert.name: ("ok", None) for alert in ALERTS
    }


def test_a_run_that_is_well_fires_nothing(scraped: Scraped) -> None:
    assert scraped.prometheus.query('ALERTS{alertstate="firing"}') == []
    # One run is blocked, and the other lacks a worker that it asks for; those alone are to be waited for.
    waiting = {one["metric"]["alertname"] for one in scraped.prometheus.query("ALERTS")}
    assert waiting <= {"SynthrayRunBlocked", "SynthrayBelowRequestedWorkers"}


@pytest.mark.parametrize("job", ["runs", "operator", "chest-images"])
def test_promtool_finds_nothing_wrong_with_what_is_exported(scraped: Scraped, job: str) -> None:
    with urllib.request.urlopen(f"{scraped.exporters[job]}/metrics", timeout=10) as answer:
        metrics = answer.read()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")

"""What the operator's metrics say of all runs and GPUs."""

from typing import Any

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from simulated_cluster import build_node

from synthray.operator.fleet import Fleet, RunPlace, build_fleet
from synthray.operator.metrics import OperatorMetrics


def run(name: str, state: str = "", *, replicas: int = 2, gpu: Any = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "xray", "name": name},
        "spec": {"workers": {"replicas": replicas, "gpu": gpu}},
        "status": {"state": state, **status} if state else {},
    }


def scrape(metrics: OperatorMetrics) -> dict[str, float]:
    return {
        sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for sample in family.samples
    }


def test_a_new_run_is_pending_and_wants_its_workers() -> None:
    assert build_fleet([run("new")], []).runs == (RunPlace("xray", "new", "Pending", "", 2, 0),)


def test_a_blocked_run_says_why() -> None:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "SecretMissing"},
        {"type": "Blocked", "status": "True", "reason": "SecretMissing"},
        {"type": "Failed", "status": "False", "reason": "AsExpected"},
    ]
    (place,) = build_fleet([run("b", "Blocked", conditions=conditions)], []).runs
    assert (place.state, place.reason) == ("Blocked", "SecretMissing")


def test_gpus_are_wanted_by_runs_at_work_alone_and_counted_per_worker() -> None:
    gpu = {"product": "x", "perWorker": 2}
    runs = [
        run("a", "Running", gpu=gpu, workers={"ready": 1, "replicas": 1}),
        run("b", "Complete", gpu=gpu),
        run("c", "Suspended", gpu=gpu),
        run("d", "Running", workers={"ready": 2, "replicas": 2}),
    ]
    nodes = [build_node("1", gpus=4), build_node("2", gpus=4, ready=False)]
    assert build_fleet(runs, nodes).gpus == {"offered": 4, "wanted": 4, "used": 2}


def test_a_process_that_does_not_lead_shows_no_fleet() -> None:
    samples = scrape(OperatorMetrics(lambda: 0))
    assert samples["synthray_operator_leader"] == 0
    assert not [name for name in samples if name.startswith("synthray_operator_run")]


def test_a_fleet_is_shown_whole_and_what_is_gone_leaves_no_series() -> None:
    metrics = OperatorMetrics(lambda: 0)
    metrics.show_fleet(Fleet((RunPlace("xray", "old", "Failed", "OutOfMemory", 2, 0),), {"wanted": 0}))
    metrics.show_fleet(Fleet((RunPlace("xray", "new", "Running", "", 2, 1),), {"wanted": 2}))
    shown = {name: value for name, value in scrape(metrics).items() if "_run_" in name or "_gpus" in name}
    assert shown == {
        "synthray_operator_gpus|wanted": 2,
        "synthray_operator_run_state|xray||new|Running": 1,
        "synthray_operator_run_workers|xray|new|desired": 2,
        "synthray_operator_run_workers|xray|new|ready": 1,
    }


def test_every_state_is_counted_also_where_no_run_is_in_it() -> None:
    metrics = OperatorMetrics(lambda: 0)
    metrics.show_fleet(Fleet((RunPlace("xray", "a", "Running", "", 1, 1),)))
    samples = scrape(metrics)
    assert (samples["synthray_operator_runs|Running"], samples["synthray_operator_runs|Failed"]) == (1, 0)


def test_a_run_at_rest_wants_no_workers() -> None:
    metrics = OperatorMetrics(lambda: 0)
    metrics.show_fleet(Fleet((RunPlace("xray", "a", "Suspended", "", 4, 0),)))
    assert not [name for name in scrape(metrics) if name.startswith("synthray_operator_run_workers")]

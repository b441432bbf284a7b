"""What a scrape says: names and labels that dashboards hold on to, true to the snapshot."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from synthray.telemetry.metrics import RunCollector
from synthray.telemetry.progress import build_progress
from synthray.telemetry.report import (
    Distribution,
    LastCheckpoint,
    RunLifetime,
    RunSnapshot,
    SegmentTotals,
    StepFigures,
)
from synthray.telemetry.storage_counters import StorageCounts

FIGURES = StepFigures(
    epoch=2,
    images_seen=640,
    step=10,
    loss=0.25,
    loss_by_bucket=(0.1, float("nan")),
    gradient_norm=1.5,
    learning_rate=1e-4,
    loss_scale=1.0,
    images_per_second=20.0,
    validation_loss=0.3,
)
SNAPSHOT = RunSnapshot(
    namespace="xray",
    run="demo",
    model="unet-64",
    version="0.1.0",
    epochs=4,
    images_total=1280,
    workers_desired=2,
    max_work_at_risk_seconds=600,
    state="Running",
    attempt=3,
    attempt_began=9e8,
    workers_ready=2,
    totals=SegmentTotals(
        images=64,
        steps=4,
        step_seconds=Distribution((0.5, 1.0)).observe(0.4).observe(0.6).observe(3.0),
        skipped_samples={"hash": 1},
        storage=StorageCounts({("get", "ok"): 7}, read_bytes=100, retries=2),
    ),
    figures=FIGURES,
    lifetime=RunLifetime(images_seen=600, attempts=3, goodput_ratio=0.9, faults=2, resizes=1),
    last_checkpoint=LastCheckpoint("s", 2, 600, "s3://x/states/s", 1e9),
)


def scrape(snapshot: RunSnapshot) -> dict[str, float]:
    """Sample name with its own labels -> value."""
    registry = CollectorRegistry()
    registry.register(RunCollector(lambda: snapshot))
    samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("namespace", "run")}
            assert sample.labels["namespace"] == snapshot.namespace
            assert sample.labels["run"] == snapshot.run
            samples[sample.name + "".join(f"|{k}={v}" for k, v in sorted(labels.items()))] = sample.value
    return samples


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synthray_train_images_total", 64),
        ("synthray_train_steps_total", 4),
        ("synthray_train_loss", 0.25),
        ("synthray_train_loss_by_timestep|bucket=0", 0.1),
        ("synthray_train_validation_loss", 0.3),
        ("synthray_train_eta_seconds", 32),
        ("synthray_train_workers|state=ready", 2),
        ("synthray_train_skipped_samples_total|reason=hash", 1),
        ("synthray_storage_requests_total|operation=get|outcome=ok", 7),
        ("synthray_storage_retries_total", 2),
        ("synthray_checkpoint_last_success_timestamp_seconds", 1e9),
        ("synthray_run_images_seen", 600),
        ("synthray_run_goodput_ratio", 0.9),
        ("synthray_run_attempts", 3),
        ("synthray_run_faults", 2),
        ("synthray_run_resizes", 1),
        ("synthray_run_epochs", 4),
        ("synthray_run_planned_images", 1280),
        ("synthray_run_state|reason=|state=Running", 1),
        ("synthray_checkpoint_objective_seconds", 600),
        ("synthray_train_attempt_start_timestamp_seconds", 9e8),
        ("synthray_run_info|attempt=3|model=unet-64|version=0.1.0", 1),
        ("synthray_train_step_seconds_bucket|le=0.5", 1),
        ("synthray_train_step_seconds_bucket|le=1.0", 2),
        ("synthray_train_step_seconds_bucket|le=+Inf", 3),
        ("synthray_train_step_seconds_count", 3),
        ("synthray_train_step_seconds_sum", 4.0),
    ],
)
def test_a_scrape_shows(name: str, value: float) -> None:
    assert scrape(SNAPSHOT)[name] == pytest.approx(value)


def test_before_the_first_step_there_are_no_figures_but_all_counters_stand_at_zero() -> None:
    samples = scrape(replace(SNAPSHOT, figures=None, totals=SegmentTotals(), last_checkpoint=None))
    assert "synthray_train_loss" not in samples
    assert samples["synthray_train_images_total"] == 0
    assert samples["synthray_train_step_seconds_count"] == 0
    assert samples["synthray_train_skipped_samples_total|reason=unreadable"] == 0


def test_before_anybody_has_looked_a_run_has_no_past() -> None:
    blank = RunSnapshot("xray", "demo", "", "0.1.0", 4, 0, 0, state="Blocked", reason="BucketMissing")
    samples = scrape(blank)
    assert samples["synthray_run_state|reason=BucketMissing|state=Blocked"] == 1
    ledgers = {name for name in samples if name.startswith("synthray_run_")}
    assert ledgers == {
        "synthray_run_state|reason=BucketMissing|state=Blocked",
        "synthray_run_info|attempt=0|model=|version=0.1.0",
    }


def test_a_driver_that_begins_an_attempt_counts_it() -> None:
    samples = scrape(replace(SNAPSHOT, attempt=4))
    assert samples["synthray_run_attempts"] == 4


def test_progress_tells_what_the_driver_has_saved_and_why_it_stands_still() -> None:
    snapshot = replace(
        SNAPSHOT, state="Blocked", reason="CredentialsRejected", message="w" * 5000, committed_states=3
    )
    progress = build_progress(replace(snapshot, resumed_from="000000000042-a000001"))
    assert progress["message"] == "w" * 2048
    assert (progress["committed_states"], progress["resumed_from"]) == (3, "000000000042-a000001")


def test_progress_says_the_same_and_never_writes_nan() -> None:
    progress = build_progress(replace(SNAPSHOT, figures=replace(FIGURES, loss=float("nan"))))
    assert progress["loss"] is None
    assert (progress["epoch"], progress["images_seen"], progress["eta_seconds"]) == (2, 640, 32)
    assert progress["last_checkpoint"]["images_seen"] == 600


def test_totals_of_segments_add_up() -> None:
    both = SNAPSHOT.totals + SNAPSHOT.totals
    assert both.images == 128
    assert both.step_seconds.counts == (2, 2, 2)
    assert both.storage.requests == {("get", "ok"): 14}
    assert both.skipped_samples == {"hash": 2}

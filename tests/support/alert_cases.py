"""Series under which each alert must fire, and series close to them under which it must not.

In promtool's notation: `0+1x30` begins at 0 and rises by 1 a minute for 30 minutes, `_` is a missing sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass

RUN = {"namespace": "xray", "run": "chest"}
# What a scrape adds; a new attempt's pod has another name.
DRIVER = 'namespace="xray",run="chest",pod="chest-1-head"'
NEXT_DRIVER = 'namespace="xray",run="chest",pod="chest-2-head"'
OPERATOR = 'namespace="synthray-system",pod="synthray-operator-0"'
OF_RUN = 'namespace="xray",run="chest",pod="synthray-operator-0"'
REPLICA = 'namespace="xray",job="chest-images",instance="10.0.0.7:8000"'
Series = Mapping[str, str]


@dataclass(frozen=True)
class Cases:
    """Both sides of an alert, looked at `at_minutes`: under `fires` it fires once, with just these labels.

    Each silent case is named for what keeps the alert silent.
    """

    fires: Series
    labels: Mapping[str, str]
    silent: Mapping[str, Series]
    at_minutes: int = 40


def _state(state: str, reason: str = "") -> str:
    return f'synthray_run_state{{{DRIVER},state="{state}",reason="{reason}"}}'


def _operators_state(state: str, reason: str = "") -> str:
    return f'synthray_operator_run_state{{{OF_RUN},state="{state}",reason="{reason}"}}'


def _series(name: str, labels: str = DRIVER, **more: str) -> str:
    own = [f'{key}="{value}"' for key, value in more.items()]
    return f"{name}{{{','.join([labels, *own])}}}"


RUNNING = {_state("Running"): "1x200"}
STEPS = _series("synthray_train_steps_total")
WAITED = _series("synthray_train_data_wait_seconds_total")
STEP_SECONDS = _series("synthray_train_step_seconds_sum")
SPEED = _series("synthray_train_images_per_second")
READY = _series("synthray_train_workers", state="ready")
BEGAN = _series("synthray_train_attempt_start_timestamp_seconds")
OBJECTIVE = _series("synthray_checkpoint_objective_seconds")
SAVED = _series("synthray_checkpoint_last_success_timestamp_seconds")
FAILURES = _series("synthray_checkpoint_failures_total", reason="StorageUnavailable")
RETRIES = _series("synthray_storage_retries_total")
REQUESTS = _series("synthray_storage_requests_total", operation="get", outcome="ok")
ATTEMPTS, NEXT_ATTEMPTS = (_series("synthray_run_attempts", labels) for labels in (DRIVER, NEXT_DRIVER))
RESIZES, NEXT_RESIZES = (_series("synthray_run_resizes", labels) for labels in (DRIVER, NEXT_DRIVER))
DESIRED = _series("synthray_operator_run_workers", OF_RUN, state="desired")
AT_WORK = _series("synthray_operator_run_workers", OF_RUN, state="ready")
SKIPPED = _series("synthray_train_skipped_samples_total", reason="unreadable")
RECOMPUTED = _series("synthray_train_nonfinite_steps_total")
INFO = _series("synthray_run_info", attempt="1", model="unet-512", version="0.1.0")
LEADER = _series("synthray_operator_leader", OPERATOR)
RECONCILED = _series("synthray_operator_last_reconcile_timestamp_seconds", OPERATOR)
RUNS = _series("synthray_operator_runs", OPERATOR, state="Running")
WAIT_SUM = _series("synthray_generate_queue_wait_seconds_sum", REPLICA)
WAIT_COUNT = _series("synthray_generate_queue_wait_seconds_count", REPLICA)
QUEUE = _series("synthray_generate_queue_images", REPLICA)
DRAWN = _series("synthray_generate_step_seconds_count", REPLICA)
SELF_TEST = _series("synthray_generate_selftest_ok", REPLICA)
PLACE = {"namespace": "xray", "job": "chest-images"}

CASES: Mapping[str, Cases] = {
    "SynthrayNoSteps": Cases(
        {STEPS: "0+5x10 50x40", **RUNNING},
        RUN,
        {
            "it steps slowly": {STEPS: "0+1x60", **RUNNING},
            "it is complete": {
                STEPS: "0+5x10 50x40",
                _state("Running"): "1x10",
                _state("Complete"): "_x10 1x40",
            },
            "its driver began anew and steps": {STEPS: "90+5x20 0+5x30", **RUNNING},
        },
    ),
    "SynthrayRunFailed": Cases(
        {_operators_state("Failed", "OutOfMemory"): "_x20 1x60"},
        {**RUN, "state": "Failed", "reason": "OutOfMemory"},
        {"it is complete": {_operators_state("Complete"): "1x60"}},
    ),
    "SynthrayRunBlocked": Cases(
        {_operators_state("Blocked", "SecretMissing"): "1x60"},
        {**RUN, "reason": "SecretMissing"},
        {
            "it was blocked for a moment": {
                _operators_state("Blocked", "SecretMissing"): "_x38 1x2",
                _operators_state("Pending"): "1x38",
            }
        },
    ),
    "SynthrayLossNotFinite": Cases(
        {_operators_state("Failed", "NonFiniteLoss"): "_x20 1x60"},
        RUN,
        {"it failed otherwise": {_operators_state("Failed", "OutOfMemory"): "_x20 1x60"}},
    ),
    "SynthrayStepsRecomputed": Cases(
        {RECOMPUTED: "0+1x60"},
        RUN,
        {"the loss scale settles": {RECOMPUTED: "0+1x8 8x60"}},
    ),
    "SynthrayDataWait": Cases(
        {WAITED: "0+18x60", STEP_SECONDS: "0+60x60"},
        RUN,
        {
            "a tenth is waited": {WAITED: "0+6x60", STEP_SECONDS: "0+60x60"},
            "nothing moves": {WAITED: "18x60", STEP_SECONDS: "60x60"},
        },
    ),
    "SynthrayThroughputDrop": Cases(
        {SPEED: "100x90 60x40", READY: "4x130"},
        RUN,
        {
            "it has fewer workers by now": {SPEED: "100x90 60x40", READY: "4x90 2x40"},
            "it is a little slower": {SPEED: "100x90 80x40", READY: "4x130"},
        },
        at_minutes=125,
    ),
    "SynthrayCheckpointOld": Cases(
        {BEGAN: "0x60", OBJECTIVE: "600x60", SAVED: "300x60", **RUNNING},
        RUN,
        {
            "it saves in time": {BEGAN: "0x60", OBJECTIVE: "600x60", SAVED: "0+60x60", **RUNNING},
            "it has just begun, after a week": {
                BEGAN: "2000x60",
                OBJECTIVE: "600x60",
                SAVED: "0x60",
                **RUNNING,
            },
            "it waits for workers and does nothing": {
                BEGAN: "0x60",
                OBJECTIVE: "600x60",
                SAVED: "300x60",
                _state("WaitingForWorkers"): "1x60",
            },
        },
    ),
    "SynthrayCheckpointSavesFail": Cases(
        {FAILURES: "_x20 4+1x60"},
        {**RUN, "reason": "StorageUnavailable"},
        {"two tries failed": {FAILURES: "_x30 1+1x1 2x60"}, "they failed long ago": {FAILURES: "9x60"}},
    ),
    "SynthrayStorageRetries": Cases(
        {RETRIES: "0+10x60", REQUESTS: "0+100x60"},
        RUN,
        {"few are sent again": {RETRIES: "0+2x60", REQUESTS: "0+100x60"}},
    ),
    "SynthrayRestartStorm": Cases(
        {
            ATTEMPTS: "1x5 2x5 3x5 4x5 _x60",
            RESIZES: "0x20 _x60",
            NEXT_ATTEMPTS: "_x20 5x5 6x5 7x30",
            NEXT_RESIZES: "_x20 0x60",
        },
        RUN,
        {
            "it was resized as often": {ATTEMPTS: "1+0.2x60", RESIZES: "0+0.2x60"},
            "it was restarted now and then": {ATTEMPTS: "7x20 8x20 9x20", RESIZES: "0x60"},
        },
    ),
    "SynthrayBelowRequestedWorkers": Cases(
        {DESIRED: "4x60", AT_WORK: "3x60"},
        RUN,
        {
            "all are there": {DESIRED: "4x60", AT_WORK: "4x60"},
            "one is replaced": {DESIRED: "4x60", AT_WORK: "4x34 3x5 4x20"},
        },
    ),
    "SynthraySkippedSamples": Cases(
        {SKIPPED: "0x20 1x60"},
        {**RUN, "reason": "unreadable"},
        {"none was replaced": {SKIPPED: "0x60"}},
    ),
    "SynthrayExporterAbsent": Cases(
        {_operators_state("Running"): "1x60"},
        RUN,
        {
            "its driver is scraped": {_operators_state("Running"): "1x60", INFO: "1x60"},
            "it is suspended": {_operators_state("Suspended"): "1x60"},
        },
    ),
    "SynthrayOperatorNotReconciling": Cases(
        {RECONCILED: "0+60x20 1200x40", LEADER: "1x60", RUNS: "2x60"},
        {"namespace": "synthray-system", "pod": "synthray-operator-0"},
        {
            "it looks at runs": {RECONCILED: "0+60x60", LEADER: "1x60", RUNS: "2x60"},
            "there is no run": {RECONCILED: "0x60", LEADER: "1x60", RUNS: "0x60"},
            "it stands by": {RECONCILED: "0x60", LEADER: "0x60", RUNS: "2x60"},
        },
    ),
    "SynthrayNoOperatorLeader": Cases(
        {LEADER: "0x60"},
        {},
        {"one leads": {LEADER: "1x60"}, "another took over": {LEADER: "1x36 0x2 1x20"}},
    ),
    "SynthrayGenerationQueueWait": Cases(
        {WAIT_SUM: "0+400x60", WAIT_COUNT: "0+10x60"},
        PLACE,
        {
            "images wait for seconds": {WAIT_SUM: "0+40x60", WAIT_COUNT: "0+10x60"},
            "nobody asks": {WAIT_SUM: "400x60", WAIT_COUNT: "10x60"},
        },
    ),
    "SynthrayGenerationStuck": Cases(
        {QUEUE: "3x60", DRAWN: "900x60"},
        {**PLACE, "instance": "10.0.0.7:8000"},
        {
            "it draws": {QUEUE: "3x60", DRAWN: "0+50x60"},
            "nobody asks": {QUEUE: "0x60", DRAWN: "900x60"},
        },
    ),
    "SynthraySelfTestFailed": Cases(
        {SELF_TEST: "1x20 0x60"},
        {**PLACE, "instance": "10.0.0.7:8000"},
        {"it gives the same pixels": {SELF_TEST: "1x60"}},
    ),
}

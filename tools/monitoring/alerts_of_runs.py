"""What can be wrong with a run that should be training."""

from typing import Final

from tools.monitoring.rule import Alert

_RUN: Final = "{{ $labels.namespace }}/{{ $labels.run }}"

RUN_ALERTS: Final = (
    Alert(
        name="SynthrayNoSteps",
        severity="critical",
        hold_seconds=300,
        expression="""
            sum by (namespace, run) (increase(synthray_train_steps_total[10m])) == 0
            unless on (namespace, run)
              synthray_run_state{state=~"Complete|Failed|Fenced|Blocked|Stopped"}
        """,
        summary=f"{_RUN} has made no step for 10 minutes",
        description="The driver lives and its workers make no step: they wait for nodes, data or storage, "
        "or they hang. Nothing is lost, and nothing is gained.",
    ),
    Alert(
        name="SynthrayRunFailed",
        severity="critical",
        hold_seconds=60,
        expression="""
            max by (namespace, run, state, reason) (synthray_operator_run_state{state=~"Failed|Fenced"})
            unless on (namespace, run)
              synthray_operator_run_state{state=~"Failed|Fenced"} offset 1d
        """,
        summary=f"{_RUN} has failed: {{{{ $labels.reason }}}}",
        description="The run ended by itself and will not be tried again. Its checkpoints are kept. "
        "The alert ends by itself after a day.",
    ),
    Alert(
        name="SynthrayRunBlocked",
        severity="critical",
        hold_seconds=300,
        expression="""
            max by (namespace, run, reason) (synthray_operator_run_state{state="Blocked"}) == 1
        """,
        summary=f"{_RUN} waits for a person: {{{{ $labels.reason }}}}",
        description="Something that only a person can change keeps the run from starting; it holds no GPU "
        "and is tried again every few minutes.",
    ),
    Alert(
        name="SynthrayLossNotFinite",
        severity="critical",
        hold_seconds=60,
        expression="""
            max by (namespace, run) (
                synthray_operator_run_state{reason=~"NonFiniteLoss|GradientOutOfRange"}
              or
                synthray_run_state{reason=~"NonFiniteLoss|GradientOutOfRange"}
            ) == 1
        """,
        summary=f"{_RUN} ended because its loss or gradient is not finite",
        description="The same step gave the same non-finite value twice, so another attempt would end the "
        "same way. The newest checkpoint is from before it.",
    ),
    Alert(
        name="SynthrayStepsRecomputed",
        severity="warning",
        hold_seconds=600,
        expression="""
            sum by (namespace, run) (increase(synthray_train_nonfinite_steps_total[1h])) > 20
        """,
        summary=f"{_RUN} computed {{{{ $value | printf `%.0f` }}}} steps again within an hour",
        description="With fp16 a few are usual, while the loss scale settles. Many mean that the run is "
        "about to diverge; with fp32 or bf16 they mean a device that computes wrong.",
    ),
    Alert(
        name="SynthrayDataWait",
        severity="warning",
        hold_seconds=900,
        expression="""
            sum by (namespace, run) (rate(synthray_train_data_wait_seconds_total[10m]))
            /
            sum by (namespace, run) (rate(synthray_train_step_seconds_sum[10m])) > 0.2
        """,
        summary=f"{_RUN} waits for data {{{{ $value | humanizePercentage }}}} of its time",
        description="GPUs stand idle while images are read, decoded or noised.",
    ),
    Alert(
        name="SynthrayThroughputDrop",
        severity="warning",
        hold_seconds=900,
        expression="""
            (
              max by (namespace, run) (avg_over_time(synthray_train_images_per_second[5m]))
              <
              0.7 * max by (namespace, run) (avg_over_time(synthray_train_images_per_second[30m] offset 1h))
            )
            and on (namespace, run)
              max by (namespace, run) (synthray_train_workers{state="ready"})
              >=
              max by (namespace, run) (synthray_train_workers{state="ready"} offset 1h)
        """,
        summary=f"{_RUN} trains at {{{{ $value | printf `%.1f` }}}} images/s, 30 % below an hour ago",
        description="With as many workers as then. One slow worker slows all of them.",
    ),
    Alert(
        name="SynthrayCheckpointOld",
        severity="critical",
        hold_seconds=120,
        expression="""
            (
              time() - max by (namespace, run) (synthray_train_attempt_start_timestamp_seconds)
              > 1.5 * max by (namespace, run) (synthray_checkpoint_objective_seconds) + 60
            )
            unless on (namespace, run) (
              time() - max by (namespace, run) (synthray_checkpoint_last_success_timestamp_seconds)
              <= 1.5 * max by (namespace, run) (synthray_checkpoint_objective_seconds) + 60
            )
            and on (namespace, run) synthray_run_state{state=~"Running|Saving|WaitingForStorage"}
        """,
        summary=f"{_RUN} has more work at risk than it may",
        description="Its newest checkpoint is older than one and a half times maxWorkAtRiskSeconds, though "
        "it has trained for as long: a fault now would lose all since then.",
    ),
    Alert(
        name="SynthrayCheckpointSavesFail",
        severity="warning",
        hold_seconds=300,
        expression="""
            sum by (namespace, run, reason) (increase(synthray_checkpoint_failures_total[15m])) > 3
            or
            sum by (namespace, run, reason) (
              synthray_checkpoint_failures_total unless synthray_checkpoint_failures_total offset 15m
            ) > 3
        """,
        summary=f"{_RUN} fails to save: {{{{ $labels.reason }}}}",
        description="Saves are tried again from the same buffer; training goes on until the work at risk "
        "must be saved.",
    ),
    Alert(
        name="SynthrayStorageRetries",
        severity="warning",
        hold_seconds=900,
        expression="""
            sum by (namespace, run) (rate(synthray_storage_retries_total[10m]))
            > 0.05 * sum by (namespace, run) (rate(synthray_storage_requests_total[10m]))
        """,
        summary=f"{_RUN} sends one in twenty requests to object storage again, or more",
        description="Object storage refuses, is slow or is overloaded; reads and saves take longer.",
    ),
    Alert(
        name="SynthrayRestartStorm",
        severity="critical",
        hold_seconds=60,
        expression="""
            (
              max by (namespace, run) (max_over_time(synthray_run_attempts[1h]))
              - min by (namespace, run) (min_over_time(synthray_run_attempts[1h]))
            )
            - on (namespace, run) (
              max by (namespace, run) (max_over_time(synthray_run_resizes[1h]))
              - min by (namespace, run) (min_over_time(synthray_run_resizes[1h]))
            ) > 5
        """,
        summary=f"{_RUN} was restarted {{{{ $value | printf `%.0f` }}}} times within an hour",
        description="Beside changes of the number of workers. Each restart computes again what was not "
        "saved; what is saved is exact all the same.",
    ),
    Alert(
        name="SynthrayBelowRequestedWorkers",
        severity="warning",
        hold_seconds=900,
        expression="""
            max by (namespace, run) (synthray_operator_run_workers{state="desired"})
            - max by (namespace, run) (synthray_operator_run_workers{state="ready"}) > 0
        """,
        summary=f"{_RUN} lacks {{{{ $value | printf `%.0f` }}}} of its workers",
        description="The run trains with what it has, to the same result, only slower.",
    ),
    Alert(
        name="SynthraySkippedSamples",
        severity="warning",
        hold_seconds=60,
        expression="""
            sum by (namespace, run, reason) (increase(synthray_train_skipped_samples_total[1h])) > 0
        """,
        summary=f"{_RUN} replaced samples that it could not read",
        description="Each was read again from object storage first. The result differs from that of a run "
        "without the damage, and the run says Degraded.",
    ),
)

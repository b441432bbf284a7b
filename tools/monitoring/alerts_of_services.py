"""What can be wrong with the operator, with what is scraped, and with the generation of images."""

from typing import Final

from tools.monitoring.rule import Alert

OPERATOR_ALERTS: Final = (
    Alert(
        name="SynthrayExporterAbsent",
        severity="warning",
        hold_seconds=600,
        expression="""
            max by (namespace, run) (
              synthray_operator_run_state{state=~"Running|Saving|WaitingForStorage|WaitingForWorkers"}
            )
            unless on (namespace, run) synthray_run_info
        """,
        summary="nothing is scraped of {{ $labels.namespace }}/{{ $labels.run }}",
        description="The operator sees the run at work and Prometheus does not reach its driver, so no other "
        "alert of the run can fire.",
    ),
    Alert(
        name="SynthrayOperatorNotReconciling",
        severity="critical",
        hold_seconds=300,
        expression="""
            time() - synthray_operator_last_reconcile_timestamp_seconds > 300
            and synthray_operator_leader == 1
            and on () sum(synthray_operator_runs) > 0
        """,
        summary="the operator has brought no run on for {{ $value | humanizeDuration }}",
        description="It leads and no look at a run succeeds. Runs that train go on; what is lost is not "
        "replaced, and nothing starts.",
    ),
    Alert(
        name="SynthrayNoOperatorLeader",
        severity="critical",
        hold_seconds=300,
        expression="absent(synthray_operator_leader == 1)",
        summary="no operator leads",
        description="No operator runs, none holds the Lease, or none is scraped. Runs that train go on; what "
        "is lost is not replaced, and nothing starts.",
    ),
)

GENERATION_ALERTS: Final = (
    Alert(
        name="SynthrayGenerationQueueWait",
        severity="warning",
        hold_seconds=600,
        expression="""
            sum by (namespace, job) (rate(synthray_generate_queue_wait_seconds_sum[5m]))
            /
            sum by (namespace, job) (rate(synthray_generate_queue_wait_seconds_count[5m])) > 30
        """,
        summary="images wait {{ $value | humanizeDuration }} for a slot in {{ $labels.job }}",
        description="More is asked than the replicas can draw; what waits too long is refused with 503.",
    ),
    Alert(
        name="SynthrayGenerationStuck",
        severity="critical",
        hold_seconds=300,
        expression="""
            synthray_generate_queue_images > 0
            and rate(synthray_generate_step_seconds_count[5m]) == 0
        """,
        summary="{{ $labels.instance }} has images waiting and draws none",
        description="The thread that draws stands still; the replica must be replaced.",
    ),
    Alert(
        name="SynthraySelfTestFailed",
        severity="critical",
        hold_seconds=60,
        expression="synthray_generate_selftest_ok == 0",
        summary="{{ $labels.instance }} gives other pixels for its golden seeds than at its start",
        description="The device or its software computes otherwise than before: the same seed would give "
        "other pixels. The replica draws nothing more.",
    ),
)

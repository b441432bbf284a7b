"""The dashboard of all runs: who needs a person, who waits for GPUs, does the operator do its work."""

from typing import Final

from tools.monitoring.panel import Dashboard, Panel, Query, Row, Variable
from tools.monitoring.queries_of_runs import OF_RUN, gauge, rate_of

_NAMED: Final = "{{namespace}}/{{run}}"

_RUNS: Final = Row(
    "Runs",
    (
        Panel(
            title="Runs by state",
            unit="short",
            kind="stack",
            least=0,
            shows="How many runs are doing what.",
            good="nearly all are Running, Complete or Suspended.",
            otherwise="those that wait for workers lack GPUs; those that are blocked or failed need a "
            "person.",
            queries=(
                Query(
                    "sum by (state) (max by (namespace, run, state) "
                    f"(synthray_operator_run_state{{{OF_RUN}}}))",
                    "{{state}}",
                ),
            ),
        ),
        Panel(
            title="Runs that need a person",
            unit="short",
            kind="word",
            is_news=True,
            shows="Runs that are blocked or failed, with the reason.",
            good="empty.",
            otherwise="see docs/runbooks/alerts/SynthrayRunBlocked.md and "
            "docs/runbooks/alerts/SynthrayRunFailed.md.",
            queries=(
                Query(
                    f"max by (namespace, run, state, reason) (synthray_operator_run_state{{{OF_RUN},"
                    'state=~"Blocked|Failed|Fenced"})',
                    "{{namespace}}/{{run}} {{state}} {{reason}}",
                ),
            ),
        ),
        Panel(
            title="Progress",
            unit="percentunit",
            kind="bars",
            least=0,
            most=1,
            shows="Images seen over images seen at the end, of each run that is scraped.",
            good="all grow.",
            otherwise="open the run's own dashboard.",
            queries=(Query(f"{gauge('run_images_seen')} / {gauge('run_planned_images')}", _NAMED),),
        ),
        Panel(
            title="Throughput",
            unit="short",
            least=0,
            shows="Images per second of each run.",
            good="steady.",
            otherwise="see docs/runbooks/alerts/SynthrayThroughputDrop.md.",
            queries=(Query(gauge("train_images_per_second"), _NAMED),),
        ),
        Panel(
            title="Time left",
            unit="s",
            kind="bars",
            least=0,
            shows="Time to each run's end at its present speed.",
            good="it falls.",
            otherwise="give the run more workers, or another one fewer.",
            queries=(Query(gauge("train_eta_seconds"), _NAMED),),
        ),
        Panel(
            title="Age of the newest checkpoint",
            unit="s",
            least=0,
            shows="Time since each run committed a state.",
            good="below its maxWorkAtRiskSeconds.",
            otherwise="see docs/runbooks/alerts/SynthrayCheckpointOld.md.",
            queries=(Query(f"time() - {gauge('checkpoint_last_success_timestamp_seconds')}", _NAMED),),
        ),
    ),
)

_GPUS: Final = Row(
    "GPUs and workers",
    (
        Panel(
            title="GPUs asked and got",
            unit="short",
            least=0,
            shows="GPUs that ready nodes offer, that runs at work ask for, and that workers hold; of the "
            "whole cluster.",
            good="used equals wanted, and both lie below offered.",
            otherwise="wanted above offered: runs train with fewer workers, to the same result; add nodes. "
            "Used below both: nodes lack the label or room: see "
            "docs/runbooks/alerts/SynthrayBelowRequestedWorkers.md.",
            queries=(Query("max by (kind) (synthray_operator_gpus)", "{{kind}}"),),
        ),
        Panel(
            title="Missing workers",
            unit="short",
            least=0,
            shows="Workers that each run asks for and has not.",
            good="0.",
            otherwise="see docs/runbooks/alerts/SynthrayBelowRequestedWorkers.md.",
            queries=(
                Query(
                    " - ".join(
                        gauge("operator_run_workers", f',state="{state}"') for state in ("desired", "ready")
                    ),
                    _NAMED,
                ),
            ),
        ),
        Panel(
            title="Waiting for data",
            unit="percentunit",
            least=0,
            most=1,
            limits=(0.1, 0.2),
            shows="Share of its steps' time that each run's workers wait for images.",
            good="below 5 %.",
            otherwise="see docs/runbooks/alerts/SynthrayDataWait.md.",
            queries=(
                Query(
                    f"{rate_of('train_data_wait_seconds_total')} / {rate_of('train_step_seconds_sum')}",
                    _NAMED,
                ),
            ),
        ),
    ),
)

_GOODPUT: Final = Row(
    "Goodput",
    (
        Panel(
            title="Goodput",
            unit="percentunit",
            kind="bars",
            least=0,
            most=1,
            limits=(0.9, 0.7),
            shows="Time spent on steps that count over time elapsed, over each run's life.",
            good="above 90 %.",
            otherwise="the run's dashboard says what took the rest.",
            queries=(Query(gauge("run_goodput_ratio"), _NAMED),),
        ),
        Panel(
            title="Faults",
            unit="short",
            least=0,
            shows="Faults of each run over its life.",
            good="few, and not all of one node.",
            otherwise="see docs/runbooks/alerts/SynthrayRestartStorm.md.",
            queries=(Query(gauge("run_faults"), _NAMED),),
        ),
        Panel(
            title="Images computed again",
            unit="percentunit",
            least=0,
            shows="Images whose steps were lost and computed again, over images seen.",
            good="below 1 %.",
            otherwise="lower checkpoints.maxWorkAtRiskSeconds of runs on nodes that come and go.",
            queries=(Query(f"{gauge('run_redone_images')} / ({gauge('run_images_seen')} > 0)", _NAMED),),
        ),
    ),
)

_OPERATOR: Final = Row(
    "Operator",
    (
        Panel(
            title="Leaders",
            unit="short",
            kind="number",
            width=4,
            limits=(1, 0),
            shows="Operators that lead.",
            good="1.",
            otherwise="see docs/runbooks/alerts/SynthrayNoOperatorLeader.md.",
            queries=(Query("sum(synthray_operator_leader)", "leaders"),),
        ),
        Panel(
            title="Since the last look",
            unit="s",
            kind="number",
            width=4,
            limits=(120, 300),
            shows="Time since a look at a run last succeeded.",
            good="below a minute.",
            otherwise="see docs/runbooks/alerts/SynthrayOperatorNotReconciling.md.",
            queries=(Query("time() - max(synthray_operator_last_reconcile_timestamp_seconds > 0)", "since"),),
        ),
        Panel(
            title="Queue",
            unit="short",
            width=5,
            least=0,
            shows="Runs that are due for a look.",
            good="near 0.",
            otherwise="a queue that stays: the API server is slow; see the time of a look.",
            queries=(Query("max(synthray_operator_queue_depth)", "due"),),
        ),
        Panel(
            title="Looks by outcome",
            unit="ops",
            width=6,
            least=0,
            shows="Looks at runs a second. A conflict is another hand that was quicker.",
            good="success nearly alone; no defect ever.",
            otherwise="errors are the API server's refusals; a defect is a bug, with its traceback in the "
            "log.",
            queries=(
                Query(
                    "sum by (outcome) (rate(synthray_operator_reconcile_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            title="Time of a look",
            unit="s",
            width=5,
            least=0,
            shows="The slowest hundredth of the looks.",
            good="below a second.",
            otherwise="the API server is slow or far.",
            queries=(
                Query(
                    "histogram_quantile(0.99, sum by (le) "
                    "(rate(synthray_operator_reconcile_seconds_bucket[$__rate_interval])))",
                    "slowest 1 %",
                ),
            ),
        ),
    ),
)

FLEET_DASHBOARD: Final = Dashboard(
    name="fleet",
    title="synthray: all runs",
    about="Which runs need a person, which wait for GPUs, what their time is spent on, and whether the "
    "operator does its work.",
    variables=(
        Variable(
            "namespace", "Namespace", "label_values(synthray_operator_run_state, namespace)", all_at_once=True
        ),
        Variable(
            "run",
            "Run",
            'label_values(synthray_operator_run_state{namespace=~"$namespace"}, run)',
            all_at_once=True,
        ),
    ),
    rows=(_RUNS, _GPUS, _GOODPUT, _OPERATOR),
)

"""Of a run: where its time went, what would be lost, what object storage does."""

from typing import Final

from tools.monitoring.panel import Panel, Query, Row
from tools.monitoring.queries_of_runs import BY_RUN, OF_RUN, gauge, rate_of, rate_per

TIME: Final = Row(
    "Where its time went",
    (
        Panel(
            title="Time by use",
            unit="s",
            kind="stack",
            width=12,
            least=0,
            shows="The run's whole life: steps that count, data wait, stalls for saves, and restarts with "
            "what they computed again.",
            good="nearly all is useful.",
            otherwise="the part that grows names the trouble: data, object storage, or faults.",
            queries=(
                Query(gauge("run_useful_seconds"), "useful"),
                Query(gauge("run_data_wait_seconds"), "data wait"),
                Query(gauge("run_checkpoint_stall_seconds"), "checkpoint stall"),
                Query(gauge("run_restart_seconds"), "restart"),
            ),
        ),
        Panel(
            title="Attempts, faults, resizes",
            unit="short",
            width=6,
            least=0,
            shows="Counted over the run's whole life.",
            good="attempts grow only with resizes and planned stops.",
            otherwise="see docs/runbooks/alerts/SynthrayRestartStorm.md.",
            queries=(
                Query(gauge("run_attempts"), "attempts"),
                Query(gauge("run_faults"), "faults"),
                Query(gauge("run_resizes"), "resizes"),
            ),
        ),
        Panel(
            title="Images computed again",
            unit="short",
            width=6,
            least=0,
            shows="Images whose steps were lost with a fault before they were saved, over the run's whole "
            "life.",
            good="none; after a fault at most what is seen in maxWorkAtRiskSeconds.",
            otherwise="lower checkpoints.maxWorkAtRiskSeconds where faults are frequent.",
            queries=(Query(gauge("run_redone_images"), "again"),),
        ),
    ),
)

CHECKPOINTS: Final = Row(
    "What would be lost",
    (
        Panel(
            title="Age of the newest checkpoint",
            unit="s",
            least=0,
            shows="Time since a state was committed, and the most that the spec allows.",
            good="a saw below the limit.",
            otherwise="see docs/runbooks/alerts/SynthrayCheckpointOld.md.",
            queries=(
                Query(f"time() - {gauge('checkpoint_last_success_timestamp_seconds')}", "age"),
                Query(gauge("checkpoint_objective_seconds"), "limit"),
            ),
        ),
        Panel(
            title="Time of a commit",
            unit="s",
            least=0,
            shows="From the copy of the state to its manifest; training goes on meanwhile.",
            good="well below maxWorkAtRiskSeconds, and steady.",
            otherwise="object storage is slow: see docs/runbooks/alerts/SynthrayStorageRetries.md.",
            queries=(
                Query(
                    f"{rate_of('checkpoint_commit_seconds_sum')} / "
                    f"({rate_of('checkpoint_commit_seconds_count')} > 0)",
                    "mean",
                ),
            ),
        ),
        Panel(
            title="Training held up by saves",
            unit="percentunit",
            least=0,
            shows="Share of the time that training stands still for a save, and for storage that is away.",
            good="below 1 %.",
            otherwise="saves take longer than the time between them: see "
            "docs/runbooks/alerts/SynthrayCheckpointSavesFail.md.",
            queries=(
                Query(rate_of("train_checkpoint_stall_seconds_total"), "saves"),
                Query(rate_of("train_storage_wait_seconds_total"), "storage away"),
            ),
        ),
        Panel(
            title="Saves that failed",
            unit="short",
            least=0,
            is_news=True,
            shows="Tries to save that failed, by reason, since the driver began.",
            good="empty: none.",
            otherwise="see docs/runbooks/alerts/SynthrayCheckpointSavesFail.md.",
            queries=(
                Query(f"sum by (reason) (synthray_checkpoint_failures_total{{{OF_RUN}}})", "{{reason}}"),
            ),
        ),
        Panel(
            title="Bytes committed",
            unit="bytes",
            least=0,
            shows="Bytes of checkpoints that this driver committed.",
            good="equal stairs, one for each save.",
            otherwise="none for longer than the limit: see docs/runbooks/alerts/SynthrayCheckpointOld.md.",
            queries=(Query(f"sum {BY_RUN} (synthray_checkpoint_bytes_total{{{OF_RUN}}})", "committed"),),
        ),
        Panel(
            title="Samples replaced",
            unit="short",
            least=0,
            shows="Samples that could not be read and for which others stood in, since the driver began.",
            good="0.",
            otherwise="see docs/runbooks/alerts/SynthraySkippedSamples.md.",
            queries=(
                Query(f"sum by (reason) (synthray_train_skipped_samples_total{{{OF_RUN}}})", "{{reason}}"),
            ),
        ),
    ),
)

STORAGE: Final = Row(
    "Object storage and workers",
    (
        Panel(
            title="Requests",
            unit="reqps",
            least=0,
            shows="Requests to object storage by operation and outcome.",
            good="many gets while caches fill, then a few for each save; no errors.",
            otherwise="see docs/runbooks/alerts/SynthrayStorageRetries.md.",
            queries=(
                Query(rate_per("operation, outcome", "storage_requests_total"), "{{operation}} {{outcome}}"),
            ),
        ),
        Panel(
            title="Bytes read",
            unit="Bps",
            least=0,
            shows="Bytes read a second.",
            good="none once every node has cached the dataset.",
            otherwise="a steady stream says that the dataset does not fit into the cache.",
            queries=(Query(rate_of("storage_read_bytes_total"), "read"),),
        ),
        Panel(
            title="Retries",
            unit="reqps",
            least=0,
            shows="Requests that were sent again after a passing failure.",
            good="0.",
            otherwise="see docs/runbooks/alerts/SynthrayStorageRetries.md.",
            queries=(Query(rate_of("storage_retries_total"), "again"),),
        ),
    ),
)

"""`synthray train`, `status` and `explain`: a run from its file to its end."""

import os
from pathlib import Path
from typing import Annotated

import typer

from synthray.api.names import METRICS_PORT
from synthray.cli.output import JsonOption, people, print_document

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="A TrainingRun.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a field, for example spec.seed=1."),
]
DEFAULT_CACHE = Path("~/.cache/synthray").expanduser()
EXIT_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("train")(train)
    app.command("explain")(explain)


def train(
    run_file: RunFile,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers here, instead of the file's.")] = None,
    changes: SetOption = None,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of /metrics and /progress; 0: any free one.")
    ] = METRICS_PORT,
    cache: Annotated[Path, typer.Option(help="Where prepared images are cached.")] = DEFAULT_CACHE,
    adopt: Annotated[bool, typer.Option(help="Go on from another run's checkpoints.")] = False,
    json: JsonOption = False,
) -> int:
    """Run a TrainingRun here on a local Ray; the same command again goes on where it stopped."""
    from synthray.api.loading import load_training_run

    run = load_training_run(run_file, changes or [])
    from synthray.cli.terminal import ProgressDisplay
    from synthray.telemetry.progress import build_progress
    from synthray.training.decisions import Verdict
    from synthray.training.driver import DriverOptions, drive
    from synthray.training.preflight import check_run
    from synthray.training.resolution import observe_compute_capability, resolve_run

    resolved = resolve_run(
        run, os.environ, cache_directory=cache, compute_capability=observe_compute_capability()
    )
    for notice in resolved.notices:
        people.print(f"note: {notice}")
    preflight = check_run(resolved.settings, adopt=adopt)
    with ProgressDisplay(people) as display:
        options = DriverOptions(
            namespace=run.metadata.namespace,
            num_workers=min(workers or run.spec.workers.replicas, preflight.plan.num_micro_batches),
            metrics_host="127.0.0.1",
            metrics_port=metrics_port,
            show=display.show,
        )
        end = drive(resolved.settings, preflight, options)
    if json:
        print_document(build_progress(end.snapshot))
    if end.failure is not None:
        raise end.failure
    return EXIT_INTERRUPTED if end.verdict is Verdict.STOPPED else 0


def explain(run_file: RunFile, changes: SetOption = None, json: JsonOption = False) -> None:
    """Say what a run needs and costs: parameters, memory, checkpoints, steps, time."""
    raise NotImplementedError((run_file, changes, json))

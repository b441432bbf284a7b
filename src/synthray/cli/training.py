"""`synthray train` and `explain`: a run from its file to its end, and what it will cost."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthray.api.names import METRICS_PORT
from synthray.cli.checkpoints import RunPlace, run_name
from synthray.cli.output import EXIT_INTERRUPTED, JsonOption, people, print_document, results
from synthray.errors import SynthrayError

if TYPE_CHECKING:
    from synthray.api.v1alpha1 import TrainingRun
    from synthray.training.driver import OpenPlatform

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="A TrainingRun.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a field, for example spec.seed=1."),
]
DEFAULT_CACHE = Path("~/.cache/synthray").expanduser()
_EXPLAIN_DEADLINE_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("train")(train)
    app.command("scale")(scale)
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
    hang_after: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="Replace workers that get on no more; at least 5 steps."),
    ] = 30.0,
    ray_address: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Train on this Ray cluster, one worker on each of its nodes."),
    ] = "",
    without_ray: Annotated[
        bool, typer.Option("--without-ray", help="Workers are plain processes of this machine.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Run a TrainingRun here on a local Ray; the same command again goes on where it stopped."""
    from synthray.api.loading import load_training_run

    run = load_training_run(run_file, changes or [])
    from synthray.cli.terminal import ProgressDisplay
    from synthray.telemetry.progress import build_progress
    from synthray.telemetry.report import RunSnapshot
    from synthray.training.decisions import Verdict
    from synthray.training.driver import DriverOptions
    from synthray.training.head_log import HeadLog
    from synthray.training.preflight import check_run
    from synthray.training.resolution import observe_compute_capability, resolve_run
    from synthray.training.session import drive

    resolved = resolve_run(
        run, os.environ, cache_directory=cache, compute_capability=observe_compute_capability()
    )
    for notice in resolved.notices:
        people.print(f"note: {notice}")
    preflight = check_run(resolved.settings, adopt=adopt)
    max_workers = preflight.plan.num_micro_batches
    num_workers = min(workers or run.spec.workers.replicas, max_workers)
    if workers is not None and workers > num_workers:
        people.print(
            f"note: --workers {workers} is more than the {max_workers} micro-batches of a batch; "
            f"{num_workers} workers train"
        )
    log = HeadLog()
    with ProgressDisplay(people) as display:

        def show(snapshot: RunSnapshot) -> None:
            display.show(snapshot)
            log.show(snapshot)

        options = DriverOptions(
            namespace=run.metadata.namespace,
            num_workers=num_workers,
            min_workers=run.spec.workers.min_replicas if ray_address else 1,
            backoff_limit=run.spec.backoff_limit,
            quiet_limit_seconds=hang_after,
            show=show,
            open_platform=_choose_platform(
                resolved.settings.device, max_workers, ray_address=ray_address, without_ray=without_ray
            ),
        )
        end = drive(
            resolved.settings, preflight, options, metrics_host="127.0.0.1", metrics_port=metrics_port
        )
    if json:
        print_document(build_progress(end.snapshot))
    if end.failure is not None:
        raise end.failure
    return EXIT_INTERRUPTED if end.verdict is Verdict.STOPPED else 0


def _choose_platform(device: str, max_workers: int, *, ray_address: str, without_ray: bool) -> "OpenPlatform":
    """What the workers stand on; Ray is imported only where it is wanted."""
    if ray_address:
        from synthray.training.ray_cluster import attached_ray_platform

        return partial(attached_ray_platform, address=ray_address, use_gpu=device == "cuda")
    if without_ray:
        from synthray.training.crew import process_platform

        return partial(process_platform, use_gpu=device == "cuda")
    from synthray.training.ray_cluster import local_ray_platform

    return partial(local_ray_platform, max_workers=max_workers, use_gpu=device == "cuda")


def scale(
    run: RunPlace,
    workers: Annotated[int, typer.Option(min=1, help="How many workers are to train from now on.")],
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port that the run's `train` was given.")
    ] = METRICS_PORT,
) -> None:
    """Change the number of workers of a run that trains on this machine; no step is computed again."""
    from synthray.cli.scaling import scale_run

    results.print(scale_run(run_name(run), workers, metrics_port))


def explain(
    run_file: RunFile,
    changes: SetOption = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Training images; else the dataset is asked.")
    ] = None,
    images_per_second: Annotated[
        float | None, typer.Option(min=1e-6, help="Throughput, for the time that it takes.")
    ] = None,
    save_seconds: Annotated[
        float | None, typer.Option(min=1e-6, help="How long training stops for a save; else estimated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what a run needs and costs: parameters, memory, checkpoints, saves, time. Starts nothing."""
    from synthray.api.loading import load_training_run
    from synthray.api.v1alpha1 import resolve_architecture
    from synthray.training.explain import (
        build_cost_document,
        describe_cost,
        expect_precision,
        measure_network,
        plan_cost,
    )

    run = load_training_run(run_file, changes or [])
    spec = run.spec
    size = measure_network(
        resolve_architecture(spec.model), spec.optimization.micro_batch_size, expect_precision(spec)
    )
    train_images = images or _count_images(run)
    cost = plan_cost(
        run,
        size,
        train_images=train_images,
        images_per_second=images_per_second,
        save_seconds=save_seconds,
    )
    if json:
        print_document(build_cost_document(cost))
        return
    for label, sentence in describe_cost(cost).items():
        results.print(f"{label:>18}  {sentence}", soft_wrap=True)


def _count_images(run: "TrainingRun") -> int | None:
    """The dataset's training images, if it can be reached from here."""
    from synthray.data.dataset import read_description
    from synthray.storage import open_store, s3_settings_from_environment

    storage = run.spec.object_storage
    settings = s3_settings_from_environment(
        os.environ, endpoint_url=storage.endpoint_url, region=storage.region
    )
    settings = replace(settings, deadline_seconds=_EXPLAIN_DEADLINE_SECONDS)
    try:
        return read_description(open_store(run.spec.dataset.uri, settings)).num_train
    except SynthrayError as error:
        people.print(f"note: {error.message}; without it, steps and times are left out (--images tells them)")
        return None

"""`synthray driver`: the process of an attempt's head pod."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from synthray.api.names import CACHE_DIRECTORY, METRICS_PORT
from synthray.errors import InvalidInput, NotFound


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("driver")(driver)


def driver(
    run_file: Annotated[Path, typer.Argument(metavar="RUN_FILE", help="A TrainingRun, as YAML or JSON.")],
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of /metrics, /progress and /healthz.")
    ] = METRICS_PORT,
    cache: Annotated[
        Path, typer.Option(help="Where prepared images are cached, here and on workers.")
    ] = Path(CACHE_DIRECTORY),
    hang_after: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="Replace workers that get on no more; at least 5 steps."),
    ] = 30.0,
) -> int:
    """Drive one attempt on a cluster: the process of the head's pod, which the operator makes.

    Starts Ray's head as KUBERAY_GEN_RAY_START_CMD says, checks everything, trains, and serves its result.
    """
    from synthray.training.ray_head import ADDRESS_VARIABLE, COMMAND_VARIABLE, DEFAULT_ADDRESS

    # A pod's log has no terminal: one line for each event, with its time.
    logging.basicConfig(
        force=True, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    command = os.environ.get(COMMAND_VARIABLE)
    if not command:
        raise InvalidInput(
            f"{COMMAND_VARIABLE} is not set: `synthray driver` is the process of a head pod that KubeRay "
            "makes; elsewhere use `synthray train`"
        )
    from synthray.api.loading import load_training_run
    from synthray.training.head import HeadOptions, block_head, run_head

    options = HeadOptions(
        metrics_host="0.0.0.0",  # noqa: S104 the operator and Prometheus ask from outside the pod
        metrics_port=metrics_port,
        cache_directory=cache,
        quiet_limit_seconds=hang_after,
        ray_command=command,
        ray_address=os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS,
    )
    try:
        run = load_training_run(run_file)
    except (InvalidInput, NotFound) as error:
        return block_head("", error, options)
    return run_head(run, options, os.environ)

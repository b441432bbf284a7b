"""`synthray operator` and `render`: the process of the operator's pod, and what it would apply."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from synthray.cli.output import results


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("operator")(operator)
    app.command("render")(render)


_ConfigurationOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The operator's configuration, from the chart.")
]


def operator(
    config: _ConfigurationOption = Path("/etc/synthray/operator.yaml"),
    kubeconfig: Annotated[
        str, typer.Option(envvar="KUBECONFIG", help="Cluster to operate; else the pod's own.")
    ] = "",
    host: Annotated[str, typer.Option(help="Address of /metrics, /healthz and /readyz.")] = "0.0.0.0",  # noqa: S104 in a pod
    port: Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0: any free one.")] = 8080,
    lease_name: Annotated[
        str, typer.Option(help="Lease that elects the leader; left out: lead at once.")
    ] = "",
    lease_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Namespace of the Lease.")
    ] = "default",
) -> int:
    """Turn TrainingRuns of a cluster into RayClusters; runs in the operator's pod."""
    from synthray.operator.process import JsonLog, OperatorOptions, run_operator

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLog())
    logging.getLogger().handlers[:] = [handler]
    return run_operator(
        OperatorOptions(
            configuration=config,
            kubeconfig=kubeconfig or None,
            host=host,
            port=port,
            lease_name=lease_name,
            lease_namespace=lease_namespace,
        )
    )


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="A TrainingRun or GenerationService.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The operator's configuration.")
    ] = None,
    attempt: Annotated[int, typer.Option(min=1, help="Of a run: number of the attempt.")] = 1,
) -> None:
    """Print what the operator would apply for a run or a service. Asks no cluster."""
    import yaml

    from synthray.operator.configuration import Images, OperatorConfiguration
    from synthray.operator.process import load_configuration
    from synthray.operator.rendering import render_file

    if config is not None:
        configuration = load_configuration(config)
    else:
        configuration = OperatorConfiguration(images=Images(worker="synthray/worker:dev"))
    documents = render_file(file, configuration, attempt=attempt)
    results.print(yaml.safe_dump_all(documents, sort_keys=False), end="", soft_wrap=True, highlight=False)

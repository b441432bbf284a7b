"""`synthray debug`: all that somebody needs who helps with a run on a cluster, in one archive."""

from pathlib import Path
from typing import Annotated

import typer

from synthray.cli.output import people, results
from synthray.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("debug")(debug)


def debug(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a TrainingRun or GenerationService.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Its namespace; else the context's.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The archive; else synthray-debug-RUN.tar.gz.")
    ] = None,
    kubeconfig: Annotated[str, typer.Option(envvar="KUBECONFIG", help="Cluster to ask.")] = "",
) -> None:
    """Collect objects, events, logs and versions of a run on a cluster into one archive, without secrets."""
    from synthray.operator.cluster import Refused, connect, find_kubeconfig
    from synthray.operator.debugging.collecting import collect, find_subject

    target = out or Path(f"synthray-debug-{run}.tar.gz")
    if target.exists():
        raise InvalidInput(f"{target} exists; move it away or name another file with --out")
    if not target.parent.is_dir():
        raise InvalidInput(f"--out {target}: there is no folder {target.parent}; make it first")
    file, of_context = find_kubeconfig(kubeconfig)
    server = connect(file)
    try:
        subject = find_subject(server, namespace or of_context, run)
    except Refused as error:
        raise InvalidInput(f"the cluster does not let you look: {error}") from error
    archive = collect(server, subject, lambda what: people.print(f"  {what}", soft_wrap=True))
    archive.write(target)
    for line in archive.missing:
        people.print(f"missing: {line}", soft_wrap=True)
    results.print(f"{target}", soft_wrap=True)

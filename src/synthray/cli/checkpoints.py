"""`synthray status`, `events` and `checkpoints`: what a run has left in its prefix."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from synthray.cli.output import JsonOption, people, print_document, results
from synthray.errors import NotFound, VerificationFailed

if TYPE_CHECKING:
    from synthray.checkpoints.store import CheckpointStore

RunPlace = Annotated[
    str, typer.Argument(metavar="RUN", help="A TrainingRun's file, or the prefix of its checkpoints.")
]
EpochOption = Annotated[int | None, typer.Option(min=0, help="Of this epoch instead of the newest.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("status")(status)
    app.command("events")(events)
    commands = typer.Typer(help="A run's checkpoints: list, show, verify, export.", no_args_is_help=True)
    commands.command("list")(list_checkpoints)
    commands.command("show")(show)
    commands.command("verify")(verify)
    commands.command("export")(export)
    app.add_typer(commands, name="checkpoints")


def open_checkpoints(place: str) -> "CheckpointStore":
    """The checkpoints of a TrainingRun's file, or those under a prefix."""
    from synthray.api.loading import load_training_run
    from synthray.checkpoints.store import CheckpointStore
    from synthray.storage import open_store, s3_settings_from_environment

    if not place.endswith((".yaml", ".yml")):
        return CheckpointStore(open_store(place, s3_settings_from_environment(os.environ)))
    spec = load_training_run(Path(place)).spec
    settings = s3_settings_from_environment(
        os.environ, endpoint_url=spec.object_storage.endpoint_url, region=spec.object_storage.region
    )
    return CheckpointStore(open_store(spec.checkpoints.uri, settings))


def run_name(place: str) -> str:
    """The name of a TrainingRun's file, or of the run whose checkpoints stand under a prefix."""
    from synthray.api.loading import load_training_run
    from synthray.checkpoints.identity import read_identity

    if place.endswith((".yaml", ".yml")):
        return load_training_run(Path(place)).metadata.name
    checkpoints = open_checkpoints(place)
    identity = read_identity(checkpoints.store)
    if identity is None:
        raise NotFound(f"{checkpoints.uri} holds no run; name a TrainingRun's file or its checkpoints.uri")
    return identity.run


def status(run: RunPlace, json: JsonOption = False) -> None:
    """Say where a run stands, by what it has committed."""
    from synthray.training.status import build_status

    document = build_status(open_checkpoints(run))
    if json:
        print_document(document)
        return
    for name, value in document.items():
        results.print(f"{name.replace('_', ' '):>24}  {value}")


def events(
    run: RunPlace,
    faults: Annotated[bool, typer.Option("--faults", help="Only what was not planned.")] = False,
    json: JsonOption = False,
) -> None:
    """Tell a run's history: starts, resizes, faults, saves, epochs. Also when its cluster is gone."""
    from synthray.training.history import format_time, read_history, to_documents

    history = [entry for entry in read_history(open_checkpoints(run)) if entry.is_fault or not faults]
    if json:
        print_document(to_documents(history))
        return
    for entry in history:
        line = f"{format_time(entry.time)}  {entry.images_seen:>12,}  {entry.kind:<12}  {entry.message}"
        results.print(line, style="bold" if entry.is_fault else None, soft_wrap=True, markup=False)


def list_checkpoints(run: RunPlace, json: JsonOption = False) -> None:
    """List states and models, in the order of training."""
    from synthray.checkpoints.report import build_listing

    document = build_listing(open_checkpoints(run))
    if json:
        print_document(document)
        return
    table = Table("KIND", "EPOCH", "IMAGES", "ATTEMPT", "MB", "VALIDATION", "CREATED", "PROBLEM", box=None)
    for entry in (*document["states"], *document["models"]):
        table.add_row(*_columns(entry, ", ".join(entry["problems"])))
    for entry in document["ignored"]:
        table.add_row(*_columns(entry, "ignored: not on the accepted chain of attempts"))
    for entry in document["unfinished"]:
        table.add_row(*_columns(entry, "never committed, or its manifest is lost"))
    results.print(table)
    for problem in document["problems"]:
        people.print(f"problem: {problem}", soft_wrap=True)


def _columns(entry: dict[str, Any], problem: str) -> list[str]:
    validation = entry.get("validation_loss")
    return [
        entry["kind"],
        str(entry.get("epoch", "")),
        str(entry["images_seen"]),
        str(entry["attempt"]),
        f"{entry['bytes'] / 1e6:.1f}",
        "" if validation is None else f"{validation:.4f}",
        str(entry.get("created", "")),
        problem,
    ]


def show(run: RunPlace, epoch: EpochOption = None, json: JsonOption = False) -> None:
    """Show the newest state: its place in the run, its digests, its parts."""
    from synthray.checkpoints.report import build_details

    document = build_details(open_checkpoints(run), epoch)
    if json:
        print_document(document)
        return
    parts = document.pop("parts")
    for name, value in document.items():
        results.print(f"[bold]{name}[/bold] {value}", soft_wrap=True)
    for part in parts:
        results.print(f"{part['bytes']:>12}  {part['uri']}", soft_wrap=True)


def verify(run: RunPlace, epoch: EpochOption = None, json: JsonOption = False) -> None:
    """Read every byte of every checkpoint and compare it with its digests; exit code 4 if one differs.

    What no run goes on from (off the chain of attempts, never committed) is told and changes no exit code.
    """
    from synthray.checkpoints.report import build_verification

    document = build_verification(open_checkpoints(run), epoch)
    if json:
        print_document(document)
    bad = [entry for entry in document["checkpoints"] if not entry["ok"]]
    people.print(f"{len(document['checkpoints']) - len(bad)} of {len(document['checkpoints'])} are whole")
    for entry in (*document["ignored"], *document["unfinished"]):
        for problem in entry["problems"]:
            people.print(f"not in use: {entry['uri']}: {problem}", soft_wrap=True)
    if not document["ok"]:
        lines = [f"{entry['uri']}: {', '.join(entry['problems'])}" for entry in bad]
        listed = "".join(f"\n  {line}" for line in (*lines, *document["problems"]))
        raise VerificationFailed(
            f"these are damaged; a run goes on from the newest state that is whole:{listed}"
        )


def export(
    run: RunPlace,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Empty folder or prefix.")],
    epoch: EpochOption = None,
) -> None:
    """Copy a model out, as a folder that DDPMPipeline.from_pretrained opens."""
    from synthray.checkpoints.export import export_model
    from synthray.checkpoints.store import select_manifest
    from synthray.storage import open_store, s3_settings_from_environment

    checkpoints = open_checkpoints(run)
    model = select_manifest(checkpoints.list_models(), checkpoints.uri, epoch)
    export_model(checkpoints, model, open_store(destination, s3_settings_from_environment(os.environ)))
    people.print(f"the model of epoch {model.epoch} ({model.images_seen} images) is in {destination}")

"""`synthray phantom` and `synthray prepare`: images in, shards out."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from synthray.cli.output import JsonOption, counting, people, print_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synthray.data.skips import SkippedImage


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("phantom")(phantom)
    app.command("prepare")(prepare)


def phantom(
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Local folder or s3://bucket/prefix.")],
    images: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 2000,
    size: Annotated[int, typer.Option(min=128, max=4096, help="Typical side in pixels.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds draw equal images.")] = 0,
    json: JsonOption = False,
) -> None:
    """Draw procedural chest X-rays in RANZCR's layout: images, and a train.csv whose labels are true."""
    from synthray.data.phantom import write_phantom_dataset
    from synthray.storage import open_store, s3_settings_from_environment

    store = open_store(destination, s3_settings_from_environment(os.environ))
    with counting("drawing") as progress:
        report = write_phantom_dataset(
            store, num_images=images, size_px=size, seed=seed, workers=os.cpu_count() or 1, progress=progress
        )
    people.print(f"{report.num_images} images of {report.num_patients} patients are in {destination}")
    if json:
        print_document({"uri": destination, **asdict(report)})


def prepare(
    source: Annotated[str, typer.Argument(help="RANZCR layout, folder or prefix of images, or DICOM.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Where the shards go.")],
    size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 512,
    channels: Annotated[int, typer.Option(help="1 (grey) or 3.")] = 1,
    holdout: Annotated[float, typer.Option(help="Share of patients kept for validation.")] = 0.05,
    max_bad: Annotated[
        float | None,
        typer.Option(
            help="Share of unreadable images that is tolerated; left out: 0.05, in small sets a dozen."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Turn images into shards, an index and dataset.json; resumes where it stopped."""
    from synthray.data.prepare import prepare as prepare_dataset
    from synthray.data.production import TooManyBadImages
    from synthray.storage import open_store, s3_settings_from_environment

    settings = s3_settings_from_environment(os.environ)
    try:
        with counting("preparing") as progress:
            report = prepare_dataset(
                open_store(source, settings),
                open_store(destination, settings),
                size_px=size,
                channels=channels,
                holdout=holdout,
                max_bad=max_bad,
                progress=lambda state: progress(state.num_done, state.num_images),
            )
    except TooManyBadImages as error:
        _show_skipped(error.skipped)
        raise
    description = report.description
    people.print(
        f"{description.num_train} images to train on and {description.num_holdout} held out are in "
        f"{destination}; {len(report.skipped)} left out"
    )
    _show_skipped(report.skipped)
    if json:
        print_document(
            {
                "uri": destination,
                "digest": description.digest,
                "num_train": description.num_train,
                "num_holdout": description.num_holdout,
                "num_shards": len(description.shards),
                "skipped": [
                    {"source": one.source, "reason": one.reason, "detail": one.detail}
                    for one in report.skipped
                ],
            }
        )


def _show_skipped(skipped: "Sequence[SkippedImage]") -> None:
    """Name what was left out, to a person at a terminal alone: hospitals put names into file names."""
    if people.is_terminal:
        for image in skipped:
            people.print(f"  {image.source}: {image.reason} ({image.detail})", soft_wrap=True)
    elif skipped:
        people.print("  --json names them, and so does a terminal; logs don't")

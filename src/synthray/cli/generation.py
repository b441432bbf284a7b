"""`synthray generate`, `verify` and `gallery`: from a model to pictures that can be proved."""

import os
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from synthray.cli.checkpoints import RunPlace, open_checkpoints
from synthray.cli.output import JsonOption, people, print_document, results
from synthray.errors import InvalidInput

SEED_MAX = 2**53 - 1
PROFILE_HELP = "strict-1: fp32; fast-1: half precision on a GPU, and other bytes for a seed."


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("generate")(generate)
    app.command("verify")(verify)
    app.command("gallery")(gallery)


def generate(
    model: Annotated[str, typer.Argument(help="A run's prefix, one of its models, or a diffusers folder.")],
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX, help="Seed of the first image.")],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Images; image i uses seed + i.")] = 1,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")] = 50,
    sampler: Annotated[str, typer.Option(help="ddim, ddpm or dpmsolver++.")] = "ddim",
    checkpoint: Annotated[str, typer.Option(help="Of a run: latest, best or an epoch.")] = "latest",
    profile: Annotated[str, typer.Option(help=PROFILE_HELP)] = "strict-1",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path(),
    json: JsonOption = False,
) -> None:
    """Draw images for seeds: the same seed gives the same pixels, whatever else is drawn with it."""
    from synthray.generation.generator import Generator
    from synthray.generation.grid import write_grid
    from synthray.generation.images import ReceiptBook, pick_device, profile_fingerprint
    from synthray.generation.models import load_model
    from synthray.generation.profile import profile_of_name
    from synthray.storage import s3_settings_from_environment

    if seed + count - 1 > SEED_MAX:
        raise InvalidInput(f"--seed {seed} with --count {count} goes beyond {SEED_MAX}; use a smaller seed")
    chosen = profile_of_name(profile)
    which = int(checkpoint) if checkpoint.isdigit() else checkpoint
    device = pick_device()
    settings = s3_settings_from_environment(os.environ)
    loaded = load_model(model, settings, which=which, device=device)
    out.mkdir(parents=True, exist_ok=True)
    generator = Generator(loaded.unet, loaded.schedule, loaded.prediction_type, chosen)
    book = ReceiptBook(
        model=loaded.identity,
        sampler=sampler,
        steps=steps,
        profile=chosen.name,
        fingerprint=profile_fingerprint(chosen, device),
    )
    written, pixels = [], []
    for image in generator.generate(range(seed, seed + count), sampler, steps):
        files = book.files(image)
        path = out / f"seed-{image.seed}.png"
        path.write_bytes(files.png)
        path.with_suffix(".json").write_text(files.receipt)
        written.append({"path": str(path), "seed": image.seed, "sha256": image.sha256})
        pixels.append(image.pixels)
        people.print(f"  seed {image.seed}: {path}")
    if count > 1:
        (out / "grid.png").write_bytes(write_grid(pixels))
        people.print(f"  all {count}: {out / 'grid.png'}")
    if json:
        print_document({"model": loaded.identity.uri, "images": written})


def verify(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE.png...", help="Pictures that synthray drew.")
    ],
    model: Annotated[str | None, typer.Option(help="Where the model is now, if it moved.")] = None,
    json: JsonOption = False,
) -> None:
    """Draw images again from their receipts and compare; exit code 4 if one differs."""
    from synthray.errors import NotFound
    from synthray.generation.images import pick_device
    from synthray.generation.models import LoadedModel, load_model
    from synthray.generation.verify import read_evidence, require_verified, verify_images
    from synthray.storage import s3_settings_from_environment

    missing = [str(path) for path in images if not path.is_file()]
    if missing:
        raise NotFound(f"{', '.join(missing)}: no such file; name PNGs that `synthray generate` wrote")
    settings = s3_settings_from_environment(os.environ)

    @cache
    def load(uri: str) -> LoadedModel:
        return load_model(uri, settings, device=pick_device())

    def open_model(uri: str) -> LoadedModel:
        return load(model or uri)

    evidence = [read_evidence(path.read_bytes(), str(path)) for path in images]
    verdicts = list(verify_images(evidence, open_model))
    for verdict in verdicts:
        notes = f" ({'; '.join(verdict.notes)})" if verdict.notes else ""
        state = "[green]verified[/green]" if verdict.is_verified else "[red]differs[/red]"
        if not json:
            results.print(f"  {state}  {verdict.source}, seed {verdict.seed}{notes}", soft_wrap=True)
    if json:
        print_document(
            {
                "images": [
                    {
                        "path": verdict.source,
                        "seed": verdict.seed,
                        "verified": verdict.is_verified,
                        "differences": verdict.differences,
                        "notes": verdict.notes,
                    }
                    for verdict in verdicts
                ]
            }
        )
    require_verified(verdicts)


def gallery(
    run: RunPlace,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the page.")],
) -> None:
    """Write the static page of a run's previews: rows are seeds, columns are epochs."""
    from synthray.generation.gallery import write_gallery
    from synthray.storage import open_store, s3_settings_from_environment

    settings = s3_settings_from_environment(os.environ)
    report = write_gallery(open_checkpoints(run).store, open_store(str(destination), settings))
    for problem in report.left_out:
        people.print(f"left out: {problem}", soft_wrap=True)
    people.print(f"{report.num_pictures} pictures; open {destination / 'index.html'}", soft_wrap=True)

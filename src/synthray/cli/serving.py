"""`synthray serve`: images for seeds over HTTP, from this machine."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthray.api.v1alpha1.generation_service import Limits, Sampler
from synthray.cli.generation import PROFILE_HELP
from synthray.cli.output import EXIT_INTERRUPTED, people, results
from synthray.errors import InvalidInput
from synthray.signals import hear_signals

if TYPE_CHECKING:
    from synthray.serving.settings import ServingSettings

_SAMPLER, _LIMITS = Sampler(), Limits()


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("serve")(serve)


def serve(
    model: Annotated[str, typer.Argument(help="A run's prefix, one of its models, or a diffusers folder.")],
    checkpoint: Annotated[str, typer.Option(help="Of a run: latest, best or an epoch.")] = "latest",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
    sampler: Annotated[str, typer.Option(help="If a request does not say.")] = _SAMPLER.name,
    steps: Annotated[
        int, typer.Option(min=1, max=1000, help="Denoising steps, if a request does not say.")
    ] = _SAMPLER.steps,
    max_images: Annotated[
        int, typer.Option(min=1, max=10_000, help="Most images of one request.")
    ] = _LIMITS.max_images_per_request,
    max_steps: Annotated[
        int, typer.Option(min=1, max=1000, help="Most denoising steps of one image.")
    ] = _LIMITS.max_steps,
    max_queued_images: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images that may wait; beyond it requests get 429.")
    ] = _LIMITS.max_queued_images,
    profile: Annotated[str, typer.Option(help=PROFILE_HELP)] = "strict-1",
    jobs: Annotated[
        str,
        typer.Option(help="Where jobs are kept: s3://bucket/prefix or a folder; without it there are none."),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(help="Holds a token that every request must bring; read again when it changes."),
    ] = None,
) -> int:
    """Answer "seed 42" over HTTP, with OpenAI's images API: the same seed gives the same bytes."""
    from synthray.diffusion.sampler import SAMPLERS
    from synthray.generation.profile import profile_of_name
    from synthray.generation.sources import find_model
    from synthray.serving.bearer import TokenFile
    from synthray.serving.settings import ServingLimits, ServingSettings
    from synthray.storage import check_conditional_writes, open_store, s3_settings_from_environment
    from synthray.storage.ports import is_free_port

    if sampler not in SAMPLERS:
        raise InvalidInput(f"--sampler {sampler} is unknown; use one of {', '.join(SAMPLERS)}")
    if steps > max_steps:
        raise InvalidInput(f"--steps {steps} is above --max-steps {max_steps}; use {max_steps} or less")
    if token_file is not None:
        TokenFile(token_file)
    which = int(checkpoint) if checkpoint.isdigit() else checkpoint
    storage = s3_settings_from_environment(os.environ)
    source = find_model(model, storage, which)
    jobs_store = open_store(jobs, storage) if jobs else None
    if jobs_store is not None:
        check_conditional_writes(jobs_store)
    if not is_free_port(port, host=host):
        raise InvalidInput(f"--host {host} --port {port} can't be listened on; use another port")
    settings = ServingSettings(
        model_uri=model,
        which=which,
        sampler=sampler,
        steps=steps,
        profile=profile_of_name(profile),
        limits=ServingLimits(max_images, max_steps, max_queued_images),
        token_file=str(token_file.absolute()) if token_file else "",
        jobs_uri=jobs_store.uri if jobs_store is not None else "",
    )
    return _serve_until_told(settings, source.uri, host, port)


def _serve_until_told(settings: "ServingSettings", source_uri: str, host: str, port: int) -> int:
    from synthray.serving.app import serving_here

    told, intention = threading.Event(), "finishing what was accepted"
    people.print(f"loading {source_uri} and drawing its golden seeds ...", soft_wrap=True)
    with (
        hear_signals(told, intention),
        serving_here(settings, host=host, port=port),
        # Once more, since starting Ray sets a handler of its own.
        hear_signals(told, intention),
    ):
        url = f"http://{host}:{port}"
        results.print(f"serving {source_uri} at {url}; seed 42:", soft_wrap=True)
        path = f"/v1/images/{settings.which}/{settings.sampler}/{settings.steps}/42.png"
        header = (
            f'--header "Authorization: Bearer $(cat {settings.token_file})" ' if settings.token_file else ""
        )
        results.print(f"  curl {header}--output seed-42.png {url}{path}", soft_wrap=True)
        results.file.flush()
        told.wait()
    return EXIT_INTERRUPTED

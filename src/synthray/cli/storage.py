"""`synthray storage`: a real S3 server for a laptop."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("storage")(storage)


def storage(
    directory: Annotated[Path, typer.Option(help="Where the objects are kept.")] = Path("synthray-storage"),
    port: Annotated[int, typer.Option(min=1, max=55000, help="Port of the S3 endpoint.")] = 8333,
) -> None:
    """Run the embedded S3 server in the foreground and print the variables to export."""
    from synthray.storage.foreground import serve_storage

    serve_storage(directory, port)

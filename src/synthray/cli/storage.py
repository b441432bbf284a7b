"""`synthray storage`: a real S3 server for a laptop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthray.api.names import STORAGE_PORT
from synthray.cli.output import people

if TYPE_CHECKING:
    from synthray.storage import EmbeddedS3


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("storage")(storage)


def storage(
    directory: Annotated[Path, typer.Option(help="Where the objects are kept.")] = Path("synthray-storage"),
    port: Annotated[int, typer.Option(min=1, max=55535, help="Port of the S3 endpoint.")] = STORAGE_PORT,
) -> None:
    """Run the embedded S3 server in the foreground and print the variables to export."""
    from synthray.storage.embedded import build_export_lines, serve_in_foreground

    def announce(server: "EmbeddedS3") -> None:
        people.print(f"S3 at {server.endpoint_url}, objects in {directory}; Ctrl-C ends it", soft_wrap=True)
        print("\n".join(build_export_lines(server.environment)), flush=True)

    serve_in_foreground(directory, port=port, announce=announce)

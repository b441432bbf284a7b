"""`synthray generate`, `verify` and `gallery`."""

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    del app

"""How commands print: figures and progress for people on standard error, documents on standard output."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

people = Console(stderr=True, highlight=False)


def print_document(document: Mapping[str, Any] | list[Any]) -> None:
    """The one JSON document of a `--json` command."""
    print(json.dumps(document, indent=2, sort_keys=False, default=str))

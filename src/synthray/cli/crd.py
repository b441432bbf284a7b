"""`synthray crd`: the CustomResourceDefinitions, for `kubectl apply` and for people who read schemas."""

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("crd")(crd)


def crd() -> None:
    """Print the CustomResourceDefinitions as YAML, for kubectl apply --filename -. Asks no cluster."""
    from synthray.api.crd import build_crds
    from synthray.api.yaml_documents import write_yaml

    print(write_yaml(build_crds()), end="")

"""What is installed with what, and that all of it is pinned."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def normalized(requirement: str) -> str:
    """`Ray[train]>=2` -> `ray`, as package indexes compare names."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def direct(extra: str) -> set[str]:
    """Packages that `extra` brings, those of the extras that it includes among them."""
    names = set()
    for requirement in EXTRAS[extra]:
        included = re.fullmatch(r"synthray\[(.*)\]", requirement)
        if included is None:
            names.add(normalized(requirement))
        else:
            names.update(*(direct(name.strip()) for name in included.group(1).split(",")))
    return names


def test_the_base_is_light() -> None:
    base = {normalized(requirement) for requirement in PROJECT["dependencies"]}
    assert base.isdisjoint({"torch", "ray", "kubernetes", "diffusers", "numpy", "pyarrow", "s3fs"})


def test_the_operator_gets_neither_torch_nor_ray() -> None:
    assert direct("operator").isdisjoint({"torch", "ray", "diffusers", "accelerate"})


def test_dev_has_every_extra() -> None:
    missing = {extra: direct(extra) - direct("dev") for extra in EXTRAS}
    assert not any(missing.values()), missing


def test_every_direct_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normalized(line) for line in lines if "==" in line}
    wanted = (
        {normalized(requirement) for requirement in PROJECT["dependencies"]} | direct("dev") | {"hatchling"}
    )
    assert wanted <= pinned, f"run make constraints: {sorted(wanted - pinned)}"


def test_constraints_name_no_place_to_fetch_from() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()

"""The house stays the house: rooms, names, sizes and weights of imports."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "src" / "synthray").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

ROOMS_WITH_TORCH = {"diffusion", "generation", "training", "serving", "cli"}
HEAVY = ("torch", "ray", "diffusers", "numpy", "pyarrow", "s3fs", "PIL", "kubernetes", "fastapi")


def imported_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`."""
    program = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_rooms_import_only_what_their_contracts_allow() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_every_room_is_either_free_of_torch_by_contract_or_known_to_use_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in settings["contracts"] if c["id"] == "torch-free")
    by_contract = {name.removeprefix("synthray.") for name in contract["source_modules"]}
    rooms = {path.relative_to(ROOT / "src" / "synthray").parts[0].removesuffix(".py") for path in SOURCES}
    assert rooms - by_contract == (ROOMS_WITH_TORCH & rooms) | {"__init__"}


def test_help_needs_none_of_the_heavy_libraries() -> None:
    loaded = imported_by(
        "import contextlib, io\nfrom synthray.cli.entry import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    assert run(['--help']) == 0"
    )
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["synthray.training.driver", "synthray.checkpoints.uploader"])
def test_processes_beside_training_start_without_torch(module: str) -> None:
    assert imported_by(f"import {module}").isdisjoint({"torch", "diffusers"})


def test_no_file_has_a_name_that_says_nothing() -> None:
    nothing = {"utils", "util", "helpers", "common", "misc", "manager", "base"}
    assert [path for path in SOURCES if path.stem in nothing] == []


def test_a_file_is_one_thing() -> None:
    long = {str(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in long.items() if lines > 350} == {}


def sleeps(tree: ast.AST) -> Iterator[int]:
    """Lines that call `sleep` other than between two looks at a condition, in a while loop."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.While):
            continue
        # sleep(0) gives others their turn and waits for nothing.
        if isinstance(node, ast.Call) and "sleep(0)" not in ast.unparse(node):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr == "sleep":
                yield node.lineno
        yield from sleeps(node)


def test_tests_wait_for_conditions_and_not_for_time() -> None:
    sleeping = {str(path): list(sleeps(ast.parse(path.read_text()))) for path in TESTS}
    assert {path: lines for path, lines in sleeping.items() if lines} == {}


def test_nothing_is_named_after_the_place_where_it_was_written() -> None:
    names = re.compile(r"/(?:work|farm|root)/|localhost:\d{5}")
    shown = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *SOURCES)
    assert [path for path in shown if names.search(path.read_text())] == []

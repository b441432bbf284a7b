"""make, CI and the documents: what the README promises to a newcomer exists."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WORKING = (
    *("setup", "demo", "test", "check", "docs", "docs-site", "bench", "chaos", "clean"),
    *("cluster-up", "image", "test-cluster", "cluster-down"),
)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """GNU make in the project, without the variables of a make that may be running this test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_make_alone_lists_every_target_that_works() -> None:
    listed = re.findall(r"^  make (\S+)", make().stdout, re.MULTILINE)
    assert set(WORKING) <= set(listed)


def test_ci_is_made_of_make_targets() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = re.findall(r"^ +\"\w+ \d+ (.*)\"$", script.read_text(), re.MULTILINE)
    assert commands
    assert all(make("--dry-run", *command.split()[1:]).returncode == 0 for command in commands)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())
    targets += re.findall(r"src=\"([^\"]+)\"", document.read_text())
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_that_documents_name_exist(document: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", document.read_text()))
    assert named <= known

"""The example files are what they say, and short."""

from pathlib import Path

import pytest
import yaml

from synthray.api.loading import load_generation_service, load_training_run
from synthray.api.v1alpha1 import resolve_architecture

EXAMPLES = Path(__file__).parents[3] / "manifests" / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_example_loads_and_is_named_like_its_file(path: Path) -> None:
    kind = yaml.safe_load(path.read_text())["kind"]
    loaded = load_training_run(path) if kind == "TrainingRun" else load_generation_service(path)
    assert loaded.metadata.name == path.stem


def test_the_cluster_example_is_about_twenty_lines() -> None:
    lines = [
        line for line in (EXAMPLES / "ranzcr-512.yaml").read_text().splitlines() if not line.startswith("#")
    ]
    assert len(lines) <= 20


def test_the_laptop_example_asks_for_no_gpu_and_a_small_network() -> None:
    spec = load_training_run(EXAMPLES / "demo-64.yaml").spec
    assert spec.workers.gpu is None
    assert resolve_architecture(spec.model).resolution_px == 64

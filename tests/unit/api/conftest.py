"""A small valid TrainingRun to change one thing of."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from synthray.api.loading import load_training_run
from synthray.api.v1alpha1 import TrainingRun
from synthray.errors import InvalidInput

SMALL_RUN = dedent(
    """\
    apiVersion: synthray.io/v1alpha1
    kind: TrainingRun
    metadata: {name: small}
    spec:
      dataset: {uri: s3://xray/small}
      checkpoints: {uri: s3://xray/runs/small}
      optimization: {epochs: 3, globalBatchSize: 64, microBatchSize: 4}
    """
)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(SMALL_RUN)
    return path


@pytest.fixture
def load(run_file: Path) -> Callable[..., TrainingRun]:
    """Loads the small run with overrides."""

    def load_with(*overrides: str) -> TrainingRun:
        return load_training_run(run_file, overrides)

    return load_with


@pytest.fixture
def refusal(load: Callable[..., TrainingRun]) -> Callable[..., str]:
    """The message that the small run with these overrides is refused with."""

    def refusal_of(*overrides: str) -> str:
        with pytest.raises(InvalidInput) as caught:
            load(*overrides)
        return caught.value.message

    return refusal_of

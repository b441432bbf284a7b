"""A prepared dataset for the session, and runs of their own for each test."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from tiny_run import TinyRun

from synthray.data.phantom import write_phantom_dataset
from synthray.data.prepare import prepare
from synthray.storage import S3Settings, open_store


@pytest.fixture(scope="session")
def dataset_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Some fifty 16 px images of phantoms, a few patients held out."""
    folder = tmp_path_factory.mktemp("dataset")
    raw, prepared = (open_store(str(folder / name), S3Settings()) for name in ("raw", "prepared"))
    write_phantom_dataset(raw, num_images=50, size_px=200, seed=0, workers=1)
    prepare(raw, prepared, size_px=16, holdout=0.2, max_bad=0.5)
    return prepared.uri


@pytest.fixture
def new_run(dataset_uri: str, tmp_path: Path) -> Callable[..., TinyRun]:
    """Make a run of its own: `new_run("name")`."""

    def make(name: str, uri: str = "", environment: Mapping[str, str] | None = None) -> TinyRun:
        checkpoints_uri = uri or str(tmp_path / name)
        document = {
            "apiVersion": "synthray.io/v1alpha1",
            "kind": "TrainingRun",
            "metadata": {"name": "tiny"},
            "spec": {
                "dataset": {"uri": dataset_uri},
                "model": {
                    "preset": "demo-64",
                    "resolution": 16,
                    "blockOutChannels": [8, 8],
                    "downBlockTypes": ["DownBlock2D", "AttnDownBlock2D"],
                    "upBlockTypes": ["AttnUpBlock2D", "UpBlock2D"],
                    "normNumGroups": 4,
                },
                "optimization": {
                    "epochs": 2,
                    "globalBatchSize": 14,
                    "microBatchSize": 2,
                    "learningRate": 1.0e-3,
                    "learningRateSchedule": {"warmupImages": 20},
                },
                "previews": {"seeds": []},
                "checkpoints": {"uri": checkpoints_uri},
            },
        }
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document))
        return TinyRun(file, checkpoints_uri, tmp_path / "cache", environment or {})

    return make

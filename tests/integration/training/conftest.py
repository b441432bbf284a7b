"""A prepared dataset for the session, and runs of their own for each test."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tiny_run import TinyRun, prepare_tiny_dataset, write_tiny_run


@pytest.fixture(scope="session")
def dataset_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return prepare_tiny_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def new_run(dataset_uri: str, tmp_path: Path) -> Callable[..., TinyRun]:
    """Make a run of its own: `new_run("name")`."""

    def make(name: str, uri: str = "", environment: Mapping[str, str] | None = None) -> TinyRun:
        return write_tiny_run(tmp_path, name, dataset_uri, uri=uri, environment=environment)

    return make

"""Stores for every test: a real SeaweedFS, one per test process, and folders.

`s3` and `local_store` are empty stores (`s3.uri` is a prefix of its own), `store` is each of them in turn;
`s3_settings` opens others on the same server, `s3_environment` gives child processes its AWS variables.
"""

import fcntl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from synthray.storage import EmbeddedS3, ObjectStore, S3Settings, open_store, s3_settings_from_environment

# How long an example takes depends on what else the machine does.
settings.register_profile("synthray", deadline=None)
settings.load_profile("synthray")


@pytest.fixture
def one_ray_at_a_time() -> Iterator[None]:
    """Two Rays that start at once on two cores miss their deadlines: tests of other processes wait here."""
    with (Path(tempfile.gettempdir()) / "synthray-tests-ray.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3"), port=0) as server:
        yield server


@pytest.fixture(scope="session")
def s3_environment(s3_server: EmbeddedS3) -> Mapping[str, str]:
    return s3_server.environment


@pytest.fixture(scope="session")
def s3_settings(s3_environment: Mapping[str, str]) -> S3Settings:
    return s3_settings_from_environment(s3_environment)


@pytest.fixture
def s3(s3_settings: S3Settings) -> ObjectStore:
    return open_store(f"s3://xray/{uuid4().hex}", s3_settings)


@pytest.fixture
def local_store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"), S3Settings())


@pytest.fixture(params=["local_store", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    chosen: ObjectStore = request.getfixturevalue(request.param)
    return chosen

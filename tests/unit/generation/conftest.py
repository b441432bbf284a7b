from pathlib import Path

import pytest
from committed_run import CommittedRun

from synthray.storage import S3Settings, open_store


@pytest.fixture
def run(tmp_path: Path) -> CommittedRun:
    return CommittedRun(open_store(str(tmp_path / "run"), S3Settings()), S3Settings())

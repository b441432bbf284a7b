"""Which cluster the tests run against."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def api_server_kubeconfig() -> Path:
    """An API server of which nothing more is wanted: no nodes, no controllers."""
    kubeconfig = os.environ.get("SYNTHRAY_TEST_KUBECONFIG")
    if not kubeconfig:
        pytest.skip("SYNTHRAY_TEST_KUBECONFIG names no cluster")
    return Path(kubeconfig)

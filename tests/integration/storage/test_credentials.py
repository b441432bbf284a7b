"""A Secret is replaced while a process uses it, against a server that really revokes the old one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rotating_secret import RotatingSecret, serving_identities

from synthray.errors import Reason, Unavailable
from synthray.storage import EmbeddedS3, ObjectStore, S3Settings, open_store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with serving_identities(tmp_path_factory.mktemp("s3")) as server:
        yield server


def test_a_replaced_secret_is_taken_up_and_a_revoked_one_is_waited_for(
    server: EmbeddedS3, tmp_path: Path
) -> None:
    secret = RotatingSecret(server, tmp_path / "secret")
    secret.mount_new()
    settings = S3Settings(
        endpoint_url=server.endpoint_url,
        region="us-east-1",
        credentials_directory=str(secret.folder),
        deadline_seconds=20,
    )
    store = open_store("s3://xray/rotated", settings)
    store.write("key", b"content")

    secret.revoke()
    with pytest.raises(Unavailable, match=r"rejects the credentials in .*; correct the Secret") as failure:
        store.read("key")
    assert failure.value.reason is Reason.CREDENTIALS_REJECTED

    secret.mount_new()
    assert read_by_many(store) == [b"content"] * 16


def read_by_many(store: ObjectStore) -> list[bytes]:
    """All at once: each is rejected with the old credentials, and one of them reads the new ones."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: store.read("key"), range(16)))

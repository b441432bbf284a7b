"""From a URI to a store."""

import subprocess
import sys
from pathlib import Path

import pytest

from synthray.errors import InvalidInput
from synthray.storage import S3Settings, open_store


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("/data/x", "/data/x"),
        ("/data/x/", "/data/x"),
    ],
)
def test_a_uri_opens_without_touching_anything(uri: str, opened: str) -> None:
    assert open_store(uri, S3Settings()).uri == opened


def test_relative_and_home_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert open_store("runs/a", S3Settings()).uri == str(tmp_path / "runs/a")
    assert open_store("~/runs", S3Settings()).uri == "/home/somebody/runs"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "'' is no place to store objects; use s3://bucket/prefix or a folder"),
        ("gs://bucket/x", "gs://bucket/x: gs:// is not supported; use s3://bucket/prefix or a folder"),
        ("s3://", "s3://: '' is no bucket's name; use s3://bucket/prefix"),
        ("s3:///x", "s3:///x: '' is no bucket's name; use s3://bucket/prefix"),
        ("s3://a_b c/x", "s3://a_b c/x: 'a_b c' is no bucket's name; use s3://bucket/prefix"),
        (
            "s3://bucket/a//b",
            "object key 'a//b' is not a relative path; use names separated by single slashes",
        ),
    ],
)
def test_other_uris_are_refused(uri: str, message: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        open_store(uri, S3Settings())
    assert str(failure.value) == message


def test_who_uses_folders_alone_never_loads_an_s3_library() -> None:
    script = (
        "import sys; from synthray.storage import S3Settings, open_store\n"
        "open_store('/tmp/x', S3Settings()).stat('a')\n"
        "loaded = {'s3fs', 'fsspec', 'botocore', 'aiohttp', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

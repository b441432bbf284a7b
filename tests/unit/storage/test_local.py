"""What only folders can do wrong; what every store promises is specified with the real S3 server."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from synthray.errors import InvalidInput, Reason, Unavailable
from synthray.storage import ObjectStore, S3Settings, open_store
from synthray.storage.local_files import explain_os_error, final_path, unfinished_file
from synthray.telemetry.storage_counters import STORAGE_COUNTERS


def files_of(store: ObjectStore) -> list[str]:
    return sorted(str(path.relative_to(store.uri)) for path in Path(store.uri).rglob("*"))


@pytest.mark.parametrize("method", ["write", "create"])
def test_a_full_disk_leaves_nothing_behind_and_is_named(
    local_store: ObjectStore, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    local_store.write("a", b"kept")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable, match=r"no space is left for .*/b; free some") as failure:
            getattr(local_store, method)("b", b"content")
    assert failure.value.reason is Reason.STORAGE_FULL
    assert files_of(local_store) == ["a"]


@pytest.mark.parametrize("method", ["write", "create"])
@pytest.mark.parametrize("folder", ["/proc/synthray", "/sys/synthray", "/dev/null/x"])
def test_a_folder_that_takes_no_files_is_named(folder: str, method: str) -> None:
    store = open_store(folder, S3Settings())
    with pytest.raises(InvalidInput, match=f"^{folder}/key.*name another folder"):
        getattr(store, method)("key", b"content")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EROFS, InvalidInput),
        (errno.EACCES, InvalidInput),
        (errno.EDQUOT, Unavailable),
        (errno.EIO, Unavailable),
        (errno.EMFILE, Unavailable),
    ],
)
def test_each_refusal_of_the_system_names_the_path(number: int, kind: type[Exception]) -> None:
    error = explain_os_error(OSError(number, os.strerror(number)), Path("/data/x"))
    assert type(error) is kind
    assert "/data/x" in str(error)


def test_a_file_cannot_be_a_folder_too(local_store: ObjectStore) -> None:
    local_store.write("a", b"")
    local_store.write("b/c", b"")
    writes: list[Callable[[], None]] = [
        lambda: local_store.write("a/b", b""),
        lambda: local_store.write("b", b""),
        lambda: local_store.create("a/b", b""),
    ]
    for write in writes:
        with pytest.raises(InvalidInput, match=r"cannot be (written|used)"):
            write()
    assert files_of(local_store) == ["a", "b", "b/c"]


def test_a_failed_conditional_write_leaves_no_second_file(local_store: ObjectStore) -> None:
    local_store.create("a", b"first")
    with pytest.raises(Exception, match="exists already"):
        local_store.create("a", b"second")
    assert files_of(local_store) == ["a"]


def test_files_that_a_dead_writer_left_unfinished_are_no_objects(local_store: ObjectStore) -> None:
    local_store.write("a", b"")
    (Path(local_store.uri) / ".synthray-unfinished-1-ab").write_bytes(b"half")
    assert [info.key for info in local_store.list()] == ["a"]


def test_what_dead_writers_left_unfinished_is_discarded_by_the_key_that_it_was_to_become(
    local_store: ObjectStore,
) -> None:
    root = Path(local_store.uri)
    for name in ("a/b.bin", "a/c", "d"):
        local_store.write(name, b"")
    for name in (
        "a/.synthray-unfinished-1-ab-b.bin",
        "e/.synthray-unfinished-1-ab-c",
        ".synthray-unfinished-7",
    ):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    asked = []

    def is_doomed(key: str) -> bool:
        asked.append(key)
        return key.startswith("e/")

    assert local_store.discard_unfinished(is_doomed) == ["e/c"]
    assert sorted(asked) == ["a/b.bin", "e/c"]
    assert files_of(local_store) == [
        ".synthray-unfinished-7",
        "a",
        "a/.synthray-unfinished-1-ab-b.bin",
        "a/b.bin",
        "a/c",
        "d",
    ]


@pytest.mark.parametrize("name", ["weights.safetensors", "000001.json", "with-dashes", "ü", "x" * 128])
def test_an_unfinished_file_tells_what_it_was_to_become(tmp_path: Path, name: str) -> None:
    with unfinished_file(tmp_path / name, b"half") as unfinished:
        assert final_path(unfinished) == tmp_path / name
    assert final_path(tmp_path / name) is None
    with unfinished_file(tmp_path / ("x" * 255), b"half") as unfinished:
        assert final_path(unfinished) is None


def test_empty_folders_vanish_with_their_last_object(local_store: ObjectStore) -> None:
    local_store.write("a/b/c", b"")
    local_store.write("a/d", b"")
    local_store.delete(["a/b/c"])
    assert files_of(local_store) == ["a", "a/d"]


def test_linked_folders_are_listed_like_others(local_store: ObjectStore, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.jpg").write_bytes(b"")
    Path(local_store.uri).mkdir()
    (Path(local_store.uri) / "train").symlink_to(elsewhere)
    assert [info.key for info in local_store.list("train/")] == ["train/x.jpg"]


def test_a_folder_that_is_not_there_holds_nothing(local_store: ObjectStore) -> None:
    assert list(local_store.list()) == []
    assert local_store.stat("a") is None
    local_store.delete(["a"])


def test_requests_are_counted(local_store: ObjectStore) -> None:
    before = STORAGE_COUNTERS.snapshot()
    local_store.write("a", b"content")
    local_store.read("a")
    with pytest.raises(Exception, match="does not exist"):
        local_store.read("b")
    after = STORAGE_COUNTERS.snapshot()

    def grown(operation: str, outcome: str) -> int:
        return after.requests[operation, outcome] - before.requests.get((operation, outcome), 0)

    assert (grown("put", "ok"), grown("get", "ok"), grown("get", "error")) == (1, 1, 1)
    assert after.read_bytes - before.read_bytes == len(b"content")

"""The driver's own lines, and what workers write into files."""

import logging
from pathlib import Path

import pytest

from synthray.checkpoints.attempts import begin_attempt
from synthray.storage import ObjectStore, S3Settings, open_store
from synthray.training.run_log.chunks import RUN_ATTEMPTS, LogChunk, list_chunks
from synthray.training.run_log.lines import LogPlace
from synthray.training.run_log.reading import LogReader
from synthray.training.run_log.shipper import LineBox
from synthray.training.run_log.sources import FileTail, keep_driver_log
from synthray.training.settings import StorageSettings

OURS = logging.getLogger("synthray.training.driver")


@pytest.fixture
def storage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> StorageSettings:
    caplog.set_level(logging.INFO, logger="synthray")
    return StorageSettings(S3Settings(), "", str(tmp_path / "run"), "", 0, "")


@pytest.fixture
def store(storage: StorageSettings) -> ObjectStore:
    return open_store(storage.checkpoints_uri, S3Settings())


def told(store: ObjectStore, attempt: int) -> list[str]:
    return [stored.line.message for stored in LogReader(store, attempt).read_new()]


def write_logs(store: ObjectStore, attempts: range) -> None:
    for attempt in attempts:
        store.write(LogChunk(LogPlace(attempt, "driver"), 1, 1, 3).key, b"{}\n")


def test_each_attempt_has_what_was_said_in_it_and_the_first_what_was_said_before(
    store: ObjectStore, storage: StorageSettings
) -> None:
    with keep_driver_log(storage) as log:
        OURS.info("storage is there")
        begin_attempt(store, "driver", None)
        log.begin_attempt(1, 2)
        OURS.warning("worker %d is lost", 1)
        logging.getLogger("botocore").warning("what a library says")
        begin_attempt(store, "driver", None)
        log.begin_attempt(2, 2)
        try:
            int("no number")
        except ValueError:
            OURS.exception("a save failed")
        log.end("the driver ends: Stopped")
    OURS.info("too late")
    second = told(store, 2)
    assert (second[0], second[-2:]) == (
        "a save failed",
        ["ValueError: invalid literal for int() with base 10: 'no number'", "the driver ends: Stopped"],
    )
    reader = LogReader(store, 2)
    reader.read_new()
    assert reader.is_over


def test_the_first_attempt_keeps_its_lines_though_the_next_has_begun(
    store: ObjectStore, storage: StorageSettings
) -> None:
    with keep_driver_log(storage) as log:
        OURS.info("before")
        log.begin_attempt(1, 1)
        OURS.info("during")
        log.end("over")
    assert told(store, 1) == ["before", "during", "over"]


def test_a_run_that_never_began_an_attempt_leaves_no_log(
    store: ObjectStore, storage: StorageSettings
) -> None:
    with keep_driver_log(storage) as log:
        OURS.info("waiting for storage")
        log.end("the driver ends: Stopped")
    assert list(store.list()) == []


def test_the_oldest_attempts_go_when_there_are_too_many(store: ObjectStore, storage: StorageSettings) -> None:
    number = RUN_ATTEMPTS + 10
    write_logs(store, range(1, number))
    store.write("states/logs/attempt-000001/driver-00000001.jsonl", b"not a log")
    store.write(f"attempts/{number:06d}.claim.json", b"{}")
    with keep_driver_log(storage) as log:
        log.begin_attempt(number, 1)
        OURS.info("said")
        log.end("over")
    there = list_chunks(store.list("logs/"))
    assert sorted(there) == list(range(number - RUN_ATTEMPTS + 1, number + 1))
    assert store.stat("states/logs/attempt-000001/driver-00000001.jsonl") is not None


def test_an_attempt_that_was_fenced_off_removes_nothing(store: ObjectStore, storage: StorageSettings) -> None:
    number = RUN_ATTEMPTS + 10
    write_logs(store, range(1, number))
    store.write(f"attempts/{number + 1:06d}.claim.json", b"{}")
    with keep_driver_log(storage) as log:
        log.begin_attempt(number, 1)
        OURS.info("said")
        log.end("over")
    assert sorted(list_chunks(store.list("logs/"))) == list(range(1, number + 1))


def take(box: LineBox) -> list[str]:
    return [line.message for line in box.take()]


def test_a_file_is_read_from_where_it_was_and_as_it_grows(tmp_path: Path) -> None:
    path, box = tmp_path / "worker.log", LineBox()
    path.write_text("of an earlier run\n")
    tail = FileTail(path)
    with path.open("a") as file:
        for text, is_last, seen in (
            ("one\ntw", False, ["one"]),
            ("o\n", False, ["two"]),
            ("", False, []),
            ("killed in the mid", False, []),
            ("", True, ["killed in the mid"]),
        ):
            file.write(text)
            file.flush()
            tail.look(box, is_last)
            assert take(box) == seen


def test_a_file_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    path, box = tmp_path / "worker.log", LineBox()
    tail = FileTail(path)
    tail.look(box, False)
    path.write_text("begun\n")
    tail.look(box, False)
    assert take(box) == ["begun"]


def test_of_a_flood_the_newest_part_is_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    path, box = tmp_path / "worker.log", LineBox()
    tail = FileTail(path)
    path.write_bytes(b"x" * 1023 + b"\n")
    tail.look(box, False)
    box.take()
    with path.open("ab") as file:
        file.write((b"y" * 1023 + b"\n") * 1500)
    tail.look(box, False)
    note, *rest = take(box)
    skipped = (1500 - 1024) * 1024
    assert note == f"{skipped} bytes of this log were left out: they came faster than they are read"
    assert len(rest) == 1024

"""From a process into the bucket and back: nothing twice, nothing unsaid, nobody else's touched."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intercepted_stores import InterceptedStore
from memory_store import MemoryStore

from synthray.checkpoints.attempts import begin_attempt
from synthray.errors import NotFound, Unavailable
from synthray.storage import ByteRange, ObjectStore
from synthray.training.run_log.chunks import LogBounds, LogChunk, list_chunks
from synthray.training.run_log.lines import LogLine, LogPlace, encode_lines
from synthray.training.run_log.reading import LogReader, choose_attempt
from synthray.training.run_log.shelf import LogShelf
from synthray.training.run_log.shipper import LineBox, LogShipper

PLACE = LogPlace(1, "driver")
WIDE = LogBounds(stored_bytes=2**20, pending_bytes=2**16, merged_bytes=2**12, merged_chunks=4)
DEADLINE_SECONDS = 30.0


class FailingStore(InterceptedStore):
    """Fails changes as planned: before they are done, or after, so that their answer is lost."""

    def __init__(self, store: ObjectStore, failures: list[str]) -> None:
        super().__init__(store)
        self._failures = failures

    def before(self, _key: str) -> None:
        if self._failures and self._failures[-1] == "before":
            self._failures.pop()
            raise Unavailable("storage is away")

    def after(self, _key: str) -> None:
        if self._failures and self._failures.pop() == "after":
            raise Unavailable("the answer was lost")


def read(store: ObjectStore, attempt: int = 1) -> list[str]:
    return [stored.line.message for stored in LogReader(store, attempt).read_new()]


def ship(store: ObjectStore, messages: list[str], *, bounds: LogBounds = WIDE) -> None:
    shipper = LogShipper(PLACE, bounds, lambda: store)
    for message in messages:
        shipper.box.put(1.0, "INFO", message)
    shipper.close(DEADLINE_SECONDS)


def test_what_was_said_is_read_back_in_order() -> None:
    store = MemoryStore()
    ship(store, ["one", "two", "three"])
    assert read(store) == ["one", "two", "three"]
    assert list(store.objects) == ["logs/attempt-000001/driver-00000001.jsonl"]


def test_who_says_nothing_asks_storage_for_nothing() -> None:
    def open_store() -> ObjectStore:
        raise AssertionError

    LogShipper(PLACE, WIDE, open_store).close(DEADLINE_SECONDS)


def test_lines_appear_while_the_process_lives() -> None:
    store = MemoryStore()
    shipper = LogShipper(PLACE, WIDE, lambda: store, every_seconds=0.01)
    reader, seen, deadline = LogReader(store, 1), list[str](), time.monotonic() + DEADLINE_SECONDS
    for message in ("one", "two"):
        shipper.box.put(1.0, "INFO", message)
        while message not in seen:
            assert time.monotonic() < deadline
            seen += [stored.line.message for stored in reader.read_new()]
    shipper.close(DEADLINE_SECONDS)
    assert seen == ["one", "two"]


def test_a_full_box_loses_the_oldest_and_the_log_says_how_many() -> None:
    store, box = MemoryStore(), LineBox(max_lines=3)
    shipper = LogShipper(PLACE, WIDE, lambda: store, box=box)
    for place in range(10):
        box.put(1.0, "INFO", str(place))
    shipper.close(DEADLINE_SECONDS)
    assert read(store) == [
        "7 lines were dropped here: they came faster than storage took them",
        *"789",
    ]


def test_a_very_long_line_is_cut() -> None:
    store = MemoryStore()
    ship(store, ["x" * 1_000_000])
    (line,) = read(store)
    assert line.endswith("… (1000000 characters)")
    assert len(line) < 5000


@pytest.mark.parametrize("trouble", [Unavailable("away"), RuntimeError("unforeseen")])
def test_while_storage_is_away_the_newest_are_kept_and_it_is_said_once(trouble: Exception) -> None:
    store, heard, is_away, tried = MemoryStore(), list[str](), threading.Event(), threading.Semaphore(0)
    is_away.set()

    def open_store() -> ObjectStore:
        tried.release()
        if is_away.is_set():
            raise trouble
        return store

    bounds = LogBounds(stored_bytes=2**20, pending_bytes=1000, merged_bytes=2**12)
    shipper = LogShipper(PLACE, bounds, open_store, say=heard.append)
    for place in range(100):
        shipper.box.put(1.0, "INFO", str(place))
        if place % 40 == 0:
            shipper.hurry()
            assert tried.acquire(timeout=DEADLINE_SECONDS)
    is_away.clear()
    shipper.close(DEADLINE_SECONDS)
    first, *rest = read(store)
    assert first == f"{100 - len(rest)} lines were dropped here: they came faster than storage took them"
    assert rest == [str(place) for place in range(100 - len(rest), 100)]
    assert len(heard) == 1


@given(
    st.lists(st.lists(st.integers(1, 600), min_size=1, max_size=4), max_size=30),
    st.lists(st.sampled_from(["before", "after", "not"]), max_size=40),
)
def test_whatever_fails_every_line_is_told_once_and_in_order(
    pieces: list[list[int]], failures: list[str]
) -> None:
    inner = MemoryStore()
    shelf = LogShelf(FailingStore(inner, failures), PLACE, WIDE)
    reader, told, said, pending = LogReader(inner, 1), list[int](), 0, list[LogLine]()
    for piece in pieces:
        for size in piece:
            said += 1
            pending.append(LogLine(said, float(said), "INFO", "x" * size))
        try:
            shelf.add(encode_lines(PLACE, pending))
            pending = []
            shelf.tidy()
        except Unavailable:
            pass
        told += [stored.line.number for stored in reader.read_new()]
    unsaid = {line.number for line in pending}
    assert told == sorted(set(told))
    assert set(range(1, said + 1)) - unsaid <= set(told)
    assert [stored.line.number for stored in LogReader(inner, 1).read_new()] == told


def test_small_pieces_are_merged_and_the_oldest_go() -> None:
    store = MemoryStore()
    bounds = LogBounds(stored_bytes=10_000, pending_bytes=2500, merged_bytes=2500, merged_chunks=4)
    shelf = LogShelf(store, PLACE, bounds)
    for number in range(1, 201):
        shelf.add(encode_lines(PLACE, [LogLine(number, float(number), "INFO", "x" * 150)]))
        shelf.tidy()
        assert sum(map(len, store.objects.values())) <= bounds.stored_bytes + bounds.merged_bytes
    assert len(store.objects) <= 10_000 / 2500 + 4
    told = [stored.line.number for stored in LogReader(store, 1).read_new()]
    assert told == list(range(201 - len(told), 201))


def test_another_process_of_the_same_name_is_not_overwritten() -> None:
    store = MemoryStore()
    ship(store, ["mine"])
    before = dict(store.objects)
    ship(store, ["another's"])
    assert before.items() <= store.objects.items()
    assert len(store.objects) == 2


def test_a_shelf_changes_nothing_outside_its_attempt() -> None:
    store = InterceptedStore(MemoryStore())
    shelf = LogShelf(store, PLACE, LogBounds(3000, 1000, 500, 2))
    for number in range(1, 50):
        shelf.add(encode_lines(PLACE, [LogLine(number, 1.0, "INFO", "x" * 100)]))
        shelf.tidy()
    assert all(key.startswith("logs/attempt-000001/driver-") for key in store.changes)


def test_processes_are_told_in_the_order_of_time() -> None:
    store = MemoryStore()
    for process, times in (("driver", (1.0, 4.0)), ("worker-1", (2.0, 5.0)), ("worker-0", (3.0, 3.0))):
        place = LogPlace(1, process)
        lines = [LogLine(number, seconds, "INFO", process) for number, seconds in enumerate(times, start=1)]
        LogShelf(store, place, WIDE).add(encode_lines(place, lines))
    assert read(store) == ["driver", "worker-1", "worker-0", "worker-0", "driver", "worker-1"]


def test_a_chunk_that_is_merged_while_it_is_read_is_read_from_the_merged_one() -> None:
    store = MemoryStore()
    shelf = LogShelf(store, PLACE, WIDE)
    for number in range(1, 4):
        shelf.add(encode_lines(PLACE, [LogLine(number, 1.0, "INFO", str(number))]))

    class Meanwhile(InterceptedStore):
        def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
            if len(byte_ranges) == 3:
                shelf.add(encode_lines(PLACE, [LogLine(4, 1.0, "INFO", "4")]))
                shelf.tidy()
            return super().read_ranges(byte_ranges)

    assert read(Meanwhile(store)) == list("1234")
    assert list(store.objects) == [LogChunk(PLACE, 1, 4, 0).key]


def test_the_newest_attempt_with_a_log_is_told_of_unless_another_is_wanted() -> None:
    store = MemoryStore()
    for attempt in (1, 2):
        begin_attempt(store, "driver", None)
        LogShelf(store, LogPlace(attempt, "driver"), WIDE).add(b"{}\n")
    begin_attempt(store, "driver", None)
    assert (choose_attempt(store, None), choose_attempt(store, 1)) == (2, 1)
    assert sorted(list_chunks(store.list("logs/"))) == [1, 2]
    with pytest.raises(NotFound, match=r"^--attempt 3: memory: has logs of these attempts: 1, 2; choose one"):
        choose_attempt(store, 3)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda _: None, "memory: holds no run; name a TrainingRun's file or its checkpoints.uri"),
        (lambda store: begin_attempt(store, "driver", None), "memory:/logs/ holds no log yet: one appears"),
    ],
)
def test_a_run_without_a_log_and_a_place_without_a_run_are_told_apart(
    prepare: Callable[[ObjectStore], object], message: str
) -> None:
    store = MemoryStore()
    prepare(store)
    with pytest.raises(NotFound, match=message):
        choose_attempt(store, None)

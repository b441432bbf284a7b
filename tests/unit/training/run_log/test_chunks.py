"""Objects of a log: their names, and which of them go."""

from hypothesis import given
from hypothesis import strategies as st

from synthray.storage import ObjectInfo
from synthray.training.run_log.chunks import (
    ATTEMPT_BYTES,
    LogBounds,
    LogChunk,
    list_chunks,
    plan_farewell,
    plan_reading,
    plan_rotation,
)
from synthray.training.run_log.lines import LogPlace

PROCESSES = st.one_of(st.just("driver"), st.integers(0, 200).map("worker-{}".format))
SIZES = st.lists(st.integers(1, 100), max_size=20)


def build_chunks(sizes: list[int], *, attempt: int = 1, process: str = "driver") -> list[LogChunk]:
    return [
        LogChunk(LogPlace(attempt, process), place, place, size) for place, size in enumerate(sizes, start=1)
    ]


def total(chunks: list[LogChunk]) -> int:
    return sum(chunk.size_bytes for chunk in chunks)


@given(st.integers(1, 10**7), PROCESSES, st.integers(1, 10**8 - 1), st.integers(0, 100))
def test_a_key_says_whose_piece_it_is(attempt: int, process: str, first: int, more: int) -> None:
    chunk = LogChunk(LogPlace(attempt, process), first, min(first + more, 10**8 - 1), 5)
    assert LogChunk.parse(ObjectInfo(chunk.key, 5, None)) == chunk


def test_keys_sort_by_time_and_a_merged_one_stands_before_its_parts() -> None:
    place = LogPlace(2, "worker-0")
    keys = [LogChunk(place, first, last, 1).key for first, last in ((1, 32), (1, 1), (2, 2), (33, 33))]
    assert keys[0] == "logs/attempt-000002/worker-0-00000001-00000032.jsonl"
    assert keys[1] == "logs/attempt-000002/worker-0-00000001.jsonl"
    assert keys == sorted(keys)


def test_what_is_no_chunk_is_nobodys() -> None:
    keys = [
        "logs/attempt-000001/notes.txt",
        "logs/readme",
        "states/driver-00000001.jsonl",
        "logs/attempt-1/x",
    ]
    assert list_chunks(ObjectInfo(key, 1, None) for key in keys) == {}


@given(SIZES, st.integers(0, 500))
def test_the_oldest_go_and_no_more_than_needed(sizes: list[int], max_bytes: int) -> None:
    chunks = build_chunks(sizes)
    doomed = plan_rotation(chunks, max_bytes)
    kept = chunks[len(doomed) :]
    assert chunks == [*doomed, *kept]
    assert total(kept) <= max_bytes or len(kept) == 1
    assert not doomed or total([doomed[-1], *kept]) > max_bytes


@given(st.dictionaries(st.integers(1, 12), SIZES), st.integers(1, 12), st.integers(0, 400), st.integers(0, 5))
def test_whole_attempts_go_the_oldest_first_and_never_a_later_one(
    sizes: dict[int, list[int]], before: int, max_bytes: int, max_attempts: int
) -> None:
    by_attempt = {attempt: build_chunks(each, attempt=attempt) for attempt, each in sizes.items() if each}
    doomed = {
        chunk.place.attempt
        for chunk in plan_farewell(by_attempt, before, max_bytes=max_bytes, max_attempts=max_attempts)
    }
    kept = {attempt for attempt in by_attempt if attempt < before} - doomed
    assert all(attempt < before for attempt in doomed)
    assert not doomed or not kept or max(doomed) < min(kept)
    assert len(kept) <= max_attempts
    assert sum(total(by_attempt[attempt]) for attempt in kept) <= max_bytes


def test_parts_of_a_merged_chunk_are_not_read_and_nor_is_what_is_known() -> None:
    place = LogPlace(1, "driver")
    merged, tail = LogChunk(place, 3, 6, 1), LogChunk(place, 7, 7, 1)
    parts = [LogChunk(place, number, number, 1) for number in range(1, 7)]
    assert plan_reading([tail, *parts, merged], {"driver": 1}) == [parts[1], merged, tail]
    assert plan_reading([tail, *parts, merged], {"driver": 7}) == []


@given(st.integers(2, 300))
def test_the_processes_of_an_attempt_share_its_bound(num_processes: int) -> None:
    bounds = LogBounds.of_one_among(num_processes)
    assert num_processes * bounds.stored_bytes <= ATTEMPT_BYTES
    assert max(bounds.pending_bytes, bounds.merged_bytes) <= bounds.stored_bytes / 4

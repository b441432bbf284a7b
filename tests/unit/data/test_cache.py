import fcntl
import logging
import os
from pathlib import Path

import pytest

from synthray.data.cache import DatasetCache, NodeCache, Refusal, Reservation

DATASET = "d" * 64
OTHER = "e" * 64


def open_cache(directory: Path, *, max_bytes: int = 1000, dataset: str = DATASET) -> DatasetCache:
    cache = NodeCache(directory, max_bytes).open(dataset)
    assert cache is not None
    return cache


def put(cache: DatasetCache, shard: str, data: bytes) -> None:
    reservation = cache.reserve(shard, len(data))
    assert isinstance(reservation, Reservation)
    reservation.commit(memoryview(data))


def test_a_committed_shard_is_read_by_every_process_and_after_a_restart(tmp_path: Path) -> None:
    with open_cache(tmp_path) as first, open_cache(tmp_path) as second:
        put(first, "a", b"0123456789")
        assert second.read("a", 3, 4) == b"3456"
    with open_cache(tmp_path) as restarted:
        assert restarted.read("a", 0, 10) == b"0123456789"
        assert restarted.read("absent", 0, 1) is None


def test_a_shard_is_fetched_by_one_process_only(tmp_path: Path) -> None:
    with open_cache(tmp_path) as first, open_cache(tmp_path) as second:
        reservation = first.reserve("a", 10)
        assert isinstance(reservation, Reservation)
        assert second.reserve("a", 10) is Refusal.BUSY
        assert not second.contains("a")
        reservation.commit(memoryview(bytes(10)))
        assert second.reserve("a", 10) is Refusal.PRESENT


def test_the_bound_counts_shards_in_flight_and_is_never_exceeded(tmp_path: Path) -> None:
    with open_cache(tmp_path, max_bytes=100) as cache:
        put(cache, "a", bytes(60))
        in_flight = cache.reserve("b", 40)
        assert isinstance(in_flight, Reservation)
        assert cache.reserve("c", 1) is Refusal.FULL
        in_flight.abandon()
        put(cache, "c", bytes(40))
        assert cache.reserve("d", 1) is Refusal.FULL
        assert cache.contains("a")


def test_what_a_dead_writer_left_is_swept_and_its_shard_can_be_fetched_again(tmp_path: Path) -> None:
    with open_cache(tmp_path, max_bytes=100) as cache:
        # What SIGKILL leaves: an unfinished file that no living process has locked.
        (tmp_path / DATASET / "a.part").write_bytes(bytes(100))
        put(cache, "a", bytes(100))
        assert cache.read("a", 0, 100) == bytes(100)
    assert not list(tmp_path.glob("*/*.part"))


def test_another_datasets_shards_make_room_only_when_nobody_uses_them(tmp_path: Path) -> None:
    with open_cache(tmp_path, max_bytes=100) as cache:
        other = open_cache(tmp_path, max_bytes=100, dataset=OTHER)
        put(other, "x", bytes(80))
        assert cache.reserve("a", 50) is Refusal.FULL
        assert other.contains("x")
        other.close()
        put(cache, "a", bytes(50))
        assert not (tmp_path / OTHER / "x.tar").exists()


def test_dropping_a_damaged_shard_spares_the_copy_that_has_replaced_it(tmp_path: Path) -> None:
    with open_cache(tmp_path) as first, open_cache(tmp_path) as second:
        put(first, "a", b"bad")
        assert first.read("a", 0, 3) == second.read("a", 0, 3) == b"bad"
        second.drop("a")
        put(second, "a", b"new")
        first.drop("a")
        assert first.read("a", 0, 3) == b"new"


def test_a_cut_file_gives_fewer_bytes_and_never_kills_the_reader(tmp_path: Path) -> None:
    with open_cache(tmp_path) as cache:
        put(cache, "a", b"0123456789")
        assert cache.read("a", 0, 10) == b"0123456789"
        os.truncate(tmp_path / DATASET / "a.tar", 4)
        assert cache.read("a", 2, 8) == b"23"


def test_a_directory_that_cannot_be_written_means_no_cache_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert NodeCache(tmp_path / "file" / "cache", 100).open(DATASET) is None
    assert "every image is read from storage" in caplog.text


def test_many_shards_need_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthray.data.cache._MAX_OPEN_SHARDS", 4)
    with open_cache(tmp_path) as cache:
        for number in range(12):
            put(cache, str(number), b"%02d" % number)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for number in range(12):
            assert cache.read(str(number), 0, 2) == b"%02d" % number
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4


def test_a_held_lock_of_a_living_writer_is_respected(tmp_path: Path) -> None:
    with open_cache(tmp_path) as cache:
        unfinished = tmp_path / DATASET / "a.part"
        with unfinished.open("wb") as writer:
            fcntl.flock(writer, fcntl.LOCK_EX)
            assert cache.reserve("a", 10) is Refusal.BUSY
        assert unfinished.exists()

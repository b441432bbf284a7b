import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from synthray.data import reader as reader_module
from synthray.data import stream as stream_module
from synthray.data.cache import NodeCache
from synthray.data.dataset import Dataset
from synthray.data.order import SampleOrder, SampleRef
from synthray.data.reader import SampleReader
from synthray.data.replacement import BadSamples, Finding
from synthray.data.stream import MicroBatch, ReadAhead, read_good_micro_batch, read_micro_batch
from synthray.errors import NotFound, Unavailable, VerificationFailed
from synthray.storage import ByteRange, ObjectStore
from synthray.telemetry.storage_counters import STORAGE_COUNTERS


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        threading.Event().wait(0.005)


class PrepareTiny(Protocol):
    def __call__(self, num_images: int = 12, **arguments: object) -> tuple[Dataset, ObjectStore]: ...


def num_gets() -> int:
    return sum(
        count for (operation, _), count in STORAGE_COUNTERS.snapshot().requests.items() if operation == "get"
    )


def damage(store: ObjectStore, dataset: Dataset, samples: Sequence[int]) -> None:
    """Flip one bit in the middle of each sample."""
    table = dataset.train
    for sample in samples:
        path = dataset.description.shards[table.shard_number[sample]].path
        shard = bytearray(store.read(path))
        shard[table.offset[sample] + table.length[sample] // 2] ^= 1
        store.write(path, shard)


def plan_of(order: SampleOrder, num_batches: int, size: int) -> list[list[SampleRef]]:
    return [[order.at(batch * size + row) for row in range(size)] for batch in range(num_batches)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads again, and looks for storage that is away, at once."""
    monkeypatch.setattr(reader_module, "_REREAD_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(stream_module, "_AWAY_PAUSE_SECONDS", 0.01)


def test_a_cached_image_is_the_one_read_by_range(prepare_tiny: PrepareTiny, tmp_path: Path) -> None:
    dataset, store = prepare_tiny(12)
    samples = [7, 0, 11, 7]
    with SampleReader(dataset, store, None, table=dataset.train) as by_range:
        images, bad = by_range.read(samples)
    assert bad == ()
    assert images.shape == (4, 16, 16, 1)
    assert images.dtype == np.uint8
    assert (images[0] == images[3]).all()
    with SampleReader(dataset, store, NodeCache(tmp_path / "cache", 10**6), table=dataset.train) as cached:
        cached.start_fill()
        assert cached.wait_filled(30)
        assert (cached.read(samples)[0] == images).all()


def test_a_full_cache_sends_no_request(prepare_tiny: PrepareTiny, tmp_path: Path) -> None:
    dataset, store = prepare_tiny(12)
    cache = NodeCache(tmp_path / "cache", 10**6)
    before = num_gets()
    with SampleReader(dataset, store, cache, table=dataset.train) as reader:
        reader.start_fill()
        assert reader.wait_filled(30)
        filled = num_gets()
        assert filled == before + len(dataset.description.shards)
        for _ in range(3):
            reader.read(range(12))
    with SampleReader(dataset, store, cache, table=dataset.train) as another_process:
        another_process.start_fill()
        assert another_process.wait_filled(30)
        another_process.read(range(12))
    assert num_gets() == filled


def test_a_cache_smaller_than_the_dataset_keeps_what_fits_and_the_rest_comes_by_range(
    prepare_tiny: PrepareTiny, tmp_path: Path
) -> None:
    dataset, store = prepare_tiny(24)
    bound = dataset.description.shards[0].bytes + dataset.description.shards[1].bytes
    cache = NodeCache(tmp_path / "cache", bound)
    with SampleReader(dataset, store, cache, table=dataset.train) as reader:
        reader.start_fill()
        assert reader.wait_filled(30)
        before = num_gets()
        _, bad = reader.read(range(24))
        assert bad == ()
        absent = int((dataset.train.shard_number > 1).sum())
        assert num_gets() == before + absent
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.tar")) <= bound


def test_a_damaged_cache_entry_is_read_anew_and_fetched_again(
    prepare_tiny: PrepareTiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, store = prepare_tiny(12)
    with SampleReader(dataset, store, NodeCache(tmp_path, 10**6), table=dataset.train) as reader:
        good, _ = reader.read(range(12))
        reader.start_fill()
        assert reader.wait_filled(30)
        shard = dataset.description.shards[0]
        entry = tmp_path / dataset.description.index.sha256 / f"{shard.sha256}.tar"
        with entry.open("r+b") as file:
            file.seek(int(dataset.train.offset[0]) + 100)
            file.write(b"rot")
        with caplog.at_level(logging.WARNING):
            images, bad = reader.read(range(12))
        assert (images == good).all()
        assert bad == ()
        assert "cached shard shards/000000.tar is damaged at sample 000000000" in caplog.text
        assert reader.wait_filled(30)
        before = num_gets()
        assert (reader.read(range(12))[0] == good).all()
        assert num_gets() == before


def test_a_full_disk_leaves_the_reader_with_ranges_and_a_warning(
    prepare_tiny: PrepareTiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset, store = prepare_tiny(12)

    def no_space(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_space)
    with (
        caplog.at_level(logging.WARNING),
        SampleReader(dataset, store, NodeCache(tmp_path, 10**6), table=dataset.train) as reader,
    ):
        reader.start_fill()
        assert reader.wait_filled(30)
        assert reader.read(range(12))[1] == ()
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.rglob("*.part"))


def test_a_sample_damaged_in_storage_is_reported_by_shard_and_key(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    damage(store, dataset, [4])
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        images, bad = reader.read([3, 4, 5])
    assert [(found.sample, found.shard_number, found.key) for found in bad] == [
        (4, int(dataset.train.shard_number[4]), "000000004")
    ]
    assert "wrong SHA-256 in 3 reads from storage" in bad[0].cause
    assert not images[1].any()
    assert images[0].any()


def test_a_shard_cut_short_in_storage_costs_only_the_samples_behind_the_cut(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(6, shard_bytes=10**6)
    path = dataset.description.shards[0].path
    store.write(path, store.read(path)[: int(dataset.train.offset[2])])
    in_shard = [sample for sample in range(6) if dataset.train.shard_number[sample] == 0]
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        _, bad = reader.read(in_shard)
    assert [found.sample for found in bad] == in_shard[2:]


def test_a_lost_shard_is_not_taken_for_bad_samples(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(6)
    store.delete([dataset.description.shards[0].path])
    with (
        SampleReader(dataset, store, None, table=dataset.train) as reader,
        pytest.raises(NotFound, match=r"shards/000000\.tar"),
    ):
        reader.read([0])


def test_a_line_that_flips_bits_now_and_then_makes_no_bad_sample(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    read_range, reads = store.read_range, []

    def flip_twice(byte_range: ByteRange) -> bytes:
        data = read_range(byte_range)
        reads.append(byte_range)
        return bytes([*data[:-1], data[-1] ^ 1]) if len(reads) <= 2 else data

    store.read_range = flip_twice  # type: ignore[method-assign]
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        assert reader.read([3])[1] == ()
    assert len(reads) == 3


def make_with(reader: SampleReader, order: SampleOrder) -> Callable[[Sequence[SampleRef]], MicroBatch]:
    return lambda refs: read_micro_batch(reader, refs, order=order)


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("synthray-stream")]


def test_the_stream_keeps_the_order_of_its_plan(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    plan = plan_of(order, 9, 4)
    with (
        SampleReader(dataset, store, None, table=dataset.train) as reader,
        ReadAhead(plan, make_with(reader, order), ahead=3, threads=3) as stream,
    ):
        batches = [future.result() for future in stream]
        assert [list(batch.refs) for batch in batches] == plan
        for batch in batches:
            assert (batch.images == reader.read([ref.sample for ref in batch.refs])[0]).all()
            assert batch.samples == tuple(ref.sample for ref in batch.refs)
            assert batch.found == ()


def test_a_bad_sample_is_told_with_its_position_and_replaced_once_it_is_known(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    refs = [order.at(position) for position in range(12)]
    bad, next_bad, replacement = refs[4].sample, refs[5].sample, refs[6].sample
    damage(store, dataset, [bad, next_bad])
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        first = read_micro_batch(reader, refs, order=order)
        assert first.found == (Finding(bad, 4), Finding(next_bad, 5))
        assert not first.images[4].any()
        known = BadSamples().with_findings(first.found)
        second = read_micro_batch(reader, refs, order=order, bad=known)
        assert second.found == (Finding(next_bad, 4),), "it was to take the place, and is bad itself"
        known = known.with_findings(second.found)
        batch = read_micro_batch(reader, refs, order=order, bad=known)
    assert batch.found == ()
    assert batch.samples[4:7] == (replacement, replacement, replacement)
    assert (batch.images[4] == batch.images[6]).all()


def test_a_replacement_that_is_bad_itself_is_told_at_the_position_that_it_was_to_fill(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    bad, candidate, replacement = (order.at(position).sample for position in (4, 5, 6))
    damage(store, dataset, [bad, candidate])
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        batch = read_micro_batch(reader, [order.at(4)], order=order, bad=BadSamples({bad: 0}))
        assert batch.found == (Finding(candidate, 4),)
        assert read_good_micro_batch(reader, [order.at(4)], order=order).samples == (replacement,)


def test_a_sample_known_to_be_bad_is_not_read_although_storage_has_recovered(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    refs = [order.at(0), order.at(1)]
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        batch = read_micro_batch(reader, refs, order=order, bad=BadSamples({refs[0].sample: 0}))
    assert batch.samples == (refs[1].sample, refs[1].sample)


def test_a_dataset_without_a_readable_sample_ends_the_stream(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(4)
    damage(store, dataset, range(4))
    order = SampleOrder(0, 4)
    with (
        SampleReader(dataset, store, None, table=dataset.train) as reader,
        pytest.raises(VerificationFailed, match="no sample of the dataset can be read intact"),
    ):
        read_good_micro_batch(reader, [order.at(0)], order=order)


def test_an_error_surfaces_at_its_batch_and_the_threads_end() -> None:
    order = SampleOrder(0, 12)

    def fail_at_the_third(refs: Sequence[SampleRef]) -> int:
        if refs[0].position == 8:
            raise NotFound("the third batch")
        return refs[0].position

    with ReadAhead(plan_of(order, 6, 4), fail_at_the_third, ahead=4, threads=2) as stream:
        assert [next(stream).result(), next(stream).result()] == [0, 4]
        with pytest.raises(NotFound, match="the third batch"):
            next(stream).result()
    assert not stream_threads()


def test_the_stream_reads_no_further_ahead_than_asked() -> None:
    order = SampleOrder(0, 12)
    planned = 0

    def endless() -> Iterator[list[SampleRef]]:
        nonlocal planned
        while True:
            planned += 1
            yield [order.at(planned)]

    with ReadAhead(endless(), len, ahead=3, threads=2) as stream:
        for _ in range(5):
            next(stream).result()
        assert planned == 5 + 3
    assert not stream_threads()


def test_storage_that_is_away_is_waited_for_and_never_taken_for_bad_samples(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(0, 12)
    back, read_ranges = threading.Event(), store.read_ranges

    def away(byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        if not back.is_set():
            raise Unavailable("the store is away")
        return read_ranges(byte_ranges)

    store.read_ranges = away  # type: ignore[method-assign]
    with (
        SampleReader(dataset, store, None, table=dataset.train) as reader,
        ReadAhead(plan_of(order, 1, 4), make_with(reader, order), ahead=0, threads=1) as stream,
    ):
        future = next(stream)
        wait_until(lambda: stream.storage_is_away)
        assert not future.done()
        back.set()
        batch = future.result()
        assert batch.found == ()
        assert not stream.storage_is_away


def test_closing_ends_a_wait_for_storage() -> None:
    def away(_: Sequence[SampleRef]) -> int:
        raise Unavailable("the store is away")

    with ReadAhead([[]], away, ahead=0, threads=1) as stream:
        future = next(stream)
        wait_until(lambda: stream.storage_is_away)
    with pytest.raises(Unavailable, match="given up"):
        future.result()
    assert not stream_threads()


def test_storage_is_asked_for_all_missing_images_of_a_batch_at_once(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    asked: list[int] = []
    read_ranges = store.read_ranges

    def counting(byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        asked.append(len(byte_ranges))
        return read_ranges(byte_ranges)

    store.read_ranges = counting  # type: ignore[method-assign]
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        reader.read(range(8))
    assert asked == [8]

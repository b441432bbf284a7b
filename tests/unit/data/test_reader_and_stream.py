import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from synthray.data.cache import NodeCache
from synthray.data.dataset import Dataset
from synthray.data.order import SampleOrder, SampleRef
from synthray.data.reader import SampleReader
from synthray.data.stream import MicroBatch, stream_micro_batches
from synthray.errors import NotFound, Unavailable, VerificationFailed
from synthray.storage import ByteRange, ObjectStore
from synthray.telemetry.storage_counters import STORAGE_COUNTERS


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


def identity(batch: MicroBatch) -> MicroBatch:
    return batch


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


def test_the_stream_keeps_the_order_of_its_plan(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    plan = plan_of(order, 9, 4)
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        batches = list(
            stream_micro_batches(reader, plan, order=order, prefetch=3, threads=3, transform=identity)
        )
        assert [list(batch.refs) for batch in batches] == plan
        for batch in batches:
            assert (batch.images == reader.read([ref.sample for ref in batch.refs])[0]).all()
            assert batch.substituted == ()


def test_a_bad_sample_is_replaced_by_the_next_good_one_of_its_epoch_in_every_run(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    refs = [order.at(position) for position in range(12)]
    bad, next_bad, replacement = refs[4].sample, refs[5].sample, refs[6].sample
    damage(store, dataset, [bad, next_bad])
    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        [batch] = stream_micro_batches(reader, [refs], order=order, prefetch=1, threads=1, transform=identity)
    assert [(found.position, found.bad.sample, found.replacement) for found in batch.substituted] == [
        (4, bad, replacement),
        (5, next_bad, replacement),
    ]
    assert (batch.images[4] == batch.images[6]).all()


def test_a_sample_known_to_be_bad_stays_so_although_storage_has_recovered(
    prepare_tiny: PrepareTiny,
) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(3, 12)
    refs = [order.at(0), order.at(1)]
    with SampleReader(dataset, store, None, table=dataset.train, known_bad=[refs[0].sample]) as reader:
        [batch] = stream_micro_batches(reader, [refs], order=order, prefetch=0, threads=1, transform=identity)
    assert [found.replacement for found in batch.substituted] == [refs[1].sample]


def test_a_dataset_without_a_readable_sample_ends_the_stream(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(4)
    damage(store, dataset, range(4))
    order = SampleOrder(0, 4)
    with (
        SampleReader(dataset, store, None, table=dataset.train) as reader,
        pytest.raises(VerificationFailed, match="no sample of the dataset can be read intact"),
    ):
        list(
            stream_micro_batches(
                reader, plan_of(order, 1, 2), order=order, prefetch=0, threads=1, transform=identity
            )
        )


def test_an_error_surfaces_at_its_batch_and_the_threads_end(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(0, 12)

    def fail_at_the_third(batch: MicroBatch) -> int:
        if batch.refs[0].position == 8:
            raise Unavailable("the third batch")
        return batch.refs[0].position

    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        stream = stream_micro_batches(
            reader, plan_of(order, 6, 4), order=order, prefetch=4, threads=2, transform=fail_at_the_third
        )
        assert [next(stream), next(stream)] == [0, 4]
        with pytest.raises(Unavailable, match="the third batch"):
            next(stream)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("synthray-stream")]


def test_the_stream_reads_no_further_ahead_than_asked(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    order = SampleOrder(0, 12)
    planned = 0

    def endless() -> Iterator[list[SampleRef]]:
        nonlocal planned
        while True:
            planned += 1
            yield [order.at(planned)]

    with SampleReader(dataset, store, None, table=dataset.train) as reader:
        stream = stream_micro_batches(
            reader, endless(), order=order, prefetch=3, threads=2, transform=identity
        )
        for _ in range(5):
            next(stream)
        assert planned == 5 + 3
        stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("synthray-stream")]


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

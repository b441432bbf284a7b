"""Samples that storage loses while a run trains: the result depends on what was found, nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_run import TinyRun, train, write_tiny_run

from synthray.data import reader
from synthray.data.dataset import read_dataset
from synthray.data.order import SampleOrder
from synthray.errors import Reason, VerificationFailed
from synthray.storage import S3Settings, open_store

CHANGES = ("spec.optimization.epochs=3", "spec.workers.cacheSize=1")
STEPS_BEFORE = 3  # of 14 images each; an epoch has 25


class Bucket:
    """A run with a copy of the dataset that can be damaged and mended, read without a cache."""

    def __init__(self, folder: Path, prepared: str) -> None:
        self._source = Path(prepared)
        self._folder = folder / "prepared"
        shutil.copytree(self._source, self._folder)
        self.run: TinyRun = write_tiny_run(folder, "run", str(self._folder))
        self._dataset = read_dataset(open_store(str(self._folder), S3Settings()))
        self.order = SampleOrder(self.run.settings().seed, len(self._dataset.train))

    def sample_at(self, position: int) -> int:
        return self.order.at(position).sample

    def damage(self, *samples: int) -> None:
        table, shards = self._dataset.train, self._dataset.description.shards
        for sample in samples:
            path = self._folder / shards[table.shard_number[sample]].path
            shard = bytearray(path.read_bytes())
            shard[table.offset[sample] + table.length[sample] // 2] ^= 1
            path.write_bytes(shard)

    def mend(self) -> None:
        shutil.copytree(self._source, self._folder, dirs_exist_ok=True)


@pytest.fixture
def new_bucket(dataset_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bucket]:
    monkeypatch.setattr(reader, "_REREAD_PAUSES_SECONDS", (0.0,))

    def make(name: str) -> Bucket:
        (tmp_path / name).mkdir()
        return Bucket(tmp_path / name, dataset_uri)

    return make


def test_what_was_found_bad_stays_so_from_its_position_on_for_any_workers_and_after_storage_is_mended(
    new_bucket: Callable[[str], Bucket],
) -> None:
    """The bad sample was computed well in the first epoch; its replacement in the second is bad too."""
    results = []
    for name, num_workers, mended in (("alone", (1, 1, 1), False), ("broken", (3, 2, 4), True)):
        bucket = new_bucket(name)
        lost, candidate = bucket.sample_at(43), bucket.sample_at(44)
        first, second, third = num_workers
        assert train(bucket.run, *CHANGES, num_workers=first, stop_after_steps=STEPS_BEFORE) == "stopped"
        assert bucket.run.progress()["bad_samples"] == []
        bucket.damage(lost, candidate)
        assert train(bucket.run, *CHANGES, num_workers=second, stop_after_steps=1) == "stopped"
        assert bucket.run.progress()["bad_samples"] == sorted([[lost, 43], [candidate, 43]])
        if mended:
            bucket.mend()
        assert train(bucket.run, *CHANGES, num_workers=third) == "complete"
        faults = bucket.run.checkpoints().list_states()[-1].ledger["faults"]
        assert [fault["kind"] for fault in faults] == ["BadSample"]
        results.append((*bucket.run.digests(), bucket.run.progress()["bad_samples"]))
    assert results[0] == results[1]
    unharmed = new_bucket("unharmed")
    assert train(unharmed.run, *CHANGES) == "complete"
    assert unharmed.run.digests() != results[0][:3]


def test_a_dataset_of_which_too_much_is_lost_ends_the_run(new_bucket: Callable[[str], Bucket]) -> None:
    bucket = new_bucket("run")
    bucket.damage(*(bucket.sample_at(position) for position in range(14)))
    with pytest.raises(VerificationFailed, match=r"1\d of \d+ training samples .* can't be read") as failed:
        train(bucket.run, *CHANGES, num_workers=2)
    assert failed.value.reason is Reason.DATASET_INVALID

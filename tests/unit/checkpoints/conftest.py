"""A run of a few bytes: real commits to a real folder, without the uploader process around them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import settings

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.commit import Committer
from synthray.checkpoints.host_buffer import view_tensors
from synthray.checkpoints.layout import TensorSpec, plan_file
from synthray.checkpoints.requests import CommitReport, RunContext, SaveRequest
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import Unavailable
from synthray.storage import ByteRange, ObjectInfo, ObjectStore

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

PARTS = ("weights", "ema", "optimizer")
SPECS = (TensorSpec("conv.weight", "float32", (4, 3)), TensorSpec("scale", "float32", ()))


def fill_files(values: Mapping[str, float]) -> dict[str, memoryview]:
    """The safetensors file of each part, all of whose tensors hold the part's value."""
    layout = plan_file(SPECS)
    files = {}
    for part, value in values.items():
        data = np.zeros(layout.size_bytes, np.uint8)
        data[: len(layout.header)] = np.frombuffer(layout.header, np.uint8)
        for tensor in view_tensors(data, layout).values():
            tensor[...] = value
        files[part] = data.data
    return files


class SmallRun:
    """One attempt after the other; by the promise, the tensors of a state follow from images_seen alone."""

    def __init__(self, store: ObjectStore, name: str = "small") -> None:
        self.store = store
        self.name = name
        self.checkpoints = CheckpointStore(store)

    def begin(self, resumes_from: str | None = None) -> RunContext:
        record = begin_attempt(self.store, "driver", resumes_from)
        return RunContext(
            run=self.name,
            attempt=record.number,
            nonce=record.nonce,
            resumes_from=resumes_from,
            rng_key="0",
            config_digest="c" * 64,
            config={"seed": 0},
            dataset_digest="d" * 64,
            fingerprint={"device": "cpu"},
            model_files={
                "model_index.json": "{}",
                "unet/config.json": '{"sample_size": 64}',
                "scheduler/scheduler_config.json": "{}",
            },
        )

    def commit(
        self,
        context: RunContext,
        images_seen: int,
        *,
        model: bool = True,
        store: ObjectStore | None = None,
        committer: Committer | None = None,
    ) -> CommitReport:
        request = SaveRequest(
            images_seen=images_seen,
            step=images_seen // 10,
            epoch=images_seen // 100,
            write_model=model,
            progress={"images_seen": images_seen},
            ledger={"attempts": context.attempt},
            validation_loss=1.0 / (1 + images_seen),
        )
        chosen = committer or Committer(store or self.store, context)
        return chosen.save(self.files(images_seen), request, context.resumes_from)

    @staticmethod
    def files(images_seen: int) -> dict[str, memoryview]:
        return fill_files({part: images_seen + place / 4 for place, part in enumerate(PARTS)})

    def check_loads(self, images_seen: int) -> None:
        """The resume point is the state at `images_seen`, with the right content."""
        manifest = self.checkpoints.newest_good_state().manifest
        assert manifest is not None
        assert manifest.images_seen == images_seen
        state = self.checkpoints.load_state(manifest)
        assert state.progress == {"images_seen": images_seen}
        for place, tensors in enumerate((state.weights, state.ema, state.optimizer)):
            assert set(tensors) == {"conv.weight", "scale"}
            assert all((tensor == images_seen + place / 4).all() for tensor in tensors.values())


class InterceptedStore:
    """A real store; `before` and `after` hear of each write, create and delete, and may raise."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.changes: list[str] = []

    @property
    def uri(self) -> str:
        return self._store.uri

    def before(self, _key: str) -> None:
        """Called with nothing done yet."""

    def after(self, _key: str) -> None:
        """Called when it is done and nobody has heard."""

    @contextmanager
    def _change(self, key: str) -> Iterator[None]:
        self.before(key)
        yield
        self.changes.append(key)
        self.after(key)

    def write(self, key: str, data: bytes | bytearray | memoryview) -> None:
        with self._change(key):
            self._store.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        with self._change(key):
            self._store.create(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._change(key):
                self._store.delete([key])

    def read(self, key: str) -> bytes:
        return self._store.read(key)

    def read_range(self, byte_range: ByteRange) -> bytes:
        return self._store.read_range(byte_range)

    def read_ranges(self, byte_ranges: Sequence[ByteRange]) -> list[bytes]:
        return self._store.read_ranges(byte_ranges)

    def read_into(self, key: str, buffer: memoryview) -> None:
        self._store.read_into(key, buffer)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def stat(self, key: str) -> ObjectInfo | None:
        return self._store.stat(key)

    def child(self, path: str) -> ObjectStore:
        return self._store.child(path)


class VanishingStore(InterceptedStore):
    """Goes away after `changes` changes; `heard`: whether the last one is still answered."""

    def __init__(self, store: ObjectStore, changes: int, *, heard: bool = True) -> None:
        super().__init__(store)
        self._left, self._heard = changes, heard

    def before(self, _key: str) -> None:
        if self._left == 0:
            raise Unavailable("the store went away")
        self._left -= 1

    def after(self, _key: str) -> None:
        if self._left == 0 and not self._heard:
            raise Unavailable("the answer was lost")

    def recover(self) -> None:
        self._left = -1


@pytest.fixture(autouse=True)
def _no_power_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing to disk is most of what a commit of a few bytes costs, and nothing here pulls a plug."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def run(local_store: ObjectStore) -> SmallRun:
    return SmallRun(local_store)


@pytest.fixture
def other_run(local_store: ObjectStore) -> SmallRun:
    return SmallRun(local_store.child("elsewhere"), "other")


@pytest.fixture
def intercepted(local_store: ObjectStore) -> InterceptedStore:
    return InterceptedStore(local_store)


@pytest.fixture
def vanishing(local_store: ObjectStore) -> Callable[..., VanishingStore]:
    return lambda changes, *, heard=True: VanishingStore(local_store, changes, heard=heard)

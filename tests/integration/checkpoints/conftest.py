"""A saver of a few bytes, or of many, with its real uploader process."""

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from run_contexts import build_context

from synthray.checkpoints.attempts import begin_attempt
from synthray.checkpoints.layout import TensorSpec
from synthray.checkpoints.requests import SaveRequest
from synthray.checkpoints.saver import Saver, SaveResult
from synthray.storage import ObjectStore, S3Settings


class StartSaver(Protocol):
    """`elements`: of each of the two tensors of a part."""

    def __call__(self, store: ObjectStore, settings: S3Settings, *, elements: int = 10) -> Saver: ...


@pytest.fixture
def start_saver() -> Iterator[StartSaver]:
    savers: list[Saver] = []

    def start(store: ObjectStore, settings: S3Settings, *, elements: int = 10) -> Saver:
        context = build_context(begin_attempt(store, "driver", None))
        specs = [TensorSpec(name, "float32", (elements,)) for name in ("a", "b")]
        parts = {"weights": specs, "ema": specs, "optimizer": specs}
        saver = Saver(parts, store_uri=store.uri, settings=settings, context=context)
        savers.append(saver)
        return saver

    yield start
    for saver in savers:
        saver.close()


@pytest.fixture
def save() -> Callable[[Saver, int], SaveResult]:
    """Fill the buffer with a value, save it as the state at that many images, and wait for the result."""

    def save_and_wait(saver: Saver, images_seen: int) -> SaveResult:
        assert saver.begin(60)
        for arrays in saver.buffers.values():
            for array in arrays.values():
                array[...] = images_seen
        saver.commit(
            SaveRequest(
                images_seen=images_seen,
                step=images_seen,
                epoch=0,
                write_model=True,
                progress={"images_seen": images_seen},
                ledger={},
            )
        )
        result = saver.wait(60)
        assert result is not None
        return result

    return save_and_wait

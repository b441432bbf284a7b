"""The stream of micro-batches: in order, bounded, read and decoded ahead of the loop by a few threads.

Threads and not processes: Pillow, SHA-256 and storage let go of the interpreter's lock, nothing is copied
between processes, and nothing is left behind by a kill. It must not know what the batches are for.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synthray.data.order import SampleOrder, SampleRef
from synthray.data.reader import BadSample, SampleReader
from synthray.errors import Reason, VerificationFailed

T = TypeVar("T")


@dataclass(frozen=True)
class Substitution:
    """At `position` of the stream, sample `bad.sample` is replaced by `replacement` for this run's life."""

    position: int
    bad: BadSample
    replacement: int


@dataclass(frozen=True)
class MicroBatch:
    """What stands at some positions of the stream: images uint8 (N, H, W, C), one row per ref."""

    refs: tuple[SampleRef, ...]
    images: NDArray[np.uint8]
    substituted: tuple[Substitution, ...]


def stream_micro_batches(
    reader: SampleReader,
    plan: Iterable[Sequence[SampleRef]],
    *,
    order: SampleOrder,
    prefetch: int,
    threads: int,
    transform: Callable[[MicroBatch], T],
) -> Generator[T, None, None]:
    """Yield transform(micro-batch) for each entry of `plan`, in its order.

    `prefetch` micro-batches are in flight beside the yielded one; `transform` runs in the pool's threads.
    Errors surface at the batch that they belong to. Closing the generator stops the threads.
    """

    def produce(refs: Sequence[SampleRef]) -> T:
        return transform(read_micro_batch(reader, refs, order=order))

    pending: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="synthray-stream")
    try:
        for refs in plan:
            pending.append(pool.submit(produce, refs))
            if len(pending) > prefetch:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_micro_batch(reader: SampleReader, refs: Sequence[SampleRef], *, order: SampleOrder) -> MicroBatch:
    """Read the samples of `refs`, replacing bad ones by the rule of `SampleOrder.replacements`."""
    images, bad = reader.read([ref.sample for ref in refs])
    if not bad:
        return MicroBatch(tuple(refs), images, ())
    bad_samples = {sample.sample: sample for sample in bad}
    substituted = []
    for row, ref in enumerate(refs):
        if ref.sample in bad_samples:
            replacement, images[row] = _replacement_of(reader, ref, order)
            substituted.append(Substitution(ref.position, bad_samples[ref.sample], replacement))
    return MicroBatch(tuple(refs), images, tuple(substituted))


def _replacement_of(
    reader: SampleReader, ref: SampleRef, order: SampleOrder
) -> tuple[int, NDArray[np.uint8]]:
    for candidate in order.replacements(ref):
        images, bad = reader.read([candidate])
        if not bad:
            return candidate, images[0]
    raise VerificationFailed(
        "no sample of the dataset can be read intact; copy the dataset again, or prepare it anew",
        reason=Reason.DATASET_INVALID,
    )

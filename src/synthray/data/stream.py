"""Micro-batches read and decoded ahead of their use, in order, bounded, by a few threads.

Threads and not processes: Pillow, SHA-256 and storage let go of the interpreter's lock, nothing is copied
between processes, and nothing is left behind by a kill. Storage that is away is waited for, however long, and
never taken for bad samples. It must not know what the batches are for.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from synthray.data.order import SampleOrder, SampleRef
from synthray.data.reader import SampleReader
from synthray.data.replacement import NONE_BAD, BadSamples, Finding, choose_sample
from synthray.errors import Unavailable

T = TypeVar("T")

_AWAY_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MicroBatch:
    """What stands at some positions of the stream: images uint8 (N, H, W, C), one row per ref.

    `samples` are those that the rule names, row by row; rows of `found` ones, which can't be had, are zeros.
    """

    refs: tuple[SampleRef, ...]
    samples: tuple[int, ...]
    images: NDArray[np.uint8]
    found: tuple[Finding, ...]


def read_micro_batch(
    reader: SampleReader, refs: Sequence[SampleRef], *, order: SampleOrder, bad: BadSamples = NONE_BAD
) -> MicroBatch:
    """Read what `bad` makes of `refs`; what can't be had is told and not yet replaced.

    Raises Unavailable or NotFound if storage fails as a whole, VerificationFailed if all samples are bad.
    """
    samples = tuple(choose_sample(order, ref, bad) for ref in refs)
    images, unreadable = reader.read(samples)
    lost = {one.sample for one in unreadable}
    found = (
        Finding(sample, ref.position) for sample, ref in zip(samples, refs, strict=True) if sample in lost
    )
    return MicroBatch(tuple(refs), samples, images, tuple(found))


def read_good_micro_batch(
    reader: SampleReader, refs: Sequence[SampleRef], *, order: SampleOrder
) -> MicroBatch:
    """The same with what can't be had replaced at once, for samples that no state remembers."""
    bad = NONE_BAD
    while (batch := read_micro_batch(reader, refs, order=order, bad=bad)).found:
        bad = bad.with_findings(batch.found)
    return batch


class ReadAhead(Generic[T]):
    """`make(refs)` for each entry of `plan`, in its order, `ahead` of them under way beside the one taken.

    Iterating gives futures, so that who waits can do so in small steps; errors are raised by the future that
    they belong to, but for Unavailable, which is tried again. Closing stops the threads.
    """

    def __init__(
        self,
        plan: Iterable[Sequence[SampleRef]],
        make: Callable[[Sequence[SampleRef]], T],
        *,
        ahead: int,
        threads: int,
    ) -> None:
        self._plan = iter(plan)
        self._make = make
        self._ahead = ahead
        self._pending: deque[Future[T]] = deque()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._num_waiting = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="synthray-stream")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Future[T]]:
        return self

    def __next__(self) -> Future[T]:
        while len(self._pending) <= self._ahead:
            refs = next(self._plan, None)
            if refs is None:
                break
            self._pending.append(self.again(refs))
        if not self._pending:
            raise StopIteration
        return self._pending.popleft()

    def again(self, refs: Sequence[SampleRef]) -> Future[T]:
        """Make something out of turn."""
        return self._pool.submit(self._make_patiently, refs)

    @property
    def storage_is_away(self) -> bool:
        """Whether something that is under way waits for storage."""
        return self._num_waiting > 0

    def close(self) -> None:
        """Give up what is under way, as soon as storage lets go of it."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make_patiently(self, refs: Sequence[SampleRef]) -> T:
        try:
            return self._make(refs)
        except Unavailable as trouble:
            _log.warning("waiting for storage: %s", trouble.message)
            with self._lock:
                self._num_waiting += 1
        try:
            while not self._closing.wait(_AWAY_PAUSE_SECONDS):
                try:
                    return self._make(refs)
                except Unavailable:
                    continue
            raise Unavailable("reading was given up while storage was away")
        finally:
            with self._lock:
                self._num_waiting -= 1

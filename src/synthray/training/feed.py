"""What one worker computes in each step, read ahead, and the agreement of all on which samples are bad.

Before a step is computed every worker holds its whole share, and all have agreed on every bad sample in it.
So no step is computed twice for that, no worker enters a collective operation while another waits for data,
and the samples of a step follow from the state alone. It computes nothing itself.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from synthray.data.order import SampleRef
from synthray.data.replacement import BadSamples, choose_sample
from synthray.data.stream import ReadAhead, read_micro_batch
from synthray.errors import Reason, VerificationFailed
from synthray.training.batches import TrainingBatch, make_training_batch, plan_worker_micro_batches
from synthray.training.plan import plan_micro_batches, plan_share
from synthray.training.segment import Segment
from synthray.training.waiting import SharedWait

PREFETCHED_MICRO_BATCHES = 4
LOADER_THREADS = 1
_FEW_BAD_SAMPLES = 10
_MAX_BAD_SHARE = 0.1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepShare:
    """This worker's micro-batches of a step; replaced samples and seconds of waiting of all workers.

    `new_bad_samples` were found bad in this step.
    """

    batches: tuple[TrainingBatch, ...]
    num_replaced: int
    mean_wait_seconds: float
    new_bad_samples: tuple[int, ...]


class StepFeed:
    """The worker's shares from the state's step to the run's end; close it to stop its threads."""

    def __init__(self, segment: Segment, shared_wait: SharedWait) -> None:
        self._segment = segment
        self._wait = shared_wait
        self._futures: list[Future[TrainingBatch]] = []
        self._arrived_at = 0.0
        self._num_here = 0
        self._ahead = ReadAhead(
            plan_worker_micro_batches(
                segment.plan,
                segment.order,
                first_step=segment.state.step,
                rank=segment.world.rank,
                size=segment.world.size,
            ),
            self._make,
            ahead=PREFETCHED_MICRO_BATCHES,
            threads=LOADER_THREADS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ahead.close()

    def take(self, step: int) -> StepShare | None:
        """This worker's share of `step`, the next one; None if somebody asked to stop.

        Raises VerificationFailed if so much is bad that this can't be the dataset any more.
        """
        segment = self._segment
        plan, world = segment.plan, segment.world
        num_micro_batches = len(plan_micro_batches(plan.positions(step), plan.micro_batch_size))
        self._futures = [next(self._ahead) for _ in plan_share(num_micro_batches, world.size, world.rank)]
        started = time.perf_counter()
        self._arrived_at, self._num_here = 0.0, 0
        new: list[int] = []
        while True:
            agreed = self._wait.until(
                self._arrive,
                away=lambda: self._ahead.storage_is_away,
                moved=self._has_moved,
                numbers=lambda: self._describe_share(started),
            )
            if agreed.stop:
                return None
            num_found, num_replaced, wait_microseconds = agreed.numbers
            if not num_found:
                return StepShare(
                    batches=tuple(self._batches()),
                    num_replaced=num_replaced,
                    mean_wait_seconds=wait_microseconds * 1e-6 / world.size,
                    new_bad_samples=tuple(new),
                )
            new += self._agree_on_bad_samples()

    def _make(self, refs: Sequence[SampleRef]) -> TrainingBatch:
        """Runs in the loader's threads, with what is known to be bad by then."""
        segment = self._segment
        micro_batch = read_micro_batch(
            segment.reader, refs, order=segment.order, bad=segment.state.bad_samples
        )
        return make_training_batch(micro_batch, segment.noise_source)

    def _arrive(self, seconds: float) -> bool:
        """Whether the whole share is here, as the rule of now names it; waits so long at most."""
        if wait(self._futures, seconds).not_done:
            return False
        complete = True
        for index, batch in enumerate(self._batches()):
            refs = [self._segment.order.at(position) for position in batch.positions]
            if batch.samples != _choose(self._segment, refs):
                self._futures[index] = self._ahead.again(refs)
                complete = False
        if complete and not self._arrived_at:
            self._arrived_at = time.perf_counter()
        return complete

    def _has_moved(self) -> bool:
        """Whether something has come since this was last asked."""
        before, self._num_here = self._num_here, sum(future.done() for future in self._futures)
        return self._num_here != before

    def _batches(self) -> list[TrainingBatch]:
        return [future.result() for future in self._futures]

    def _describe_share(self, started: float) -> tuple[int, int, int]:
        """Of a complete share: bad samples found, samples replaced, microseconds waited."""
        if not self._arrived_at:
            return 0, 0, 0
        batches = self._batches()
        return (
            sum(len(batch.found) for batch in batches),
            sum(batch.num_replaced for batch in batches),
            round((self._arrived_at - started) * 1e6),
        )

    def _agree_on_bad_samples(self) -> list[int]:
        """Put what any worker found into every worker's state; returns the samples that are new."""
        state, mine = self._segment.state, [found for batch in self._batches() for found in batch.found]
        everyone = [found for share in self._segment.world.gather_objects(mine) for found in share]
        before, state.bad_samples = state.bad_samples, state.bad_samples.with_findings(everyone)
        _check_share(state.bad_samples, self._segment)
        self._arrived_at = 0.0
        return sorted({found.sample for found in everyone} - before.since.keys())


def _choose(segment: Segment, refs: Sequence[SampleRef]) -> tuple[int, ...]:
    return tuple(choose_sample(segment.order, ref, segment.state.bad_samples) for ref in refs)


def _check_share(bad: BadSamples, segment: Segment) -> None:
    """Stop before a run trains on what little is left of a dataset that was lost or replaced."""
    num_samples = segment.order.num_samples
    if len(bad) > max(_FEW_BAD_SAMPLES, _MAX_BAD_SHARE * num_samples):
        raise VerificationFailed(
            f"{len(bad)} of {num_samples} training samples in {segment.settings.storage.dataset_uri} can't "
            "be read intact; restore the dataset, and the run goes on from its newest state",
            reason=Reason.DATASET_INVALID,
        )

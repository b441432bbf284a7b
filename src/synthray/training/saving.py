"""The first worker's desk for saves: when one is due, what it holds, and what becomes of it.

Training stands still for the copy into the host buffer alone. A save that fails because storage is away is
sent again from the same buffer until it is committed; only what must be saved (an epoch, the end, a drain)
waits for it.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from synthray.checkpoints.layout import TensorSpec
from synthray.checkpoints.requests import RetentionPolicy, RunContext, SaveRequest
from synthray.checkpoints.saver import Saver, SaveResult
from synthray.diffusion.export import diffusers_files
from synthray.diffusion.fingerprint import fingerprint
from synthray.errors import Unavailable
from synthray.training.segment import Segment
from synthray.training.state import TrainingState

_POLL_SECONDS = 0.2
_MAX_BACKOFF_SECONDS = 15.0

_log = logging.getLogger(__name__)


class SaveDesk:
    """Saves of one segment; `waiting` is called while training must wait for storage."""

    def __init__(self, segment: Segment, waiting: Callable[[], None]) -> None:
        settings, state = segment.settings, segment.state
        specs = {
            part: [TensorSpec(name, "float32", tuple(tensor.shape)) for name, tensor in tensors.items()]
            for part, tensors in state.tensors().items()
        }
        self._plan = segment.plan
        self._waiting = waiting
        self._max_work_at_risk_seconds = settings.max_work_at_risk_seconds
        self._saver = Saver(
            specs,
            store_uri=settings.storage.checkpoints_uri,
            settings=settings.storage.s3,
            context=_build_context(segment),
        )
        self._results: list[SaveResult] = []
        self._last: SaveRequest | None = None
        self._last_time = time.time()
        self._to_retry: SaveRequest | None = None
        self._retry_at = 0.0
        self._failures = 0

    def overdue(self, now: float) -> bool:
        """Whether more work is at risk than the run allows; a save under way counts as made."""
        return now - self._last_time > self._max_work_at_risk_seconds

    def save_if_free(self, state: TrainingState) -> None:
        """Save the state unless an earlier save still needs the buffer."""
        if self._buffer_is_free():
            self._copy_and_commit(state, model=False)

    def save(self, state: TrainingState, *, model: bool) -> None:
        """Save the state, and the model with it; waits for an earlier save to be committed."""
        last = self._last
        if last is not None and last.images_seen == state.images_seen and (last.write_model or not model):
            return
        self.finish()
        self._copy_and_commit(state, model=model)

    def finish(self) -> None:
        """Wait until everything that was saved is committed, however long storage is away."""
        while not self._buffer_is_free():
            self._retry_when_due()
            if self._to_retry is not None:
                self._waiting()
                time.sleep(_POLL_SECONDS)
            elif (result := self._saver.wait(_POLL_SECONDS)) is not None:
                self._take(result)

    def collect(self) -> list[SaveResult]:
        """What became of saves since the last call; raises what can't be mended by trying again."""
        self._take_all()
        self._retry_when_due()
        results, self._results = self._results, []
        return results

    def close(self) -> None:
        """End the uploader; a save under way is given up."""
        self._saver.close()

    def _buffer_is_free(self) -> bool:
        """Whether no save needs the buffer any more, neither one under way nor a failed one.

        Asks whether one is under way before it takes results: a failure heard only after new tensors were
        copied would be sent again with the old request and the new tensors.
        """
        busy = self._saver.busy
        self._take_all()
        return not busy and self._to_retry is None

    def _copy_and_commit(self, state: TrainingState, *, model: bool) -> None:
        self._saver.begin(None)
        state.copy_out(self._saver.buffers)
        state.ledger = replace(state.ledger, saved=time.time())
        history = state.ledger.history
        request = SaveRequest(
            images_seen=state.images_seen,
            step=state.step,
            epoch=self._plan.epochs_done(state.images_seen),
            write_model=model,
            progress=state.progress(),
            ledger=state.ledger.to_json(),
            validation_loss=history[-1].validation_loss if model and history else None,
        )
        self._saver.commit(request)
        self._last, self._last_time = request, time.time()

    def _take_all(self) -> None:
        while (result := self._saver.poll()) is not None:
            self._take(result)

    def _take(self, result: SaveResult) -> None:
        self._results.append(result)
        if result.error is None:
            self._failures = 0
            return
        if not isinstance(result.error, Unavailable):
            raise result.error
        _log.warning("a save failed and will be sent again: %s", result.error.message)
        backoff_seconds = min(_MAX_BACKOFF_SECONDS, 2.0**self._failures)
        self._failures += 1
        self._to_retry, self._retry_at = result.request, time.monotonic() + backoff_seconds

    def _retry_when_due(self) -> None:
        if self._to_retry is None or time.monotonic() < self._retry_at:
            return
        request, self._to_retry = self._to_retry, None
        self._saver.begin(None)
        self._saver.commit(request)


def _build_context(segment: Segment) -> RunContext:
    settings, attempt = segment.settings, segment.attempt
    return RunContext(
        run=settings.run,
        attempt=attempt.number,
        nonce=attempt.nonce,
        resumes_from=attempt.resumes_from,
        rng_key=str(settings.seed),
        config_digest=settings.config_digest,
        config=dict(settings.config),
        dataset_digest=segment.dataset.digest,
        fingerprint=fingerprint(
            threads=settings.threads, dtype=settings.precision, device=segment.world.device
        ),
        model_files=diffusers_files(segment.module, segment.schedule, settings.diffusion.prediction_type),
        retention=RetentionPolicy(
            states=settings.keep.states,
            models_every_nth_epoch=settings.keep.models_every_nth_epoch,
            best=settings.keep.best,
        ),
    )

"""The first worker's desk for saves: when one is due, what it holds, and what becomes of it.

Training stands still for the copy into the host buffer alone. A save that fails because storage is away is
sent again from the same buffer until it is committed, so an outage takes no memory; only what must be saved
(an epoch, the end, a drain) waits for the buffer, and the caller says how long.
"""

import logging
import time
from dataclasses import replace

from synthray.checkpoints.layout import TensorSpec
from synthray.checkpoints.requests import RetentionPolicy, RunContext, SaveRequest
from synthray.checkpoints.saver import Saver, SaveResult
from synthray.diffusion.export import diffusers_files
from synthray.diffusion.fingerprint import fingerprint
from synthray.errors import Unavailable
from synthray.training.segment import Segment
from synthray.training.state import TrainingState

_MAX_BACKOFF_SECONDS = 15.0

_log = logging.getLogger(__name__)


class SaveDesk:
    """Saves of one segment; no method takes longer than a copy and the seconds that it is given."""

    def __init__(self, segment: Segment) -> None:
        settings, state = segment.settings, segment.state
        specs = {
            part: [TensorSpec(name, "float32", tuple(tensor.shape)) for name, tensor in tensors.items()]
            for part, tensors in state.tensors().items()
        }
        self._plan = segment.plan
        self._max_work_at_risk_seconds = settings.max_work_at_risk_seconds
        self._saver = Saver(
            specs,
            store_uri=settings.storage.checkpoints_uri,
            settings=settings.storage.s3_of_workers,
            context=_build_context(segment),
        )
        self._results: list[SaveResult] = []
        # What the segment began with lies in storage already, or is nothing.
        self._saved_images, self._saved_model = state.images_seen, segment.epoch_is_booked
        self._copied_at = time.monotonic()
        self._commit_seconds = 0.0
        self._to_retry: SaveRequest | None = None
        self._retry_at = 0.0
        self._failures = 0

    @property
    def is_due(self) -> bool:
        """Whether, before a save that begins now is committed, more work is at risk than the run allows.

        So at most `maxWorkAtRiskSeconds` and a step are lost, or two uploads where these take longer.
        """
        age_seconds = time.monotonic() - self._copied_at
        return age_seconds + self._commit_seconds > self._max_work_at_risk_seconds

    @property
    def storage_is_away(self) -> bool:
        """Whether the newest try of a save found no storage."""
        self._take_all()
        return self._failures > 0

    def save_if_free(self, state: TrainingState) -> None:
        """Save the state unless an earlier save still needs the buffer."""
        if self._buffer_is_free():
            self._copy_and_commit(state, model=False)

    def save_within(self, state: TrainingState, seconds: float, *, model: bool) -> bool:
        """Save the state, and the model with it, if an earlier save lets go of the buffer within `seconds`.

        True too if just this is saved or under way already.
        """
        if self._saved_images == state.images_seen and (self._saved_model or not model):
            return True
        if not self.settle_within(seconds):
            return False
        self._copy_and_commit(state, model=model)
        return True

    def settle_within(self, seconds: float) -> bool:
        """Whether everything that was copied is committed by then, sending again what failed."""
        self._retry_when_due()
        if not self._buffer_is_free():
            if self._to_retry is not None:
                time.sleep(seconds)
            elif (result := self._saver.wait(seconds)) is not None:
                self._take(result)
        return self._buffer_is_free()

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
        self._saved_images, self._saved_model = state.images_seen, model
        self._copied_at = time.monotonic()

    def _take_all(self) -> None:
        while (result := self._saver.poll()) is not None:
            self._take(result)

    def _take(self, result: SaveResult) -> None:
        self._results.append(result)
        if result.error is None:
            self._failures = 0
            self._commit_seconds = result.hash_seconds + result.upload_seconds + result.commit_seconds
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

"""One job while this replica draws it: from the engine's images to objects in storage.

The engine's thread drops images here and goes on; this run's own thread encodes and stores them. Where
storage is away, what is drawn is kept in memory up to a bound, then nothing more is drawn until it is back.
A run that ends early leaves nothing behind that another one could not go on from. This module must not know
HTTP.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from synthray.errors import InvalidInput, SynthrayError, Unavailable
from synthray.generation.generator import GeneratedImage
from synthray.generation.identity import ModelIdentity
from synthray.generation.images import ReceiptBook
from synthray.serving.bench import Listener
from synthray.serving.engine import EngineStopped, Wish
from synthray.serving.job_store import JobEnd, JobRecord, JobStore
from synthray.serving.settings import JobLimits

_STORED_AT_ONCE: Final = 4
_FRUITLESS_TRIES: Final = 5

_log = logging.getLogger(__name__)


class Desk(Protocol):
    """Where a run has its images drawn; `failure` says why nothing should be asked of it any more."""

    @property
    def failure(self) -> str:
        """Empty if all is well."""
        ...

    def begin(self, wish: Wish, listener: Listener, model: ModelIdentity) -> Callable[[], None]:
        """Have a wish drawn with a model; returns what takes it back. Raises SynthrayError, EngineStopped."""
        ...

    def book(self, model: ModelIdentity, sampler: str, steps: int) -> ReceiptBook:
        """What the receipts of such images have in common."""
        ...


class JobRun:
    """Draws what is left of one job; `run` belongs to one thread, all else may be called by any.

    `done` maps seeds to the SHA-256 of their pixels; `trouble` says why nothing is stored or drawn at the
    moment, and is empty if all is well.
    """

    def __init__(self, record: JobRecord, jobs: JobStore, desk: Desk, limits: JobLimits) -> None:
        self.record = record
        self.done: dict[int, str] = {}
        self.trouble = ""
        self._jobs = jobs
        self._desk = desk
        self._limits = limits
        self._changed = threading.Condition()
        self._unstored: deque[GeneratedImage] = deque()
        self._unstored_bytes = 0
        self._is_drawing = False
        self._take_back: Callable[[], None] | None = None
        self._problem: SynthrayError | None = None
        self._is_told = False
        self._fruitless_tries = 0

    def stop(self) -> None:
        """Draw no more, store what is drawn if storage is there, and end."""
        with self._changed:
            self._is_told = True
            self._withdraw()
            self._changed.notify_all()

    @property
    def num_unstored(self) -> int:
        """Finished images that are in memory alone."""
        return len(self._unstored)

    def run(self) -> JobEnd | None:
        """Draw and store to the end; how the job ends, or None if another run shall go on.

        Raises nothing that is foreseen.
        """
        try:
            # What another run stored is not drawn again.
            while not self._try_to(self._recall):
                if self._is_told:
                    return None
            with ThreadPoolExecutor(_STORED_AT_ONCE, thread_name_prefix="job-store") as pool:
                return self._run(pool)
        except SynthrayError as error:
            return JobEnd(status="failed", message=error.message)
        except EngineStopped:
            return None
        finally:
            with self._changed:
                self._withdraw()

    def drawn(self, index: int, image: GeneratedImage) -> None:  # noqa: ARG002 a seed says it all
        """See Listener."""
        with self._changed:
            self._unstored.append(image)
            self._unstored_bytes += image.pixels.nbytes
            if self._unstored_bytes >= self._limits.max_unstored_bytes:
                self._withdraw()
            self._changed.notify_all()

    def ended(self, problem: SynthrayError | None) -> None:
        """See Listener."""
        with self._changed:
            self._is_drawing = False
            self._problem = problem
            self._changed.notify_all()

    def _recall(self) -> None:
        self.done.update(self._jobs.list_done(self.record))

    def _run(self, pool: ThreadPoolExecutor) -> JobEnd | None:
        while True:
            missing = self._choose_missing()
            if missing:
                self._draw(missing)
            batch = self._wait_for_images()
            if batch:
                self._store(pool, batch)
            elif self._is_told:
                return None
            elif len(self.done) == self.record.n and self._try_to(
                lambda: self._jobs.keep_csv(self.record.id, self.done)
            ):
                return JobEnd(status="succeeded")

    def _wait_for_images(self) -> list[GeneratedImage]:
        """Some that are to be stored; none if there is something else to do."""
        with self._changed:
            while self._is_drawing and not self._unstored and not self._is_told:
                self._changed.wait()
            return [self._unstored[index] for index in range(min(_STORED_AT_ONCE, len(self._unstored)))]

    def _choose_missing(self) -> list[int]:
        """Seeds to have drawn now; none while some are being drawn, or while memory is half full."""
        with self._changed:
            if (
                self._is_drawing
                or self._is_told
                or self._unstored_bytes > self._limits.max_unstored_bytes / 2
            ):
                return []
            drawn = {image.seed for image in self._unstored}
        return [seed for seed in self.record.seeds if seed not in self.done and seed not in drawn]

    def _draw(self, seeds: Sequence[int]) -> None:
        problem, self._problem = self._problem, None
        if problem is not None:
            self._weigh(problem)
        record = self.record
        wish = Wish(seeds, record.sampler, record.steps, is_patient=True)
        # Not under the lock: a model may be loaded here, and images may come before it returns.
        self._is_drawing = True
        try:
            take_back = self._desk.begin(wish, self, record.model)
        except Unavailable as error:
            self._is_drawing = False
            self.trouble = error.message
            self._pause()
            return
        with self._changed:
            self._take_back = take_back
            if self._is_told:
                self._withdraw()

    def _weigh(self, problem: SynthrayError) -> None:
        """Wait out a passing trouble of the engine; raise what would come again."""
        self._fruitless_tries += 1
        if isinstance(problem, InvalidInput) or self._fruitless_tries >= _FRUITLESS_TRIES:
            raise problem
        self.trouble = problem.message
        self._pause()

    def _store(self, pool: ThreadPoolExecutor, batch: Sequence[GeneratedImage]) -> None:
        record = self.record
        book = self._desk.book(record.model, record.sampler, record.steps)

        def keep(image: GeneratedImage) -> bool:
            png = book.files(image).png
            return self._try_to(lambda: self._jobs.keep_image(record.id, image.seed, image.sha256, png))

        kept = [image for image, is_kept in zip(batch, pool.map(keep, batch), strict=True) if is_kept]
        with self._changed:
            self.done.update({image.seed: image.sha256 for image in kept})
            for image in kept:
                self._unstored.remove(image)
                self._unstored_bytes -= image.pixels.nbytes
        if kept:
            self._fruitless_tries = 0
        elif self._is_told:
            # Storage is away and time is short: another run draws these again, with the same bytes.
            with self._changed:
                self._unstored.clear()
                self._unstored_bytes = 0

    def _try_to(self, act: Callable[[], None]) -> bool:
        """Whether storage did it; what it says if not stands in `trouble`, and is waited out."""
        try:
            act()
        except SynthrayError as error:
            if not self.trouble:
                _log.warning("job %s waits for storage: %s", self.record.id, error.message)
            self.trouble = f"storage is away: {error.message}"
            self._pause()
            return False
        self.trouble = ""
        return True

    def _pause(self) -> None:
        deadline = time.monotonic() + self._limits.retry_seconds
        with self._changed:
            while not self._is_told and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def _withdraw(self) -> None:
        if self._take_back is not None:
            self._take_back()
            self._take_back = None
            self._is_drawing = False

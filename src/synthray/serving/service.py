"""One replica's model, drawn with by an engine of its own: from what is asked to images with receipts.

The engine's thread draws, the event loop waits, and PNGs are encoded in threads beside both. This module must
not know HTTP or Ray.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from synthray.errors import SynthrayError, Unavailable, VerificationFailed
from synthray.generation.generator import GeneratedImage, Slots
from synthray.generation.identity import ModelIdentity
from synthray.generation.images import ImageFiles, ReceiptBook, device_of, profile_fingerprint
from synthray.generation.models import LoadedModel
from synthray.generation.verify import Evidence, Verdict, compare_model, compare_pixels
from synthray.serving import self_test
from synthray.serving.bench import Bench
from synthray.serving.engine import Engine, EngineFigures, Wish
from synthray.serving.settings import ServingSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Drawing:
    """The images of a wish, in the order of its seeds, and what their receipts have in common."""

    images: tuple[GeneratedImage, ...]
    book: ReceiptBook

    async def files(self) -> list[ImageFiles]:
        """PNGs and receipts, encoded beside whatever else goes on."""
        return list(await asyncio.gather(*(asyncio.to_thread(self.book.files, one) for one in self.images)))


class _Mailbox:
    """Hands images from the engine's thread to one task of the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._images: dict[int, GeneratedImage] = {}

    def drawn(self, index: int, image: GeneratedImage) -> None:
        self._images[index] = image

    def ended(self, problem: SynthrayError | None) -> None:
        self._loop.call_soon_threadsafe(self._settle, problem)

    async def wait(self) -> tuple[GeneratedImage, ...]:
        await self._end
        return tuple(self._images[index] for index in range(len(self._images)))

    def _settle(self, problem: SynthrayError | None) -> None:
        if self._end.done():
            return
        if problem is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(problem)


class Service:
    """Draws with one model; its methods belong to one event loop, but for the constructor and `stop`.

    The constructor draws the golden seeds and raises VerificationFailed if the promise does not hold here.
    `rollout_problem` says why the newest model is not served; empty while it is.
    """

    def __init__(self, loaded: LoadedModel, settings: ServingSettings) -> None:
        self.settings = settings
        self.size = "x".join(map(str, _size_px(loaded)))
        self.fingerprint = profile_fingerprint(settings.profile, device_of(loaded.unet))
        slots = self._slots_of(loaded)
        self._golden_seeds = self_test.find_golden_seeds(slots)
        self._failure = ""
        self.rollout_problem = ""
        self._engine = Engine(slots, loaded.identity, max_waiting_images=settings.limits.max_queued_images)

    @property
    def model(self) -> ModelIdentity:
        """What is drawn with."""
        return self._engine.model

    @property
    def failure(self) -> str:
        """Why nothing should be asked of this replica any more; empty if all is well."""
        return self._failure

    def figures(self) -> EngineFigures:
        """Where the engine stands."""
        return self._engine.figures()

    async def draw(self, seeds: Sequence[int], sampler: str, steps: int) -> Drawing:
        """Images for seeds; nothing more is drawn for a caller that goes away.

        Raises InvalidInput, EngineBusy, EngineStopped, Unavailable.
        """
        if self._failure:
            raise Unavailable(self._failure)
        return await self._draw(seeds, sampler, steps)

    async def verify(self, evidence: Evidence) -> Verdict:
        """Make an image again from its receipt and compare."""
        receipt = evidence.receipt
        differences = compare_model(receipt, self.model)
        if receipt.profile != self.settings.profile.name:
            differences += (f"the profile differs: {receipt.profile} is not {self.settings.profile.name}",)
        if differences:
            return Verdict(evidence.source, receipt.seed, differences)
        drawing = await self.draw([receipt.seed], receipt.sampler, receipt.steps)
        return await asyncio.to_thread(compare_pixels, evidence, drawing.images[0], self.fingerprint)

    async def test_itself(self) -> None:
        """Draw the golden seeds among whatever else is drawn; a failure lasts, and is never taken back."""
        try:
            drawing = await self._draw(self._golden_seeds.seeds, self_test.SAMPLER, self_test.STEPS)
            self._golden_seeds.require(tuple(image.sha256 for image in drawing.images))
        except VerificationFailed as error:
            self._failure = error.message
            _log.error("self-test: %s", error.message)

    async def roll_out(self, loaded: LoadedModel) -> None:
        """Serve another model, once it has drawn golden seeds beside whatever is drawn.

        Raises VerificationFailed, or what drawing raises, and serves the model of before then.
        """
        slots = self._slots_of(loaded)
        rehearsed = Bench(slots, loaded.identity)
        seeds = range(slots.num_slots)
        together = await self._draw(seeds, self_test.SAMPLER, self_test.STEPS, rehearsed)
        alone = await self._draw(seeds[-1:], self_test.SAMPLER, self_test.STEPS, rehearsed)
        golden_seeds = self_test.GoldenSeeds(tuple(image.sha256 for image in together.images))
        golden_seeds.require_neighbours_without_effect(alone.images[0].sha256)
        self._engine.replace(rehearsed)
        self._golden_seeds = golden_seeds

    def stop(self, grace_seconds: float) -> None:
        """Finish what was accepted, and end the thread that draws."""
        self._engine.stop(grace_seconds)

    def _slots_of(self, loaded: LoadedModel) -> Slots:
        return Slots(loaded.unet, loaded.schedule, loaded.prediction_type, self.settings.profile)

    async def _draw(
        self, seeds: Sequence[int], sampler: str, steps: int, rehearsed: Bench | None = None
    ) -> Drawing:
        mailbox = _Mailbox()
        wish = Wish(seeds, sampler, steps, self.settings.max_wait_seconds)
        order, model = self._engine.submit(wish, mailbox, rehearsed=rehearsed)
        try:
            images = await mailbox.wait()
        finally:
            self._engine.cancel(order)
        book = ReceiptBook(model, sampler, steps, self.settings.profile.name, self.fingerprint)
        return Drawing(images, book)


def _size_px(loaded: LoadedModel) -> tuple[int, int]:
    """Width and height."""
    size = loaded.unet.config.sample_size
    height_px, width_px = (size, size) if isinstance(size, int) else size
    return int(width_px), int(height_px)

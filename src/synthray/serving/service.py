"""One replica's model, drawn with by an engine of its own: from what is asked to images with receipts.

The engine's thread draws, the event loop waits, and PNGs are encoded in threads beside both. This module must
not know HTTP or Ray.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from synthray.errors import NotFound, SynthrayError, Unavailable, VerificationFailed
from synthray.generation.generator import GeneratedImage, Slots
from synthray.generation.identity import ModelIdentity
from synthray.generation.images import ImageFiles, ReceiptBook, device_of, profile_fingerprint
from synthray.generation.models import LoadedModel
from synthray.generation.verify import Evidence, OpenModel, Verdict, compare_model, compare_pixels
from synthray.serving import self_test
from synthray.serving.bench import Bench, Listener
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
    `rollout_problem` says why the newest model is not served; empty while it is. `open_model` loads the model
    at a URI, for work that was accepted when another one was served.
    """

    def __init__(
        self, loaded: LoadedModel, settings: ServingSettings, open_model: OpenModel | None = None
    ) -> None:
        self.settings = settings
        self._open_model = open_model
        self._others: WeakValueDictionary[ModelIdentity, Bench] = WeakValueDictionary()
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
        return self._engine.served.model

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

    def require_plan(self, sampler: str, steps: int) -> None:
        """Raise InvalidInput for steps that are impossible for the model."""
        self._engine.require_plan(sampler, steps)

    def begin(self, wish: Wish, listener: Listener, model: ModelIdentity) -> Callable[[], None]:
        """Have a wish drawn, with another model if need be, loaded here; returns what takes it back.

        Any thread may call it. Raises what `draw` does, NotFound or VerificationFailed if the model is gone
        or is another one by now.
        """
        if self._failure:
            raise Unavailable(self._failure)
        # Named in either case: another model may be rolled out at any moment.
        served = self._engine.served
        bench = served if _is_same(model, served.model) else self._bench_of(model)
        order, _ = self._engine.submit(wish, listener, beside=bench)
        return partial(self._engine.cancel, order)

    def book(self, model: ModelIdentity, sampler: str, steps: int) -> ReceiptBook:
        """What the receipts of images have in common that are drawn here."""
        return ReceiptBook(model, sampler, steps, self.settings.profile.name, self.fingerprint)

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
        wish = Wish(seeds, sampler, steps, self.settings.max_wait_seconds, is_patient=rehearsed is not None)
        order, model = self._engine.submit(wish, mailbox, beside=rehearsed)
        try:
            images = await mailbox.wait()
        finally:
            self._engine.cancel(order)
        return Drawing(images, self.book(model, sampler, steps))

    def _bench_of(self, model: ModelIdentity) -> Bench:
        """The slots of a model that is not served; they live as long as they draw."""
        bench = self._others.get(model)
        if bench is None:
            if self._open_model is None:
                raise NotFound(f"the model {model.uri} is not served any more; ask for the images anew")
            loaded = self._open_model(model.uri)
            if not _is_same(model, loaded.identity):
                raise VerificationFailed(
                    f"the model at {model.uri} is another one by now: its weights have digest "
                    f"{loaded.identity.digest[:12]}, not {model.digest[:12]}; ask for the images anew"
                )
            slots = Slots(loaded.unet, loaded.schedule, loaded.prediction_type, self.settings.profile)
            bench = self._others.setdefault(model, Bench(slots, model))
        return bench


def _is_same(one: ModelIdentity, other: ModelIdentity) -> bool:
    """Whether they draw the same, wherever they lie."""
    return (one.digest, one.architecture_digest) == (other.digest, other.architecture_digest)


def _size_px(loaded: LoadedModel) -> tuple[int, int]:
    """Width and height."""
    size = loaded.unet.config.sample_size
    height_px, width_px = (size, size) if isinstance(size, int) else size
    return int(width_px), int(height_px)

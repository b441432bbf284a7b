import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from committed_run import build_tiny_unet
from diffusers import UNet2DModel

from synthray.diffusion.schedule import NoiseSchedule, build_schedule
from synthray.errors import InvalidInput, SynthrayError
from synthray.generation.generator import DrawnSample, GeneratedImage, Generator, Slots
from synthray.generation.identity import ModelIdentity
from synthray.generation.profile import STRICT_1
from synthray.serving.bench import Bench
from synthray.serving.engine import Engine, EngineBusy, EngineStopped, Wish

PATIENCE_SECONDS = 60.0
MOST_WAITING = 100
OLD, NEW = ModelIdentity("old", "1", "a"), ModelIdentity("new", "2", "a")


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return build_schedule("cosine", 16, zero_terminal_snr=True)


@dataclass
class Heard:
    """What a listener was told."""

    images: dict[int, GeneratedImage] = field(default_factory=dict)
    last_word: queue.Queue[SynthrayError | None] = field(default_factory=queue.Queue)

    def drawn(self, index: int, image: GeneratedImage) -> None:
        self.images[index] = image

    def ended(self, problem: SynthrayError | None) -> None:
        self.last_word.put(problem)

    def wait(self) -> SynthrayError | None:
        return self.last_word.get(timeout=PATIENCE_SECONDS)


class GatedSlots(Slots):
    """Slots whose steps wait for leave, so that a test decides what happens between two."""

    def __init__(self, unet: UNet2DModel, schedule: NoiseSchedule) -> None:
        super().__init__(unet, schedule, "v_prediction", STRICT_1)
        self.gate: queue.Queue[None] = queue.Queue()
        self.arrived: queue.Queue[int] = queue.Queue()
        self.is_open = threading.Event()
        self.fails = False

    def let(self, steps: int) -> None:
        for _ in range(steps):
            self.gate.put(None)

    def open(self) -> None:
        self.is_open.set()
        self.gate.put(None)

    def step(self) -> dict[int, DrawnSample]:
        self.arrived.put(self.num_slots - len(self.free))
        if not self.is_open.is_set():
            self.gate.get(timeout=PATIENCE_SECONDS)
        if self.fails:
            raise RuntimeError("the card is gone")
        return super().step()


@pytest.fixture
def make_slots(schedule: NoiseSchedule) -> Iterator[Callable[..., GatedSlots]]:
    made = []

    def make(model_seed: int = 0) -> GatedSlots:
        unet = build_tiny_unet(model_seed, block_out_channels=(16, 32))
        slots = GatedSlots(unet, schedule)
        made.append(slots)
        return slots

    yield make
    for slots in made:
        slots.open()


@pytest.fixture
def slots(make_slots: Callable[..., GatedSlots]) -> GatedSlots:
    return make_slots()


@pytest.fixture
def engine(slots: GatedSlots) -> Iterator[Engine]:
    engine = Engine(slots, OLD, max_waiting_images=MOST_WAITING)
    yield engine
    slots.open()
    engine.stop(grace_seconds=0)


def reference(
    schedule: NoiseSchedule, seeds: Sequence[int], sampler: str, steps: int, model: int = 0
) -> list[str]:
    unet = build_tiny_unet(model, block_out_channels=(16, 32))
    generator = Generator(unet, schedule, "v_prediction", STRICT_1)
    by_seed = {image.seed: image.sha256 for image in generator.generate(seeds, sampler, steps)}
    return [by_seed[seed] for seed in seeds]


def ask(engine: Engine, seeds: Sequence[int], sampler: str = "ddim", steps: int = 2) -> Heard:
    heard = Heard()
    engine.submit(Wish(seeds, sampler, steps), heard)
    return heard


def shas(heard: Heard) -> list[str]:
    return [heard.images[index].sha256 for index in sorted(heard.images)]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_asked_together_is_what_each_would_get_alone(
    engine: Engine, slots: GatedSlots, schedule: NoiseSchedule
) -> None:
    slots.open()
    wishes = [([3, 1, 2, 9, 8], "ddim", 3), ([7], "ddpm", 5), ([42, 42], "dpmsolver++", 4), ([3], "ddim", 2)]
    heard = [ask(engine, *wish) for wish in wishes]
    assert [one.wait() for one in heard] == [None] * 4
    assert [shas(one) for one in heard] == [reference(schedule, *wish) for wish in wishes]


def test_an_image_beside_a_large_job_is_drawn_as_soon_as_a_slot_is_free(
    engine: Engine, slots: GatedSlots
) -> None:
    job = ask(engine, range(60), steps=2)
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    single = ask(engine, [77], steps=2)
    # Two steps free the job's slots; two more draw the single image.
    slots.let(4)
    assert single.wait() is None
    assert len(job.images) <= 7


def test_what_is_cancelled_frees_its_slots_at_the_next_step(engine: Engine, slots: GatedSlots) -> None:
    heard = Heard()
    order, _ = engine.submit(Wish(range(50), "ddim", 10), heard)
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    engine.cancel(order)
    other = ask(engine, [1], steps=1)
    slots.let(1)
    assert slots.arrived.get(timeout=PATIENCE_SECONDS) == 1
    slots.let(1)
    assert other.wait() is None
    assert not heard.images
    assert engine.figures().waiting_images == 0


def test_a_request_that_is_late_ends_with_a_word(engine: Engine, slots: GatedSlots) -> None:
    heard = Heard()
    engine.submit(Wish([1], "ddim", 10, deadline_seconds=0.0), heard)
    slots.open()
    ask(engine, [2]).wait()
    problem = heard.wait()
    assert problem is not None
    assert "deadline" in problem.message


def test_more_than_may_wait_is_refused_with_the_time_until_there_is_room(
    slots: GatedSlots, engine: Engine
) -> None:
    ask(engine, range(90), steps=10)
    with pytest.raises(EngineBusy) as caught:
        ask(engine, range(101))
    assert 1 <= caught.value.retry_after_seconds < 3600


def test_a_patient_wish_takes_no_room_from_others_and_its_turns_in_the_line(
    engine: Engine, slots: GatedSlots
) -> None:
    job = Heard()
    engine.submit(Wish(range(5000), "ddim", 2, is_patient=True), job)
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    others = [ask(engine, range(50)), ask(engine, range(50))]
    with pytest.raises(EngineBusy) as caught:
        ask(engine, [1])
    assert caught.value.retry_after_seconds < 60
    figures = engine.figures()
    assert (figures.waiting_images, figures.waiting_images_of_jobs) == (5096, 4996)
    slots.open()
    assert [other.wait() for other in others] == [None, None]
    assert 40 <= len(job.images) <= 70


def test_a_wish_may_bring_a_model_of_its_own_which_is_dropped_when_done(
    engine: Engine, slots: GatedSlots, make_slots: Callable[..., GatedSlots], schedule: NoiseSchedule
) -> None:
    former = make_slots(model_seed=1)
    slots.open()
    former.open()
    heard = Heard()
    _, model = engine.submit(Wish([5], "ddim", 2), heard, beside=Bench(former, NEW))
    assert heard.wait() is None
    assert (model, engine.served.model) == (NEW, OLD)
    assert shas(heard) == reference(schedule, [5], "ddim", 2, model=1)
    assert ask(engine, [5]).wait() is None
    wait_until(lambda: len(engine._benches) == 1)


def test_an_impossible_wish_is_refused_and_disturbs_nobody(engine: Engine, slots: GatedSlots) -> None:
    slots.open()
    with pytest.raises(InvalidInput, match="sampler=euler"):
        ask(engine, [1], sampler="euler")
    assert ask(engine, [1]).wait() is None


def test_another_model_draws_what_is_asked_from_then_on_and_nothing_is_dropped(
    engine: Engine, slots: GatedSlots, make_slots: Callable[..., GatedSlots], schedule: NoiseSchedule
) -> None:
    before = ask(engine, range(9))
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    new = make_slots(model_seed=1)
    engine.replace(Bench(new, NEW))
    assert engine.served.model == NEW
    after = ask(engine, range(9))
    slots.open()
    new.open()
    assert (before.wait(), after.wait()) == (None, None)
    assert shas(before) == reference(schedule, range(9), "ddim", 2)
    assert shas(after) == reference(schedule, range(9), "ddim", 2, model=1)


def test_a_model_is_rehearsed_beside_the_one_that_is_drawn_with_and_past_a_full_queue(
    engine: Engine, slots: GatedSlots, make_slots: Callable[..., GatedSlots], schedule: NoiseSchedule
) -> None:
    before = ask(engine, range(MOST_WAITING))
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    new = make_slots(model_seed=1)
    new.open()
    bench = Bench(new, NEW)
    rehearsal = Heard()
    _, model = engine.submit(Wish(range(MOST_WAITING), "ddim", 1, is_patient=True), rehearsal, beside=bench)
    assert (model, engine.served.model) == (NEW, OLD)
    slots.open()
    assert (rehearsal.wait(), before.wait()) == (None, None)
    assert shas(before) == reference(schedule, range(MOST_WAITING), "ddim", 2)
    assert shas(rehearsal) == reference(schedule, range(MOST_WAITING), "ddim", 1, model=1)
    engine.replace(bench)
    assert engine.served.model == NEW


def test_a_device_that_fails_ends_requests_with_a_word_and_not_the_thread(
    engine: Engine, slots: GatedSlots
) -> None:
    slots.fails = True
    slots.open()
    problem = ask(engine, [1, 2]).wait()
    assert problem is not None
    assert "RuntimeError" in problem.message
    slots.fails = False
    assert ask(engine, [1]).wait() is None


def test_numbers_that_are_not_finite_end_their_request_alone(
    make_slots: Callable[..., GatedSlots],
) -> None:
    slots = make_slots()
    with torch.no_grad():
        slots._unet.conv_out.bias.fill_(math.nan)
    engine = Engine(slots, OLD, max_waiting_images=8)
    slots.open()
    problem = ask(engine, [5]).wait()
    assert problem is not None
    assert "seed=5" in problem.message
    engine.stop(grace_seconds=0)


def test_stopping_finishes_what_was_accepted_and_accepts_nothing_more(
    engine: Engine, slots: GatedSlots
) -> None:
    heard = ask(engine, [1, 2, 3])
    stopping = threading.Thread(target=engine.stop, args=(PATIENCE_SECONDS,))
    stopping.start()

    def is_refused() -> bool:
        try:
            ask(engine, [4])
        except EngineStopped:
            return True
        return False

    wait_until(is_refused)
    slots.open()
    assert heard.wait() is None
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()


def test_what_the_grace_is_too_short_for_ends_with_a_word(engine: Engine, slots: GatedSlots) -> None:
    heard = ask(engine, [1], steps=10)
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    slots.let(1)
    stopping = threading.Thread(target=engine.stop, args=(0.0,))
    stopping.start()
    wait_until(lambda: engine.figures().busy_slots == 1 and heard.last_word.empty())
    slots.open()
    stopping.join(PATIENCE_SECONDS)
    problem = heard.wait()
    assert problem is None or "stops" in problem.message


def test_figures_say_what_waits_and_what_was_done(engine: Engine, slots: GatedSlots) -> None:
    heard = ask(engine, range(6), steps=2)
    slots.arrived.get(timeout=PATIENCE_SECONDS)
    figures = engine.figures()
    assert (figures.busy_slots, figures.waiting_images, figures.pending_steps) == (4, 2, 12)
    slots.open()
    heard.wait()
    assert engine.figures().images == 6
    assert engine.figures().waits == 1

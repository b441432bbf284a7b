"""The thread that draws: it owns the slots, and requests enter and leave between two steps.

One thread, because a profile's number of threads belongs to the thread that computes and its switches to the
process: nothing else may compute meanwhile. A new model gets slots of its own, and requests stay with the
model that they were accepted for, so a change of the model drops none. This module must not know HTTP, PNGs
or stores.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from synthray.errors import SynthrayError, Unavailable
from synthray.generation.generator import DrawnSample, Slots, finish_image
from synthray.generation.identity import ModelIdentity
from synthray.serving.bench import Bench, Listener, Order

_STEPS_REMEMBERED: Final = 64
# Before the first step nobody knows better.
_STEP_SECONDS_AT_FIRST: Final = 0.1

_log = logging.getLogger(__name__)


class Busy(Exception):
    """Nothing more is accepted now; `code` says what there is too much of."""

    code = ""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineBusy(Busy):
    """So many images wait already."""

    code = "queue_full"

    def __init__(self, waiting_images: int, retry_after_seconds: int) -> None:
        super().__init__(
            f"{waiting_images} images wait; try again in {retry_after_seconds} s", retry_after_seconds
        )


class EngineStopped(Exception):
    """It accepts nothing more."""


@dataclass(frozen=True)
class Wish:
    """An image for each seed; what is not done by the deadline is dropped.

    A patient one is never refused for want of room, and takes none from others: its images wait, and its
    slots are had in turns like all.
    """

    seeds: Sequence[int]
    sampler: str
    steps: int
    deadline_seconds: float = math.inf
    is_patient: bool = False


@dataclass(frozen=True)
class EngineFigures:
    """Where an engine stands: totals since its start, and what is so now."""

    waiting_images: int
    waiting_images_of_jobs: int
    pending_steps: int
    busy_slots: int
    num_slots: int
    images: int
    waits: int
    wait_seconds: float
    steps: int
    step_seconds: float


class Engine:
    """Draws what is asked for, in turns, until it is stopped; all methods may be called by any thread.

    At most `max_waiting_images` wait without a slot, beside those of patient wishes: a wish for more is
    refused with the time after which there is room.
    """

    def __init__(self, slots: Slots, model: ModelIdentity, *, max_waiting_images: int) -> None:
        self._max_waiting_images = max_waiting_images
        self._changed = threading.Condition()
        self._benches = [Bench(slots, model)]
        self._stopping = False
        self._recent_step_seconds: deque[float] = deque([_STEP_SECONDS_AT_FIRST], maxlen=_STEPS_REMEMBERED)
        self._images, self._waits, self._steps = 0, 0, 0
        self._wait_seconds, self._step_seconds = 0.0, 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def served(self) -> Bench:
        """What new wishes are drawn with."""
        return self._benches[-1]

    def require_plan(self, sampler: str, steps: int) -> None:
        """Raise InvalidInput for an impossible sampler or number of steps."""
        with self._changed:
            self._benches[-1].plan(sampler, steps)

    def submit(
        self, wish: Wish, listener: Listener, *, beside: Bench | None = None
    ) -> tuple[Order, ModelIdentity]:
        """Accept a wish; its order, and the model that draws it.

        `beside`: the slots of another model, which is dropped once it has nothing to draw. Raises
        InvalidInput for an impossible sampler or number of steps, EngineBusy, EngineStopped.
        """
        with self._changed:
            if self._stopping:
                raise EngineStopped
            bench = beside or self._benches[-1]
            plan = bench.plan(wish.sampler, wish.steps)
            if not wish.is_patient:
                self._require_room(len(wish.seeds))
            if bench not in self._benches:
                self._benches.insert(0, bench)
            now = time.monotonic()
            order = Order(
                steps=wish.steps,
                waiting=len(wish.seeds),
                is_patient=wish.is_patient,
                seeds=wish.seeds,
                plan=plan,
                listener=listener,
                ends_at_seconds=now + wish.deadline_seconds,
                joined_at_seconds=now,
                undone=len(wish.seeds),
            )
            bench.line.join(order)
            self._changed.notify_all()
        return order, bench.model

    def cancel(self, order: Order) -> None:
        """Draw no more of it: its slots are free at the next step, and its listener hears nothing more."""
        with self._changed:
            order.is_over = True
            self._changed.notify_all()

    def replace(self, bench: Bench) -> None:
        """Draw what is accepted from now on with another model; earlier requests stay with their own."""
        with self._changed:
            self._benches = [other for other in self._benches if other is not bench] + [bench]

    def stop(self, grace_seconds: float) -> None:
        """Accept nothing more; finish what was accepted, or drop it at the end of the grace."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(grace_seconds)
        with self._changed:
            left = [order for order in self._orders() if not order.is_over]
            for order in left:
                order.is_over = True
            self._changed.notify_all()
        self._thread.join()
        for order in left:
            order.listener.ended(Unavailable("the service stops; ask again, another replica draws the same"))

    def figures(self) -> EngineFigures:
        """What metrics and health checks tell."""
        with self._changed:
            return EngineFigures(
                waiting_images=sum(bench.line.images for bench in self._benches),
                waiting_images_of_jobs=sum(bench.line.patient_images for bench in self._benches),
                pending_steps=sum(bench.pending_steps for bench in self._benches),
                busy_slots=sum(bench.busy_slots for bench in self._benches),
                num_slots=self._num_slots,
                images=self._images,
                waits=self._waits,
                wait_seconds=self._wait_seconds,
                steps=self._steps,
                step_seconds=self._step_seconds,
            )

    def _orders(self) -> Iterator[Order]:
        for bench in self._benches:
            yield from bench.orders()

    def _require_room(self, num_images: int) -> None:
        waiting = sum(bench.line.images - bench.line.patient_images for bench in self._benches)
        if waiting + num_images <= self._max_waiting_images:
            return
        mean_seconds = sum(self._recent_step_seconds) / len(self._recent_step_seconds)
        # What must leave the line before there is room, by the mean number of steps of what is in it.
        share = min(1.0, (waiting + num_images - self._max_waiting_images) / max(1, waiting))
        orders = [order for order in self._orders() if not order.is_over]
        urgent = [order for order in orders if not order.is_patient]
        # Each takes its turns, so what is patient slows the rest down by its number alone.
        steps = sum(order.undone * order.steps for order in urgent) * len(orders) / max(1, len(urgent))
        raise EngineBusy(waiting, max(1, math.ceil(share * steps * mean_seconds / self._num_slots)))

    @property
    def _num_slots(self) -> int:
        return self._benches[-1].num_slots

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._prepare():
                    if self._stopping:
                        return
                    self._changed.wait()
                benches = [bench for bench in self._benches if bench.busy_slots]
            for bench in benches:
                self._advance(bench)

    def _prepare(self) -> bool:
        """Drop what is over, fill the slots; whether there is anything to draw."""
        now = time.monotonic()
        for bench in self._benches:
            for order in bench.orders():
                if order.ends_at_seconds < now and not order.is_over:
                    order.is_over = True
                    order.listener.ended(Unavailable("the deadline of the request has passed; ask for less"))
            bench.clear()
            for order in bench.fill():
                self._waits += 1
                self._wait_seconds += now - order.joined_at_seconds
        self._benches = [bench for bench in self._benches[:-1] if not bench.is_idle] + self._benches[-1:]
        return any(bench.busy_slots for bench in self._benches)

    def _advance(self, bench: Bench) -> None:
        begun = time.monotonic()
        try:
            finished = bench.draw()
        except Exception as error:  # noqa: BLE001 whatever a device raises must end requests, not the thread
            self._give_up(bench, error)
            return
        seconds = time.monotonic() - begun
        with self._changed:
            self._recent_step_seconds.append(seconds)
            self._steps += 1
            self._step_seconds += seconds
            done = bench.collect(finished)
        for order, index, drawn in done:
            self._deliver(order, index, drawn)

    def _deliver(self, order: Order, index: int, drawn: DrawnSample) -> None:
        if order.is_over:
            return
        try:
            image = finish_image(drawn)
        except SynthrayError as error:
            order.is_over = True
            order.listener.ended(error)
            return
        self._images += 1
        order.undone -= 1
        order.listener.drawn(index, image)
        if not order.undone:
            order.listener.ended(None)

    def _give_up(self, bench: Bench, error: Exception) -> None:
        """No image of this step can be trusted: all requests of the model end."""
        _log.error("drawing failed", exc_info=error)
        with self._changed:
            orders = [order for order in bench.orders() if not order.is_over]
            for order in orders:
                order.is_over = True
        for order in orders:
            order.listener.ended(Unavailable(f"drawing failed ({type(error).__name__}); ask again"))

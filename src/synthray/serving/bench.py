"""One model's slots with the requests that wait for them and those that have them.

Not thread-safe: only the engine's thread touches slots, between two steps. This module must not know time,
threads or HTTP.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from synthray.diffusion.sampler import SamplerPlan
from synthray.errors import SynthrayError
from synthray.generation.generator import DrawnSample, GeneratedImage, Slots
from synthray.generation.identity import ModelIdentity
from synthray.serving.line import Line, Place


class Listener(Protocol):
    """Who waits for the images of a request; called by the thread that draws, so it returns at once."""

    def drawn(self, index: int, image: GeneratedImage) -> None:
        """The image of `seeds[index]` is done; images come in any order."""

    def ended(self, problem: SynthrayError | None) -> None:
        """The last word: all images are done (None), or no more will come."""


@dataclass(eq=False)
class Order(Place):
    """A request that was accepted; `undone` of its images are not drawn yet."""

    seeds: Sequence[int]
    plan: SamplerPlan
    listener: Listener
    ends_at_seconds: float
    joined_at_seconds: float
    undone: int
    is_over: bool = False


@dataclass(eq=False)
class _Seat:
    """Whose image a slot draws, and how many steps it still takes."""

    order: Order
    index: int
    steps_left: int


class Bench:
    """The slots of one model, and who has or wants them."""

    def __init__(self, slots: Slots, model: ModelIdentity) -> None:
        self.model = model
        self.line: Line[Order] = Line()
        self._slots = slots
        self._seats: dict[int, _Seat] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nobody has or wants a slot."""
        return not self._seats and not self.line.images

    @property
    def busy_slots(self) -> int:
        """Slots with an image."""
        return len(self._seats)

    @property
    def num_slots(self) -> int:
        """All slots."""
        return self._slots.num_slots

    @property
    def pending_steps(self) -> int:
        """Denoising steps of all that was accepted and is not done."""
        return self.line.steps + sum(seat.steps_left for seat in self._seats.values())

    def plan(self, sampler: str, steps: int) -> SamplerPlan:
        """The steps of a sampler for this model; raises InvalidInput for impossible ones."""
        return self._slots.plan(sampler, steps)

    def orders(self) -> Iterator[Order]:
        """All that is not done, each once."""
        yield from dict.fromkeys([*self.line, *(seat.order for seat in self._seats.values())])

    def clear(self) -> None:
        """Take the slots and places of orders that are over."""
        for order in [order for order in self.line if order.is_over]:
            self.line.leave(order)
        for number in [number for number, seat in self._seats.items() if seat.order.is_over]:
            self._slots.release(number)
            del self._seats[number]

    def fill(self) -> list[Order]:
        """Give free slots to who is next; the orders that got their first."""
        begun = []
        for number in self._slots.free:
            order = self.line.next()
            if order is None:
                break
            index = len(order.seeds) - order.waiting - 1
            self._slots.admit(number, order.seeds[index], order.plan)
            self._seats[number] = _Seat(order, index, order.steps)
            if index == 0:
                begun.append(order)
        return begun

    def draw(self) -> dict[int, DrawnSample]:
        """One denoising step of every image: the one thing that takes long, and changes no bookkeeping."""
        return self._slots.step()

    def collect(self, finished: dict[int, DrawnSample]) -> list[tuple[Order, int, DrawnSample]]:
        """Count the step, and empty the seats of what is finished; whose images these are."""
        for seat in self._seats.values():
            seat.steps_left -= 1
        ended = [(self._seats.pop(number), drawn) for number, drawn in finished.items()]
        return [(seat.order, seat.index, drawn) for seat, drawn in ended]

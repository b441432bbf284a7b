"""Whether slots still draw what they drew: golden seeds, alone and beside others.

What breaks the promise silently (a card that computes wrong, a library that picks another kernel) shows here
before a user sees it. This module must not know HTTP.
"""

from dataclasses import dataclass
from typing import Final

from synthray.errors import VerificationFailed
from synthray.generation.generator import Slots, finish_image

SAMPLER: Final = "ddim"
STEPS: Final = 2


@dataclass(frozen=True)
class GoldenSeeds:
    """Digests of the pixels of seeds 0, 1, ...: as many as there are slots."""

    digests: tuple[str, ...]

    @property
    def seeds(self) -> range:
        """The seeds."""
        return range(len(self.digests))

    def require(self, found: tuple[str, ...]) -> None:
        """Raise VerificationFailed unless these digests are found again."""
        wrong = [seed for seed in self.seeds if found[seed] != self.digests[seed]]
        if wrong:
            raise VerificationFailed(
                f"seeds {wrong} give other pixels than at the start; this replica draws nothing more"
            )

    def require_neighbours_without_effect(self, alone: str) -> None:
        """Raise VerificationFailed unless the last seed, drawn in the first slot alone, gives this digest."""
        last = self.seeds[-1]
        if alone != self.digests[last]:
            raise VerificationFailed(
                f"seed {last} gives other pixels in slot 0 alone than in slot {last} beside others; "
                "this replica can't keep the promise"
            )


def find_golden_seeds(slots: Slots) -> GoldenSeeds:
    """Draw the golden seeds; raises VerificationFailed if neighbours or the slot change an image.

    The slots must be empty, and are empty afterwards.
    """
    together = _draw(slots, {number: number for number in range(slots.num_slots)})
    golden_seeds = GoldenSeeds(tuple(together[number] for number in range(slots.num_slots)))
    alone = _draw(slots, {0: golden_seeds.seeds[-1]})
    golden_seeds.require_neighbours_without_effect(alone[0])
    return golden_seeds


def _draw(slots: Slots, seeds: dict[int, int]) -> dict[int, str]:
    plan = slots.plan(SAMPLER, STEPS)
    for number, seed in seeds.items():
        slots.admit(number, seed, plan)
    finished = [slots.step() for _ in range(STEPS)][-1]
    return {number: finish_image(drawn).sha256 for number, drawn in finished.items()}

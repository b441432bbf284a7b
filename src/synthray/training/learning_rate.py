"""The learning rate as a pure function of images seen.

It never depends on `epochs`, on the number of workers or on steps of one process, so that raising `epochs`
later equals a longer unbroken run. No torch here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LearningRateSchedule:
    """Peak rate, linear warm-up, and what follows it; lengths in images."""

    peak: float
    warmup_images: int
    decay: Literal["constant", "inverse_square_root", "linear"]
    decay_images: int

    def at(self, images_seen: int) -> float:
        """The rate of the step that starts after `images_seen` images.

        `inverse_square_root` is peak / sqrt(max(images_seen / decay_images, 1)) (EDM2, 2312.02696, eq. 15);
        `linear` falls from the peak at the end of the warm-up to zero `decay_images` later.
        """
        rate = self.peak
        if self.decay == "inverse_square_root":
            rate /= max(images_seen / self.decay_images, 1.0) ** 0.5
        elif self.decay == "linear":
            rate *= max(0.0, 1.0 - max(0, images_seen - self.warmup_images) / self.decay_images)
        if images_seen < self.warmup_images:
            rate *= (images_seen + 1) / (self.warmup_images + 1)
        return rate

"""Where a run's previews lie under its prefix: previews/<images seen>/<ema or raw>/<seed>.png.

Written by training, read by the gallery, which must not import torch; so neither may this module.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self

PREVIEWS_PREFIX = "previews/"
Weights = Literal["ema", "raw"]
WEIGHTS: tuple[Weights, ...] = ("ema", "raw")

_PICTURE_KEY = re.compile(
    rf"{PREVIEWS_PREFIX}(?P<images_seen>[0-9]{{12}})/(?P<weights>ema|raw)/(?P<seed>0|[1-9][0-9]{{0,19}})\.png"
)


@dataclass(frozen=True, order=True)
class PreviewName:
    """One preview: when, by which weights (ema or raw), of which seed."""

    images_seen: int
    weights: str
    seed: int

    @property
    def picture_key(self) -> str:
        """The PNG's key, relative to the run's prefix."""
        return f"{self._stem}.png"

    @property
    def receipt_key(self) -> str:
        """The key of the receipt as JSON."""
        return f"{self._stem}.json"

    @property
    def _stem(self) -> str:
        return f"{PREVIEWS_PREFIX}{self.images_seen:012d}/{self.weights}/{self.seed}"

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Read a PNG's key; None for any other key."""
        match = _PICTURE_KEY.fullmatch(key)
        return cls(int(match["images_seen"]), match["weights"], int(match["seed"])) if match else None

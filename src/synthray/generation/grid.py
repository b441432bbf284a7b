"""The contact sheet: many images as one PNG, for a look at a glance.

A sheet carries no receipt, for it is made of many images; each of those has its own file. Pure arrays: this
module must not import torch.
"""

import math
from collections.abc import Sequence

import numpy as np

from synthray.generation.receipts import Pixels, encode_png

GAP_PX = 2
_BACKGROUND = 255


def build_grid(images: Sequence[Pixels], num_columns: int | None = None) -> Pixels:
    """Lay equal-sized images, uint8 (H, W, C), out in rows on white, as square as possible by default.

    Raises ValueError without images.
    """
    if not images:
        raise ValueError("a grid needs at least one image")
    height, width, channels = images[0].shape
    num_columns = num_columns or math.ceil(math.sqrt(len(images)))
    num_rows = math.ceil(len(images) / num_columns)
    pitch_y, pitch_x = height + GAP_PX, width + GAP_PX
    shape = (num_rows * pitch_y - GAP_PX, num_columns * pitch_x - GAP_PX, channels)
    sheet = np.full(shape, _BACKGROUND, dtype=np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, num_columns)
        sheet[row * pitch_y :, column * pitch_x :][:height, :width] = image
    return sheet


def write_grid(images: Sequence[Pixels], num_columns: int | None = None) -> bytes:
    """The same as PNG."""
    return encode_png(build_grid(images, num_columns))

"""From any picture to the square that the model sees: black borders cut off, centre kept, size changed.

Black borders come from collimators and from padding: kept, the model learns to draw them and loses a part of
its resolution. So outer rows and columns are cropped where all their pixels are nearly black, at most half of
a side (a dark image is not cropped to its brightest dot). Then the central square is taken, as in Hugging
Face's `train_unconditional.py`: padding would bring the borders back, and stretching would make hearts wide.
It must not decode.
"""

from PIL import Image

BLACK_LEVEL = 12
"""The brightest grey (of 255) that still is a border: JPEG makes black uneven."""

_MAX_CROPPED_SHARE = 0.5

Box = tuple[int, int, int, int]


def content_box(image: Image.Image) -> Box:
    """Left, upper, right, lower bounds of an 8-bit picture without its black borders."""
    whole = (0, 0, image.width, image.height)
    bright = image.convert("L").point([0] * (BLACK_LEVEL + 1) + [255] * (255 - BLACK_LEVEL))
    left, upper, right, lower = bright.getbbox() or whole
    if right - left < _MAX_CROPPED_SHARE * image.width or lower - upper < _MAX_CROPPED_SHARE * image.height:
        return whole
    return left, upper, right, lower


def central_square(box: Box) -> tuple[float, float, float, float]:
    """The largest square in the middle of a box, in fractions of a pixel."""
    left, upper, right, lower = box
    side = min(right - left, lower - upper)
    x, y = (left + right - side) / 2, (upper + lower - side) / 2
    return x, y, x + side, y + side


def frame(image: Image.Image, size_px: int) -> Image.Image:
    """The framed picture (size_px x size_px, the mode kept: L or RGB), filtered by Lanczos."""
    box = central_square(content_box(image))
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS, box=box)

"""Decoding of ordinary image files, hostile ones included: each gives an 8-bit picture or a reason.

Nothing is decoded before its header has been judged: a PNG of 10 kB can hold 81 Mpx. What is converted and
how: 16-bit and float are scaled by the range of their own values (scanners use 10 to 14 of the 16 bits, and
each others); alpha lies over black; of an animation the first frame counts; EXIF's orientation is obeyed.
It must not import pydicom.
"""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from synthray.data.framing import frame
from synthray.data.skips import SkipReason, Undecodable

MAX_PIXELS = 50_000_000
"""The largest detectors give 20 Mpx."""

# Only what X-rays come in: fewer decoders, fewer ways to be attacked.
Image.init()  # or Pillow looks for them one by one, and stumbles over one that is not loaded yet
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
# JPEG decodes to a half, a quarter or an eighth for a fraction of the time; twice the final size is kept.
_DRAFT_FACTOR = 2
# A picture that would be enlarged more than this holds nothing to learn.
_MAX_ENLARGEMENT = 8

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_raster(data: bytes, *, size_px: int, channels: int) -> Image.Image:
    """The framed 8-bit picture (mode L or RGB) of an image file's bytes; raises Undecodable."""
    mode = "L" if channels == 1 else "RGB"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bombs and odd headers: judged here, by our own rules
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                check_size(image.width, image.height, size_px)
                image.draft(mode, (_DRAFT_FACTOR * size_px, _DRAFT_FACTOR * size_px))
                deep = any(";16" in str(tile.args) for tile in image.tile)
                image.load()
                square = frame(_to_8_bit(image, mode, deep=deep), size_px)
                return _upright(square, image)
        except (Undecodable, MemoryError):
            raise
        except UnidentifiedImageError as unknown:
            raise Undecodable(
                SkipReason.NOT_AN_IMAGE, f"none of {', '.join(_FORMATS)}, DICOM, or its header is cut"
            ) from unknown
        except Image.DecompressionBombError as bomb:
            raise Undecodable(SkipReason.TOO_LARGE, f"over {MAX_PIXELS // 10**6} Mpx") from bomb
        except Exception as broken:  # hostile bytes make a decoder raise anything
            reason = SkipReason.TRUNCATED if "truncated" in str(broken) else SkipReason.CORRUPT
            raise Undecodable(reason, f"the decoder gave up ({type(broken).__name__})") from broken


def check_size(width: int, height: int, size_px: int) -> None:
    """Raise Undecodable for a picture that is too large to decode safely or too small to enlarge."""
    if width * height > MAX_PIXELS:
        raise Undecodable(
            SkipReason.TOO_LARGE, f"{width} x {height} px; at most {MAX_PIXELS // 10**6} Mpx are decoded"
        )
    if min(width, height) * _MAX_ENLARGEMENT < size_px:
        raise Undecodable(
            SkipReason.TOO_SMALL,
            f"{width} x {height} px; {size_px} px would enlarge it over {_MAX_ENLARGEMENT} times",
        )


def scale_by_own_range(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Map the lowest value to 0 and the highest to 255, linearly; a flat picture becomes black."""
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise Undecodable(SkipReason.NOT_FINITE, "it holds values that are infinite or not a number")
    low, high = numbers.min(), numbers.max()
    if low == high:
        return np.zeros(numbers.shape, np.uint8)
    scaled: NDArray[np.float32] = np.rint((numbers - low) * (255 / (high - low)))
    return scaled.astype(np.uint8)


def _to_8_bit(image: Image.Image, mode: str, *, deep: bool) -> Image.Image:
    """The picture as L or RGB; `deep`: Pillow has cut 16-bit colours to their high byte."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(scale_by_own_range(np.asarray(image))).convert(mode)
    picture = image.convert(mode)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, layer).convert(mode)
    return Image.fromarray(scale_by_own_range(np.asarray(picture))) if deep else picture


def _upright(square: Image.Image, image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF says; an EXIF block that can't be read says nothing."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, struct.error):
        return square
    transposition = _TRANSPOSITIONS.get(orientation) if isinstance(orientation, int) else None
    return square if transposition is None else square.transpose(transposition)

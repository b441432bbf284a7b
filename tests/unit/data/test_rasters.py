import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from PIL import ExifTags, Image

from synthray.data.decoding import prepare_image
from synthray.data.rasters import decode_raster, scale_by_own_range
from synthray.data.skips import SkipReason, Undecodable

SIZE_PX = 32


def image_bytes(image: Image.Image, format: str = "PNG", **options: object) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(data: bytes, channels: int = 1) -> Image.Image:
    return decode_raster(data, size_px=SIZE_PX, channels=channels)


def pixels(data: bytes, channels: int = 1) -> np.ndarray:
    return np.asarray(decoded(data, channels)).astype(int)


def ramp(low: int = 30, high: int = 220, side: int = 64) -> Image.Image:
    """Dark at the left, bright at the right."""
    row = np.linspace(low, high, side).round().astype(np.uint8)
    return Image.fromarray(np.tile(row, (side, 1)))


def deep_ramp() -> np.ndarray:
    """12 bits of signal on a pedestal, a sixteenth of what 16 bits offer; bright above and below."""
    values = np.tile(np.linspace(5000, 9095, 64).round(), (64, 1))
    values[0], values[-1] = 9095, 9095
    return values


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))


def assert_is_the_ramp(found: np.ndarray, tolerance: int = 3) -> None:
    assert abs(found - pixels(image_bytes(ramp()))).max() <= tolerance


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(image_bytes(ramp(), "JPEG", quality=98), id="jpeg"),
        pytest.param(image_bytes(ramp(), "JPEG", quality=98, progressive=True), id="progressive jpeg"),
        pytest.param(image_bytes(ramp().convert("RGB"), "JPEG", quality=98), id="three-channel jpeg"),
        pytest.param(image_bytes(ramp().convert("RGB").convert("CMYK"), "JPEG", quality=98), id="cmyk jpeg"),
        pytest.param(image_bytes(ramp(), "BMP"), id="bmp"),
        pytest.param(image_bytes(ramp(), "PPM"), id="pgm"),
        pytest.param(image_bytes(ramp(), "TIFF", compression="tiff_lzw"), id="tiff"),
        pytest.param(image_bytes(ramp(), "JPEG2000"), id="jpeg2000"),
        pytest.param(image_bytes(ramp().convert("RGB"), "WEBP", lossless=True), id="webp"),
        pytest.param(image_bytes(ramp().convert("P")), id="palette"),
        pytest.param(image_bytes(ramp().convert("RGB").quantize(64)), id="colour palette"),
        pytest.param(image_bytes(ramp().convert("LA")), id="opaque alpha"),
        pytest.param(image_bytes(ramp().convert("RGBA")), id="opaque rgba"),
    ],
)
def test_whatever_holds_the_same_picture_gives_the_same_picture(data: bytes) -> None:
    assert_is_the_ramp(pixels(data), tolerance=6)


def test_one_bit_pictures_become_black_and_white() -> None:
    picture = ramp(255, 0)
    picture.paste(255, (0, 0, 64, 4))
    picture.paste(255, (0, 60, 64, 64))
    found = pixels(image_bytes(picture.convert("1", dither=Image.Dither.NONE)))[SIZE_PX // 2]
    assert found[0] >= 250
    assert found[-1] <= 5


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda values: Image.fromarray(values.astype(np.uint16)), id="16 bit"),
        pytest.param(lambda values: Image.fromarray(values.astype(np.int32)), id="32 bit"),
        pytest.param(lambda values: Image.fromarray(values.astype(np.float32) / 7), id="float"),
    ],
)
def test_deep_pictures_are_scaled_by_their_own_range(make: Callable[[np.ndarray], Image.Image]) -> None:
    found = pixels(image_bytes(make(deep_ramp()), "TIFF"))[SIZE_PX // 2]
    assert found[0] <= 5
    assert found[-1] >= 250
    assert abs(np.diff(found) - 8).max() <= 3


def test_a_16_bit_png_is_scaled_by_its_own_range() -> None:
    found = pixels(image_bytes(Image.fromarray(deep_ramp().astype(np.uint16))))[SIZE_PX // 2]
    assert found[0] <= 5
    assert found[-1] >= 250


def test_16_bit_colour_which_pillow_cuts_to_its_high_byte_is_scaled_by_its_own_range() -> None:
    values = deep_ramp().astype(">u2")
    rows = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    found = pixels(png)[SIZE_PX // 2]
    assert found[0] <= 10
    assert found[-1] >= 245


def test_a_flat_deep_picture_is_black() -> None:
    assert scale_by_own_range(np.full((4, 4), 700, np.uint16)).max() == 0


def test_transparent_parts_show_black_whatever_colour_they_hide() -> None:
    picture = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    picture.paste((200, 200, 200, 255), (0, 0, 64, 40))
    found = pixels(image_bytes(picture), channels=3)
    assert abs(found[:16] - 200).max() <= 2
    # The transparent lower part is a black border, which is cropped: nothing white is left.
    assert found.max() <= 215


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("L", (40, 40), 255), Image.new("L", (40, 40), 0)]
    frames = [ramp(), *frames]
    assert_is_the_ramp(pixels(image_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])), 6)


def test_exif_orientation_is_obeyed() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    turned = ramp().transpose(Image.Transpose.ROTATE_180)
    assert_is_the_ramp(pixels(image_bytes(turned, "JPEG", quality=98, exif=exif)))


def test_three_channels_are_kept_when_asked_for() -> None:
    picture = Image.merge("RGB", [ramp(), ramp(100, 101), ramp(200, 201)])
    found = pixels(image_bytes(picture), channels=3)
    assert found.shape == (SIZE_PX, SIZE_PX, 3)
    assert abs(found.mean(axis=(0, 1)) - [125, 100, 200]).max() <= 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", SkipReason.EMPTY, id="zero bytes"),
        pytest.param(b"patient: none\n" * 40, SkipReason.NOT_AN_IMAGE, id="text"),
        pytest.param(bytes(4000), SkipReason.NOT_AN_IMAGE, id="zeros"),
        pytest.param(b"\xff\xd8\xff\xe0", SkipReason.NOT_AN_IMAGE, id="only a magic number"),
        pytest.param(image_bytes(noise(), "JPEG")[:-300], SkipReason.TRUNCATED, id="truncated jpeg"),
        pytest.param(image_bytes(noise())[:2000], SkipReason.TRUNCATED, id="truncated png"),
        pytest.param(image_bytes(ramp(), "BMP")[:2000], SkipReason.TRUNCATED, id="truncated bmp"),
        pytest.param(image_bytes(Image.new("L", (10_000, 10_000))), SkipReason.TOO_LARGE, id="100 Mpx"),
        pytest.param(image_bytes(Image.new("1", (20_000, 20_000))), SkipReason.TOO_LARGE, id="400 Mpx"),
        pytest.param(image_bytes(Image.new("L", (2000, 3))), SkipReason.TOO_SMALL, id="a line"),
        pytest.param(
            image_bytes(Image.fromarray(np.full((40, 40), np.nan, np.float32)), "TIFF"),
            SkipReason.NOT_FINITE,
            id="not a number",
        ),
    ],
)
def test_what_holds_no_picture_is_left_out_with_its_reason(data: bytes, reason: SkipReason) -> None:
    with pytest.raises(Undecodable) as refused:
        prepare_image(data, size_px=SIZE_PX, channels=1)
    assert refused.value.reason is reason


def test_every_cut_and_every_damaged_byte_gives_a_picture_or_a_reason() -> None:
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000"):  # noqa: A001
        whole = image_bytes(ramp(side=40), format)
        for _ in range(40):
            data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for place in rng.integers(0, len(data), 3):
                data[place] = rng.integers(256)
            with suppress(Undecodable):  # anything else fails the test
                prepare_image(bytes(data), size_px=8, channels=1)


def test_a_sample_carries_no_metadata_of_its_source() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "DOE^JANE"
    data = image_bytes(ramp(), "JPEG", comment=b"DOE^JANE", exif=exif, icc_profile=b"DOE^JANE")
    assert data.count(b"DOE^JANE") >= 2
    prepared = prepare_image(data, size_px=SIZE_PX, channels=1)
    assert b"DOE^JANE" not in prepared.jpeg
    with Image.open(io.BytesIO(prepared.jpeg)) as sample:
        assert (sample.size, sample.mode) == ((SIZE_PX, SIZE_PX), "L")


def test_the_same_bytes_give_the_same_sample() -> None:
    data = image_bytes(ramp(), "JPEG")
    first, second = (prepare_image(data, size_px=SIZE_PX, channels=1) for _ in range(2))
    assert first == second

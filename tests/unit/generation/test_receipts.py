import contextlib
import json
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from synthray.errors import InvalidInput
from synthray.generation.receipts import (
    MAX_PNG_BYTES,
    MAX_SEED,
    RECEIPT_KEY,
    Pixels,
    PreviewOrigin,
    Receipt,
    pixels_sha256,
    read_png,
    write_png,
)

REMEDY = "give a PNG as synthray wrote it; re-saving, editing or uploading to a chat often strips its receipt"


def pixels_of(height: int, width: int, channels: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def receipt_of(pixels: Pixels, **changes: object) -> Receipt:
    fields: dict[str, object] = {
        "model_uri": "s3://xray/runs/a/models/000000002000-a000001",
        "model_digest": "a" * 64,
        "architecture_digest": "b" * 64,
        "sampler": "ddim",
        "steps": 50,
        "seed": 42,
        "profile": "strict-1",
        "pixels_sha256": pixels_sha256(pixels),
        "fingerprint": {"torch": "2.15.0", "device": "cpu"},
    }
    return Receipt.model_validate(fields | changes)


def png_with_chunk(text: str | None, mode: str = "L") -> bytes:
    chunks = PngImagePlugin.PngInfo()
    if text is not None:
        chunks.add_text(RECEIPT_KEY, text)
    buffer = BytesIO()
    Image.new(mode, (4, 4)).save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_and_receipt_come_back_as_they_were_written(channels: int) -> None:
    pixels = pixels_of(5, 7, channels)
    receipt = receipt_of(
        pixels, preview=PreviewOrigin(run="chest é", images_seen=2000, epoch=1, weights="ema")
    )
    read_pixels, read = read_png(write_png(pixels, receipt))
    assert np.array_equal(read_pixels, pixels)
    assert read == receipt


@settings(deadline=None)
@given(seed=st.integers(0, MAX_SEED), value=st.text(max_size=40))
def test_any_seed_and_any_text_survive_the_file(seed: int, value: str) -> None:
    pixels = pixels_of(2, 2, 1)
    receipt = receipt_of(pixels, seed=seed, fingerprint={"device": value.encode("utf-8", "replace").decode()})
    assert read_png(write_png(pixels, receipt))[1] == receipt


def test_the_same_image_gives_the_same_file() -> None:
    pixels = pixels_of(16, 16, 1)
    assert write_png(pixels, receipt_of(pixels)) == write_png(pixels, receipt_of(pixels))


def test_people_can_read_what_the_file_is_without_synthray() -> None:
    pixels = pixels_of(4, 4, 1)
    image = Image.open(BytesIO(write_png(pixels, receipt_of(pixels))))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert image.text["Description"] == (
        "Synthetic image, made by a model; not for diagnosis. Seed 42, ddim, 50 steps."
    )
    assert image.text["Software"].startswith("synthray ")
    document = json.loads(image.text["synthray"])
    assert document["synthetic"] is True
    assert document["seed"] == 42


def test_the_json_twin_says_the_same_as_the_chunk() -> None:
    pixels = pixels_of(4, 4, 1)
    receipt = receipt_of(pixels)
    assert Receipt.model_validate_json(receipt.to_json()) == receipt
    assert receipt.to_json().endswith("}\n")


def test_a_receipt_is_never_written_onto_other_pixels() -> None:
    with pytest.raises(ValueError, match="other pixels"):
        write_png(pixels_of(4, 4, 1), receipt_of(pixels_of(5, 5, 1)))


def test_the_digest_of_pixels_is_sha256_over_height_width_channels() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    # printf '\000\001\002\003\004\005' | sha256sum
    assert pixels_sha256(pixels) == "17e88db187afd62c16e5debf3e6527cd006bc012bc90b51a810cd80c2d511f43"


def test_a_field_that_a_later_version_added_is_ignored() -> None:
    pixels = pixels_of(4, 4, 1)
    text = json.dumps(json.loads(receipt_of(pixels).to_json()) | {"watermark": "x"})
    assert read_png(png_with_chunk(text))[1] == receipt_of(pixels)


def refused(data: bytes) -> str:
    with pytest.raises(InvalidInput) as refusal:
        read_png(data, "a.png")
    assert refusal.value.exit_code == 2
    return refusal.value.message


def test_a_png_without_receipt_is_refused() -> None:
    expected = f"a.png carries no receipt (no `synthray` text chunk); {REMEDY}"
    assert refused(png_with_chunk(None)) == expected


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"seed": "42"}, "seed: Input should be a valid integer"),
        ({"steps": 10**9}, "steps: Input should be less than or equal to 1000"),
        ({"model_digest": "z"}, "model_digest: String should match pattern '^[0-9a-f]{64}$'"),
        ({"synthetic": False}, "synthetic: Input should be True"),
        ({"format_version": 2}, "format_version: Input should be 1"),
        ({"fingerprint": {str(i): "" for i in range(65)}}, "fingerprint: Dictionary should have at most 64"),
        ({"model_uri": "x" * 1025}, "model_uri: String should have at most 1024 characters"),
    ],
)
def test_a_receipt_out_of_bounds_is_refused_by_field(change: dict[str, object], complaint: str) -> None:
    document = json.loads(receipt_of(pixels_of(4, 4, 1)).to_json()) | change
    message = refused(png_with_chunk(json.dumps(document)))
    assert message.startswith(f"the receipt in a.png is not valid: {complaint}")
    assert message.endswith(REMEDY)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\x01", "{" * 5000])
def test_a_garbled_receipt_is_refused(text: str) -> None:
    assert refused(png_with_chunk(text)).startswith("the receipt in a.png is not valid: ")


def test_a_huge_receipt_is_refused_before_it_is_parsed() -> None:
    message = refused(png_with_chunk("x" * 70_000))
    assert message == f"the receipt in a.png has 70,000 characters, not at most 65,536; {REMEDY}"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_compressed_text_bomb_is_refused() -> None:
    png = png_with_chunk(None)
    bomb = chunk(b"zTXt", b"synthray\x00\x00" + zlib.compress(b" " * (4 << 20)))
    assert refused(png[:33] + bomb + png[33:]).startswith("a.png cannot be read as a PNG (")


def test_a_pixel_bomb_is_refused_before_it_is_decompressed() -> None:
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert refused(bomb) == "a.png is 9000 x 9000 px; at most 4096 a side are read"


def test_a_file_too_large_is_refused() -> None:
    assert refused(bytes(MAX_PNG_BYTES + 1)).startswith("a.png has 67,108,865 bytes")


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "1", "LA"])
def test_pixels_that_synthray_does_not_write_are_refused(mode: str) -> None:
    assert refused(png_with_chunk("{}", mode)) == f"a.png has mode {mode}, not 8-bit grey or RGB; {REMEDY}"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 JPEG"])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    assert refused(data).startswith("a.png cannot be read as a PNG (")


@settings(deadline=None)
@given(st.data())
def test_no_damage_to_a_file_raises_anything_but_invalid_input(data: st.DataObject) -> None:
    pixels = pixels_of(4, 4, 1)
    png = bytearray(write_png(pixels, receipt_of(pixels)))
    if data.draw(st.booleans()):
        png = png[: data.draw(st.integers(0, len(png) - 1))]
    else:
        position = data.draw(st.integers(0, len(png) - 1))
        png[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(InvalidInput):
        read_png(bytes(png))

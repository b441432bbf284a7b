"""Receipts: each PNG says how it was made, exactly enough to make it again.

The receipt is one JSON text chunk named `synthray`, beside chunks in plain words for people and viewers, and
is also written as a JSON file of its own. PNGs come back from anywhere, so reading trusts nothing. This
module must not import torch: a page or a service can read receipts without it.
"""

import hashlib
import json
from io import BytesIO
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

import synthray
from synthray.diffusion.rng import NUM_SEEDS
from synthray.errors import InvalidInput

RECEIPT_KEY = "synthray"
SOFTWARE = f"synthray {synthray.__version__}"
MAX_PNG_BYTES = 64 << 20
MAX_SIDE_PX = 4096
MAX_RECEIPT_CHARACTERS = 64 << 10
MAX_STEPS = 1000
MAX_SEED = NUM_SEEDS - 1
_REMEDY = (
    "give a PNG as synthray wrote it; re-saving, editing or uploading to a chat often strips its receipt"
)

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=1024)]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Pixels = NDArray[np.uint8]


class PreviewOrigin(BaseModel):
    """Where in a run a preview was drawn, and from which weights."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: Text
    images_seen: Annotated[int, Field(ge=0)]
    epoch: Annotated[int, Field(ge=0)]
    weights: Literal["ema", "raw"]


class Receipt(BaseModel):
    """How one image was made; a later version may add fields, which are ignored here.

    `model_digest` is the digest of the network's tensors, `architecture_digest` that of its configuration and
    noise schedule; `pixels_sha256` is over the raw pixels, height x width x channels, uint8.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: Literal[1] = 1
    synthetic: Literal[True] = True
    software: Text = SOFTWARE
    model_uri: Text
    model_digest: Digest
    architecture_digest: Digest
    sampler: Text
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    profile: Text
    pixels_sha256: Digest
    fingerprint: Annotated[dict[ShortText, ShortText], Field(max_length=64)]
    preview: PreviewOrigin | None = None

    def to_json(self) -> str:
        """The JSON twin: sorted keys, indented, one trailing newline; equal receipts give equal bytes."""
        return json.dumps(self.model_dump(exclude_none=True), indent=2, sort_keys=True) + "\n"


def pixels_sha256(pixels: Pixels) -> str:
    """SHA-256 over the raw pixels of an image, uint8 (H, W, C)."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def write_png(pixels: Pixels, receipt: Receipt) -> bytes:
    """Encode uint8 (H, W, 1 or 3) with its receipt; the same arguments give the same bytes."""
    if pixels_sha256(pixels) != receipt.pixels_sha256:
        raise ValueError("this receipt is for other pixels")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", receipt.software)
    chunks.add_text(
        "Description",
        "Synthetic image, made by a model; not for diagnosis. "
        f"Seed {receipt.seed}, {receipt.sampler}, {receipt.steps} steps.",
    )
    chunks.add_text(RECEIPT_KEY, json.dumps(receipt.model_dump(exclude_none=True), sort_keys=True))
    return encode_png(pixels, chunks)


def encode_png(pixels: Pixels, chunks: PngImagePlugin.PngInfo | None = None) -> bytes:
    """Encode uint8 (H, W, 1 or 3) as PNG, grey or RGB, without time stamps."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks, compress_level=6)
    return buffer.getvalue()


def read_png(data: bytes, source: str = "the image") -> tuple[Pixels, Receipt]:
    """Decode a PNG of ours: its pixels, uint8 (H, W, C), and its receipt.

    `source` names the file in messages. Raises InvalidInput for anything that `write_png` did not write.
    """
    if len(data) > MAX_PNG_BYTES:
        raise InvalidInput(
            f"{source} has {len(data):,} bytes; at most {MAX_PNG_BYTES:,} are read as a PNG with a receipt"
        )
    image = _open_png(data, source)
    return np.asarray(image).reshape(image.height, image.width, -1), _parse_receipt(image.text, source)


def _open_png(data: bytes, source: str) -> PngImagePlugin.PngImageFile:
    try:
        image = PngImagePlugin.PngImageFile(BytesIO(data))
        # Checked before the pixels are decompressed.
        if max(image.size) <= MAX_SIDE_PX:
            image.load()
    except Exception as error:  # Pillow's readers raise a dozen kinds for hostile bytes
        raise InvalidInput(f"{source} cannot be read as a PNG ({error}); {_REMEDY}") from error
    if max(image.size) > MAX_SIDE_PX:
        raise InvalidInput(
            f"{source} is {image.width} x {image.height} px; at most {MAX_SIDE_PX} a side are read"
        )
    if image.mode not in ("L", "RGB"):
        raise InvalidInput(f"{source} has mode {image.mode}, not 8-bit grey or RGB; {_REMEDY}")
    return image


def _parse_receipt(text: dict[str, Any], source: str) -> Receipt:
    chunk = text.get(RECEIPT_KEY)
    if chunk is None:
        raise InvalidInput(f"{source} carries no receipt (no `{RECEIPT_KEY}` text chunk); {_REMEDY}")
    if len(chunk) > MAX_RECEIPT_CHARACTERS:
        raise InvalidInput(
            f"the receipt in {source} has {len(chunk):,} characters, not at most {MAX_RECEIPT_CHARACTERS:,}; "
            f"{_REMEDY}"
        )
    try:
        return Receipt.model_validate_json(chunk, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the JSON"
        raise InvalidInput(
            f"the receipt in {source} is not valid: {field}: {first['msg']}; {_REMEDY}"
        ) from error

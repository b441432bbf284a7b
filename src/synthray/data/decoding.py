"""One source file's bytes -> one sample: a small JPEG and the patient whom only the file itself may name.

This is the whole of what `prepare` does per image, as one pure function, so that it runs in any process in
any order with the same result. It must not read storage.
"""

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from synthray.data.rasters import decode_raster
from synthray.data.skips import SkipReason, Undecodable

MAX_FILE_BYTES = 256 * 2**20
"""Larger files are not read: an uncompressed 16-bit picture of the largest detector has 40 MB."""

JPEG_QUALITY = 95


@dataclass(frozen=True)
class PreparedImage:
    """A sample: the JPEG's bytes, their SHA-256, and the file's own PatientID, if it is DICOM."""

    jpeg: bytes
    sha256: bytes
    patient: str | None


def prepare_image(data: bytes, *, size_px: int, channels: int) -> PreparedImage:
    """Decode, frame and encode one image; raises Undecodable."""
    if not data:
        raise Undecodable(SkipReason.EMPTY, "0 bytes")
    patient = None
    if data[128:132] == b"DICM":  # the preamble of DICOM part 10
        # pydicom takes most of a second to import: only those pay who have DICOM.
        from synthray.data.dicom import decode_dicom  # noqa: PLC0415

        picture = decode_dicom(data, size_px=size_px, channels=channels)
        square, patient = picture.image, picture.patient
    else:
        square = decode_raster(data, size_px=size_px, channels=channels)
    jpeg = encode_jpeg(square)
    return PreparedImage(jpeg, hashlib.sha256(jpeg).digest(), patient)


def encode_jpeg(image: Image.Image) -> bytes:
    """The picture as a baseline JPEG of quality 95 without chroma subsampling and without any metadata."""
    # Pillow would carry the source's comment over, which may name the patient.
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()

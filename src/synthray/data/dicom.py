"""Decoding of DICOM: the picture as a radiologist's screen shows it, and nothing of the patient but a group.

Stored values go through the modality rescale and the first VOI window (or, where there is none, the range of
their own values) to 8 bits; MONOCHROME1 is inverted; of several frames the first counts. Compressed syntaxes
need a decoder: Pillow brings baseline JPEG and JPEG 2000; for the others the reason says what to install. It
must not log: pydicom's messages can quote a header.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from synthray.data.framing import frame
from synthray.data.rasters import check_size, scale_by_own_range
from synthray.data.skips import SkipReason, Undecodable

# "Deflated Explicit VR Little Endian" is inflated whole, to any size, before anything can be judged.
_DEFLATED_SYNTAX = b"1.2.840.10008.1.2.1.99"
_FILE_META_BYTES = 2048


@dataclass(frozen=True)
class DicomPicture:
    """A framed picture (mode L or RGB) and the PatientID, which is used to split and then forgotten."""

    image: Image.Image
    patient: str | None


def decode_dicom(data: bytes, *, size_px: int, channels: int) -> DicomPicture:
    """The framed picture of a DICOM file's bytes; raises Undecodable."""
    if _DEFLATED_SYNTAX in data[:_FILE_META_BYTES]:
        raise Undecodable(SkipReason.DECODER_MISSING, "deflated DICOM; store it uncompressed or as JPEG 2000")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(io.BytesIO(data))
            _check_pixels(dataset, size_px)
            picture = Image.fromarray(_to_8_bit(dataset)).convert("L" if channels == 1 else "RGB")
            patient = str(dataset.get("PatientID") or "").strip()
        except (Undecodable, MemoryError):
            raise
        except InvalidDicomError as unknown:
            raise Undecodable(SkipReason.NOT_AN_IMAGE, "no DICOM file") from unknown
        except Exception as broken:  # hostile bytes make a decoder raise anything
            raise Undecodable(
                SkipReason.CORRUPT, f"the DICOM decoder gave up ({type(broken).__name__})"
            ) from broken
    return DicomPicture(frame(picture, size_px), patient or None)


def _check_pixels(dataset: Dataset, size_px: int) -> None:
    if "PixelData" not in dataset:
        raise Undecodable(SkipReason.NO_PIXELS, "a DICOM object without pixels")
    check_size(int(dataset.Columns), int(dataset.Rows), size_px)
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as unknown:
        raise Undecodable(SkipReason.DECODER_MISSING, f"no decoder for {syntax.name}") from unknown
    if not decoder.is_available:
        raise Undecodable(
            SkipReason.DECODER_MISSING,
            f"no decoder for {syntax.name}; pip install 'pylibjpeg[all]', or store it uncompressed",
        )
    if not syntax.is_encapsulated and len(dataset.PixelData) < _frame_bytes(dataset):
        raise Undecodable(SkipReason.TRUNCATED, f"{len(dataset.PixelData)} of {_frame_bytes(dataset)} bytes")


def _frame_bytes(dataset: Dataset) -> int:
    samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
    return samples * int(dataset.BitsAllocated) // 8


def _to_8_bit(dataset: Dataset) -> NDArray[np.uint8]:
    """The first frame for display: uint8, (H, W) or (H, W, 3)."""
    stored = pixel_array(dataset, index=0)
    interpretation = str(dataset.PhotometricInterpretation)
    if interpretation == "PALETTE COLOR":
        return scale_by_own_range(apply_color_lut(stored, dataset))
    if int(dataset.SamplesPerPixel) > 1:
        return stored if stored.dtype == np.uint8 else scale_by_own_range(stored)
    displayed = _windowed(np.asarray(apply_modality_lut(stored, dataset), np.float64), dataset)
    if displayed is None:
        displayed = _scaled_without_padding(stored, dataset)
    return 255 - displayed if interpretation == "MONOCHROME1" else displayed


def _windowed(values: NDArray[np.float64], dataset: Dataset) -> NDArray[np.uint8] | None:
    """Values through the first VOI table or window to 0-255; None if the file has neither.

    DICOM PS3.3 C.11.2.1.2 (window) with its LINEAR, LINEAR_EXACT and SIGMOID functions, C.11.2.1.1 (table).
    """
    if dataset.get("VOILUTSequence"):
        table_bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        looked_up = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
        return _to_uint8(looked_up / (2**table_bits - 1))
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        shares = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        shares = (values - center) / width + 0.5
    else:
        shares = (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
    return _to_uint8(shares)


def _to_uint8(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    displayed: NDArray[np.float64] = np.rint(np.clip(shares, 0, 1) * 255)
    return displayed.astype(np.uint8)


def _scaled_without_padding(stored: NDArray[np.generic], dataset: Dataset) -> NDArray[np.uint8]:
    """Stored values by their own range, in which the padding around a collimated field does not count.

    A linear rescale changes nothing of this but its direction, so only its sign is applied.
    """
    values = stored.astype(np.float32)
    padding = dataset.get("PixelPaddingValue")
    if padding is not None and (values != int(padding)).any():
        values[values == int(padding)] = values[values != int(padding)].min()
    if float(dataset.get("RescaleSlope") or 1) < 0:
        values = -values
    return scale_by_own_range(values)


def _first(value: object) -> float | None:
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value is None or value == "" else float(str(value))

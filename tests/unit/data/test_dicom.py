import io

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from synthray.data.decoding import prepare_image
from synthray.data.dicom import decode_dicom
from synthray.data.skips import SkipReason, Undecodable

SIDE = 32
RAMP = np.tile(np.linspace(0, 4095, SIDE).round().astype(np.uint16), (SIDE, 1))
# Black only at the ends of the middle rows, so that nothing is cropped as a border.
RAMP[0], RAMP[-1] = 2000, 2000
MIDDLE = SIDE // 2


def dicom(values: np.ndarray = RAMP, *, syntax: UID = ExplicitVRLittleEndian, **fields: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.PatientName = "DOE^JANE"
    dataset.PatientID = "MRN-0815"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = values.dtype.itemsize * 8
    dataset.BitsStored = 12 if values.dtype.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def file_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def pixels(dataset: Dataset) -> np.ndarray:
    return np.asarray(decode_dicom(file_bytes(dataset), size_px=SIDE, channels=1).image).astype(int)


def refused(dataset: Dataset) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        prepare_image(file_bytes(dataset), size_px=SIDE, channels=1)
    return caught.value


def test_without_a_window_values_are_scaled_by_their_own_range() -> None:
    found = pixels(dicom(RAMP // 4 + 100))
    assert found[MIDDLE, 0] <= 1
    assert found[MIDDLE, -1] >= 254
    assert abs(np.diff(found[MIDDLE]) - 8).max() <= 1


def test_monochrome1_is_inverted() -> None:
    inverted = pixels(dicom(PhotometricInterpretation="MONOCHROME1"))
    assert (inverted == 255 - pixels(dicom())).all()


def test_the_voi_window_is_applied_after_the_rescale() -> None:
    # Values 0 to 4095 become -1024 to 3071; the window shows -24 to 975.
    found = pixels(dicom(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=476, WindowWidth=1000))
    expected = np.clip(((RAMP[MIDDLE].astype(float) - 1024 - 475.5) / 999 + 0.5) * 255, 0, 255)
    assert abs(found[MIDDLE] - expected).max() <= 1


def test_a_window_wider_than_the_values_keeps_its_meaning() -> None:
    found = pixels(dicom(WindowCenter=4096, WindowWidth=8192))
    assert found.max() <= 128


def test_of_several_windows_the_first_counts() -> None:
    several = pixels(dicom(WindowCenter=[1000, 3000], WindowWidth=[500, 100]))
    assert (several == pixels(dicom(WindowCenter=1000, WindowWidth=500))).all()


@pytest.mark.parametrize(
    ("function", "at_quarter"), [("LINEAR_EXACT", 0.25), ("SIGMOID", 1 / (1 + np.exp(1)))]
)
def test_the_voi_function_is_obeyed(function: str, at_quarter: float) -> None:
    values = np.full((SIDE, SIDE), 1000, np.uint16)
    values[:, : SIDE // 2] = 2000
    found = pixels(dicom(values, WindowCenter=2000, WindowWidth=4000, VOILUTFunction=function))
    assert abs(found[0, -2] - 255 * at_quarter) <= 1
    assert abs(found[0, 1] - 127.5) <= 1


def test_a_voi_table_is_applied() -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = (65535 - 16 * np.arange(4096)).tolist()
    table["LUTData"].VR = "US"
    found = pixels(dicom(VOILUTSequence=Sequence([table])))
    assert abs(found[MIDDLE] - (255.0 - RAMP[MIDDLE] // 16)).max() <= 1


def test_padding_does_not_count_as_a_value() -> None:
    values = RAMP // 2 + 2000
    values[4:8, 4:8] = 0
    found = pixels(dicom(values, PixelPaddingValue=0))
    assert found[MIDDLE, 0] <= 1
    assert abs(np.diff(found[MIDDLE]) - 8).max() <= 1
    assert found[4:8, 4:8].max() <= 1


def test_a_negative_slope_turns_dark_and_bright() -> None:
    assert (pixels(dicom(RescaleSlope=-1, RescaleIntercept=4095)) == 255 - pixels(dicom())).all()


def test_of_several_frames_the_first_counts() -> None:
    two = dicom()
    two.NumberOfFrames = 2
    two.PixelData = RAMP.tobytes() + (4095 - RAMP).tobytes()
    assert (pixels(two) == pixels(dicom())).all()


def test_colour_and_8_bit_pictures_keep_their_values() -> None:
    colour = np.full((SIDE, SIDE, 3), (200, 100, 50), np.uint8)
    dataset = dicom(colour, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    image = decode_dicom(file_bytes(dataset), size_px=SIDE, channels=3).image
    assert np.asarray(image)[5, 5].tolist() == [200, 100, 50]


def test_installed_decoders_read_compressed_pictures() -> None:
    from PIL import Image  # noqa: PLC0415

    eight_bit = (RAMP // 16).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(eight_bit).save(buffer, "JPEG", quality=98)
    jpeg = dicom(eight_bit, syntax=JPEGBaseline8Bit)
    jpeg.PixelData = encapsulate([buffer.getvalue()])
    jpeg["PixelData"].VR = "OB"
    assert abs(pixels(jpeg) - pixels(dicom(eight_bit))).max() <= 6
    rle = dicom()
    rle.compress(RLELossless)
    assert (pixels(rle) == pixels(dicom())).all()


def test_a_syntax_without_a_decoder_says_what_to_install() -> None:
    dataset = dicom(syntax=JPEGLosslessSV1)
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    undecodable = refused(dataset)
    assert undecodable.reason is SkipReason.DECODER_MISSING
    assert undecodable.detail == (
        f"no decoder for {JPEGLosslessSV1.name}; pip install 'pylibjpeg[all]', or store it uncompressed"
    )


def test_hostile_files_give_a_reason() -> None:
    assert refused(dicom(syntax=DeflatedExplicitVRLittleEndian)).reason is SkipReason.DECODER_MISSING
    assert refused(dicom(Rows=20_000, Columns=20_000)).reason is SkipReason.TOO_LARGE
    assert refused(dicom(Rows=2 * SIDE)).reason is SkipReason.TRUNCATED
    without_pixels = dicom()
    del without_pixels.PixelData
    assert refused(without_pixels).reason is SkipReason.NO_PIXELS
    for end in (140, 300, 500):
        with pytest.raises(Undecodable):
            prepare_image(file_bytes(dicom())[:end], size_px=SIDE, channels=1)


def test_nothing_of_the_patient_is_kept_but_who_belongs_together() -> None:
    prepared = prepare_image(file_bytes(dicom()), size_px=SIDE, channels=1)
    assert prepared.patient == "MRN-0815"
    assert b"DOE" not in prepared.jpeg
    assert b"MRN" not in prepared.jpeg
    assert prepare_image(file_bytes(dicom(PatientID="")), size_px=SIDE, channels=1).patient is None

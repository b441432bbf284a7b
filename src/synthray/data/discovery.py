"""What a source holds: RANZCR's layout, or any folder or prefix of images and DICOM files.

RANZCR: `train/<StudyInstanceUID>.jpg` and `train.csv` with PatientID and labels (`test/` names no patients,
so it cannot be split by them, and is left out). A folder: every file that by its name may be an image, each a
patient of its own unless it is DICOM and names one. It must not open images.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from synthray.errors import InvalidInput, Reason
from synthray.storage import ObjectInfo, ObjectStore

RANZCR_LABELS = (
    "ETT - Abnormal",
    "ETT - Borderline",
    "ETT - Normal",
    "NGT - Abnormal",
    "NGT - Borderline",
    "NGT - Incompletely Imaged",
    "NGT - Normal",
    "CVC - Abnormal",
    "CVC - Borderline",
    "CVC - Normal",
    "Swan Ganz Catheter Present",
)

_TABLE_KEY = "train.csv"
_IMAGE_PREFIX = "train/"
_STUDY_COLUMN = "StudyInstanceUID"
_PATIENT_COLUMN = "PatientID"
_IMAGE_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".png",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".jp2",
    ".j2k",
    ".pgm",
    ".ppm",
}
_IMAGE_SUFFIXES |= {".dcm", ".dicom", ".ima"}


@dataclass(frozen=True)
class SourceImage:
    """One image of a source; `patient` decides its split; `size_bytes` is None if only a table names it."""

    key: str
    size_bytes: int | None
    patient: str
    labels: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class SourceListing:
    """All images of a source, sorted by key, and the keys of the files that are none by their name."""

    layout: str
    image_prefix: str
    images: tuple[SourceImage, ...]
    label_names: tuple[str, ...]
    other_files: tuple[str, ...]

    def digest(self) -> str:
        """The SHA-256 of what is listed: keys, sizes, patients and labels."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(repr((image.key, image.size_bytes, image.patient, image.labels)).encode())
        return digest.hexdigest()


def discover(source: ObjectStore) -> SourceListing:
    """List a source; raises InvalidInput if it holds no image or a table that cannot be used."""
    table = source.read(_TABLE_KEY) if source.stat(_TABLE_KEY) else None
    if table is not None and _STUDY_COLUMN in _columns(table):
        listing = list_ranzcr(table, source.list(_IMAGE_PREFIX), f"{source.uri}/{_TABLE_KEY}")
    else:
        listing = list_folder(source.list())
    if not listing.images:
        raise InvalidInput(
            f"{source.uri} holds no images; name a folder or prefix with {_IMAGE_PREFIX}*.jpg and"
            f" {_TABLE_KEY}, or with JPEG, PNG, TIFF or DICOM files",
            reason=Reason.DATASET_INVALID,
        )
    return listing


def list_folder(objects: Iterable[ObjectInfo]) -> SourceListing:
    """The listing of a plain folder."""
    found = sorted((info for info in objects if _is_file(info.key)), key=lambda info: info.key)
    images = [SourceImage(info.key, info.size_bytes, info.key) for info in found if may_be_image(info.key)]
    others = [info.key for info in found if not may_be_image(info.key)]
    return SourceListing("folder", "", tuple(images), (), tuple(others))


def list_ranzcr(table: bytes, objects: Iterable[ObjectInfo], table_uri: str) -> SourceListing:
    """The listing of RANZCR's layout; a row without its image is listed too, as missing."""
    columns = _columns(table)
    if _PATIENT_COLUMN not in columns:
        raise InvalidInput(
            f"{table_uri} has the column {_STUDY_COLUMN} and no column {_PATIENT_COLUMN}, without which"
            " patients cannot be held out; add it, or remove the table to treat each image as a patient",
            reason=Reason.DATASET_INVALID,
        )
    label_names = tuple(name for name in RANZCR_LABELS if name in columns)
    rows = {row[_STUDY_COLUMN]: row for row in _reader(table, table_uri)}
    images, others = [], []
    for info in objects:
        if not _is_file(info.key):
            continue
        if not may_be_image(info.key):
            others.append(info.key)
            continue
        # Not `stem` of a name without suffix: the UIDs are full of dots.
        study = info.key.removeprefix(_IMAGE_PREFIX).removesuffix(PurePosixPath(info.key).suffix)
        row = rows.pop(study, {})
        images.append(_ranzcr_image(info.key, info.size_bytes, row, label_names))
    for study, row in rows.items():
        images.append(_ranzcr_image(f"{_IMAGE_PREFIX}{study}.jpg", None, row, label_names))
    images.sort(key=lambda image: image.key)
    return SourceListing("ranzcr", _IMAGE_PREFIX, tuple(images), label_names, tuple(sorted(others)))


def may_be_image(key: str) -> bool:
    """Whether a file may be an image by its name: a known suffix, or none (DICOM's UIDs end in a number)."""
    suffix = PurePosixPath(key).suffix.lower()
    return suffix in _IMAGE_SUFFIXES or suffix[1:].isdigit() or (not suffix and "DICOMDIR" not in key)


def _is_file(key: str) -> bool:
    return not key.endswith("/") and not PurePosixPath(key).name.startswith(".")


def _ranzcr_image(
    key: str, size_bytes: int | None, row: dict[str, str], label_names: Sequence[str]
) -> SourceImage:
    labels = tuple(_label(row.get(name)) for name in label_names)
    return SourceImage(key, size_bytes, row.get(_PATIENT_COLUMN) or key, labels)


def _label(text: str | None) -> int | None:
    return {"0": 0, "1": 1, "0.0": 0, "1.0": 1}.get(text or "")


def _columns(table: bytes) -> list[str]:
    first_line = table.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()
    return next(csv.reader([first_line]), [])


def _reader(table: bytes, table_uri: str) -> "csv.DictReader[str]":
    try:
        return csv.DictReader(io.StringIO(table.decode("utf-8-sig")))
    except UnicodeDecodeError as broken:
        raise InvalidInput(
            f"{table_uri} is not UTF-8 text (byte {broken.start}); save it as UTF-8",
            reason=Reason.DATASET_INVALID,
        ) from broken

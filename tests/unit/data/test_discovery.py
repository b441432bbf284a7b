import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from synthray.data.discovery import RANZCR_LABELS, discover, may_be_image
from synthray.data.holdout import split_of
from synthray.data.index import Split
from synthray.errors import InvalidInput, Reason
from synthray.storage import ObjectStore

HEADER = "StudyInstanceUID," + ",".join(RANZCR_LABELS) + ",PatientID\n"


def row(study: str, patient: str, first_label: int = 0) -> str:
    return f"{study},{first_label}" + ",0" * (len(RANZCR_LABELS) - 1) + f",{patient}\n"


def test_ranzcrs_layout_gives_patients_and_labels(source: ObjectStore) -> None:
    source.write("train.csv", (HEADER + row("1.2.826.7", "p1", 1) + row("1.2.826.10", "p2")).encode())
    for study in ("1.2.826.10", "1.2.826.7"):
        source.write(f"train/{study}.jpg", b"image")
        source.write(f"test/{study}.jpg", b"a test image names no patient")
    source.write("train_tfrecords/00.tfrec", b"the same images again")
    listing = discover(source)
    assert listing.layout == "ranzcr"
    assert listing.label_names == RANZCR_LABELS
    assert [(image.key, image.patient, image.labels[0]) for image in listing.images] == [
        ("train/1.2.826.10.jpg", "p2", 0),
        ("train/1.2.826.7.jpg", "p1", 1),
    ]
    assert listing.other_files == ()


def test_a_row_without_its_image_and_an_image_without_its_row_are_listed(source: ObjectStore) -> None:
    source.write("train.csv", ("\ufeff" + HEADER + row("1.2.1", "p1")).encode())
    source.write("train/1.2.2.jpg", b"image")
    missing, untold = discover(source).images
    assert (missing.key, missing.size_bytes, missing.patient) == ("train/1.2.1.jpg", None, "p1")
    assert (untold.key, untold.size_bytes, untold.patient) == ("train/1.2.2.jpg", 5, "train/1.2.2.jpg")
    assert untold.labels == (None,) * len(RANZCR_LABELS)


def test_a_table_without_patients_is_refused(source: ObjectStore) -> None:
    source.write("train.csv", b"StudyInstanceUID,CVC - Normal\n1.2,0\n")
    source.write("train/1.2.jpg", b"image")
    with pytest.raises(InvalidInput) as refused:
        discover(source)
    assert refused.value.message == (
        f"{source.uri}/train.csv has the column StudyInstanceUID and no column PatientID, without which"
        " patients cannot be held out; add it, or remove the table to treat each image as a patient"
    )


def test_a_table_that_is_no_text_is_refused(source: ObjectStore) -> None:
    source.write("train.csv", HEADER.encode() + b"1.2,\xff\n")
    with pytest.raises(InvalidInput, match=re.escape("train.csv is not UTF-8 text (byte")):
        discover(source)


def test_a_folder_gives_what_may_be_images_at_any_depth_and_names_the_rest(source: ObjectStore) -> None:
    for key in ("b/scan.PNG", "a.jpg", "1.2.840.10008", "IM0001", "c/d/e.dcm"):
        source.write(key, b"image")
    for key in ("README.md", "train.csv", "DICOMDIR", ".DS_Store", "b/.hidden.jpg"):
        source.write(key, b"other")
    listing = discover(source)
    assert listing.layout == "folder"
    assert [image.key for image in listing.images] == [
        "1.2.840.10008",
        "IM0001",
        "a.jpg",
        "b/scan.PNG",
        "c/d/e.dcm",
    ]
    assert listing.other_files == ("DICOMDIR", "README.md", "train.csv")
    assert len({image.patient for image in listing.images}) == 5


@pytest.mark.parametrize("keys", [(), ("notes.txt",), (".hidden.jpg",)])
def test_a_source_without_images_is_refused(source: ObjectStore, keys: tuple[str, ...]) -> None:
    for key in keys:
        source.write(key, b"no image")
    with pytest.raises(InvalidInput) as refused:
        discover(source)
    assert refused.value.reason is Reason.DATASET_INVALID
    assert refused.value.message == (
        f"{source.uri} holds no images; name a folder or prefix with train/*.jpg and train.csv, or with JPEG,"
        " PNG, TIFF or DICOM files"
    )


def test_the_digest_of_a_listing_sees_names_sizes_and_patients(source: ObjectStore) -> None:
    source.write("a.jpg", b"one")
    first = discover(source).digest()
    assert discover(source).digest() == first
    source.write("a.jpg", b"longer")
    assert discover(source).digest() != first


@pytest.mark.parametrize(
    ("key", "is_image"), [("x.JPEG", True), ("x.12", True), ("x.csv", False), ("x", True)]
)
def test_names_tell_what_may_be_an_image(key: str, is_image: bool) -> None:
    assert may_be_image(key) is is_image


@given(st.text(max_size=20))
def test_a_patient_held_out_of_a_part_is_held_out_of_a_larger_part_too(patient: str) -> None:
    splits = [split_of(patient, holdout) for holdout in (0.0, 0.05, 0.2, 0.9)]
    assert splits[0] is Split.TRAIN
    assert sorted(splits, key=lambda split: split is Split.HOLDOUT) == splits


def test_the_share_of_patients_held_out_is_the_one_asked_for_and_never_changes() -> None:
    held_out = [number for number in range(10_000) if split_of(f"patient {number}", 0.05) is Split.HOLDOUT]
    assert 420 <= len(held_out) <= 580
    assert held_out[:5] == [15, 25, 27, 50, 81]

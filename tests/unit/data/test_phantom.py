"""The procedural data set: RANZCR's layout, a real set's nuisances, the same bytes for the same seed."""

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from synthray.data.discovery import RANZCR_LABELS
from synthray.data.phantom import draw_image, draw_study, plan_phantom, write_phantom_dataset
from synthray.errors import InvalidInput
from synthray.storage import open_store, s3_settings_from_environment


def _write(directory: Path, *, seed: int = 0, workers: int = 1, num_images: int = 6) -> dict[str, bytes]:
    store = open_store(str(directory), s3_settings_from_environment({}))
    write_phantom_dataset(store, num_images=num_images, size_px=96, seed=seed, workers=workers)
    return {info.key: store.read(info.key) for info in store.list()}


def _rows(files: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["train.csv"].decode())))


def test_writes_one_jpeg_per_row_of_train_csv(tmp_path: Path) -> None:
    files = _write(tmp_path)
    rows = _rows(files)
    assert list(rows[0]) == ["StudyInstanceUID", *RANZCR_LABELS, "PatientID"]
    assert set(files) == {
        "train.csv",
        "phantom.json",
        *(f"train/{row['StudyInstanceUID']}.jpg" for row in rows),
    }
    assert len(rows) == 6


def test_each_row_of_train_csv_has_the_labels_of_its_own_picture(tmp_path: Path) -> None:
    rows = {row["StudyInstanceUID"]: row for row in _rows(_write(tmp_path, num_images=8))}
    for image in plan_phantom(num_images=8, size_px=96, seed=0):
        labels = {label for label in RANZCR_LABELS if rows[image.uid][label] == "1"}
        assert labels == draw_study(image, 0)[0].labels
        assert rows[image.uid]["PatientID"] == image.patient_id


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    alone = _write(tmp_path / "alone", workers=1, num_images=18)
    together = _write(tmp_path / "together", workers=2, num_images=18)
    assert alone == together


def test_another_seed_makes_other_patients(tmp_path: Path) -> None:
    first, second = _write(tmp_path / "a", seed=1), _write(tmp_path / "b", seed=2)
    assert set(first) & set(second) == {"train.csv", "phantom.json"}
    assert not {row["PatientID"] for row in _rows(first)} & {row["PatientID"] for row in _rows(second)}


def test_what_is_there_already_is_not_drawn_again_and_never_mixed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), s3_settings_from_environment({}))
    first = write_phantom_dataset(store, num_images=2, size_px=96, seed=0, workers=1)
    drawn: list[tuple[int, int]] = []
    again = write_phantom_dataset(
        store, num_images=2, size_px=96, seed=0, workers=1, progress=lambda *state: drawn.append(state)
    )
    assert (again, drawn) == (first, [])
    with pytest.raises(InvalidInput, match="holds phantoms of other arguments"):
        write_phantom_dataset(store, num_images=2, size_px=96, seed=1, workers=1)


def test_the_report_counts_what_was_written_and_progress_reaches_the_end(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), s3_settings_from_environment({}))
    seen: list[tuple[int, int]] = []
    report = write_phantom_dataset(
        store,
        num_images=5,
        size_px=80,
        seed=3,
        workers=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(n, 5) for n in range(1, 6)]
    assert report.num_images == 5
    assert report.num_broken == 0
    assert report.written_bytes == sum(info.size_bytes for info in store.list("train/"))
    table = csv.DictReader(io.StringIO(store.read("train.csv").decode()))
    found = Counter(label for row in table for label in RANZCR_LABELS if row[label] == "1")
    assert report.label_counts == dict(found)


def test_the_plan_has_the_nuisances_of_a_real_set() -> None:
    images = plan_phantom(num_images=2000, size_px=1024, seed=0)
    assert len({image.uid for image in images}) == 2000
    assert all(image.uid.count(".") >= 8 and len(image.uid) <= 64 for image in images)
    sides = np.array([image.longer_side_px for image in images])
    assert 600 <= sides.min() < 650
    assert 1400 < sides.max() <= 1500
    assert Counter(image.breakage for image in images if image.breakage) == {
        "empty": 7,
        "truncated": 7,
        "text": 6,
    }
    assert 0.15 < np.mean([image.border for image in images]) < 0.25
    assert 0.05 < np.mean([image.three_channels for image in images]) < 0.11
    images_of = Counter(image.patient for image in images)
    assert 0.6 < np.mean([count == 1 for count in images_of.values()]) < 0.75
    assert max(images_of.values()) >= 8
    assert len({(image.patient, image.patient_id) for image in images}) == len(images_of)


def test_a_small_set_has_no_broken_files() -> None:
    assert all(image.breakage is None for image in plan_phantom(num_images=99, size_px=512, seed=0))


def test_broken_files_cannot_be_decoded_and_sound_ones_can() -> None:
    images = plan_phantom(num_images=400, size_px=96, seed=0)
    for image in [image for image in images if image.breakage]:
        with pytest.raises((UnidentifiedImageError, OSError)):
            Image.open(io.BytesIO(draw_image(image, 0)[0])).load()
    for image in images[:4]:
        decoded = Image.open(io.BytesIO(draw_image(image, 0)[0]))
        decoded.load()
        assert max(decoded.size) == image.longer_side_px
        assert decoded.format == "JPEG"
        assert decoded.mode == ("RGB" if image.three_channels else "L")


def test_images_of_one_patient_share_the_anatomy_and_differ_as_pictures() -> None:
    images = plan_phantom(num_images=60, size_px=96, seed=5)
    patient = Counter(image.patient for image in images).most_common(1)[0][0]
    first, second = [image for image in images if image.patient == patient][:2]
    body, other = draw_study(first, 5)[0].anatomy, draw_study(second, 5)[0].anatomy
    assert body.lung_half_width == other.lung_half_width
    assert body.carina_y == other.carina_y
    assert first.patient_id == second.patient_id
    assert (
        hashlib.sha256(draw_image(first, 5)[0]).digest() != hashlib.sha256(draw_image(second, 5)[0]).digest()
    )


@pytest.mark.parametrize(
    ("num_images", "size_px", "message"),
    [
        (0, 512, "--images=0 must be at least 1"),
        (5, 32, "--size=32 is too small to show a chest; use at least 64"),
    ],
)
def test_impossible_orders_are_refused(num_images: int, size_px: int, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_phantom(num_images=num_images, size_px=size_px, seed=0)
    assert refused.value.message == message

import io
import json
import logging
import re
import tarfile
from typing import Protocol

import numpy as np
import pydicom
import pytest
from PIL import Image

from synthray.data.arguments import allowed_bad_images
from synthray.data.dataset import Dataset, dataset_digest, read_dataset
from synthray.data.prepare import prepare
from synthray.data.production import PrepareProgress, TooManyBadImages
from synthray.data.skips import SkipReason
from synthray.errors import InvalidInput, NotFound, Reason, Unavailable, VerificationFailed
from synthray.storage import ObjectStore


class PrepareTiny(Protocol):
    def __call__(self, num_images: int = 12, **arguments: object) -> tuple[Dataset, ObjectStore]: ...


def shard_bytes_of(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.read(info.key) for info in store.list("shards/")}


class DyingStore:
    """A destination whose process dies at the given write: that write and all later ones never happen."""

    def __init__(self, store: ObjectStore, die_at_write: int) -> None:
        self._store = store
        self._writes_left = die_at_write
        self.uri = store.uri
        for name in ("read", "read_range", "read_ranges", "read_into", "list", "stat", "delete", "child"):
            setattr(self, name, getattr(store, name))

    def write(self, key: str, data: bytes) -> None:
        self._live()
        self._store.write(key, data)

    def create(self, key: str, data: bytes) -> None:
        self._live()
        self._store.create(key, data)

    def _live(self) -> None:
        if self._writes_left == 0:
            raise Unavailable("dead")
        self._writes_left -= 1


def test_shards_are_plain_tar_files_with_numbered_names(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    keys = []
    for shard in dataset.description.shards:
        with tarfile.open(fileobj=io.BytesIO(store.read(shard.path))) as tar:
            names = tar.getnames()
            member = tar.extractfile(names[1])
            assert member is not None
            assert json.load(member) == {"split": "train", "labels": {}}
        assert [name.rpartition(".")[2] for name in names] == ["jpg", "json"] * shard.num_samples
        keys += [name.partition(".")[0] for name in names[::2]]
    assert len(dataset.description.shards) > 2
    assert keys == [f"{number:09d}" for number in range(12)]


def test_the_index_finds_every_image_and_its_hash(prepare_tiny: PrepareTiny) -> None:
    dataset, store = prepare_tiny(12)
    table = dataset.train
    for sample in range(12):
        shard = store.read(dataset.description.shards[table.shard_number[sample]].path)
        jpeg = shard[table.offset[sample] : table.offset[sample] + table.length[sample]]
        with Image.open(io.BytesIO(jpeg)) as image:
            assert image.size == (16, 16)
    assert table.key.tolist() == list(range(12))
    assert table.group.tolist() == list(range(12))


def test_the_digest_names_the_content_and_not_place_or_day(
    source: ObjectStore, destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    dataset, _ = prepare_tiny(6)
    again = prepare(source, destination.child("again"), size_px=16, holdout=0, workers=1, shard_bytes=5_000)
    assert again.description.digest == dataset.digest
    one_shard = prepare(source, destination.child("one"), size_px=16, holdout=0, workers=1)
    assert one_shard.description.digest == dataset.digest
    assert len(one_shard.description.shards) == 1
    colour = prepare(source, destination.child("rgb"), size_px=16, channels=3, holdout=0, workers=1)
    assert colour.description.digest != dataset.digest


def test_the_digest_changes_with_one_sample_and_with_its_split() -> None:
    hashes = np.arange(64, dtype=np.uint8).reshape(2, 32)
    others = hashes.copy()
    others[1, 31] ^= 1
    digests = {
        dataset_digest(image_size_px=16, channels=1, splits=splits, sha256=sha256)
        for splits in (["train", "train"], ["train", "holdout"])
        for sha256 in (hashes, others)
    }
    assert len(digests) == 4


@pytest.mark.parametrize("die_at_write", range(13))
def test_killed_at_any_write_it_goes_on_and_ends_with_the_same_bytes(
    die_at_write: int, source: ObjectStore, destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    dataset, whole = prepare_tiny(10)
    second = destination.child("killed")
    arguments = {"size_px": 16, "holdout": 0.0, "workers": 1, "shard_bytes": 5_000}
    with pytest.raises(Unavailable):
        prepare(source, DyingStore(second, die_at_write), **arguments)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="its preparation has not ended"):
        read_dataset(second)
    finished = [info.key for info in second.list("unfinished/0")]
    decoded: list[int] = []
    report = prepare(source, second, progress=lambda at: decoded.append(at.num_done), **arguments)  # type: ignore[arg-type]
    assert report.num_resumed_shards == len(finished)
    assert len(decoded) == 10 - sum(shard.num_samples for shard in report.description.shards[: len(finished)])
    assert report.description.digest == dataset.digest
    assert shard_bytes_of(second) == shard_bytes_of(whole)
    assert second.read("index.parquet") == whole.read("index.parquet")
    assert not list(second.list("unfinished/"))


def test_a_shard_that_vanished_is_made_again(
    source: ObjectStore, destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    dataset, _ = prepare_tiny(10)
    second = destination.child("killed")
    arguments = {"size_px": 16, "holdout": 0.0, "workers": 1, "shard_bytes": 5_000}
    with pytest.raises(Unavailable):
        prepare(source, DyingStore(second, 6), **arguments)  # type: ignore[arg-type]
    second.delete(["shards/000001.tar"])
    report = prepare(source, second, **arguments)  # type: ignore[arg-type]
    assert report.num_resumed_shards == 1
    assert report.description.digest == dataset.digest


def test_a_complete_dataset_is_left_alone(
    source: ObjectStore, destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    dataset, store = prepare_tiny(6)
    before = {info.key: info.modified for info in store.list()}
    report = prepare(source, destination, size_px=16, holdout=0, workers=1)
    assert report.already_complete
    assert report.description == dataset.description
    assert {info.key: info.modified for info in store.list()} == before


def test_another_dataset_in_the_destination_is_never_overwritten(
    source: ObjectStore, destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    prepare_tiny(6)
    with pytest.raises(InvalidInput) as refused:
        prepare(source, destination, size_px=24, holdout=0, workers=1)
    assert refused.value.reason is Reason.PREFIX_IN_USE
    assert refused.value.message == (
        f"{destination.uri} holds a dataset already, of another source, size, channels or holdout (16 px,"
        " 1 channels, holdout 0); choose another destination, or delete that one"
    )
    unfinished = destination.child("unended")
    with pytest.raises(Unavailable):
        prepare(source, DyingStore(unfinished, 2), size_px=16, workers=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="holds an unfinished preparation of another source, size"):
        prepare(source, unfinished, size_px=24, workers=1)


def test_bad_images_are_listed_with_their_reasons_and_numbers_count_on(
    source: ObjectStore, prepare_tiny: PrepareTiny, caplog: pytest.LogCaptureFixture
) -> None:
    source.write("000-DOE-JANE.jpg", b"")
    source.write("005-ROE-RICHARD.png", b"this is text")
    source.write("notes.txt", b"no image by its name")
    with caplog.at_level(logging.DEBUG):
        dataset, store = prepare_tiny(10, max_bad=0.2)
    assert [(skipped.source_index, skipped.reason) for skipped in dataset.description.skipped] == [
        (0, "empty"),
        (6, "not-an-image"),
    ]
    assert len(dataset.train) == 10
    report = prepare(source, store, size_px=16, holdout=0, workers=1)
    assert [(skipped.source, skipped.reason) for skipped in report.skipped] == [
        ("000-DOE-JANE.jpg", SkipReason.EMPTY),
        ("005-ROE-RICHARD.png", SkipReason.NOT_AN_IMAGE),
        ("notes.txt", SkipReason.OTHER_FILE),
    ]
    assert "source image 0 left out: empty" in caplog.text
    written = caplog.text.encode() + b"".join(store.read(info.key) for info in store.list())
    assert b"DOE" not in written
    assert b"ROE" not in written


def test_too_many_bad_images_end_it_and_a_higher_limit_goes_on(
    source: ObjectStore, destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    for number in range(3):
        source.write(f"{number}-empty.jpg", b"")
    with pytest.raises(TooManyBadImages) as refused:
        prepare_tiny(10, max_bad=0.2)
    assert refused.value.reason is Reason.TOO_MANY_BAD_IMAGES
    assert refused.value.message == (
        "3 of 13 images are bad so far (3 empty), and 2 may be; mend or remove them, or raise --max-bad and"
        " repeat the command, which goes on after the last finished shard"
    )
    assert [skipped.source for skipped in refused.value.skipped] == [
        "0-empty.jpg",
        "1-empty.jpg",
        "2-empty.jpg",
    ]
    with pytest.raises(NotFound):
        read_dataset(destination)
    dataset, _ = prepare_tiny(10, max_bad=0.25)
    assert len(dataset.train) == 10


@pytest.mark.parametrize(
    ("num_images", "max_bad", "allowed"),
    [
        (1000, 0.05, 50),
        (20, 0.05, 1),
        (100, 0.29, 29),
        (10, 0.0, 0),
        (10, 1.0, 10),
        (30_000, None, 1500),
        (240, None, 12),
        (100, None, 12),
        (20, None, 2),
        (7, None, 0),
    ],
)
def test_the_share_of_bad_images_is_taken_to_the_letter_and_by_default_is_milder_for_few(
    num_images: int, max_bad: float | None, allowed: int
) -> None:
    assert allowed_bad_images(num_images, max_bad) == allowed


def test_patients_are_never_in_both_splits(source: ObjectStore, destination: ObjectStore) -> None:
    rng = np.random.default_rng(0)
    table = ["StudyInstanceUID,CVC - Normal,PatientID"]
    image = Image.fromarray(rng.integers(0, 255, (20, 20), np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    for number in range(40):
        source.write(f"train/1.2.{number:02d}.jpg", buffer.getvalue())
        table.append(f"1.2.{number:02d},{number % 2},patient-{number % 10}")
    source.write("train.csv", "\n".join(table).encode())
    prepare(source, destination, size_px=16, holdout=0.4, workers=1)
    dataset = read_dataset(destination)
    train, holdout = set(dataset.train.group.tolist()), set(dataset.holdout.group.tolist())
    assert train
    assert holdout
    assert not train & holdout
    assert dataset.description.num_groups == len(train | holdout) == 10
    assert dataset.description.labels == ("CVC - Normal",)
    everything = b"".join(destination.read(info.key) for info in destination.list())
    assert b"patient-" not in everything


def dicom_bytes(patient: str, seed: int) -> bytes:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"1.2.{seed}")
    dataset.PatientName, dataset.PatientID = f"NAME^OF-{patient}", patient
    dataset.Rows = dataset.Columns = 20
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.random.default_rng(seed).integers(0, 4096, (20, 20), np.uint16).tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_dicom_files_of_one_patient_stay_together_and_nothing_of_their_header_is_kept(
    source: ObjectStore, destination: ObjectStore
) -> None:
    for number in range(6):
        source.write(f"scans/IM{number:04d}", dicom_bytes(f"MRN-{number % 3}", number))
    report = prepare(source, destination, size_px=16, holdout=0.0, workers=1)
    assert report.skipped == ()
    assert read_dataset(destination).train.group.tolist() == [0, 1, 2, 0, 1, 2]
    everything = b"".join(destination.read(info.key) for info in destination.list())
    assert b"MRN-" not in everything
    assert b"NAME^" not in everything


def test_a_dataset_with_nothing_to_train_on_is_refused(
    source: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    with pytest.raises(InvalidInput, match="is left to train on, all are bad or held out"):
        prepare_tiny(3, holdout=0.999999)


def test_progress_is_told_after_each_image(prepare_tiny: PrepareTiny) -> None:
    seen: list[PrepareProgress] = []
    prepare_tiny(10, progress=seen.append)
    assert [progress.num_done for progress in seen] == list(range(1, 11))
    assert seen[-1].num_images == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_px": 500}, "--size=500 is not a multiple of 8 from 8 to 4096 px; use 496 or 504"),
        ({"size_px": 0}, "--size=0 is not a multiple of 8 from 8 to 4096 px; use 8"),
        ({"size_px": -64}, "--size=-64 is not a multiple of 8 from 8 to 4096 px; use 8"),
        ({"size_px": 9000}, "--size=9000 is not a multiple of 8 from 8 to 4096 px; use 4096"),
        ({"channels": 2}, "--channels=2 is neither 1 (grey) nor 3 (RGB); X-rays need 1"),
        (
            {"holdout": 1.0},
            "--holdout=1.0 is not a share from 0 to below 1; use the share of patients to hold out: 0.05",
        ),
        (
            {"max_bad": 5.0},
            "--max-bad=5.0 is not a share from 0 to 1; use the share of images that may be bad: 0.05",
        ),
        ({"workers": 0}, "--workers=0 is below 1; use the number of cores, or leave it out"),
    ],
)
def test_impossible_arguments_are_refused_with_a_remedy(
    source: ObjectStore, destination: ObjectStore, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        prepare(source, destination, **({"size_px": 64} | arguments))  # type: ignore[arg-type]
    assert refused.value.message == message


def test_a_destination_among_the_images_is_refused(source: ObjectStore) -> None:
    source.write("a.jpg", b"image")
    for destination in (source, source.child("deeper/prepared")):
        with pytest.raises(InvalidInput, match="lies among the images of the source"):
            prepare(source, destination, size_px=16)


def test_what_is_no_dataset_is_refused_with_the_remedy(
    destination: ObjectStore, prepare_tiny: PrepareTiny
) -> None:
    with pytest.raises(NotFound) as missing:
        read_dataset(destination)
    assert missing.value.message == (
        f"{destination.uri}/dataset.json does not exist: this is no prepared dataset, or its preparation has"
        f" not ended; run `synthray prepare SOURCE {destination.uri} --size 512`"
    )
    destination.write("dataset.json", b'{"format_version": 2}')
    with pytest.raises(InvalidInput, match="field 'format_version'"):
        read_dataset(destination)
    destination.delete(["dataset.json"])
    prepare_tiny(4)
    destination.write("index.parquet", b"PAR1")
    with pytest.raises(VerificationFailed, match=re.escape("index.parquet does not have the SHA-256")):
        read_dataset(destination)

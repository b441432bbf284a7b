"""Procedural chest X-rays in the layout of the RANZCR CLiP set, for demonstrations and tests.

No real pixels can be shipped, and a demo needs a data set with every nuisance of a real one: many sizes,
black borders, three equal channels, several images of a patient, broken files, labels that are true. Must not
import torch.
"""

import csv
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthray.data.discovery import RANZCR_LABELS
from synthray.data.phantom_anatomy import Anatomy, Pose, draw_anatomy, draw_pose
from synthray.data.phantom_devices import Device, decide_label, lay_devices
from synthray.data.phantom_render import render_chest
from synthray.errors import InvalidInput
from synthray.storage import ObjectStore

UID_ROOT = "1.2.826.0.1.3680043.8.498."
BROKEN_ONE_IN = 100
BREAKAGES = ("empty", "truncated", "text")
_DONE_KEY = "phantom.json"
_IMAGES_PER_TASK = 8
_TASKS_AHEAD_PER_WORKER = 3
_JPEG_QUALITY = 88
_PATIENT_STREAM, _IMAGE_STREAM, _PLAN_STREAM = range(3)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PhantomImage:
    """One row of train.csv and how to make its file; `breakage` is None for a sound one."""

    number: int
    uid: str
    patient: int
    patient_id: str
    longer_side_px: int
    border: bool
    three_channels: bool
    breakage: str | None


@dataclass(frozen=True)
class PhantomReport:
    """What was written; the broken files count among the images."""

    num_images: int
    num_patients: int
    num_broken: int
    written_bytes: int
    label_counts: dict[str, int]


@dataclass(frozen=True)
class Study:
    """What one image shows; anatomy and devices in cm, see `phantom_anatomy`."""

    anatomy: Anatomy
    pose: Pose
    devices: tuple[Device, ...]

    @property
    def labels(self) -> frozenset[str]:
        """Those of RANZCR's labels that hold for this picture."""
        return frozenset(decide_label(device, self.anatomy, self.pose) for device in self.devices)


def write_phantom_dataset(
    store: ObjectStore,
    *,
    num_images: int,
    size_px: int,
    seed: int,
    workers: int,
    progress: Progress | None = None,
) -> PhantomReport:
    """Write `train/<uid>.jpg` for each image, then `train.csv`, drawing in `workers` processes.

    The longer side of most images is 0.6-1.0 times `size_px`, of one in twelve up to 1.46 times; one image
    in a hundred is broken. With the same libraries, equal arguments write equal bytes for any `workers`.
    `progress` gets (images written, images in all). What is there already is not drawn again.
    """
    arguments = {"num_images": num_images, "size_px": size_px, "seed": seed}
    done = _read_done(store)
    if done is not None:
        if done["arguments"] != arguments:
            raise InvalidInput(
                f"{store.uri} holds phantoms of other arguments ({done['arguments']}); choose another DEST"
            )
        return PhantomReport(**done["report"])
    images = plan_phantom(**arguments)
    written_bytes, labels = 0, list[frozenset[str]]()
    for image, content, image_labels in _draw_all(images, seed=seed, workers=workers):
        store.write(f"train/{image.uid}.jpg", content)
        labels.append(image_labels)
        written_bytes += len(content)
        if progress is not None:
            progress(len(labels), num_images)
    store.write("train.csv", build_table(images, labels))
    report = PhantomReport(
        num_images=num_images,
        num_patients=len({image.patient for image in images}),
        num_broken=sum(image.breakage is not None for image in images),
        written_bytes=written_bytes,
        label_counts=dict(Counter(label for found in labels for label in sorted(found))),
    )
    store.write(_DONE_KEY, json.dumps({"arguments": arguments, "report": asdict(report)}).encode())
    return report


def _read_done(store: ObjectStore) -> dict[str, Any] | None:
    """What a finished call left, so that the same call again draws nothing."""
    if store.stat(_DONE_KEY) is None:
        return None
    document: dict[str, Any] = json.loads(store.read(_DONE_KEY))
    return document


def plan_phantom(*, num_images: int, size_px: int, seed: int) -> tuple[PhantomImage, ...]:
    """Who is pictured how often, in which size, and which files are broken: a function of its arguments."""
    if num_images < 1:
        raise InvalidInput(f"--images={num_images} must be at least 1")
    if size_px < 64:
        raise InvalidInput(f"--size={size_px} is too small to show a chest; use at least 64")
    rng = _generator(seed, _PLAN_STREAM, 0)
    breakages = _plan_breakages(rng, num_images)
    images: list[PhantomImage] = []
    for number, patient in enumerate(islice(_patients(rng), num_images)):
        large = rng.random() < 1 / 12
        ratio = rng.uniform(1.0, 1.46) if large else rng.uniform(0.6, 1.0)
        patient_bits = _generator(seed, _PATIENT_STREAM, patient).integers(2**36)
        images.append(
            PhantomImage(
                number=number,
                uid=UID_ROOT + "".join(map(str, rng.integers(1, 10, size=38))),
                patient=patient,
                patient_id=f"{int(patient_bits):09x}",
                longer_side_px=round(size_px * float(ratio)),
                border=bool(rng.random() < 0.2),
                three_channels=bool(rng.random() < 0.08),
                breakage=breakages.get(number),
            )
        )
    return tuple(images)


def draw_study(image: PhantomImage, seed: int) -> tuple[Study, np.random.Generator]:
    """The patient, view and devices of one image, and the generator that goes on to draw its grain."""
    rng = _generator(seed, _IMAGE_STREAM, image.number)
    pose = draw_pose(rng, longer_side_px=image.longer_side_px)
    anatomy = draw_anatomy(_generator(seed, _PATIENT_STREAM, image.patient)).inspired(pose.inspiration_cm)
    return Study(anatomy, pose, lay_devices(rng, anatomy, pose)), rng


def draw_image(image: PhantomImage, seed: int) -> tuple[bytes, frozenset[str]]:
    """One image's file content, broken where the plan says so, and its labels."""
    study, rng = draw_study(image, seed)
    pixels = render_chest(rng, study.anatomy, study.pose, study.devices)
    if image.border:
        pixels = _collimate(rng, pixels)
    picture = Image.fromarray(pixels)
    encoded = io.BytesIO()
    (picture.convert("RGB") if image.three_channels else picture).save(encoded, "JPEG", quality=_JPEG_QUALITY)
    return _broken(encoded.getvalue(), image.breakage), study.labels


def build_table(images: tuple[PhantomImage, ...], labels: list[frozenset[str]]) -> bytes:
    """train.csv: StudyInstanceUID, the eleven labels as 0 or 1, PatientID."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["StudyInstanceUID", *RANZCR_LABELS, "PatientID"])
    for image, found in zip(images, labels, strict=True):
        writer.writerow([image.uid, *(int(label in found) for label in RANZCR_LABELS), image.patient_id])
    return text.getvalue().encode()


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, stream, number))))


def _patients(rng: np.random.Generator) -> Iterator[int]:
    """Patient numbers, one per image: two thirds of the patients have one image, a few have many."""
    patient = 0
    while True:
        num_images = 1 if rng.random() < 0.67 else 1 + int(min(rng.geometric(0.3), 20))
        yield from [patient] * num_images
        patient += 1


def _plan_breakages(rng: np.random.Generator, num_images: int) -> dict[int, str]:
    chosen = rng.choice(num_images, size=num_images // BROKEN_ONE_IN, replace=False)
    return {int(number): BREAKAGES[i % len(BREAKAGES)] for i, number in enumerate(chosen)}


def _broken(content: bytes, breakage: str | None) -> bytes:
    match breakage:
        case "empty":
            return b""
        case "truncated":
            return content[: len(content) // 3]
        case "text":
            return b"<html><body>504 Gateway Timeout</body></html>\n"
        case _:
            return content


def _collimate(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Black bars: on two opposite sides (a scanner's padding) or all around (the collimator's blades)."""
    height, width = pixels.shape
    bars = rng.uniform(0.015, 0.075, size=4)
    sides = [(1, 1, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1)][int(rng.integers(3))]
    top, bottom, left, right = (bars * sides * (height, height, width, width)).astype(int)
    framed = np.zeros_like(pixels)
    inside = (slice(top, height - bottom), slice(left, width - right))
    framed[inside] = pixels[inside]
    return framed


def _draw_batch(images: tuple[PhantomImage, ...], seed: int) -> list[tuple[bytes, frozenset[str]]]:
    return [draw_image(image, seed) for image in images]


def _draw_all(
    images: tuple[PhantomImage, ...], *, seed: int, workers: int
) -> Iterator[tuple[PhantomImage, bytes, frozenset[str]]]:
    """Draw in plan order, a bounded number of tasks ahead of whoever consumes them."""
    tasks = [images[start : start + _IMAGES_PER_TASK] for start in range(0, len(images), _IMAGES_PER_TASK)]
    if workers <= 1 or len(tasks) == 1:
        for image in images:
            yield image, *draw_image(image, seed)
        return
    # spawn: a forked child would inherit the store's connections and threads.
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_die_with_parent,
    )
    try:
        waiting: deque[Future[list[tuple[bytes, frozenset[str]]]]] = deque()
        upcoming = iter(tasks)
        for task in tasks:
            ahead = workers * _TASKS_AHEAD_PER_WORKER - len(waiting)
            waiting += [pool.submit(_draw_batch, later, seed) for later in islice(upcoming, ahead)]
            for image, drawn in zip(task, waiting.popleft().result(), strict=True):
                yield image, *drawn
    finally:
        pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """End this process when its parent is gone, however that died, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)

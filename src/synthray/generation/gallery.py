"""The gallery: a run's previews as one static page that outlives the cluster.

Reads what the run has committed and the previews that lie beside it. The page lies either beside them, or
with copies of the pictures in another folder or bucket. What it says is `gallery_page`'s. This module must
not import torch.
"""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from synthray.checkpoints.identity import read_identity
from synthray.checkpoints.manifest import Manifest
from synthray.checkpoints.store import CheckpointStore
from synthray.errors import InvalidInput, NotFound
from synthray.generation.gallery_page import GalleryContent, Picture, build_page
from synthray.generation.loss_curve import EpochPoint, Fault
from synthray.generation.preview_names import PREVIEWS_PREFIX, PreviewName
from synthray.generation.receipts import read_png
from synthray.storage import ObjectStore

PAGE = "index.html"
PAGE_BESIDE_RUN = "gallery.html"
_PICTURES_PREFIX = "pictures/"
_COPIES_AT_ONCE = 8


@dataclass(frozen=True)
class GalleryReport:
    """What was written: the page's place, how many pictures, and previews that were left out, with why."""

    page_uri: str
    num_pictures: int
    left_out: tuple[str, ...]


def write_gallery(run: ObjectStore, destination: ObjectStore) -> GalleryReport:
    """Write the page of the run at `run` and copies of its previews; the page comes last.

    Raises NotFound where there is no run, InvalidInput for a destination that cannot be written, Unavailable.
    """
    identity = read_identity(run)
    if identity is None:
        raise NotFound(f"{run.uri} holds no run; name the prefix where its checkpoints are")
    content = _read_content(run, identity.run)
    copies = list(_copy_previews(run, destination))
    pictures = tuple(copy for copy in copies if isinstance(copy, Picture))
    destination.write(PAGE, build_page(replace(content, pictures=pictures)).encode())
    left_out = tuple(copy for copy in copies if isinstance(copy, str))
    return GalleryReport(f"{destination.uri}/{PAGE}", len(pictures), left_out)


def write_page_beside(run: ObjectStore, name: str) -> None:
    """Write the page of the run `name` beside its previews.

    It shows those of the epochs in the newest state's history. No preview is read but one, for the size that
    all share. Raises Unavailable, and InvalidInput for a preview that is none.
    """
    content = _read_content(run, name)
    epochs = {point.images_seen: point.epoch for point in content.history}
    previews = [preview for preview in _list_previews(run) if preview.images_seen in epochs]
    pictures: tuple[Picture, ...] = ()
    if previews:
        pixels, _ = read_png(run.read(previews[-1].picture_key), previews[-1].picture_key)
        height_px, width_px = pixels.shape[:2]
        pictures = tuple(
            Picture(
                images_seen=preview.images_seen,
                epoch=epochs[preview.images_seen],
                weights=preview.weights,
                seed=preview.seed,
                path=preview.picture_key,
                width_px=width_px,
                height_px=height_px,
            )
            for preview in previews
        )
    run.write(PAGE_BESIDE_RUN, build_page(replace(content, pictures=pictures)).encode())


def _read_content(run: ObjectStore, name: str) -> GalleryContent:
    """All but the pictures."""
    newest = _newest_manifest(run)
    history, faults = read_ledger(newest.ledger if newest else {})
    return GalleryContent(
        run=name,
        epoch=newest.epoch if newest else 0,
        images_seen=newest.images_seen if newest else 0,
        history=history,
        faults=faults,
        pictures=(),
    )


def _newest_manifest(run: ObjectStore) -> Manifest | None:
    """The newest state on the accepted chain, or the newest model where states are gone."""
    checkpoints = CheckpointStore(run)
    manifests = [*checkpoints.list_models(), *checkpoints.list_states()]
    return max(manifests, key=lambda manifest: (manifest.name, manifest.kind == "state"), default=None)


def read_ledger(ledger: Mapping[str, Any]) -> tuple[tuple[EpochPoint, ...], tuple[Fault, ...]]:
    """The history and the faults in a manifest's ledger; an entry that cannot be read is left out."""
    return tuple(_read_history(ledger.get("history"))), tuple(_read_faults(ledger.get("faults")))


def _read_history(records: object) -> Iterator[EpochPoint]:
    for record in _mappings(records):
        epoch, images_seen = record.get("epoch"), record.get("images_seen")
        if isinstance(epoch, int) and isinstance(images_seen, int):
            loss, validation_loss = record.get("loss"), record.get("validation_loss")
            yield EpochPoint(epoch, images_seen, _positive(loss), _positive(validation_loss))


def _read_faults(records: object) -> Iterator[Fault]:
    for record in _mappings(records):
        if isinstance(record.get("images_seen"), int):
            yield Fault(record["images_seen"], str(record.get("kind", "")), str(record.get("message", "")))


def _mappings(records: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(records, list):
        yield from (record for record in records if isinstance(record, Mapping))


def _positive(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None


def _copy_previews(run: ObjectStore, destination: ObjectStore) -> Iterator[Picture | str]:
    """Each preview's copy, or why it has none, in the order of their keys."""
    with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
        yield from pool.map(lambda name: _copy_preview(run, destination, name), _list_previews(run))


def _list_previews(run: ObjectStore) -> list[PreviewName]:
    """All, in the order of their keys."""
    return [name for info in run.list(PREVIEWS_PREFIX) if (name := PreviewName.parse(info.key)) is not None]


def _copy_preview(run: ObjectStore, destination: ObjectStore, name: PreviewName) -> Picture | str:
    path = _PICTURES_PREFIX + name.picture_key.removeprefix(PREVIEWS_PREFIX)
    data = run.read(name.picture_key)
    try:
        pixels, receipt = read_png(data, f"{run.uri}/{name.picture_key}")
    except InvalidInput as error:
        return error.message
    destination.write(path, data)
    return Picture(
        images_seen=name.images_seen,
        epoch=receipt.preview.epoch if receipt.preview else 0,
        weights=name.weights,
        seed=name.seed,
        path=path,
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
    )

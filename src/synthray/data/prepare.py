"""`synthray prepare`: a source of images -> a dataset of shards, by all cores, in steps that no kill undoes.

Everything is decided by the source and the arguments: the same images give the same shards and the same
digest on any number of cores, in one go or in ten. It must not know the command line.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from synthray.data.arguments import allowed_bad_images, check_arguments, refuse_nesting
from synthray.data.commit import commit_dataset
from synthray.data.dataset import DESCRIPTION_KEY, DatasetDescription, SourceRecord, read_description
from synthray.data.decode_pool import ImageDecoder
from synthray.data.discovery import SourceListing, discover
from synthray.data.index import Split
from synthray.data.production import PrepareProgress, Production, list_skipped
from synthray.data.shards import SHARD_BYTES
from synthray.data.skips import SkippedImage
from synthray.data.unfinished import PreparePlan, begin_or_continue, sweep_unfinished
from synthray.errors import InvalidInput, Reason
from synthray.storage import ObjectStore


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did; `num_resumed_shards` were finished before it began."""

    description: DatasetDescription
    skipped: tuple[SkippedImage, ...]
    num_resumed_shards: int
    already_complete: bool


def prepare(
    source: ObjectStore,
    destination: ObjectStore,
    *,
    size_px: int,
    channels: int = 1,
    holdout: float = 0.05,
    max_bad: float | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[PrepareProgress], None] | None = None,
) -> PrepareReport:
    """Prepare a dataset, or go on where a killed preparation stopped, or say that it is complete already.

    Raises InvalidInput for arguments, for a source without images and for a destination that holds something
    else, TooManyBadImages (`max_bad`: see `allowed_bad_images`), Unavailable. `progress` is called after each
    image, in this thread.
    """
    check_arguments(size_px=size_px, channels=channels, holdout=holdout, max_bad=max_bad, workers=workers)
    listing = discover(source)
    refuse_nesting(destination.uri, f"{source.uri}/{listing.image_prefix}".rstrip("/"))
    wanted = PreparePlan(
        listing_sha256=listing.digest(),
        size_px=size_px,
        channels=channels,
        holdout=holdout,
        shard_bytes=shard_bytes,
    )
    if destination.stat(DESCRIPTION_KEY):
        return _report_complete(destination, wanted, listing)
    plan = begin_or_continue(destination, wanted)
    production = Production(
        destination,
        listing,
        plan,
        allowed_bad=allowed_bad_images(len(listing.images), max_bad),
        progress=progress or (lambda _progress: None),
    )
    production.run(ImageDecoder(source, size_px, channels), workers=workers or len(os.sched_getaffinity(0)))
    description = _commit(destination, source.uri, listing, plan, production)
    sweep_unfinished(destination)
    skipped = list_skipped(description.skipped, listing)
    return PrepareReport(description, skipped, production.num_resumed_shards, already_complete=False)


def _commit(
    destination: ObjectStore,
    source_uri: str,
    listing: SourceListing,
    plan: PreparePlan,
    production: Production,
) -> DatasetDescription:
    if not any(sample.split == Split.TRAIN for part in production.parts for sample in part.samples):
        raise InvalidInput(
            f"no image of {source_uri} is left to train on, all are bad or held out; add images, or lower"
            f" --holdout={plan.holdout:g}",
            reason=Reason.DATASET_INVALID,
        )
    return commit_dataset(
        destination,
        production.parts,
        source=SourceRecord(
            uri=source_uri,
            layout=listing.layout,
            num_images=len(listing.images),
            listing_sha256=plan.listing_sha256,
        ),
        label_names=listing.label_names,
        size_px=plan.size_px,
        channels=plan.channels,
        holdout=plan.holdout,
        late_skipped=production.late_skipped,
    )


def _report_complete(destination: ObjectStore, wanted: PreparePlan, listing: SourceListing) -> PrepareReport:
    description = read_description(destination)
    standing = PreparePlan(
        listing_sha256=description.source.listing_sha256,
        size_px=description.image_size_px,
        channels=description.channels,
        holdout=description.holdout,
        shard_bytes=wanted.shard_bytes,
    )
    if standing != wanted:
        raise InvalidInput(
            f"{destination.uri} holds a dataset already, of another source, size, channels or holdout"
            f" ({description.image_size_px} px, {description.channels} channels, holdout"
            f" {description.holdout:g}); choose another destination, or delete that one",
            reason=Reason.PREFIX_IN_USE,
        )
    sweep_unfinished(destination)
    skipped = list_skipped(description.skipped, listing)
    return PrepareReport(description, skipped, len(description.shards), already_complete=True)

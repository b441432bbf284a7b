"""The work of one preparation: decode, pack, upload, count what is bad, going on after the finished shards.

It must not know the command line, nor write `dataset.json`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from synthray.data.dataset import SkippedRecord
from synthray.data.decode_pool import ImageDecoder, decode_in_order
from synthray.data.discovery import SourceListing
from synthray.data.packing import PackedShard, ShardPacker, ShardPart
from synthray.data.skips import SkippedImage, SkipReason, Undecodable
from synthray.data.unfinished import PreparePlan, read_parts, write_shard
from synthray.errors import InvalidInput, Reason
from synthray.storage import ObjectStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareProgress:
    """Where a preparation stands; `num_done` includes the images of an earlier, killed one."""

    num_done: int
    num_images: int
    num_shards: int
    num_skipped: int


class TooManyBadImages(InvalidInput):
    """More images are bad than may be; `skipped` lists those found so far."""

    default_reason = Reason.TOO_MANY_BAD_IMAGES

    def __init__(self, message: str, skipped: tuple[SkippedImage, ...] = ()) -> None:
        super().__init__(message)
        self.skipped = skipped


class Production:
    """One run over a source; `parts` grows by a part per shard, `late_skipped` came after the last one."""

    def __init__(
        self,
        destination: ObjectStore,
        listing: SourceListing,
        plan: PreparePlan,
        *,
        allowed_bad: int,
        progress: Callable[[PrepareProgress], None],
    ) -> None:
        self._destination = destination
        self._listing = listing
        self._allowed_bad = allowed_bad
        self._progress = progress
        self.parts: list[ShardPart] = read_parts(destination)
        self.num_resumed_shards = len(self.parts)
        self._skipped = [record for part in self.parts for record in part.skipped]
        self._packer = ShardPacker(
            label_names=listing.label_names,
            holdout=plan.holdout,
            shard_bytes=plan.shard_bytes,
            salt=plan.salt,
            number=len(self.parts),
            next_sample=sum(part.shard.num_samples for part in self.parts),
            source_start=self.parts[-1].source_end if self.parts else 0,
        )

    @property
    def late_skipped(self) -> list[SkippedRecord]:
        """What was skipped after the last shard."""
        return self._packer.skipped

    def run(self, decoder: ImageDecoder, *, workers: int) -> None:
        """Do what is left; raises TooManyBadImages as soon as there are."""
        if self.parts:
            logger.info("going on after %d finished shards", len(self.parts))
        self._check_bad()
        upload: Future[None] | None = None
        # One upload runs beside the decoding of the next shard; more would only hold more memory.
        with (
            ThreadPoolExecutor(1, thread_name_prefix="synthray-upload") as uploader,
            closing(self._packed_shards(decoder, workers)) as packed_shards,
        ):
            for packed in packed_shards:
                if upload is not None:
                    upload.result()
                upload = uploader.submit(write_shard, self._destination, packed)
                self.parts.append(packed.part)
            if upload is not None:
                upload.result()

    def _packed_shards(self, decoder: ImageDecoder, workers: int) -> Generator[PackedShard, None, None]:
        start, images = self._packer.source_start, self._listing.images
        with closing(decode_in_order(decoder, images[start:], workers=workers)) as outcomes:
            for index, outcome in enumerate(outcomes, start):
                packed = self._packer.add(index, images[index], outcome)
                if isinstance(outcome, Undecodable):
                    self._count_skipped(self._packer.skipped[-1])
                if packed is not None:
                    yield packed
                self._progress(
                    PrepareProgress(index + 1, len(images), self._packer.number, len(self._skipped))
                )
        last = self._packer.finish(len(images))
        if last is not None:
            yield last

    def _count_skipped(self, record: SkippedRecord) -> None:
        logger.warning("source image %d left out: %s (%s)", record.source_index, record.reason, record.detail)
        self._skipped.append(record)
        self._check_bad()

    def _check_bad(self) -> None:
        num_bad, num_images = len(self._skipped), len(self._listing.images)
        if num_bad <= self._allowed_bad:
            return
        counts = Counter(record.reason for record in self._skipped)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        raise TooManyBadImages(
            f"{num_bad} of {num_images} images are bad so far ({kinds}), and {self._allowed_bad} may be;"
            " mend or remove them, or raise --max-bad and repeat the command, which goes on after the last"
            " finished shard",
            list_skipped(self._skipped, self._listing),
        )


def list_skipped(records: Sequence[SkippedRecord], listing: SourceListing) -> tuple[SkippedImage, ...]:
    """The skipped images with their keys in the source, and the files that are no images by their name."""
    skipped = [
        SkippedImage(
            record.source_index,
            listing.images[record.source_index].key,
            SkipReason(record.reason),
            record.detail,
        )
        for record in records
    ]
    others = [
        SkippedImage(None, key, SkipReason.OTHER_FILE, "by its name no image: not read")
        for key in listing.other_files
    ]
    return (*skipped, *others)

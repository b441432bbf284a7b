"""All cores at work: chunks of source images go to processes, outcomes come back in the source's order.

Processes and not threads, because a decoder fed with hostile bytes may take its process along, and because a
fifth of the work or more holds the interpreter's lock (measured), so threads would keep five cores busy at
most; `spawn`, because storage's client does not survive a fork. Within a process a few threads read ahead of
the decoder. It must not pack.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from threading import Thread

from synthray.data.decoding import MAX_FILE_BYTES, PreparedImage, prepare_image
from synthray.data.discovery import SourceImage
from synthray.data.skips import SkipReason, Undecodable
from synthray.errors import NotFound, Reason, Unavailable
from synthray.storage import ObjectStore

Outcome = PreparedImage | Undecodable

_CHUNK_IMAGES = 16
_CHUNK_BYTES = 32 * 2**20
_READ_THREADS = 4


@dataclass(frozen=True)
class ImageDecoder:
    """Reads images from a source and prepares them; goes to other processes by pickling."""

    source: ObjectStore
    size_px: int
    channels: int

    def outcomes(self, images: Sequence[SourceImage]) -> list[Outcome]:
        """The outcome of each image, in order."""
        with ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="synthray-read") as readers:
            return [self._outcome(data) for data in readers.map(self._read, images)]

    def _read(self, image: SourceImage) -> bytes | Undecodable:
        if image.size_bytes is None:
            return Undecodable(SkipReason.MISSING, "in train.csv, and no such file")
        if image.size_bytes > MAX_FILE_BYTES:
            return Undecodable(
                SkipReason.TOO_LARGE, f"{image.size_bytes} bytes; at most {MAX_FILE_BYTES} are read"
            )
        try:
            return self.source.read(image.key)
        except NotFound:
            return Undecodable(SkipReason.MISSING, "it vanished while the source was being read")

    def _outcome(self, data: bytes | Undecodable) -> Outcome:
        if isinstance(data, Undecodable):
            return data
        try:
            return prepare_image(data, size_px=self.size_px, channels=self.channels)
        except Undecodable as undecodable:
            return Undecodable(undecodable.reason, undecodable.detail)  # without the traceback's frames


def plan_chunks(images: Iterable[SourceImage]) -> Iterator[list[SourceImage]]:
    """Cut images into chunks that bound what one process holds in memory."""
    chunk: list[SourceImage] = []
    chunk_bytes = 0
    for image in images:
        chunk.append(image)
        chunk_bytes += image.size_bytes or 0
        if len(chunk) >= _CHUNK_IMAGES or chunk_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, chunk_bytes = [], 0
    if chunk:
        yield chunk


def decode_in_order(
    decoder: ImageDecoder, images: Sequence[SourceImage], *, workers: int
) -> Generator[Outcome, None, None]:
    """Yield the outcome of each image, in order; closing the generator ends the processes.

    One worker means this process. Raises Unavailable if a process dies.
    """
    if workers == 1:
        for chunk in plan_chunks(images):
            yield from decoder.outcomes(chunk)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_process
    )
    pending: deque[Future[list[Outcome]]] = deque()
    try:
        for chunk in plan_chunks(images):
            pending.append(pool.submit(decoder.outcomes, chunk))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as broken:
        raise Unavailable(
            "a decoding process was killed, probably for lack of memory; repeat the command, which goes on"
            " after the last finished shard, with more memory or fewer workers",
            reason=Reason.OUT_OF_MEMORY,
        ) from broken
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_process() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

"""The background fetch of shards into the node's cache.

Every process of a node runs one; the cache's reservations make them share the work, so each shard is fetched
once per node, and take over from one that dies. Trouble with storage or disk never reaches training: reads go
on by range. It must not read samples.
"""

import hashlib
import logging
from collections.abc import Sequence
from threading import Event, Thread

from synthray.data.cache import DatasetCache, Refusal, Reservation
from synthray.data.dataset import ShardRecord
from synthray.errors import SynthrayError
from synthray.storage import ObjectStore

logger = logging.getLogger(__name__)

# Another process is fetching: look again soon, because it may die.
_BUSY_POLL_SECONDS = 0.5
# Storage fails: it has retried for its own deadline already.
_TROUBLE_POLL_SECONDS = 15.0
# A fetch in flight ends with storage's deadline; the process's end does not wait for it.
_STOP_SECONDS = 5.0


class CacheFill:
    """One daemon thread that fills the cache, then sleeps until a shard is dropped or the reader closes."""

    def __init__(self, cache: DatasetCache, store: ObjectStore, shards: Sequence[ShardRecord]) -> None:
        self._cache = cache
        self._store = store
        self._shards = shards
        self._stopping = Event()
        self._wake = Event()
        self._idle = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="synthray-cache-fill", daemon=True)
            self._thread.start()

    def again(self) -> None:
        """A shard was dropped: fetch it anew."""
        self._wake.set()
        self._idle.clear()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until nothing is left to fetch (all cached, or the bound reached); False after the timeout."""
        return self._idle.wait(timeout_seconds)

    def stop(self) -> None:
        """Stop after the shard in flight."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            pause_seconds = self._pass()
            if pause_seconds is None:
                self._idle.set()
                if self._wake.is_set():  # `again` came in between
                    self._idle.clear()
            self._wake.wait(pause_seconds)

    def _pass(self) -> float | None:
        """Fetch what can be fetched; returns when to look again, None if nothing is left to do."""
        busy = False
        for number, shard in enumerate(self._shards):
            if self._stopping.is_set():
                return None
            if self._cache.contains(shard.sha256):
                continue
            try:
                reservation = self._cache.reserve(shard.sha256, shard.bytes)
                if isinstance(reservation, Reservation):
                    self._fetch(shard, reservation)
                busy = busy or reservation is Refusal.BUSY
            except SynthrayError as trouble:
                logger.warning(
                    "shard %d is not cached yet, its samples are read by range: %s", number, trouble
                )
                return _TROUBLE_POLL_SECONDS
            except OSError as refused:
                logger.warning(
                    "the cache takes no more (%s): the rest is read from storage by range", refused
                )
                return None
        return _BUSY_POLL_SECONDS if busy else None

    def _fetch(self, shard: ShardRecord, reservation: Reservation) -> None:
        committed = False
        try:
            buffer = bytearray(shard.bytes)
            self._store.read_into(shard.path, memoryview(buffer))
            if hashlib.sha256(buffer).hexdigest() != shard.sha256:
                # Its intact samples are still usable by range; only the damaged ones will be called bad.
                logger.warning("%s has the wrong SHA-256: it is not cached", shard.path)
                return
            committed = True
            reservation.commit(memoryview(buffer))
        finally:
            if not committed:
                reservation.abandon()

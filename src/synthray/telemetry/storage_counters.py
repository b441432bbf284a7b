"""Counts of what this process asked of its object store.

The counts are plain numbers of one process: workers send them to their driver, which alone speaks to
Prometheus, so that series neither vanish nor change when a worker restarts.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StorageCounts:
    """A snapshot: requests by (operation, outcome), bytes read and retries since the process began."""

    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    read_bytes: int = 0
    retries: int = 0

    def __add__(self, other: "StorageCounts") -> "StorageCounts":
        return StorageCounts(
            dict(Counter(self.requests) + Counter(other.requests)),
            self.read_bytes + other.read_bytes,
            self.retries + other.retries,
        )


class StorageCounters:
    """Thread-safe running totals; one instance, `STORAGE_COUNTERS`, serves the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._read_bytes = 0
        self._retries = 0

    def count_request(self, operation: str, outcome: str, *, read_bytes: int = 0) -> None:
        """Count one finished request.

        `operation` is get, put, create, list, head or delete; `outcome` is ok or error.
        """
        with self._lock:
            self._requests[operation, outcome] += 1
            self._read_bytes += read_bytes

    def count_retry(self) -> None:
        """Count one request that is sent again after a passing failure."""
        with self._lock:
            self._retries += 1

    def snapshot(self) -> StorageCounts:
        """The totals so far."""
        with self._lock:
            return StorageCounts(dict(self._requests), self._read_bytes, self._retries)


STORAGE_COUNTERS = StorageCounters()

"""Large objects read straight to where they belong, hashed beside the reading of what follows.

Windows are fetched ahead by parallel ranges while the one before them is hashed, so that a state is there
and verified as soon as the slower of the two is done. It must not import NumPy: the uploader verifies too.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from synthray.storage import ObjectStore

_WINDOW_BYTES = 64 * 2**20
_AHEAD_IN_PLACE = 3
_AHEAD_IN_RING = 1  # windows that a ring of memory holds beside the one that is being hashed


def read_hashed(store: ObjectStore, key: str, buffer: memoryview) -> str:
    """Fill a writable buffer of exactly the object's size and return the SHA-256 of what is in it.

    Raises NotFound, and VerificationFailed for an object of another size.
    """
    return _hash_windows(store, key, len(buffer), lambda start, end: buffer[start:end], _AHEAD_IN_PLACE)


def digest_object(store: ObjectStore, key: str, size_bytes: int) -> str:
    """The SHA-256 of an object of `size_bytes`, read through two windows of memory; errors as above."""
    ring_bytes = (1 + _AHEAD_IN_RING) * _WINDOW_BYTES
    ring = memoryview(bytearray(min(size_bytes, ring_bytes)))

    def place(start: int, end: int) -> memoryview:
        return ring[start % ring_bytes : start % ring_bytes + end - start]

    return _hash_windows(store, key, size_bytes, place, _AHEAD_IN_RING)


def _hash_windows(
    store: ObjectStore, key: str, size_bytes: int, place: Callable[[int, int], memoryview], ahead: int
) -> str:
    """Fetch each window [start, end) into `place(start, end)`, `ahead` windows before it is hashed."""

    def fetch(start: int) -> memoryview:
        window = place(start, min(start + _WINDOW_BYTES, size_bytes))
        store.read_into(key, window, start=start, size_bytes=size_bytes)
        return window

    digest = hashlib.sha256()
    if size_bytes <= _WINDOW_BYTES:
        digest.update(fetch(0))
        return digest.hexdigest()
    starts = iter(range(0, size_bytes, _WINDOW_BYTES))
    with ThreadPoolExecutor(ahead, thread_name_prefix="read-window") as fetchers:
        coming = deque(fetchers.submit(fetch, start) for start in islice(starts, ahead))
        while coming:
            window = coming.popleft().result()
            coming.extend(fetchers.submit(fetch, start) for start in islice(starts, 1))
            digest.update(window)
    return digest.hexdigest()

"""A queue of keys: each key at most once, never in two hands at the same time, some only after a while."""

import heapq
import threading
import time
from typing import Generic, TypeVar

_Key = TypeVar("_Key")


class WorkQueue(Generic[_Key]):
    """Level-triggered work: what counts is that a key is looked at after its last change, not how often."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._due: dict[_Key, float] = {}
        self._heap: list[tuple[float, int, _Key]] = []
        self._count = 0
        self._in_hand: set[_Key] = set()

    def add(self, key: _Key, delay_seconds: float = 0.0) -> None:
        """Have a key looked at after a delay, or sooner if it is due sooner already."""
        due = time.monotonic() + max(0.0, delay_seconds)
        with self._condition:
            if self._due.get(key, due + 1.0) <= due:
                return
            self._due[key] = due
            self._push(key, due)
            self._condition.notify()

    def take(self, timeout_seconds: float) -> _Key | None:
        """A key that is due and in nobody's hand, None if there is none in time. Give it back by `done`."""
        end = time.monotonic() + timeout_seconds
        with self._condition:
            while True:
                now = time.monotonic()
                waited_for = end
                while self._heap:
                    due, _, key = self._heap[0]
                    if self._due.get(key) != due or key in self._in_hand:
                        # Overtaken by an earlier time, or looked at again once it is given back.
                        heapq.heappop(self._heap)
                        continue
                    if due > now:
                        waited_for = min(end, due)
                        break
                    heapq.heappop(self._heap)
                    del self._due[key]
                    self._in_hand.add(key)
                    return key
                if now >= end:
                    return None
                self._condition.wait(waited_for - now)

    def done(self, key: _Key) -> None:
        """Give a key back; if it was added meanwhile it is due again."""
        with self._condition:
            self._in_hand.discard(key)
            if key in self._due:
                self._push(key, self._due[key])
                self._condition.notify()

    def __len__(self) -> int:
        with self._condition:
            now = time.monotonic()
            return sum(due <= now for due in self._due.values())

    def _push(self, key: _Key, due: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, key))

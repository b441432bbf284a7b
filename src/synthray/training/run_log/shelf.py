"""Puts the pieces of one process's log into the bucket, merges small ones and keeps the whole in bounds.

It writes and deletes under its own attempt alone, so that one that was fenced off and does not know it yet
harms nobody's log. Every step may fail and is done again by the next call. It must not import torch.
"""

from synthray.storage import ObjectExists, ObjectStore
from synthray.training.run_log.chunks import LogBounds, LogChunk, attempt_folder, list_chunks, plan_rotation
from synthray.training.run_log.lines import LogPlace


class LogShelf:
    """The log of one process in one attempt."""

    def __init__(self, store: ObjectStore, place: LogPlace, bounds: LogBounds) -> None:
        self.store = store
        self._place = place
        self._bounds = bounds
        self._next = 1
        self._whole: list[LogChunk] = []
        self._open: list[LogChunk] = []
        self._open_text = b""
        self._doomed: list[str] = []

    def add(self, text: bytes) -> None:
        """Store a piece; raises what a store raises, and then may have stored it all the same."""
        while True:
            chunk = LogChunk(self._place, self._next, self._next, len(text))
            try:
                self.store.create(chunk.key, text)
            except ObjectExists:
                # A try whose answer was lost, or another process of this name; neither is overwritten.
                if self.store.read(chunk.key) != text:
                    self._next = self._find_last() + 1
                    continue
            break
        self._next += 1
        self._open.append(chunk)
        self._open_text += text

    def tidy(self) -> None:
        """Merge and rotate, if it is time; raises what a store raises."""
        is_full = len(self._open_text) >= self._bounds.merged_bytes
        if is_full or len(self._open) >= self._bounds.merged_chunks:
            self._merge()
        if is_full:
            self._whole += self._open
            self._open, self._open_text = [], b""
        gone = plan_rotation([*self._whole, *self._open], self._bounds.stored_bytes)
        self._whole = [chunk for chunk in self._whole if chunk not in gone]
        # What is still open stays until it is merged.
        self._doomed += [chunk.key for chunk in gone if chunk not in self._open]
        if self._doomed:
            self.store.delete(self._doomed)
            self._doomed = []

    def _merge(self) -> None:
        if len(self._open) < 2:
            return
        merged = LogChunk(self._place, self._open[0].first, self._open[-1].last, len(self._open_text))
        self.store.write(merged.key, self._open_text)
        self._doomed += [chunk.key for chunk in self._open]
        self._open = [merged]

    def _find_last(self) -> int:
        there = list_chunks(self.store.list(f"{attempt_folder(self._place.attempt)}{self._place.process}-"))
        mine = (chunk for chunks in there.values() for chunk in chunks if chunk.place == self._place)
        return max((chunk.last for chunk in mine), default=self._next)

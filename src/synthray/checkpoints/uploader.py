"""The process that hashes, uploads and commits, beside training and without its GIL.

Started by `saver.Saver` as `python -m synthray.checkpoints.uploader`. It inherits the host buffer as an open
descriptor, reads orders as JSON lines from standard input (settings too: nothing secret is ever on a command
line) and answers each with one line on standard output. It must not import torch or NumPy: it stays small.

It ends when its input ends or its parent dies, whichever is noticed first, and ignores Ctrl-C and SIGTERM:
those ask the trainer to stop, which then still needs it for the last save.
"""

import mmap
import os
import select
import signal
import sys
import threading
from collections.abc import Mapping

from synthray.checkpoints.commit import Committer
from synthray.checkpoints.requests import (
    OPENING,
    SAVE_ANSWER,
    SAVE_ORDER,
    CommitReport,
    Opening,
    SaveAnswer,
    SaveOrder,
)
from synthray.checkpoints.retention import RetentionMemory, apply_retention, discard_unfinished
from synthray.errors import SynthrayError
from synthray.storage import ObjectStore, open_store
from synthray.telemetry.storage_counters import STORAGE_COUNTERS, StorageCounts


class Uploader:
    """Turns orders into answers; opens the store with the first, so that a failure to open answers it."""

    def __init__(self, opening: Opening, buffer: memoryview) -> None:
        self._opening = opening
        self._tensors: Mapping[str, memoryview] = {
            part: buffer[start : start + size] for part, (start, size) in opening.regions.items()
        }
        self._committer: Committer | None = None
        self._store: ObjectStore | None = None
        self._memory = RetentionMemory()
        self._swept = False

    def answer(self, order: SaveOrder) -> SaveAnswer:
        """Save, then make room; a failure to make room doesn't fail the save."""
        before = STORAGE_COUNTERS.snapshot()
        try:
            report = self._save(order)
        except SynthrayError as error:
            failed = SaveAnswer(
                error_class=type(error).__name__, error_reason=error.reason, error_message=error.message
            )
            return _with_counts(failed, before)
        deleted, problem = self._make_room()
        done = SaveAnswer(report=report, deleted=tuple(deleted), retention_problem=problem)
        return _with_counts(done, before)

    def _save(self, order: SaveOrder) -> CommitReport:
        if self._store is None or self._committer is None:
            self._store = open_store(self._opening.store_uri, self._opening.settings)
            self._committer = Committer(self._store, self._opening.context)
        return self._committer.save(self._tensors, order.request, order.parent)

    def _make_room(self) -> tuple[list[str], str]:
        context = self._opening.context
        if self._store is None or context.retention is None:
            return [], ""
        try:
            deleted = apply_retention(self._store, context.attempt, context.retention, self._memory)
            if not self._swept:  # earlier attempts are fenced off: once is enough
                self._swept = True
                deleted += discard_unfinished(self._store, context.attempt)
        except SynthrayError as error:
            return [], error.message
        return deleted, ""


def _with_counts(answer: SaveAnswer, before: StorageCounts) -> SaveAnswer:
    now = STORAGE_COUNTERS.snapshot()
    requests = (
        (operation, outcome, count - before.requests.get((operation, outcome), 0))
        for (operation, outcome), count in sorted(now.requests.items())
    )
    return SaveAnswer(
        report=answer.report,
        error_class=answer.error_class,
        error_reason=answer.error_reason,
        error_message=answer.error_message,
        deleted=answer.deleted,
        retention_problem=answer.retention_problem,
        requests=tuple(one for one in requests if one[2]),
        read_bytes=now.read_bytes - before.read_bytes,
        retries=now.retries - before.retries,
    )


def _die_with(parent_pid: int) -> None:
    """End at once when the parent does, even in mid-upload: what it would commit, nobody waits for.

    A descriptor of the process rather than PR_SET_PDEATHSIG, which fires when the starting THREAD ends.
    """
    try:
        parent = os.pidfd_open(parent_pid)
    except OSError:
        return  # an old kernel, or the parent is gone: then input ends too
    if os.getppid() != parent_pid:
        os._exit(1)

    def watch() -> None:
        select.select([parent], [], [])
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> int:
    """Serve orders until input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Nothing that a library prints may end up between two answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    opening = OPENING.validate_json(sys.stdin.buffer.readline())
    _die_with(opening.parent_pid)
    mapped = mmap.mmap(opening.descriptor, opening.buffer_bytes, access=mmap.ACCESS_READ)
    os.close(opening.descriptor)
    uploader = Uploader(opening, memoryview(mapped))
    for line in sys.stdin.buffer:
        answer = SAVE_ANSWER.dump_json(uploader.answer(SAVE_ORDER.validate_json(line))) + b"\n"
        try:
            os.write(answers, answer)
        except BrokenPipeError:
            return 1  # the parent is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())

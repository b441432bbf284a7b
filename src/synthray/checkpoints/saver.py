"""The trainer's side of saving: training stops while the state is copied to host memory, and no longer.

Copy into `buffers` between `begin` and `commit`; the uploader process does the rest beside training. There
is one buffer: while an upload runs it is busy, so periodic saves are skipped and important ones wait.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from synthray.checkpoints.documents import encode_json
from synthray.checkpoints.host_buffer import Arrays, HostBuffer
from synthray.checkpoints.layout import TensorSpec
from synthray.checkpoints.names import TENSOR_PARTS
from synthray.checkpoints.requests import (
    OPENING,
    SAVE_ANSWER,
    SAVE_ORDER,
    Opening,
    RunContext,
    SaveAnswer,
    SaveOrder,
    SaveRequest,
)
from synthray.errors import SynthrayError, Unavailable
from synthray.storage import S3Settings
from synthray.telemetry.storage_counters import StorageCounts

_LOGGER = logging.getLogger(__name__)
_CLOSE_SECONDS = 10.0


@dataclass(frozen=True)
class SaveResult:
    """What became of one save; `error` is None exactly if `state` was committed.

    After an Unavailable the buffer is free and the save may be tried again; a RunFailed(FENCED) ends the
    attempt. `copy_seconds` is how long training stood still. `storage` is what the uploader process asked
    of the store for this save. `deleted` are the prefixes that retention removed.
    """

    request: SaveRequest
    state: str | None
    model: str | None
    error: SynthrayError | None
    copy_seconds: float
    hash_seconds: float = 0.0
    upload_seconds: float = 0.0
    commit_seconds: float = 0.0
    uploaded_bytes: int = 0
    deleted: tuple[str, ...] = ()
    retention_problem: str = ""
    storage: StorageCounts = field(default_factory=StorageCounts)


@dataclass(frozen=True)
class _Underway:
    request: SaveRequest
    copy_seconds: float


class Saver:
    """Owns the host buffer and the uploader process of one attempt; use from one thread.

    `specs` gives the tensors of the parts weights, ema and optimizer. A dead uploader costs the save that it
    was busy with; the next save starts a new one.
    """

    def __init__(
        self,
        specs: Mapping[str, Sequence[TensorSpec]],
        *,
        store_uri: str,
        settings: S3Settings,
        context: RunContext,
    ) -> None:
        self._buffer = HostBuffer({part: specs[part] for part in TENSOR_PARTS})
        self._store_uri, self._settings, self._context = store_uri, settings, context
        self._newest_state = context.resumes_from
        self._changed = threading.Condition()
        self._underway: _Underway | None = None
        self._results: deque[SaveResult] = deque()
        self._copy_started = 0.0
        self._process = self._start_uploader()

    @property
    def buffers(self) -> Mapping[str, Arrays]:
        """By part and tensor name, the arrays to copy the state into; only between `begin` and `commit`."""
        return self._buffer.arrays

    @property
    def busy(self) -> bool:
        """Whether an upload still reads the buffer."""
        return self._underway is not None

    @property
    def uploader_pid(self) -> int:
        """The process that uploads."""
        return self._process.pid

    def begin(self, timeout_seconds: float | None = 0.0) -> bool:
        """Wait until the buffer is free; False if it isn't by then. From here on, training stands still."""
        with self._changed:
            free = self._changed.wait_for(lambda: self._underway is None, timeout_seconds)
        self._copy_started = time.monotonic()
        return free

    def commit(self, request: SaveRequest) -> None:
        """Hand the filled buffer to the uploader; training may go on at once."""
        # A NaN would come out as null at the other end: better to fail here than to resume from it.
        encode_json({"progress": request.progress, "ledger": request.ledger})
        order = SAVE_ORDER.dump_json(SaveOrder(request, self._newest_state)) + b"\n"
        with self._changed:
            if self._underway is not None:
                raise RuntimeError("commit() while the buffer is busy; call begin() first")
            if self._process.poll() is not None:
                self._hang_up()
                self._process = self._start_uploader()
            self._underway = _Underway(request, time.monotonic() - self._copy_started)
        self._send(order)

    def poll(self) -> SaveResult | None:
        """The oldest result that nobody has collected yet, if there is one."""
        with self._changed:
            return self._results.popleft() if self._results else None

    def wait(self, timeout_seconds: float | None = None) -> SaveResult | None:
        """Like `poll`, but wait for the save under way; None if there is none or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._results or self._underway is None, timeout_seconds)
        return self.poll()

    def close(self) -> None:
        """End the uploader, giving up a save under way, and let go of the memory."""
        if self.busy:
            self._process.kill()
        self._hang_up()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._buffer.close()

    def _start_uploader(self) -> "subprocess.Popen[bytes]":
        buffer = self._buffer
        process = subprocess.Popen(
            [sys.executable, "-m", "synthray.checkpoints.uploader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[buffer.descriptor],
        )
        opening = Opening(
            store_uri=self._store_uri,
            settings=self._settings,
            context=self._context,
            parent_pid=os.getpid(),
            descriptor=buffer.descriptor,
            buffer_bytes=buffer.size_bytes,
            regions=buffer.regions,
        )
        self._process = process
        self._send(OPENING.dump_json(opening) + b"\n")
        self._reader = threading.Thread(
            target=self._collect, args=[process], name="save-results", daemon=True
        )
        self._reader.start()
        return process

    def _hang_up(self) -> None:
        """End the uploader's input."""
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _send(self, line: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - it is a pipe
        try:
            stdin.write(line)
            stdin.flush()
        except BrokenPipeError:
            _LOGGER.warning("the uploader process is gone")  # its reader fails the save under way

    def _collect(self, process: "subprocess.Popen[bytes]") -> None:
        """Runs in a thread of its own: turn answers, or the process's end, into results."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with process.stdout as lines:
            for line in lines:
                self._finish(SAVE_ANSWER.validate_json(line))
        status = process.wait()
        with self._changed:
            lost = self._underway is not None and self._process is process
        if lost:
            failure = Unavailable(
                f"the uploader process {process.pid} ended with status {status}; this save is lost, the next "
                "one starts another uploader"
            )
            self._finish(
                SaveAnswer(
                    error_class=type(failure).__name__,
                    error_reason=failure.reason,
                    error_message=failure.message,
                )
            )

    def _finish(self, answer: SaveAnswer) -> None:
        with self._changed:
            underway, self._underway = self._underway, None
            if underway is None:
                return
            if answer.report is not None:
                self._newest_state = answer.report.state
            self._results.append(_build_result(underway, answer))
            self._changed.notify_all()


def _build_result(underway: _Underway, answer: SaveAnswer) -> SaveResult:
    report = answer.report
    return SaveResult(
        request=underway.request,
        state=report.state if report else None,
        model=report.model if report else None,
        error=answer.error(),
        copy_seconds=underway.copy_seconds,
        hash_seconds=report.hash_seconds if report else 0.0,
        upload_seconds=report.upload_seconds if report else 0.0,
        commit_seconds=report.commit_seconds if report else 0.0,
        uploaded_bytes=report.uploaded_bytes if report else 0,
        deleted=answer.deleted,
        retention_problem=answer.retention_problem,
        storage=StorageCounts(
            {(operation, outcome): count for operation, outcome, count in answer.requests},
            answer.read_bytes,
            answer.retries,
        ),
    )

"""The driver's knowledge of its run: fed by the workers' reports, read by the exporter and the terminal.

Totals of finished segments are kept and the running segment's are added, so that counters never go back
within a driver's life. Thread-safe: the exporter's threads read while the driver writes.
"""

import threading
from dataclasses import replace

from synthray.checkpoints.names import CheckpointName
from synthray.telemetry.report import RunSnapshot, SegmentTotals
from synthray.training.board import Posting


class RunWatch:
    """Holds the newest `RunSnapshot`."""

    def __init__(self, snapshot: RunSnapshot) -> None:
        self._lock = threading.Lock()
        self._snapshot = snapshot
        self._finished = snapshot.totals
        self._images_reached: int | None = None

    def snapshot(self) -> RunSnapshot:
        """The newest snapshot."""
        with self._lock:
            return self._snapshot

    @property
    def images_reached(self) -> int | None:
        """Images seen by the running segment, accepted or not; None before its first step."""
        with self._lock:
            return self._images_reached

    def has_committed(self, attempt: int) -> bool:
        """Whether the attempt is known to have saved a state."""
        last = self.snapshot().last_checkpoint
        name = CheckpointName.parse(last.name) if last is not None else None
        return name is not None and name.attempt == attempt

    def begin_run(self, snapshot: RunSnapshot) -> None:
        """Show what the checks before a run's first segment have found."""
        with self._lock:
            self._snapshot = snapshot

    def begin_segment(self, attempt: int, *, resumed_from: str | None, now: float) -> None:
        """Close the books of the last segment and open the next; `now` in seconds since 1970."""
        with self._lock:
            self._finished = self._snapshot.totals
            self._images_reached = None
            self._snapshot = replace(
                self._snapshot,
                state="WaitingForWorkers",
                reason="",
                message="",
                attempt=attempt,
                attempt_began=now,
                resumed_from=resumed_from,
                workers_ready=0,
                ranks=(),
            )

    def set_state(self, state: str, reason: str = "", message: str = "") -> None:
        """Show what the driver itself is doing, and why."""
        with self._lock:
            self._snapshot = replace(self._snapshot, state=state, reason=reason, message=message)

    def set_desired(self, num_workers: int) -> None:
        """Show how many workers are to train now."""
        with self._lock:
            self._snapshot = replace(self._snapshot, workers_desired=num_workers)

    def observe(self, posting: Posting, attempt: int) -> None:
        """Take the workers' newest reports of an attempt; a posting without any changes nothing."""
        reports = {
            rank: member.report
            for rank, member in posting.members.items()
            if member.report is not None and member.note.attempt == attempt
        }
        if not reports:
            return
        with self._lock:
            first = reports.get(0)
            totals = sum((report.totals for report in reports.values()), start=SegmentTotals())
            snapshot = replace(
                self._snapshot,
                totals=self._finished + totals,
                workers_ready=len(reports),
                ranks=tuple(reports[rank].place for rank in sorted(reports)),
            )
            if first is not None and first.figures is not None:
                self._images_reached = first.figures.images_seen
            if first is not None:
                saved = first.last_checkpoint
                is_new = saved is not None and saved != self._snapshot.last_checkpoint
                snapshot = replace(
                    snapshot,
                    state=first.state,
                    reason="",
                    message="",
                    committed_states=snapshot.committed_states + is_new,
                    figures=first.figures or snapshot.figures,
                    lifetime=first.lifetime or snapshot.lifetime,
                    last_checkpoint=first.last_checkpoint or snapshot.last_checkpoint,
                )
            self._snapshot = snapshot

"""Where driver and workers leave each other word: one Ray actor on the driver's node.

Workers post their newest report and read the driver's wishes in the same call; the driver reads the reports.
Nobody waits for anybody, and nothing here is per step.
"""

from dataclasses import dataclass

from synthray.errors import SynthrayError
from synthray.telemetry.report import SegmentReport


@dataclass(frozen=True)
class Wishes:
    """What the driver asks of the workers."""

    stop: bool = False
    save: bool = False


@dataclass(frozen=True)
class Posting:
    """What the workers of a segment left: newest reports by rank, the outcome, the first foreseen failure."""

    reports: dict[int, SegmentReport]
    outcome: str | None
    failure: SynthrayError | None


class RunBoard:
    """State of one run's segments; every method returns at once."""

    def __init__(self) -> None:
        self._attempt = 0
        self._clear()

    def _clear(self) -> None:
        self._reports: dict[int, SegmentReport] = {}
        self._outcome: str | None = None
        self._failure: SynthrayError | None = None
        self._meeting_point: str | None = None
        self._wishes = Wishes()

    def open_segment(self, attempt: int) -> None:
        """Forget the last segment; whatever its workers still say is not heard."""
        self._attempt = attempt
        self._clear()

    def ask(self, wishes: Wishes) -> None:
        """Leave a wish for the workers."""
        self._wishes = wishes

    def exchange(self, report: SegmentReport) -> Wishes:
        """Take a worker's newest report, answer with the driver's wishes."""
        if report.attempt == self._attempt:
            self._reports[report.rank] = report
        return self._wishes

    def meet(self, attempt: int, address: str | None) -> str | None:
        """The address at which the workers of a segment find each other; the first worker brings it."""
        if attempt == self._attempt and address is not None:
            self._meeting_point = address
        return self._meeting_point if attempt == self._attempt else None

    def finish(self, attempt: int, outcome: str) -> None:
        """Say how the segment ended."""
        if attempt == self._attempt:
            self._outcome = outcome

    def fail(self, attempt: int, failure: SynthrayError) -> None:
        """Say why the segment failed; the first reason counts, the others follow from it."""
        if attempt == self._attempt and self._failure is None:
            self._failure = failure

    def posting(self) -> Posting:
        """What the workers left so far."""
        return Posting(dict(self._reports), self._outcome, self._failure)

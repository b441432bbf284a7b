"""What the platform answers when the loop asks.

Ray, torchrun and tests implement `RunControl`; the loop knows none of them.
"""

from typing import Protocol

from synthray.telemetry.report import SegmentReport


class RunControl(Protocol):
    """The platform's side of a segment; every call returns at once."""

    def stop_requested(self) -> bool:
        """Whether this worker should ask all to finish the step, save and stop."""

    def stop_is_patient(self) -> bool:
        """Whether a stop may wait for storage that is away, rather than lose what is not saved."""

    def report(self, report: SegmentReport) -> None:
        """Take the latest report; one that nobody read yet is replaced."""


class Unattended:
    """A platform that never asks and never listens."""

    def stop_requested(self) -> bool:
        """Nobody asks."""
        return False

    def stop_is_patient(self) -> bool:
        """Nobody asks."""
        return False

    def report(self, report: SegmentReport) -> None:
        """Nobody listens."""


UNATTENDED = Unattended()

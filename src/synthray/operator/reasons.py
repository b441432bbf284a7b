"""What follows from the reason for which an attempt ended: a table, and nothing else.

Retryable: the next attempt may do better, and counts unless something was saved. Uncounted: the cluster's
doing, not the run's. Blocked: a person must act; tried again on a CPU, rarely, never counted. Terminal:
another attempt would end the same way.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from synthray.errors import Reason


class Consequence(Enum):
    """What an ended attempt means for its run."""

    RETRYABLE = "retryable"
    UNCOUNTED = "uncounted"
    BLOCKED = "blocked"
    TERMINAL = "terminal"


CONSEQUENCES: Final[Mapping[Reason, Consequence]] = {
    Reason.INVALID_INPUT: Consequence.BLOCKED,
    Reason.NOT_FOUND: Consequence.BLOCKED,
    Reason.BUCKET_MISSING: Consequence.BLOCKED,
    Reason.CREDENTIALS_REJECTED: Consequence.BLOCKED,
    Reason.CONDITIONAL_WRITES_UNSUPPORTED: Consequence.BLOCKED,
    Reason.STORAGE_UNAVAILABLE: Consequence.RETRYABLE,
    Reason.STORAGE_FULL: Consequence.BLOCKED,
    Reason.OBJECT_EXISTS: Consequence.BLOCKED,
    Reason.DATASET_INVALID: Consequence.BLOCKED,
    Reason.DATASET_MISMATCH: Consequence.BLOCKED,
    Reason.TOO_MANY_BAD_IMAGES: Consequence.BLOCKED,
    Reason.PREFIX_IN_USE: Consequence.BLOCKED,
    Reason.CHECKPOINT_CORRUPT: Consequence.BLOCKED,
    Reason.MODEL_INVALID: Consequence.BLOCKED,
    Reason.PORT_IN_USE: Consequence.RETRYABLE,
    Reason.DEPENDENCY_MISSING: Consequence.BLOCKED,
    Reason.VERIFICATION_FAILED: Consequence.BLOCKED,
    Reason.NON_FINITE_LOSS: Consequence.TERMINAL,
    Reason.GRADIENT_OUT_OF_RANGE: Consequence.TERMINAL,
    Reason.MIXED_FINGERPRINTS: Consequence.RETRYABLE,
    Reason.PRECISION_UNSUPPORTED: Consequence.BLOCKED,
    Reason.OUT_OF_MEMORY: Consequence.TERMINAL,
    Reason.REPEATED_DEATHS: Consequence.TERMINAL,
    Reason.WORKER_LOST: Consequence.RETRYABLE,
    Reason.DRIVER_LOST: Consequence.RETRYABLE,
    Reason.WORKER_HUNG: Consequence.RETRYABLE,
    Reason.RAY_UNAVAILABLE: Consequence.RETRYABLE,
    Reason.FENCED: Consequence.TERMINAL,
    Reason.NOT_ALLOWED: Consequence.BLOCKED,
    Reason.IMAGE_PULL: Consequence.BLOCKED,
    Reason.UNSCHEDULABLE: Consequence.UNCOUNTED,
    Reason.SECRET_MISSING: Consequence.BLOCKED,
    Reason.QUOTA_EXCEEDED: Consequence.BLOCKED,
    Reason.ADMISSION_DENIED: Consequence.BLOCKED,
    Reason.HEAD_LOST: Consequence.UNCOUNTED,
    Reason.EVICTED: Consequence.UNCOUNTED,
    Reason.KUBERAY_MISSING: Consequence.BLOCKED,
    Reason.KUBERAY_NOT_RESPONDING: Consequence.BLOCKED,
}


def find_consequence(reason: str) -> Consequence:
    """What follows from a reason; one that a newer driver knows and we do not is tried again, and counts."""
    known = Reason._value2member_map_.get(reason)
    return CONSEQUENCES[known] if isinstance(known, Reason) else Consequence.RETRYABLE

"""What can go wrong, by kind.

Every failure that synthray foresees is a `SynthrayError`: its class says who can mend it, its reason is a
constant for conditions and metrics, and its message names the field or file, the value and the remedy.
This module stands below all others and imports none of them.
"""

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Why something failed: one constant per cause, shown in conditions, metrics and `--json` output."""

    INVALID_INPUT = "InvalidInput"
    NOT_FOUND = "NotFound"
    BUCKET_MISSING = "BucketMissing"
    CREDENTIALS_REJECTED = "CredentialsRejected"
    CONDITIONAL_WRITES_UNSUPPORTED = "ConditionalWritesUnsupported"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    STORAGE_FULL = "StorageFull"
    OBJECT_EXISTS = "ObjectExists"
    DATASET_INVALID = "DatasetInvalid"
    DATASET_MISMATCH = "DatasetMismatch"
    TOO_MANY_BAD_IMAGES = "TooManyBadImages"
    PREFIX_IN_USE = "PrefixInUse"
    CHECKPOINT_CORRUPT = "CheckpointCorrupt"
    MODEL_INVALID = "ModelInvalid"
    PORT_IN_USE = "PortInUse"
    DEPENDENCY_MISSING = "DependencyMissing"
    VERIFICATION_FAILED = "VerificationFailed"
    NON_FINITE_LOSS = "NonFiniteLoss"
    GRADIENT_OUT_OF_RANGE = "GradientOutOfRange"
    MIXED_FINGERPRINTS = "MixedFingerprints"
    PRECISION_UNSUPPORTED = "PrecisionUnsupported"
    OUT_OF_MEMORY = "OutOfMemory"
    REPEATED_DEATHS = "RepeatedDeaths"
    WORKER_LOST = "WorkerLost"
    DRIVER_LOST = "DriverLost"
    WORKER_HUNG = "WorkerHung"
    RAY_UNAVAILABLE = "RayUnavailable"
    FENCED = "Fenced"
    NOT_ALLOWED = "NotAllowed"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 a reason, not a secret
    QUOTA_EXCEEDED = "QuotaExceeded"
    ADMISSION_DENIED = "AdmissionDenied"
    HEAD_LOST = "HeadLost"
    EVICTED = "Evicted"
    KUBERAY_MISSING = "KubeRayMissing"
    KUBERAY_NOT_RESPONDING = "KubeRayNotResponding"


class SynthrayError(Exception):
    """A foreseen failure; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1
    default_reason: ClassVar[Reason]

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason


class InvalidInput(SynthrayError):
    """A person must change the input; trying again changes nothing."""

    exit_code = 2
    default_reason = Reason.INVALID_INPUT


class NotFound(SynthrayError):
    """What the input names does not exist."""

    exit_code = 3
    default_reason = Reason.NOT_FOUND


class VerificationFailed(SynthrayError):
    """Something exists and is not what it claims to be."""

    exit_code = 4
    default_reason = Reason.VERIFICATION_FAILED


class RunFailed(SynthrayError):
    """The run ended by itself; another attempt would end the same way."""

    exit_code = 5
    default_reason = Reason.NON_FINITE_LOSS


class Unavailable(SynthrayError):
    """A passing trouble: the same call may succeed later."""

    exit_code = 75
    default_reason = Reason.STORAGE_UNAVAILABLE

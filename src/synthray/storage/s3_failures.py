"""What an S3 request's failure means: try again, a person must act, or an answer like any other.

Every S3 library wraps errors in its own way and every store words them in its own way; this table is the
one place that knows. Pure: nothing is sent from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import aiohttp
from botocore import exceptions as boto  # type: ignore[import-untyped]
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from synthray.errors import InvalidInput, NotFound, Reason, SynthrayError, Unavailable
from synthray.storage.credential_files import MissingCredentials
from synthray.storage.settings import DEADLINE_VARIABLE, S3Settings


class Meaning(Enum):
    """The classes of failure that are handled differently."""

    PASSING = auto()
    FULL = auto()  # passing too, once somebody frees space
    MISSING_OBJECT = auto()
    MISSING_BUCKET = auto()
    MISSING_UPLOAD = auto()
    EXISTS = auto()
    CREDENTIALS = auto()
    CLOCK = auto()
    UNSUPPORTED = auto()
    RANGE = auto()
    INPUT = auto()
    UNKNOWN = auto()


_OF_OBJECTS = {
    Meaning.MISSING_OBJECT,
    Meaning.MISSING_UPLOAD,
    Meaning.EXISTS,
    Meaning.RANGE,
    Meaning.UNSUPPORTED,
}


@dataclass(frozen=True)
class Failure:
    """A meaning, and the words of whoever failed."""

    meaning: Meaning
    detail: str

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.meaning in {Meaning.PASSING, Meaning.FULL}

    @property
    def depends_on_object(self) -> bool:
        """Whether only the caller knows what this means for the object that it asked about."""
        return self.meaning in _OF_OBJECTS


_BY_CODE = {
    "NoSuchKey": Meaning.MISSING_OBJECT,
    "NoSuchBucket": Meaning.MISSING_BUCKET,
    "NoSuchUpload": Meaning.MISSING_UPLOAD,
    "PreconditionFailed": Meaning.EXISTS,
    "InvalidRange": Meaning.RANGE,
    "NotImplemented": Meaning.UNSUPPORTED,
    "InvalidBucketName": Meaning.INPUT,
    "KeyTooLongError": Meaning.INPUT,
    "XMinioStorageFull": Meaning.FULL,
    "InsufficientStorage": Meaning.FULL,
    "QuotaExceeded": Meaning.FULL,
    "RequestTimeTooSkewed": Meaning.CLOCK,
    "AccessDenied": Meaning.CREDENTIALS,
    "AllAccessDisabled": Meaning.CREDENTIALS,
    "AccountProblem": Meaning.CREDENTIALS,
    "AuthorizationHeaderMalformed": Meaning.CREDENTIALS,
    "ExpiredToken": Meaning.CREDENTIALS,
    "InvalidAccessKeyId": Meaning.CREDENTIALS,
    "InvalidSecurity": Meaning.CREDENTIALS,
    "InvalidToken": Meaning.CREDENTIALS,
    "SignatureDoesNotMatch": Meaning.CREDENTIALS,
    "TokenRefreshRequired": Meaning.CREDENTIALS,
    # Answers of 4xx that speak of the moment or of the wire, not of the request.
    "BadDigest": Meaning.PASSING,
    "ConditionalRequestConflict": Meaning.PASSING,
    "IncompleteBody": Meaning.PASSING,
    "InternalError": Meaning.PASSING,
    "OperationAborted": Meaning.PASSING,
    "RequestTimeout": Meaning.PASSING,
    "ServiceUnavailable": Meaning.PASSING,
    "SlowDown": Meaning.PASSING,
    "XAmzContentSHA256Mismatch": Meaning.PASSING,
}
_BY_STATUS = {
    401: Meaning.CREDENTIALS,
    403: Meaning.CREDENTIALS,
    404: Meaning.MISSING_OBJECT,
    408: Meaning.PASSING,
    409: Meaning.PASSING,
    412: Meaning.EXISTS,
    416: Meaning.RANGE,
    425: Meaning.PASSING,
    429: Meaning.PASSING,
    501: Meaning.UNSUPPORTED,
    507: Meaning.FULL,
}
# What botocore raises without an answer: looked up in this order, from the special to the general.
_BY_EXCEPTION: tuple[tuple[tuple[type[BaseException], ...], Meaning], ...] = (
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.NoAuthTokenError,
            boto.SSOError,
            boto.LoginError,
            MissingCredentials,
        ),
        Meaning.CREDENTIALS,
    ),
    (
        (
            boto.HTTPClientError,
            boto.ConnectionError,
            boto.IncompleteReadError,
            boto.FlexibleChecksumError,
            boto.CredentialRetrievalError,  # the platform's identity service; wrong credentials come as a 403
            boto.MetadataRetrievalError,
            ResponseParserError,
            aiohttp.ClientError,
            OSError,  # with TimeoutError
        ),
        Meaning.PASSING,
    ),
    ((boto.BotoCoreError,), Meaning.INPUT),  # an unknown profile or region, a broken configuration file
)


def classify_failure(error: BaseException) -> Failure:
    """What the exception of one request means; UNKNOWN is a defect of ours and should be let through."""
    answer = _answer(error) or _answer(error.__cause__)
    if answer is not None:
        return _classify_answer(answer)
    detail = str(error) or "no answer in time"
    if _is_about_certificates(detail):
        return Failure(Meaning.INPUT, detail)
    for kinds, meaning in _BY_EXCEPTION:
        if isinstance(error, kinds):
            return Failure(meaning, detail)
    return Failure(Meaning.UNKNOWN, detail)


def refusal(problem: Mapping[str, str]) -> Exception:
    """The exception for one of the failures that an otherwise good answer to a batch lists."""
    error: Exception = boto.ClientError({"Error": dict(problem)}, "DeleteObjects")
    return error


def _answer(error: BaseException | None) -> boto.ClientError | None:
    return error if isinstance(error, boto.ClientError) else None


def _classify_answer(error: boto.ClientError) -> Failure:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    problem = error.response.get("Error", {})
    code = str(problem.get("Code", ""))
    detail = " ".join(filter(None, (str(status or ""), code, str(problem.get("Message", "")))))
    if code in _BY_CODE:
        return Failure(_BY_CODE[code], detail)
    if code.startswith(("Throttl", "RequestThrottl", "TooManyRequests", "RequestLimit")):
        return Failure(Meaning.PASSING, detail)
    fallback = Meaning.PASSING if status >= 500 else Meaning.INPUT
    return Failure(_BY_STATUS.get(status, fallback), detail)


def _is_about_certificates(detail: str) -> bool:
    """A certificate that isn't trusted, or plain HTTP behind https://, will be the same in a minute."""
    return "CERTIFICATE_VERIFY_FAILED" in detail or "WRONG_VERSION_NUMBER" in detail


_EXPLANATIONS: dict[Meaning, tuple[type[SynthrayError], Reason | None, str]] = {
    Meaning.PASSING: (
        Unavailable,
        None,
        (
            "{place}: no success at {endpoint} within {deadline:g} s ({detail}); check the endpoint and the "
            "network ({variable} sets the deadline)"
        ),
    ),
    Meaning.FULL: (
        Unavailable,
        Reason.STORAGE_FULL,
        "{place}: the store at {endpoint} is full ({detail}); free some space there",
    ),
    Meaning.MISSING_OBJECT: (NotFound, None, "{place} does not exist"),
    Meaning.MISSING_BUCKET: (
        NotFound,
        Reason.BUCKET_MISSING,
        "bucket {bucket!r} does not exist at {endpoint}; create it, or correct the URI {place}",
    ),
    Meaning.CREDENTIALS: (
        InvalidInput,
        Reason.CREDENTIALS_REJECTED,
        (
            "{place}: {endpoint} rejects the credentials ({detail}); check AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or the profile, or the mounted Secret), and that they may read, write, "
            "list and delete in {bucket!r}"
        ),
    ),
    Meaning.CLOCK: (
        InvalidInput,
        Reason.CREDENTIALS_REJECTED,
        "{place}: the clocks of this machine and of {endpoint} differ too much ({detail}); set them",
    ),
    Meaning.UNSUPPORTED: (
        InvalidInput,
        None,
        "{place}: {endpoint} cannot do what is asked of it ({detail}); use a store with S3's full interface",
    ),
}
# A new Secret reaches a pod's folder within a minute or two: to whoever waits for storage this passes too.
_REJECTED_FILES = (
    Unavailable,
    Reason.CREDENTIALS_REJECTED,
    (
        "{place}: {endpoint} rejects the credentials in {directory} ({detail}); correct the Secret's "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and let them read, write, list and delete in {bucket!r}"
    ),
)
_OTHERWISE = (InvalidInput, None, "{place}: {endpoint} refuses the request ({detail}); check the S3 settings")


def explain_failure(failure: Failure, place: str, bucket: str, settings: S3Settings) -> SynthrayError:
    """The failure of a request about `place` in synthray's own terms, with the remedy."""
    kind, reason, message = _EXPLANATIONS.get(failure.meaning, _OTHERWISE)
    if failure.meaning is Meaning.CREDENTIALS and settings.credentials_directory is not None:
        kind, reason, message = _REJECTED_FILES
    filled = message.format(
        place=place,
        bucket=bucket,
        endpoint=settings.endpoint,
        detail=failure.detail,
        deadline=settings.deadline_seconds,
        variable=DEADLINE_VARIABLE,
        directory=settings.credentials_directory,
    )
    return kind(filled, reason=reason)

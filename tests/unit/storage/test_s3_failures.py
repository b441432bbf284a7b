"""What each failure of a request means and what a person reads of it."""

import aiohttp
import pytest
from botocore import exceptions as boto  # type: ignore[import-untyped]

from synthray.errors import InvalidInput, NotFound, Reason, SynthrayError, Unavailable
from synthray.storage import S3Settings
from synthray.storage.credential_files import MissingCredentials
from synthray.storage.s3_failures import Failure, Meaning, classify_failure, explain_failure


def answer(status: int, code: str = "") -> Exception:
    problem = {"Code": code, "Message": "words of the store"} if code else {}
    error: Exception = boto.ClientError(
        {"Error": problem, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject"
    )
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (answer(500, "InternalError"), Meaning.PASSING),
        (answer(500), Meaning.PASSING),
        (answer(503, "SlowDown"), Meaning.PASSING),
        (answer(503, "ServiceUnavailable"), Meaning.PASSING),
        (answer(599), Meaning.PASSING),
        (answer(429), Meaning.PASSING),
        (answer(400, "RequestTimeout"), Meaning.PASSING),
        (answer(400, "XAmzContentSHA256Mismatch"), Meaning.PASSING),
        (answer(400, "ThrottlingException"), Meaning.PASSING),
        (answer(409, "ConditionalRequestConflict"), Meaning.PASSING),
        (answer(507), Meaning.FULL),
        (answer(404, "NoSuchKey"), Meaning.MISSING_OBJECT),
        (answer(404, "404"), Meaning.MISSING_OBJECT),
        (answer(404, "NoSuchBucket"), Meaning.MISSING_BUCKET),
        (answer(404, "NoSuchUpload"), Meaning.MISSING_UPLOAD),
        (answer(412, "PreconditionFailed"), Meaning.EXISTS),
        (answer(412), Meaning.EXISTS),
        (answer(416, "InvalidRange"), Meaning.RANGE),
        (answer(501, "NotImplemented"), Meaning.UNSUPPORTED),
        (answer(403, "SignatureDoesNotMatch"), Meaning.CREDENTIALS),
        (answer(403, "403"), Meaning.CREDENTIALS),
        (answer(400, "ExpiredToken"), Meaning.CREDENTIALS),
        (answer(403, "RequestTimeTooSkewed"), Meaning.CLOCK),
        (answer(400, "SomethingElse"), Meaning.INPUT),
        (boto.NoCredentialsError(), Meaning.CREDENTIALS),
        (MissingCredentials("a file is missing"), Meaning.CREDENTIALS),
        (boto.ProfileNotFound(profile="x"), Meaning.INPUT),
        (boto.EndpointConnectionError(endpoint_url="http://x"), Meaning.PASSING),
        (boto.ReadTimeoutError(endpoint_url="http://x"), Meaning.PASSING),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), Meaning.PASSING),
        (aiohttp.ClientPayloadError("cut"), Meaning.PASSING),
        (ConnectionResetError(), Meaning.PASSING),
        (TimeoutError(), Meaning.PASSING),
        (boto.SSLError(endpoint_url="http://x", error="CERTIFICATE_VERIFY_FAILED"), Meaning.INPUT),
        (ZeroDivisionError(), Meaning.UNKNOWN),
    ],
)
def test_each_failure_has_one_meaning(error: Exception, meaning: Meaning) -> None:
    assert classify_failure(error).meaning is meaning


def test_a_translated_error_keeps_the_meaning_of_its_cause() -> None:
    error = OSError(22, "words of a library")
    error.__cause__ = answer(412, "PreconditionFailed")
    assert classify_failure(error).meaning is Meaning.EXISTS


@pytest.mark.parametrize(
    ("meaning", "kind", "reason", "message"),
    [
        (
            Meaning.PASSING,
            Unavailable,
            Reason.STORAGE_UNAVAILABLE,
            (
                "s3://b/k: no success at http://e:1 within 60 s (why); check the endpoint and the network "
                "(SYNTHRAY_STORAGE_DEADLINE_SECONDS sets the deadline)"
            ),
        ),
        (
            Meaning.FULL,
            Unavailable,
            Reason.STORAGE_FULL,
            "s3://b/k: the store at http://e:1 is full (why); free some space there",
        ),
        (
            Meaning.MISSING_BUCKET,
            NotFound,
            Reason.BUCKET_MISSING,
            "bucket 'b' does not exist at http://e:1; create it, or correct the URI s3://b/k",
        ),
        (
            Meaning.CREDENTIALS,
            InvalidInput,
            Reason.CREDENTIALS_REJECTED,
            (
                "s3://b/k: http://e:1 rejects the credentials (why); check AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY (or the profile, or the mounted Secret), and that they may read, "
                "write, list and delete in 'b'"
            ),
        ),
        (
            Meaning.INPUT,
            InvalidInput,
            Reason.INVALID_INPUT,
            "s3://b/k: http://e:1 refuses the request (why); check the S3 settings",
        ),
    ],
)
def test_people_read_what_to_do(
    meaning: Meaning, kind: type[SynthrayError], reason: Reason, message: str
) -> None:
    error = explain_failure(Failure(meaning, "why"), "s3://b/k", "b", S3Settings("http://e:1"))
    assert (type(error), error.reason, str(error)) == (kind, reason, message)


def test_rejected_files_pass_once_the_secret_is_mended() -> None:
    settings = S3Settings("http://e:1", credentials_directory="/secret")
    error = explain_failure(Failure(Meaning.CREDENTIALS, "why"), "s3://b/k", "b", settings)
    assert (type(error), error.reason) == (Unavailable, Reason.CREDENTIALS_REJECTED)
    assert str(error) == (
        "s3://b/k: http://e:1 rejects the credentials in /secret (why); correct the Secret's "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and let them read, write, list and delete in 'b'"
    )

"""How to reach an S3 endpoint: the standard AWS variables first, then what a run's spec says.

Credentials are never part of a spec: they come from the environment, a profile, mounted files or the
platform's identity. Read once at the edge (the command line, a process's start) and passed on as a value;
this module itself reads no environment and imports no S3 library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from urllib.parse import urlsplit

from synthray.errors import InvalidInput, Reason
from synthray.storage.credential_files import CREDENTIALS_VARIABLE

DEFAULT_DEADLINE_SECONDS = 60.0
DEADLINE_VARIABLE = "SYNTHRAY_STORAGE_DEADLINE_SECONDS"


@dataclass(frozen=True)
class S3Settings:
    """One endpoint and the right to use it; unset credentials are left to AWS's own chain of sources.

    Those in `credentials_directory` are read by whoever connects, and again when they are rejected, so that
    they can be replaced while a run goes on and travel with no settings.
    `deadline_seconds` bounds how long one request is tried again through passing trouble.
    `max_connections` bounds the sockets, and so the concurrent requests, of a process.
    """

    endpoint_url: str | None = None
    region: str = ""
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    profile: str | None = None
    credentials_directory: str | None = None
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    max_connections: int = 32

    @property
    def endpoint(self) -> str:
        """What messages call the endpoint."""
        return self.endpoint_url or f"AWS S3 ({self.region or 'default region'})"


def s3_settings_from_environment(
    environ: Mapping[str, str], *, endpoint_url: str = "", region: str = ""
) -> S3Settings:
    """Settings from the AWS variables of `environ`, which win over the arguments (a spec's objectStorage).

    A folder of mounted credentials wins over those in variables, which can't be renewed.
    Raises InvalidInput, naming the variable, for values that cannot work.
    """

    def first(*names: str) -> str | None:
        return next((environ[name] for name in names if environ.get(name)), None)

    directory = first(CREDENTIALS_VARIABLE)
    return S3Settings(
        endpoint_url=first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or endpoint_url or None,
        region=first("AWS_REGION", "AWS_DEFAULT_REGION") or region,
        access_key_id=None if directory else first("AWS_ACCESS_KEY_ID"),
        secret_access_key=None if directory else first("AWS_SECRET_ACCESS_KEY"),
        session_token=None if directory else first("AWS_SESSION_TOKEN"),
        credentials_directory=directory,
        ca_bundle=first("AWS_CA_BUNDLE"),
        profile=first("AWS_PROFILE"),
        deadline_seconds=_deadline_seconds(first(DEADLINE_VARIABLE)),
    )


def _deadline_seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_DEADLINE_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not isfinite(seconds) or seconds <= 0:
        raise InvalidInput(
            f"{DEADLINE_VARIABLE}={text} is not a positive number of seconds; use for example 60"
        )
    return seconds


def check_s3_settings(settings: S3Settings) -> None:
    """Raise InvalidInput for settings that no endpoint could accept, before anything is sent."""
    _check_endpoint(settings.endpoint_url)
    if (settings.access_key_id is None) != (settings.secret_access_key is None):
        given, missing = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        if settings.access_key_id is None:
            given, missing = missing, given
        raise InvalidInput(f"{given} is set without {missing}; set both", reason=Reason.CREDENTIALS_REJECTED)
    directory = settings.credentials_directory
    if directory is not None and not Path(directory).is_dir():
        raise InvalidInput(
            f"{CREDENTIALS_VARIABLE}={directory} is no folder; mount the Secret with the credentials there",
            reason=Reason.CREDENTIALS_REJECTED,
        )
    if settings.ca_bundle is not None and not Path(settings.ca_bundle).is_file():
        raise InvalidInput(f"AWS_CA_BUNDLE={settings.ca_bundle} is no file; name a PEM file of certificates")


def _check_endpoint(endpoint_url: str | None) -> None:
    if endpoint_url is None:
        return
    try:
        parts = urlsplit(endpoint_url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(
            f"the S3 endpoint {endpoint_url!r} is not a URL such as http://127.0.0.1:8333; "
            "correct AWS_ENDPOINT_URL or objectStorage.endpointURL"
        )

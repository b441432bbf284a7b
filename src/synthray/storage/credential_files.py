"""Credentials as files in a folder, as Kubernetes mounts a Secret: one file for each variable's name.

Unlike variables they change while a process runs, when somebody rotates the Secret. No S3 library here.
"""

from dataclasses import dataclass, field
from pathlib import Path

CREDENTIALS_VARIABLE = "SYNTHRAY_CREDENTIALS_DIRECTORY"
ACCESS_KEY_FILE = "AWS_ACCESS_KEY_ID"
SECRET_KEY_FILE = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 a file's name
SESSION_TOKEN_FILE = "AWS_SESSION_TOKEN"  # noqa: S105 a file's name

# The kubelet swaps this link when all files of a Secret's new version are written.
_VERSION_LINK = "..data"
_READ_ATTEMPTS = 3


class MissingCredentials(Exception):
    """The folder does not hold what is needed; it may later."""


@dataclass(frozen=True)
class Credentials:
    """What signs requests."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def read_credentials(directory: str) -> Credentials:
    """The credentials of a folder, all of one version; raises MissingCredentials."""
    folder = Path(directory)
    for _ in range(_READ_ATTEMPTS):
        before = _version(folder)
        credentials = Credentials(
            _read(before, ACCESS_KEY_FILE),
            _read(before, SECRET_KEY_FILE),
            _read(before, SESSION_TOKEN_FILE) or None,
        )
        if _version(folder) == before:
            break
    for name, value in (
        (ACCESS_KEY_FILE, credentials.access_key_id),
        (SECRET_KEY_FILE, credentials.secret_access_key),
    ):
        if not value:
            raise MissingCredentials(f"{directory}/{name} is missing or empty")
    return credentials


def _version(folder: Path) -> Path:
    """The folder of the present version: a Secret's, or the folder itself."""
    link = folder / _VERSION_LINK
    return link.resolve() if link.exists() else folder


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""

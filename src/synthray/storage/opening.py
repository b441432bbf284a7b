"""From a URI to a store, and the one question that a run asks of a store before it trusts it."""

import re
import secrets
from pathlib import Path

from synthray.errors import InvalidInput, Reason
from synthray.storage.local import LocalStore
from synthray.storage.objects import ObjectExists, ObjectStore, check_key
from synthray.storage.settings import S3Settings, check_s3_settings

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]")


def open_store(uri: str, settings: S3Settings) -> ObjectStore:
    """The store at "s3://bucket/prefix" or in a local folder; nothing is sent or made yet.

    Raises InvalidInput for any other URI and for settings that cannot work.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri or "\0" in uri:
            raise InvalidInput(f"{uri!r} is no place to store objects; use s3://bucket/prefix or a folder")
        return LocalStore(Path(uri).expanduser().absolute())
    if scheme != "s3":
        raise InvalidInput(f"{uri}: {scheme}:// is not supported; use s3://bucket/prefix or a folder")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(f"{uri}: {bucket!r} is no bucket's name; use s3://bucket/prefix")
    prefix = prefix.rstrip("/")
    if prefix:
        check_key(prefix)
    check_s3_settings(settings)
    # s3fs costs half a second to import: only those pay who use S3.
    from synthray.storage.s3 import S3Store  # noqa: PLC0415

    return S3Store(bucket, prefix, settings)


def check_conditional_writes(store: ObjectStore) -> None:
    """Raise InvalidInput(CONDITIONAL_WRITES_UNSUPPORTED) for a store that lets a create replace an object.

    Fencing rests on creates that fail: two drivers on a store without them could both believe to own a run.
    """
    key = f".synthray-probe-{secrets.token_hex(8)}"
    try:
        for content in (b"first", b"second"):
            store.create(key, content)
    except ObjectExists:
        return
    finally:
        store.delete([key])
    raise InvalidInput(
        f"{store.uri} ignores conditional writes (If-None-Match), so that runs could overwrite each other; "
        "use a store that honours them (AWS S3, SeaweedFS, MinIO, Ceph since Squid)",
        reason=Reason.CONDITIONAL_WRITES_UNSUPPORTED,
    )

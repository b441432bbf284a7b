"""Objects in a bucket or a folder behind one small face; only this room knows S3 libraries."""

from synthray.storage.embedded import EmbeddedS3
from synthray.storage.objects import ByteRange, ObjectExists, ObjectInfo, ObjectStore
from synthray.storage.opening import check_conditional_writes, open_store
from synthray.storage.settings import S3Settings, s3_settings_from_environment

__all__ = [
    "ByteRange",
    "EmbeddedS3",
    "ObjectExists",
    "ObjectInfo",
    "ObjectStore",
    "S3Settings",
    "check_conditional_writes",
    "open_store",
    "s3_settings_from_environment",
]

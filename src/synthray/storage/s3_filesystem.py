"""How s3fs is set up, so that it does what it is asked once, and tells at once how that went."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import s3fs

from synthray.storage.credential_files import Credentials
from synthray.storage.settings import S3Settings

_CONNECT_SECONDS = 10.0


def build_filesystem(settings: S3Settings, credentials: Credentials | None, *, stall_seconds: float) -> Any:
    """An s3fs file system for use on the running loop, with every retry of its own and of botocore's off.

    Without credentials AWS's own chain of sources is asked.
    """
    config = {
        "max_pool_connections": settings.max_connections,
        "connect_timeout": min(_CONNECT_SECONDS, settings.deadline_seconds),
        "read_timeout": 2 * stall_seconds,  # the connection's own watch acts first
        "retries": {"total_max_attempts": 1},
        # Payloads are signed or travel in TLS, and synthray checks its own SHA-256; more would only exclude
        # stores that don't know the newer checksums.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if is_on_this_machine(settings.endpoint_url):
        config["proxies"] = {}  # those of the environment lead out into the world
    filesystem = s3fs.S3FileSystem(
        asynchronous=True,
        skip_instance_cache=True,
        key=credentials.access_key_id if credentials else None,
        secret=credentials.secret_access_key if credentials else None,
        token=credentials.session_token if credentials else None,
        endpoint_url=settings.endpoint_url,
        client_kwargs={"region_name": settings.region or None, "verify": settings.ca_bundle},
        config_kwargs=config,
        **({"profile": settings.profile} if settings.profile and credentials is None else {}),
    )
    filesystem.retries = 1
    return filesystem


def is_on_this_machine(endpoint_url: str | None) -> bool:
    """Whether the endpoint is a loopback address."""
    host = (urlsplit(endpoint_url).hostname if endpoint_url else None) or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

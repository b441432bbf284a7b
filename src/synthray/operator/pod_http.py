"""One GET from a pod, bounded in time and size: a pod may be ill, or not ours at all."""

from typing import Final

import urllib3

from synthray.api.names import METRICS_PORT
from synthray.errors import VerificationFailed

MAX_BYTES: Final = 64 * 1024
_TIMEOUT: Final = urllib3.Timeout(connect=2, read=2)


def fetch_progress(pool: urllib3.PoolManager, address: str) -> bytes:
    """The body of a pod's /progress; raises VerificationFailed, or urllib3's HTTPError."""
    host = f"[{address}]" if ":" in address else address
    response = pool.request(
        "GET",
        f"http://{host}:{METRICS_PORT}/progress",
        timeout=_TIMEOUT,
        preload_content=False,
        redirect=False,
    )
    with response:
        body: bytes = response.read(MAX_BYTES + 1, decode_content=False)
        if response.status != 200:
            raise VerificationFailed(f"/progress answers with status {response.status}")
    if len(body) > MAX_BYTES:
        raise VerificationFailed(f"/progress is longer than {MAX_BYTES} bytes; it is none of ours")
    return body

"""Short commands of this machine, and waiting for what they began."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from synthray.errors import Unavailable

_LAST_WORDS = 2000


def run_command(
    arguments: Sequence[str | Path],
    *,
    given: bytes | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Its standard output; raises Unavailable with the end of its complaint."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run(words, input=given, env=environment, capture_output=True, check=False)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace")[-_LAST_WORDS:].strip()
        raise Unavailable(f"`{' '.join(words)}` ended with {done.returncode}: {complaint}")
    return done.stdout.decode(errors="replace")


def succeeds(arguments: Sequence[str | Path]) -> bool:
    """Whether the command ends well; what it says is of no interest."""
    words = [str(argument) for argument in arguments]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def wait_until(
    what: str, is_so: Callable[[], bool], *, seconds: float, logs: Path, every_seconds: float = 0.2
) -> None:
    """Return once it is so; raises Unavailable that names `what` and where the logs are."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} did not come within {seconds:g} s; the logs are under {logs}")
        time.sleep(every_seconds)

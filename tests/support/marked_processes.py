"""What belongs to a command that a test started, told by a mark in its environment.

Every process that it starts inherits the mark; parents change when processes are killed, and names say
nothing.
"""

from contextlib import suppress
from pathlib import Path

import psutil

_VARIABLE = "SYNTHRAY_TEST_MARK"


def mark_environment(mark: str) -> dict[str, str]:
    """The variable to start a command with."""
    return {_VARIABLE: mark}


def marked_processes(mark: str) -> list[psutil.Process]:
    """All living processes that carry the mark, whoever their parent is."""
    return [process for process in psutil.process_iter() if _carries(process.pid, f"{_VARIABLE}={mark}\0")]


def is_marked(pid: int) -> bool:
    """Whether a living process of this number carries any mark."""
    return _carries(pid, f"{_VARIABLE}=")


def wait_until_gone(mark: str, seconds: float) -> list[str]:
    """The command lines of those that are left after the time."""
    _, alive = psutil.wait_procs(marked_processes(mark), timeout=seconds)
    left = []
    for process in alive:
        with suppress(psutil.Error):
            left.append(f"{process.pid} ({process.status()}) {' '.join(process.cmdline())[:200]}")
    return left


def _carries(pid: int, text: str) -> bool:
    """Whether a living process was started with this in its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return text.encode() in environment and state != "Z"

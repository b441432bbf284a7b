"""What `ps` and `top` call a process that was forked and not started: else it would bear its parent's name.

The kernel shows the memory in which it once left the arguments; whoever writes there changes what is shown.
"""

import ctypes
from contextlib import suppress
from pathlib import Path

_PROCESS = Path("/proc/self")
_NAME_CHARACTERS = 15
# Where the arguments begin and end: fields 48 and 49 of proc(5)'s stat, which its name splits at field 2.
_FIRST_FIELD, _ARGUMENTS_START, _ARGUMENTS_END = 3, 48, 49


def set_process_title(title: str) -> None:
    """Show this process under a title; where that can't be done, nothing is changed."""
    with suppress(OSError):
        (_PROCESS / "comm").write_text(title[:_NAME_CHARACTERS])
        fields = (_PROCESS / "stat").read_text().rpartition(")")[2].split()
        start, end = (int(fields[n - _FIRST_FIELD]) for n in (_ARGUMENTS_START, _ARGUMENTS_END))
        size_bytes = end - start
        # A hardened kernel says 0.
        if start > 0 and size_bytes > 1:
            ctypes.memmove(start, title.encode()[: size_bytes - 1].ljust(size_bytes, b"\0"), size_bytes)

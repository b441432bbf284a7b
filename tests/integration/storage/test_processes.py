"""One store in several processes, and how much memory a large object costs."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from synthray.storage import ObjectStore

PEAK_SCRIPT = """
import os, resource, sys
from synthray.storage import open_store, s3_settings_from_environment
store = open_store(sys.argv[1], s3_settings_from_environment(os.environ))
store.write("warm", bytes(20 * 2**20))
data = bytearray(128 * 2**20)
data[::4096] = bytes(len(data) // 4096)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.write("big", memoryview(data))
written = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.read_into("big", memoryview(data))
read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((written - before) // 1024, (read - written) // 1024)
"""


def test_a_forked_child_reads_while_its_parent_goes_on(s3: ObjectStore) -> None:
    s3.write("key", b"content")
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs must not stay
        os._exit(0 if s3.read("key") == b"content" else 1)
    for _ in range(20):
        assert s3.read("key") == b"content"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert s3.read("key") == b"content"


def test_a_large_object_costs_little_memory_beyond_its_own(
    s3: ObjectStore, s3_environment: Mapping[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK_SCRIPT, s3.uri],
        env={**os.environ, **s3_environment},
        check=True,
        capture_output=True,
        text=True,
    )
    written_mib, read_mib = map(int, done.stdout.split())
    assert written_mib <= 24
    assert read_mib <= 24

"""One store in several processes, and how much memory a large object costs."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from synthray.storage import ObjectStore, S3Settings, open_store

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


KILLED_SCRIPT = """
import os, signal, sys
from synthray.storage import open_store, s3_settings_from_environment
from synthray.storage.s3_bucket import S3Bucket
send = S3Bucket._send_body
async def die_at_the_third(self, data, method, name, **arguments):
    if arguments.get("PartNumber") == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return await send(self, data, method, name, **arguments)
S3Bucket._send_body = die_at_the_third
open_store(sys.argv[1], s3_settings_from_environment(os.environ)).write(sys.argv[2], bytes(48 * 2**20))
"""


def test_uploads_of_killed_writers_are_discarded_by_key_and_those_of_neighbours_stay(
    s3: ObjectStore, s3_environment: Mapping[str, str], s3_settings: S3Settings
) -> None:
    neighbour = open_store(f"{s3.uri}-2", s3_settings)
    s3.write("states/1/kept", b"content")
    for store, key in ((s3, "states/1/a b"), (s3, "states/2/a"), (neighbour, "states/1/a")):
        command = [sys.executable, "-c", KILLED_SCRIPT, store.uri, key]
        assert subprocess.run(command, env={**os.environ, **s3_environment}, check=False).returncode < 0
    for store, mine in ((s3, ["states/1/a b"]), (neighbour, ["states/1/a"])):
        for expected in (mine, []):
            assert list(store.discard_unfinished(lambda key: key.startswith("states/1/"))) == expected
    assert list(s3.discard_unfinished(lambda _: True)) == ["states/2/a"]
    assert [info.key for info in s3.list()] == ["states/1/kept"]

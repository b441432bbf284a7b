"""A forked process says in `ps` what it is."""

import subprocess
import sys

_SCRIPT = """
import os
from synthray.training.process_title import set_process_title
if (child := os.fork()) == 0:
    set_process_title("synthray worker of tiny: attempt 3, rank 1")
    print(open("/proc/self/cmdline").read().rstrip("\\0"), open("/proc/self/comm").read(), sep="|", end="")
    print(os.environ["MARK"])
    os._exit(0 if not __import__("sys").stdout.flush() else 1)
os.waitpid(child, 0)
print(open("/proc/self/comm").read())
"""


def test_a_forked_process_bears_its_own_name_and_keeps_its_environment() -> None:
    arguments = [sys.executable, "-c", _SCRIPT, "room for the title" * 3]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True, env={"MARK": "kept"})
    title, name, *_ = answer.stdout.replace("\n", "|").split("|")
    assert title == "synthray worker of tiny: attempt 3, rank 1"
    assert name == "synthray worker"
    assert "kept" in answer.stdout
    assert answer.stdout.splitlines()[-2].startswith("python")

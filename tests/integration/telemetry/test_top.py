"""`synthray top` on a terminal, as the one who looks at it ends it."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthray.telemetry.exporter import build_exporter
from synthray.telemetry.report import RunSnapshot

SYNTHRAY = str(Path(sys.executable).with_name("synthray"))
DEADLINE_SECONDS = 120.0
SNAPSHOT = RunSnapshot("default", "chest", "unet-64", "0.1.0", 4, 1280, 4, state="Running")


class Screen:
    """What stands on a terminal that nobody wrapped."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.text = ""

    def read_until(self, words: str) -> None:
        """Read until the words have appeared; without any, to the end."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not words or words not in self.text:
            assert time.monotonic() < deadline, self.text
            if not select.select([self._handle], [], [], 1.0)[0]:
                continue
            try:
                data = os.read(self._handle, 65536)
            except OSError:
                data = b""  # Linux says so when the last writer is gone
            if not data:
                assert not words, self.text
                return
            self.text += data.decode(errors="replace")


@pytest.mark.timeout(300)
def test_ctrl_c_ends_the_live_table_without_a_traceback() -> None:
    ours, theirs = pty.openpty()
    with build_exporter(lambda: SNAPSHOT, host="127.0.0.1", port=0) as exporter:
        command = [SYNTHRAY, "top", "--port", str(exporter.port), "--every", "0.5"]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as top:
            os.close(theirs)
            screen = Screen(ours)
            screen.read_until("chest")
            top.send_signal(signal.SIGINT)
            screen.read_until("")
            assert top.wait(DEADLINE_SECONDS) == 130
    os.close(ours)
    assert "Traceback" not in screen.text
    assert screen.text.endswith("\x1b[?25h"), "the cursor is shown again"

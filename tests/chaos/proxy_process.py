"""The fault proxy as a child process, and the face by which the harness and tests set its rules."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from synthray.storage.child_process import ChildProcess
from synthray.storage.ports import choose_free_ports

from .fault_rules import Rule

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 30.0


class ProxyControl:
    """A running proxy: where clients find it, and its rules."""

    def __init__(self, port: int, control_port: int) -> None:
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._control_url = f"http://127.0.0.1:{control_port}"

    def set(self, *rules: Rule) -> None:
        """Add rules, or replace those of their names."""
        for rule in rules:
            self._ask("POST", "/rules", rule.to_json())

    def clear(self) -> None:
        """Pass everything on as it is."""
        self._ask("DELETE", "/rules")

    def clear_rule(self, name: str) -> None:
        """Take one rule away."""
        self._ask("DELETE", f"/rules/{name}")

    def counters(self) -> dict[str, Any]:
        """Requests by method, bytes of bodies by direction, strikes by rule, open connections."""
        return self._ask("GET", "/counters")

    def _ask(self, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(document).encode() if document is not None else None
        request = urllib.request.Request(self._control_url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answered: dict[str, Any] = json.load(answer)
            return answered


@contextmanager
def fault_proxy(upstream_url: str, log: Path, *, seed: int = 0) -> Iterator[ProxyControl]:
    """A proxy before the server at `upstream_url`; it ends with the block, or with this process."""
    port, control_port = choose_free_ports(2)
    process = ChildProcess(
        [
            *(sys.executable, "-m", "tests.chaos.fault_proxy", "--upstream", urlsplit(upstream_url).netloc),
            *("--port", str(port), "--control-port", str(control_port), "--seed", str(seed)),
        ],
        folder=ROOT,
        log=log,
        environment={},
    )
    try:
        control = ProxyControl(port, control_port)
        _wait_until_it_answers(control, process, log)
        yield control
    finally:
        process.stop(grace_seconds=2)


def _wait_until_it_answers(control: ProxyControl, process: ChildProcess, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.is_alive:
        with suppress(urllib.error.URLError):
            control.counters()
            return
        time.sleep(0.05)
    raise RuntimeError(f"the fault proxy did not come up:\n{log.read_text()}")

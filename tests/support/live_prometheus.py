"""A real Prometheus, Debian's if nothing else is said, that scrapes and evaluates alerts."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from synthray.storage.ports import choose_free_ports

SCRAPE_SECONDS = 0.25
_DEADLINE_SECONDS = 60.0


def scrape_these(targets: Mapping[str, str], rules: Path) -> dict[str, Any]:
    """A configuration that scrapes `targets`, address by job; labels of a target's own come first."""
    interval = f"{int(SCRAPE_SECONDS * 1000)}ms"
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": "1s", "scrape_timeout": interval},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": job,
                "honor_labels": True,
                "static_configs": [{"targets": [address.removeprefix("http://")]}],
            }
            for job, address in targets.items()
        ],
    }


class LivePrometheus:
    """Runs with a configuration until the context ends."""

    def __init__(
        self, folder: Path, configuration: Mapping[str, Any], *, program: str = "prometheus"
    ) -> None:
        (port,) = choose_free_ports(1)
        self.address = f"http://127.0.0.1:{port}"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(configuration)))
        self._log = folder / "prometheus.log"
        self._command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API; what it refuses is an AssertionError with its words."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Series that the expression has now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def query_since(self, expression: str, began: float) -> list[dict[str, Any]]:
        """Series that the expression has had since then, each second."""
        end = str(time.time())
        found: list[dict[str, Any]] = self.ask(
            "query_range", query=expression, start=str(began), end=end, step="1"
        )["result"]
        return found

    def wait_for(self, expression: str) -> None:
        """Until the expression has a result; while it starts nobody answers."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            try:
                if self.query(expression):
                    return
            except (urllib.error.URLError, ConnectionError, AssertionError):
                assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"{expression}\n{self._log.read_text()}"
            time.sleep(0.1)

"""The results file: one JSON line for each run that was played to its end or broke, so that a campaign that
was stopped goes on with the next run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .configuration import Configuration
from .faults import Kind

RESULTS_NAME = "results.jsonl"


@dataclass(frozen=True)
class FaultResult:
    """What became of one fault; seconds count from it.

    `first_step` is the first step of a newer attempt (None where the run went on in the same one),
    `caught_up` the first image beyond what had been seen before, `cost` the seconds of training that it took.
    Figures of a fault that overlapped another are None: nobody can tell them apart.
    """

    number: int
    kind: Kind
    images_seen: int
    heard: bool
    overlapped: bool
    lasts_seconds: float
    first_step_seconds: float | None = None
    caught_up_seconds: float | None = None
    stall_seconds: float | None = None
    cost_seconds: float | None = None
    lost_images: int | None = None


@dataclass(frozen=True)
class RunResult:
    """What became of one run; `problems` is empty if it ended as the unbroken one did."""

    seed: int
    storage: str
    problems: tuple[str, ...]
    faults: tuple[FaultResult, ...]
    seconds: float
    images_per_second: float | None
    exit_codes: tuple[int, ...]
    ledger: Mapping[str, float] = field(default_factory=dict)


class ResultsFile:
    """The file of one campaign; all its lines have the same configuration."""

    def __init__(self, path: Path, configuration: Configuration) -> None:
        self._path = path
        self._configuration = asdict(configuration)

    def read(self) -> list[RunResult]:
        """All runs so far, without a line that a kill cut off; raises ValueError for foreign ones."""
        for line in _read_lines(self._path):
            if line["configuration"] != self._configuration:
                raise ValueError(
                    f"{self._path} holds runs of another configuration, {line['configuration']}; "
                    "continue it with the same options, or name another --directory"
                )
        return read_results(self._path)

    def add(self, result: RunResult) -> None:
        """Append a run, in one write."""
        line = json.dumps({"configuration": self._configuration, "run": asdict(result)})
        with self._path.open("a") as file:
            file.write(f"{line}\n")


def read_results(path: Path) -> list[RunResult]:
    """All runs of a file, of whatever configuration."""
    return [parse_run(line["run"]) for line in _read_lines(path)]


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            yield json.loads(text)


def parse_run(document: Mapping[str, Any]) -> RunResult:
    """Read what `asdict` wrote."""
    faults = tuple(FaultResult(**{**fault, "kind": Kind(fault["kind"])}) for fault in document["faults"])
    return RunResult(
        **{
            **document,
            "faults": faults,
            "problems": tuple(document["problems"]),
            "exit_codes": tuple(document["exit_codes"]),
        }
    )


def count_faults(results: Sequence[RunResult]) -> int:
    """Faults that hit something."""
    return sum(fault.heard for result in results for fault in result.faults)

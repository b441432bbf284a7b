"""What tests on a cluster measured, as a page: each story, its outcome, and the figures that it told."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Tell = Callable[[str, object], None]
"""`tell(what, figure)`: pytest's record_property."""


def write_report(file: Path, reports: Sequence[pytest.TestReport]) -> None:
    """A table of the tests in the order in which they ended, then their figures."""
    lines = ["| story | | seconds |", "|---|---|--:|"]
    lines += [f"| {_title(one)} | {one.outcome} | {one.duration:.0f} |" for one in reports]
    for one in reports:
        if one.user_properties:
            lines += ["", f"**{_title(one)}**", ""]
            lines += [f"- {what}: {figure}" for what, figure in one.user_properties]
    file.write_text("\n".join(lines) + "\n")


def _title(report: pytest.TestReport) -> str:
    return report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")

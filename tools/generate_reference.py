"""Writes docs/reference from the code: commands, objects, routes, metrics.

A reference that people keep by hand drifts; this one can't, because `make check` compares it with the code.
"""

import argparse
import difflib
import sys
from collections.abc import Callable
from pathlib import Path

from tools.reference.commands import build_commands
from tools.reference.http import build_routes
from tools.reference.metrics import build_metrics
from tools.reference.objects import build_generation_service, build_training_run

DESTINATION = Path(__file__).parents[1] / "docs" / "reference"
NOTICE = "<!-- Written by `make docs` from the code; changes made here are lost. -->\n\n"


def main() -> int:
    """Write the pages, or with --check say which ones are stale."""
    parser = argparse.ArgumentParser(description="Writes docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    stale = False
    for name, build in PAGES.items():
        path, page = DESTINATION / name, NOTICE + build().rstrip() + "\n"
        there = path.read_text() if path.exists() else ""
        if there == page:
            continue
        stale = True
        if check:
            lines = difflib.unified_diff(
                there.splitlines(), page.splitlines(), f"{name} here", "made anew", ""
            )
            print("\n".join(lines))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page)
            print(f"wrote {path}")
    if check and stale:
        print("docs/reference is not what the code says: run make docs", file=sys.stderr)
    return int(check and stale)


def build_index() -> str:
    """The list of pages."""
    return """# Reference

- [Commands](commands.md): every argument and option, exit codes
- [TrainingRun](training-run.md): every field, its bounds and its default
- [GenerationService](generation-service.md)
- [Routes](http.md) of a generation service
- [Values](../../helm/synthray/README.md) of the chart
- [Metrics](metrics.md) of runs, the operator and generation services, each with a question to begin with
"""


PAGES: dict[str, Callable[[], str]] = {
    "README.md": build_index,
    "commands.md": build_commands,
    "training-run.md": build_training_run,
    "generation-service.md": build_generation_service,
    "http.md": build_routes,
    "metrics.md": build_metrics,
}

if __name__ == "__main__":
    sys.exit(main())

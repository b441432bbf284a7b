"""Writes manifests/crds and what of the chart follows from the code: its CRDs, schema, values and README.

A cluster must not hold another form of the objects than the command line checks, so nothing of it is kept by
hand: `make check` compares each file with what the code says.
"""

import argparse
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

from synthray.api.crd import build_crds
from synthray.api.yaml_documents import write_yaml

ROOT = Path(__file__).parents[1]
NOTICE = "# Written by `make docs` from src/synthray/api; changes made here are lost.\n"


def main() -> int:
    """Write the files, or with --check say which ones are stale."""
    parser = argparse.ArgumentParser(description="Writes manifests and the generated parts of the chart.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    check = parser.parse_args().check
    stale = False
    for path, text in build_files().items():
        there = path.read_text() if path.exists() else ""
        if there == text:
            continue
        stale = True
        name = str(path.relative_to(ROOT))
        if check:
            lines = difflib.unified_diff(
                there.splitlines(), text.splitlines(), f"{name} here", "made anew", ""
            )
            print("\n".join(lines))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path}")
    if check and stale:
        print("manifests are not what the code says: run make docs", file=sys.stderr)
    return int(check and stale)


def build_files() -> Mapping[Path, str]:
    """Every generated file with its text."""
    return {
        ROOT / "manifests" / "crds" / f"{crd['metadata']['name']}.yaml": NOTICE + write_yaml([crd])
        for crd in build_crds()
    }


if __name__ == "__main__":
    sys.exit(main())

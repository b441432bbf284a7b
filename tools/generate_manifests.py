"""Writes manifests and what of the chart follows from the code: CRDs, values, alerts, dashboards, README.

A cluster must not hold another form of the objects than the command line checks, so nothing of it is kept by
hand: `make check` compares each file with what the code says.
"""

import argparse
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.chart_files import build_readme, build_values, build_values_schema
from tools.monitoring.alerts import GROUPS
from tools.monitoring.dashboards import DASHBOARDS
from tools.monitoring.grafana import build_dashboard
from tools.monitoring.rule import build_rules
from tools.render_install import find_helm, is_made_from, render_install

from synthray.api.crd import build_crds
from synthray.api.yaml_documents import write_yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "synthray"
INSTALL = ROOT / "manifests" / "install.yaml"
NOTICE = "# Written by `make docs` from src/synthray/api; changes made here are lost.\n"
MONITORING_NOTICE = "# Written by `make docs` from tools/monitoring; changes made here are lost.\n"


def main() -> int:
    """Write the files, or with --check say which ones are stale."""
    parser = argparse.ArgumentParser(description="Writes manifests and the generated parts of the chart.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    check = parser.parse_args().check
    stale = [path for path, text in build_files().items() if _settle(path, text, check=check)]
    if not is_made_from(INSTALL, CHART):
        helm = find_helm()
        if helm is None:
            print(
                f"{INSTALL} was made from another chart; put helm on PATH, then run make docs",
                file=sys.stderr,
            )
            return 1
        stale += [INSTALL] * _settle(INSTALL, render_install(CHART, helm), check=check)
    if check and stale:
        print("manifests are not what the code says: run make docs", file=sys.stderr)
    return int(check and bool(stale))


def _settle(path: Path, text: str, *, check: bool) -> bool:
    """Write the file, or show how it differs; whether it did."""
    there = path.read_text() if path.exists() else ""
    if there == text:
        return False
    if check:
        name = str(path.relative_to(ROOT))
        lines = difflib.unified_diff(there.splitlines(), text.splitlines(), f"{name} here", "made anew", "")
        print("\n".join(lines))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path}")
    return True


def build_files() -> Mapping[Path, str]:
    """Every generated file with its text."""
    files = {
        CHART / "values.yaml": build_values(),
        CHART / "values.schema.json": build_values_schema(),
        CHART / "README.md": build_readme(),
        CHART / "files" / "alerts.yaml": MONITORING_NOTICE + build_rules(GROUPS),
    }
    for board in DASHBOARDS:
        files[CHART / "files" / "dashboards" / f"{board.name}.json"] = build_dashboard(board)
    for crd in build_crds():
        name, text = f"{crd['metadata']['name']}.yaml", NOTICE + write_yaml([crd])
        files[ROOT / "manifests" / "crds" / name] = text
        # A chart can't reach outside its folder.
        files[CHART / "files" / "crds" / name] = text
    return files


if __name__ == "__main__":
    sys.exit(main())

"""Expressions of dashboards as Prometheus takes them: without Grafana's variables."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parents[2] / "helm" / "synthray" / "files" / "dashboards"


@dataclass(frozen=True)
class Target:
    """An expression, and the panel or mark that asks it."""

    dashboard: str
    place: str
    expression: str


def read_dashboard(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DASHBOARDS / f"{name}.json").read_text())
    return document


def panels_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels but the headings of rows."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def targets_of(name: str) -> list[Target]:
    document = read_dashboard(name)
    return [
        Target(name, panel["title"], target["expr"])
        for panel in panels_of(document)
        for target in panel["targets"]
    ]


def marks_of(name: str) -> list[Target]:
    marks = read_dashboard(name)["annotations"].get("list", [])
    return [Target(name, mark["name"], mark["expr"]) for mark in marks]


def substitute(expression: str, *, window: str = "5m", **values: str) -> str:
    """The expression with values for its variables, `.*` for those not given, as Grafana would send it."""
    grafanas = {"__rate_interval": window, "__interval": window, "__range": window}
    return re.sub(r"\$(\w+)", lambda found: {**grafanas, **values}.get(found[1], ".*"), expression)


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\bsynthray_\w+", expression))

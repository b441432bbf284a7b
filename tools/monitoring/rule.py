"""One alert, and its form in Prometheus' rules file."""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Final, Literal

import yaml

RUNBOOKS: Final = "docs/runbooks/alerts"


@dataclass(frozen=True)
class Alert:
    """What is wrong once `expression` has had results for `hold_seconds`.

    critical: work is lost or stands still until a person acts; warning: it gets on, worse than it should.
    Summary and description are Prometheus' templates over the expression's labels and value.
    """

    name: str
    severity: Literal["critical", "warning"]
    hold_seconds: int
    expression: str
    summary: str
    description: str

    @property
    def query(self) -> str:
        """The expression without the indentation of the source."""
        return dedent(self.expression).strip()

    @property
    def runbook(self) -> str:
        """The page that says what to do, from the root of the source."""
        return f"{RUNBOOKS}/{self.name}.md"


class _Block(str):
    """A text that YAML shows as it stands, line by line."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


def build_rules(groups: Mapping[str, tuple[Alert, ...]]) -> str:
    """The rules file of these groups, as Prometheus and promtool read it."""
    document = {
        "groups": [
            {"name": name, "rules": [_build_rule(alert) for alert in alerts]}
            for name, alerts in groups.items()
        ]
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _build_rule(alert: Alert) -> dict[str, Any]:
    """The alert as Prometheus reads it."""
    return {
        "alert": alert.name,
        "expr": _Block(alert.query),
        "for": f"{alert.hold_seconds // 60}m",
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": alert.runbook,
        },
    }

"""Each alert has a page for whoever it wakes, with commands that exist, and rests on metrics that exist."""

import re
from pathlib import Path

import pytest
import typer
from known_metrics import all_names
from tools.monitoring.alerts import ALERTS
from tools.monitoring.rule import Alert

from synthray.cli.entry import app

ROOT = Path(__file__).parents[3]
HEADINGS = ["What it means", "How bad it is", "What to look at", "How to mend it"]
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def commands_of(typer_app: typer.Typer, prefix: str = "") -> set[str]:
    own = {f"{prefix}{command.name}" for command in typer_app.registered_commands}
    groups = [
        commands_of(group.typer_instance, f"{prefix}{group.name} ")
        for group in typer_app.registered_groups
        if group.typer_instance is not None
    ]
    return own.union(*groups)


@each_alert
def test_its_runbook_says_what_it_means_and_how_to_mend_it(alert: Alert) -> None:
    page = (ROOT / alert.runbook).read_text()
    assert page.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
    sections = re.split(r"^## .+$", page, flags=re.MULTILINE)[1:]
    assert all(section.strip() for section in sections)


@each_alert
def test_its_runbook_gives_commands_that_exist(alert: Alert) -> None:
    page = (ROOT / alert.runbook).read_text()
    (block,) = re.findall(r"```\n(.+?)```", page, re.DOTALL)
    assert re.search(r"^(kubectl|curl) ", block, re.MULTILINE)
    known = commands_of(app)
    used = re.findall(r"(?:^|`)synthray ([a-z]+(?: [a-z]+(?= |`|$))?)", page, re.MULTILINE)
    unknown = [one for one in used if one not in known and one.split()[0] not in known]
    assert unknown == []


@each_alert
def test_its_runbook_links_to_pages_that_exist(alert: Alert) -> None:
    page = ROOT / alert.runbook
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@each_alert
def test_its_expression_names_metrics_that_exist(alert: Alert) -> None:
    names = set(re.findall(r"\bsynthray_\w+", alert.expression))
    assert names
    assert names <= all_names()


def test_no_runbook_is_left_without_its_alert() -> None:
    pages = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "runbooks" / "alerts").glob("*.md")
    }
    assert pages == {alert.runbook for alert in ALERTS}

"""The page for people names what there is."""

import re
import subprocess
from pathlib import Path

import yaml
from tools.chart_values import ChartValues
from tools.monitoring.alerts import ALERTS
from tools.monitoring.dashboards import DASHBOARDS

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
CHART = ROOT / "helm" / "synthray"
PAGE = (DOCS / "monitoring.md").read_text()


def test_its_table_has_every_alert() -> None:
    rows = [
        f"| [{alert.name}](runbooks/alerts/{alert.name}.md) | {alert.severity} "
        f"| {alert.hold_seconds // 60} min | {alert.description} |"
        for alert in ALERTS
    ]
    found = re.findall(r"^\| \[Synthray\w+\]\(.+\|$", PAGE, re.MULTILINE)
    assert found == rows, "\n".join(["the table is:", *rows])


def test_it_names_every_dashboard() -> None:
    assert re.findall(r"^\| (synthray: .+?) \|", PAGE, re.MULTILINE) == [board.title for board in DASHBOARDS]


def test_its_values_are_the_charts() -> None:
    values = yaml.safe_load(re.findall(r"```yaml\n(metrics:.+?)```", PAGE, re.DOTALL)[0])
    assert ChartValues.model_validate(values).metrics.prometheus_rule.enabled


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    (configuration,) = re.findall(r"```yaml\n(rule_files:.+?)```", PAGE, re.DOTALL)
    # Debian's build of Prometheus leaves the discovery on Kubernetes out.
    here = re.sub(r"kubernetes_sd_configs: .+", "static_configs: [{targets: [here]}]", configuration)
    (tmp_path / "prometheus.yml").write_text(here)
    (tmp_path / "alerts.yaml").write_text((CHART / "files" / "alerts.yaml").read_text())
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert [link for link in links if not (DOCS / link).exists()] == []

"""Each alert fires when it should and is silent when it should be; promtool judges."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from alert_cases import CASES, Series
from tools.monitoring.alerts import ALERTS, GROUPS
from tools.monitoring.rule import build_rules

NAMES = [alert.name for alert in ALERTS]
BY_NAME = {alert.name: alert for alert in ALERTS}
SILENT = [(name, why) for name, cases in CASES.items() for why in cases.silent]


@pytest.fixture(scope="module")
def judgement(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What promtool says of all cases, in one go since each start of it takes long."""
    folder = tmp_path_factory.mktemp("alerts")
    tests = []
    for name, cases in CASES.items():
        tests.append(build_test(name, "it fires", cases.fires, cases.at_minutes, cases.labels))
        for why, series in cases.silent.items():
            tests.append(build_test(name, why, series, cases.at_minutes, None))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "rules.yaml").write_text(build_rules(GROUPS))
    (folder / "test.yaml").write_text(json.dumps(document))
    judged = promtool("test", "rules", str(folder / "test.yaml"))
    assert judged.returncode in (0, 1), judged.stderr
    return judged.stdout + judged.stderr


def build_test(
    name: str, case: str, series: Series, minutes: int, fires: Mapping[str, str] | None
) -> dict[str, Any]:
    """The alert fires once, with just these labels; None: not at all."""
    firing = {"alertname": name, "alertstate": "firing"}
    labels = {**firing, "severity": BY_NAME[name].severity, **(fires or {}), "case": case}
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                # promtool names a test by its expression alone.
                "expr": f'label_replace({write_series("ALERTS", firing)}, "case", "{case}", "", "")',
                "eval_time": f"{minutes}m",
                "exp_samples": []
                if fires is None
                else [{"labels": write_series("ALERTS", labels), "value": 1}],
            }
        ],
    }


def has_failed(name: str, case: str, judgement: str) -> bool:
    failed = [
        line for line in judgement.replace('\\"', '"').splitlines() if line.lstrip().startswith("expr:")
    ]
    return any(f'"{name}"' in line and f'"{case}"' in line for line in failed)


def write_series(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{', '.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}}"


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)


def test_every_alert_has_its_cases() -> None:
    assert sorted(CASES) == sorted(NAMES)
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_it_fires(name: str, judgement: str) -> None:
    assert not has_failed(name, "it fires", judgement), judgement


@pytest.mark.parametrize(("name", "why"), SILENT, ids=[f"{name}: {why}" for name, why in SILENT])
def test_it_is_silent(name: str, why: str, judgement: str) -> None:
    assert not has_failed(name, why, judgement), judgement


@pytest.mark.parametrize("name", NAMES)
def test_its_words_speak_of_labels_that_it_has(name: str) -> None:
    alert, labels = BY_NAME[name], CASES[name].labels
    spoken = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
    assert spoken <= set(labels)
    assert alert.summary
    assert alert.description.endswith(".")


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(build_rules(GROUPS))
    checked = promtool("check", "rules", str(rules))
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(ALERTS)} rules found" in checked.stdout

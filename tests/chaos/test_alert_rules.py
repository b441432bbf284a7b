"""Alerts with shorter times ask the same."""

from pathlib import Path

import pytest
import yaml

from .alert_rules import shorten, shorten_expression

RULES = yaml.safe_load(
    (Path(__file__).parents[2] / "helm" / "synthray" / "files" / "alerts.yaml").read_text()
)


@pytest.mark.parametrize(
    ("expression", "shorter"),
    [
        ("rate(a[10m]) > 0.2", "rate(a[10000ms]) > 0.2"),
        ("a offset 1h < 5", "a offset 60000ms < 5"),
        ("time() - a > 1.5 * b + 60", "time() - a > 1.5 * b + 1"),
        ('a{quantile="0.9", run="r10m"}', 'a{quantile="0.9", run="r10m"}'),
    ],
)
def test_time_alone_is_shorter(expression: str, shorter: str) -> None:
    assert shorten_expression(expression, 60) == shorter


def test_every_alert_stays_with_its_labels() -> None:
    before = [rule for group in RULES["groups"] for rule in group["rules"]]
    after = [rule for group in shorten(RULES, 60)["groups"] for rule in group["rules"]]
    assert [(rule["alert"], rule["labels"]) for rule in after] == [
        (rule["alert"], rule["labels"]) for rule in before
    ]
    assert all(rule["for"].endswith("ms") for rule in after)

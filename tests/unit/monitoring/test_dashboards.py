"""What Grafana is given: panels that can be told apart, explain themselves and rest on metrics that exist."""

import re
from itertools import combinations
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanasDashboard
from known_metrics import all_names
from queries import marks_of, metrics_in, panels_of, read_dashboard, targets_of
from tools.monitoring.alerts import ALERTS
from tools.monitoring.dashboards import DASHBOARDS
from tools.monitoring.panel import Panel, Row, place_rows

NAMES = [board.name for board in DASHBOARDS]
each_dashboard = pytest.mark.parametrize("name", NAMES)
GRAFANAS_VARIABLES = {"__rate_interval", "__interval"}
RUNBOOK = re.compile(r"docs/runbooks/(\w+)\.md")


def box(panel: dict[str, Any]) -> tuple[int, int, int, int]:
    place = panel["gridPos"]
    return place["x"], place["y"], place["x"] + place["w"], place["y"] + place["h"]


def overlap(left: dict[str, Any], right: dict[str, Any]) -> bool:
    left_x, left_y, left_end, left_foot = box(left)
    right_x, right_y, right_end, right_foot = box(right)
    return left_x < right_end and right_x < left_end and left_y < right_foot and right_y < left_foot


@each_dashboard
def test_grafanas_own_types_read_it_back(name: str) -> None:
    document = read_dashboard(name)
    read = GrafanasDashboard.from_json(document)
    assert read.uid == f"synthray-{name}"
    assert len(read.panels or []) == len(document["panels"])


@each_dashboard
def test_panels_have_numbers_of_their_own(name: str) -> None:
    numbers = [panel["id"] for panel in read_dashboard(name)["panels"]]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


@each_dashboard
def test_no_panel_overlaps_another_or_leaves_the_grid(name: str) -> None:
    panels = read_dashboard(name)["panels"]
    assert [(a["title"], b["title"]) for a, b in combinations(panels, 2) if overlap(a, b)] == []
    assert all(box(panel)[2] <= 24 for panel in panels)


@each_dashboard
def test_each_panel_has_a_unit_and_says_what_is_good_and_what_to_do_if_it_is_not(name: str) -> None:
    for panel in panels_of(read_dashboard(name)):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        shows, good, otherwise = panel["description"].split("\n\n")
        assert shows.endswith("."), panel["title"]
        assert re.fullmatch(r"Good: .+\.", good), panel["title"]
        assert re.fullmatch(r"If not: .+\.", otherwise), panel["title"]


@each_dashboard
def test_runbooks_that_panels_name_exist(name: str) -> None:
    named = {
        one for panel in panels_of(read_dashboard(name)) for one in RUNBOOK.findall(panel["description"])
    }
    assert named <= {alert.name for alert in ALERTS}


@each_dashboard
def test_every_variable_is_used_and_every_used_one_is_defined(name: str) -> None:
    document = read_dashboard(name)
    defined = {variable["name"] for variable in document["templating"]["list"]}
    expressions = [target.expression for target in targets_of(name)]
    used = {one for expression in expressions for one in re.findall(r"\$(\w+)", expression)}
    assert used - GRAFANAS_VARIABLES == defined - {"datasource"}
    assert {panel["datasource"]["uid"] for panel in panels_of(document)} == {"${datasource}"}


@each_dashboard
def test_every_metric_exists(name: str) -> None:
    variables = [variable.get("query") for variable in read_dashboard(name)["templating"]["list"]]
    asked = [target.expression for target in targets_of(name) + marks_of(name)]
    asked += [query["query"] for query in variables if isinstance(query, dict)]
    assert all(metrics_in(expression) for expression in asked)
    assert set().union(*map(metrics_in, asked)) <= all_names()


def test_restarts_and_resizes_are_marked_in_a_run() -> None:
    assert [mark.place for mark in marks_of("run")] == ["fault", "resize", "start"]


def test_every_metric_is_shown_or_alerted_upon() -> None:
    told = {one for name in NAMES for target in targets_of(name) for one in metrics_in(target.expression)}
    told |= {one for alert in ALERTS for one in metrics_in(alert.expression)}
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}
    untold = {re.sub(r"_(bucket|sum|count)$", "", name) for name in all_names()} - stems
    assert untold == set()


def test_panels_go_side_by_side_until_a_line_is_full() -> None:
    panel = Panel("a", "s", "", "", "", (), width=10, height=5)
    ((heading, places),) = place_rows((Row("r", (panel, panel, panel)),))
    assert (heading.x, heading.y) == (0, 0)
    assert [(place.x, place.y) for place in places] == [(0, 1), (10, 1), (0, 6)]

"""Our dashboards as Grafana reads them, built with Grafana's own types."""

import json
from collections.abc import Callable
from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from tools.monitoring.panel import Dashboard, Mark, Panel, Place, Variable, place_rows

_DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG: Final = "synthray"
AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel


def build_dashboard(board: Dashboard) -> str:
    """The JSON that Grafana imports; panels are numbered from the top down."""
    page = (
        builders.Dashboard(board.title)
        .uid(f"synthray-{board.name}")
        .description(board.about)
        .tags([_TAG])
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("synthray")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for variable in board.variables:
        page = page.with_variable(_variable(variable))
    for mark in board.marks:
        page = page.annotation(_mark(mark))
    number = 0
    for row, (heading, places) in zip(board.rows, place_rows(board.rows), strict=True):
        number += 1
        page = page.with_row(
            builders.Row(row.title).id(number).grid_pos(models.GridPos(h=1, w=24, x=heading.x, y=heading.y))
        )
        for panel, place in zip(row.panels, places, strict=True):
            number += 1
            page = page.with_panel(_panel(panel, place, number))
    return _write(json.loads(json.dumps(page.build(), cls=JSONEncoder)))


def _write(document: dict[str, Any]) -> str:
    # Grafana's types leave out what a mark of Prometheus is called.
    for mark in document.get("annotations", {}).get("list", []):
        mark["titleFormat"] = mark["name"]
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _variable(variable: Variable) -> builders.QueryVariable:
    built = (
        builders.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(_DATASOURCE)
        .query({"query": variable.query, "refId": variable.name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .include_all(variable.all_at_once)
        .multi(variable.all_at_once)
    )
    if variable.all_at_once:
        # Also what has no such label at all.
        built = built.all_value(".*").current(
            models.VariableOption(selected=True, text="All", value="$__all")
        )
    return built


def _mark(mark: Mark) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name(mark.name)
        .datasource(_DATASOURCE)
        .enable(True)
        .icon_color(mark.color)
        .expr(mark.expression)
    )


def _panel(panel: Panel, place: Place, number: int) -> AnyPanel:
    built = _KINDS[panel.kind](panel)
    built = (
        built.id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(_DATASOURCE)
        .unit(panel.unit)
        .grid_pos(models.GridPos(h=panel.height, w=panel.width, x=place.x, y=place.y))
    )
    if panel.least is not None:
        built = built.min(panel.least)
    if panel.most is not None:
        built = built.max(panel.most)
    if panel.limits is not None:
        built = built.thresholds(_thresholds(*panel.limits))
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        built = built.with_target(
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .datasource(_DATASOURCE)
            .ref_id(letter)
            .range()
        )
    return built


def _thresholds(yellow: float, red: float) -> builders.ThresholdsConfig:
    """Rising limits: green, yellow, red; falling ones: red up to the lower, green from the higher on."""
    steps = [(None, "green"), (yellow, "yellow"), (red, "red")]
    if red < yellow:
        steps = [(None, "red"), (red, "yellow"), (yellow, "green")]
    return builders.ThresholdsConfig().steps([models.Threshold(value=at, color=color) for at, color in steps])


def _lines(_: Panel) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )


def _stack(panel: Panel) -> timeseries.Panel:
    return (
        _lines(panel)
        .fill_opacity(60)
        .stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    )


def _number(_: Panel) -> stat.Panel:
    return stat.Panel().reduce_options(_last()).color_mode(common.BigValueColorMode.VALUE)


def _word(_: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(_last())
        .text_mode(common.BigValueTextMode.NAME)
        .graph_mode(common.BigValueGraphMode.NONE)
    )


def _bars(_: Panel) -> bargauge.Panel:
    return bargauge.Panel().reduce_options(_last()).orientation(common.VizOrientation.HORIZONTAL)


def _last() -> common_builders.ReduceDataOptions:
    return common_builders.ReduceDataOptions().calcs(["lastNotNull"])


_KINDS: Final[dict[str, Callable[[Panel], AnyPanel]]] = {
    "lines": _lines,
    "stack": _stack,
    "number": _number,
    "word": _word,
    "bars": _bars,
}

"""What a dashboard is made of, in our own words; `grafana.py` turns it into Grafana's."""

from dataclasses import dataclass
from typing import Final, Literal

NUM_COLUMNS: Final = 24


@dataclass(frozen=True)
class Query:
    """One expression of a panel, and what its series are called: Grafana's template over their labels."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture.

    `shows` says what it is, `good` what it looks like when all is well, `otherwise` what to do if not.
    `unit` is one of Grafana's; `limits` are the values from which it is yellow and red, rising or falling.
    `is_news` marks a panel that has data only once something has happened.
    """

    title: str
    unit: str
    shows: str
    good: str
    otherwise: str
    queries: tuple[Query, ...]
    kind: Literal["number", "word", "lines", "stack", "bars"] = "lines"
    width: int = 8
    height: int = 8
    limits: tuple[float, float] | None = None
    least: float | None = None
    most: float | None = None
    is_news: bool = False

    @property
    def description(self) -> str:
        """What whoever looks at it is told."""
        return f"{self.shows}\n\nGood: {self.good}\n\nIf not: {self.otherwise}"


@dataclass(frozen=True)
class Row:
    """Panels under one heading, from left to right and down."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Mark:
    """Moments at which an expression has a result, marked in all panels."""

    name: str
    color: str
    expression: str


@dataclass(frozen=True)
class Variable:
    """A choice of label values; `all_at_once`: several may be chosen, and at first all are."""

    name: str
    label: str
    query: str
    all_at_once: bool


@dataclass(frozen=True)
class Dashboard:
    """A page of panels. `name` is its file's, its identity's, and stays for ever: people link to it."""

    name: str
    title: str
    about: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, from the top down."""
        return tuple(panel for row in self.rows for panel in row.panels)


@dataclass(frozen=True)
class Place:
    """Where a panel stands, in columns and lines of Grafana's grid."""

    x: int
    y: int


def place_rows(rows: tuple[Row, ...]) -> tuple[tuple[Place, tuple[Place, ...]], ...]:
    """Places of each row's heading and of its panels: side by side, a new line when one is full."""
    placed, y = [], 0
    for row in rows:
        heading, y = Place(0, y), y + 1
        places, x, line_height = [], 0, 0
        for panel in row.panels:
            if x + panel.width > NUM_COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            places.append(Place(x, y))
            x, line_height = x + panel.width, max(line_height, panel.height)
        placed.append((heading, tuple(places)))
        y += line_height
    return tuple(placed)

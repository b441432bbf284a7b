"""The loss over a run as an SVG drawing: training and held-out patients by epoch, with what happened to it.

The losses are on a logarithmic scale, for they fall fast and then slowly. Pure text; colours are the page's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 24, 44
_MAX_EPOCH_LABELS = 10
_MAX_DOTS = 60


@dataclass(frozen=True)
class EpochPoint:
    """One epoch's end; a loss that was not measured or is not finite is None."""

    epoch: int
    images_seen: int
    loss: float | None
    validation_loss: float | None


@dataclass(frozen=True)
class Fault:
    """Something that happened to the run, where it happened."""

    images_seen: int
    kind: str
    message: str


@dataclass(frozen=True)
class _Axes:
    """Where images seen and losses lie in the drawing."""

    max_images: int
    low: float
    high: float

    def x(self, images_seen: int) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * images_seen / self.max_images, 1)

    def y(self, loss: float) -> float:
        share = math.log(loss / self.low) / math.log(self.high / self.low)
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share, 1)


def build_loss_curve(history: Sequence[EpochPoint], faults: Sequence[Fault]) -> str:
    """The drawing; an empty text if no loss is known yet."""
    lines = {
        "training": [(p.images_seen, p.epoch, p.loss) for p in history if p.loss],
        "validation": [(p.images_seen, p.epoch, p.validation_loss) for p in history if p.validation_loss],
    }
    losses = [loss for line in lines.values() for _, _, loss in line]
    if not losses:
        return ""
    positions = [point.images_seen for point in history] + [fault.images_seen for fault in faults]
    ticks = plan_loss_ticks(min(losses), max(losses))
    axes = _Axes(max(*positions, 1), ticks[0], ticks[-1])
    parts = [
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="curve-title">',
        '<title id="curve-title">Loss by epoch, logarithmic; the figures follow as a table</title>',
        *_draw_grid(axes, ticks, history),
        *(_draw_fault(axes, fault) for fault in faults),
    ]
    for name, line in lines.items():
        parts.extend(_draw_line(axes, name, line))
    return "\n".join([*parts, "</svg>"])


def plan_loss_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from just below `low` to just above `high`: at least two."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    candidates = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    first = max(index for index, tick in enumerate(candidates) if tick <= low)
    last = min(index for index, tick in enumerate(candidates) if tick > high)
    return candidates[first : last + 1]


def _draw_grid(axes: _Axes, ticks: Sequence[float], history: Sequence[EpochPoint]) -> Iterator[str]:
    for tick in ticks:
        y = axes.y(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>'
    stride = math.ceil(len(history) / _MAX_EPOCH_LABELS)
    for point in history[stride - 1 :: stride]:
        yield _label(axes.x(point.images_seen), HEIGHT - _BOTTOM + 20, str(point.epoch))
    yield _label((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, "epoch")


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle">{text}</text>'


def _draw_fault(axes: _Axes, fault: Fault) -> str:
    x = axes.x(fault.images_seen)
    return (
        f'<g class="fault"><title>{escape(fault.kind)} at {fault.images_seen:,} images</title>'
        f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        f'<path d="M{x - 6} {_TOP - 12}h12l-6 11z"/></g>'
    )


def _draw_line(axes: _Axes, name: str, line: Sequence[tuple[int, int, float]]) -> Iterator[str]:
    points = [(axes.x(images_seen), axes.y(loss)) for images_seen, _, loss in line]
    if len(points) > 1:
        yield f'<polyline class="{name}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'
    if len(points) <= _MAX_DOTS:
        for (x, y), (_, epoch, loss) in zip(points, line, strict=True):
            yield (
                f'<circle class="{name}" cx="{x}" cy="{y}" r="3.5">'
                f"<title>epoch {epoch}: {name} loss {loss:.5g}</title></circle>"
            )

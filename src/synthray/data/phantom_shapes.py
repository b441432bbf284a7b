"""What the phantom draws with: a raster in cm, soft strokes along smooth paths, balls, blurred drawings.

Pillow's lines have whole-pixel edges and a catheter is two pixels wide, hence strokes of its own. Knows
nothing of anatomy and must not import it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """An upright raster over the body whose first pixel lies at (left, top), in cm."""

    left: float
    top: float
    px_per_cm: float
    shape: tuple[int, int]

    @property
    def x(self) -> FloatArray:
        """Columns in cm, of shape (1, W)."""
        return (self.left + np.arange(self.shape[1], dtype=np.float32) / np.float32(self.px_per_cm))[None, :]

    @property
    def y(self) -> FloatArray:
        """Rows in cm, of shape (H, 1)."""
        return (self.top + np.arange(self.shape[0], dtype=np.float32) / np.float32(self.px_per_cm))[:, None]

    def to_px(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(column, row) of points (x, y) in cm, both of shape (N, 2)."""
        return (points - (self.left, self.top)) * self.px_per_cm


def smooth_path(points: Sequence[tuple[float, float]], *, steps: int = 6) -> NDArray[np.float64]:
    """The uniform Catmull-Rom spline through the points, of shape (N, 2)."""
    given = np.asarray(points, dtype=np.float64)
    ends = np.concatenate([2 * given[:1] - given[1:2], given, 2 * given[-1:] - given[-2:-1]])
    before, start, end, after = (ends[i : len(ends) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.concatenate([curve.reshape(-1, 2), given[-1:]])


def distance_to_path(
    path: NDArray[np.float64], *, shape: tuple[int, int], reach: float
) -> tuple[tuple[slice, slice], FloatArray]:
    """Distances in pixels from each pixel to a polyline of (column, row) points.

    Returns the window of the picture that holds every pixel nearer than `reach`, and the distances there;
    farther pixels hold `reach`.
    """
    low = np.maximum(np.floor(path.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(path.max(axis=0) + reach) + 1, (shape[1], shape[0])).astype(int)
    high = np.maximum(high, low)
    squared = np.full((high[1] - low[1], high[0] - low[0]), reach**2, dtype=np.float32)
    for start, end in zip(path[:-1] - low, path[1:] - low, strict=True):
        _lower_to_segment(squared, start, end, reach)
    return (slice(low[1], high[1]), slice(low[0], high[0])), np.sqrt(squared)


def _lower_to_segment(
    squared: FloatArray, start: NDArray[np.float64], end: NDArray[np.float64], reach: float
) -> None:
    left, top = np.maximum(np.floor(np.minimum(start, end) - reach), 0).astype(int)
    right, bottom = np.maximum(np.ceil(np.maximum(start, end) + reach) + 1, 0).astype(int)
    window = squared[top:bottom, left:right]
    if not window.size:
        return
    x = np.arange(left, left + window.shape[1], dtype=np.float32)[None, :] - np.float32(start[0])
    y = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - np.float32(start[1])
    along_x, along_y = (np.float32(value) for value in end - start)
    length = max(float(along_x * along_x + along_y * along_y), 1e-6)
    nearest = np.clip((x * along_x + y * along_y) / np.float32(length), 0, 1)
    np.minimum(window, (x - nearest * along_x) ** 2 + (y - nearest * along_y) ** 2, out=window)


def soft_edge(distance: FloatArray, radius: float, softness: float) -> FloatArray:
    """1 inside the radius, 0 outside it, falling linearly over `softness`."""
    inside: FloatArray = np.clip((radius - distance) / np.float32(softness) + np.float32(0.5), 0, 1)
    return inside


def ball_depth(
    grid: Grid, centre: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0
) -> tuple[tuple[slice, slice], FloatArray]:
    """An ellipsoid's window of the grid, and how deep it is along the beam: 1 in its middle, 0 at its rim."""
    reach = max(radii)
    window = _span_of(grid.y[:, 0], centre[1], reach), _span_of(grid.x[0], centre[0], reach)
    x, y = grid.x[:, window[1]] - np.float32(centre[0]), grid.y[window[0]] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    along, across = (x * cos + y * sin) / np.float32(radii[0]), (y * cos - x * sin) / np.float32(radii[1])
    return window, np.sqrt(np.maximum(1 - along * along - across * across, 0))


def _span_of(positions: FloatArray, centre: float, reach: float) -> slice:
    low, high = np.searchsorted(positions, (centre - reach, centre + reach))
    return slice(int(low), int(high))


def start_drawing(grid: Grid, scale: float) -> tuple[Image.Image, ImageDraw.ImageDraw, float]:
    """An empty grey picture over the grid at `scale` of its resolution, its pen, and its pixels per cm."""
    size = max(1, round(grid.shape[1] * scale)), max(1, round(grid.shape[0] * scale))
    picture = Image.new("L", size)
    return picture, ImageDraw.Draw(picture), grid.px_per_cm * scale


def finish_drawing(picture: Image.Image, grid: Grid, blur_px: float) -> FloatArray:
    """The drawing blurred and brought to the grid's shape, from 0 to 1."""
    soft = picture.filter(ImageFilter.GaussianBlur(blur_px)).resize(
        (grid.shape[1], grid.shape[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(soft, dtype=np.float32) / np.float32(255)

"""The phantom's body as maps of what the X-rays must pass, in cm of soft tissue.

Everything is drawn upright on a grid of centimetres; turning, exposure and the detector come afterwards, in
`phantom_render`. Most shapes are functions of one row or one column, which is what makes a chest cheap.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from synthray.data.phantom_anatomy import Anatomy
from synthray.data.phantom_bones import build_bones, build_shoulders
from synthray.data.phantom_shapes import (
    FloatArray,
    Grid,
    ball_depth,
    distance_to_path,
    finish_drawing,
    smooth_path,
    soft_edge,
    start_drawing,
)


@dataclass(frozen=True)
class Lungs:
    """Both lung fields: where they are (0-1), how deep (0-1), and the half width of the rib cage in cm."""

    mask: FloatArray
    depth: FloatArray
    wall: FloatArray


def build_tissue(anatomy: Anatomy, grid: Grid, *, haze: float) -> FloatArray:
    """The whole body without devices, in cm of soft tissue, float32 of the grid's shape."""
    rng = np.random.Generator(np.random.PCG64(anatomy.texture_seed))
    midline = _midline(anatomy, grid)
    lungs = build_lungs(anatomy, grid, midline)
    tissue = _torso(anatomy, grid)
    tissue -= lungs.depth * np.float32(12.4 - 1.5 * anatomy.lung_density - 1.2 * haze)
    tissue += _vessels(rng, anatomy, grid) * lungs.mask * np.float32(2.6)
    tissue += _heart_and_vessels(anatomy, grid) * (np.float32(0.25) + lungs.mask)
    tissue += build_bones(rng, anatomy, grid, midline=midline, wall=lungs.wall)
    tissue -= _airways(anatomy, grid)
    tissue += build_shoulders(rng, anatomy, grid)
    tissue += _belly_and_breasts(rng, anatomy, grid)
    tissue += _mottle(rng, grid) * np.float32(0.9)
    return tissue


def _midline(anatomy: Anatomy, grid: Grid) -> FloatArray:
    """The spine's sideways bend, in cm, by row."""
    bend: FloatArray = np.float32(anatomy.scoliosis) * np.sin((grid.y - 2) / np.float32(5.5))
    return bend


def _torso(anatomy: Anatomy, grid: Grid) -> FloatArray:
    """Soft tissue from neck to belly: thick in the middle, ending in air at the skin."""
    wide = anatomy.shoulder_half_width + 0.6 * anatomy.fat
    rows = [-40.0, -9.0, -6.5, -4.6, -3.2, -1.5, 1.0, 5.0, 14.0, 22.0, 40.0]
    skin = [5.6, 5.8, 6.6, 9.5, 13.5, wide - 1, wide + 0.3, wide, wide - 0.4, wide - 0.2, wide + 0.8]
    half_width = np.interp(grid.y, rows, skin).astype(np.float32)
    thickness = np.interp(grid.y, [-12, -6, 0, 8, 20, 30], [13, 13, 17, 20, 21.5, 22.5]).astype(np.float32)
    across = np.minimum(np.abs(grid.x) / half_width, 1)
    fourth = (across * across) ** 2
    thickness += np.float32(0.5 * anatomy.fat)
    tissue: FloatArray = np.sqrt(1 - fourth) * (1 - np.float32(0.28) * fourth) * thickness
    return tissue


def build_lungs(anatomy: Anatomy, grid: Grid, midline: FloatArray) -> Lungs:
    """Two fields between mediastinum, rib cage and diaphragm domes."""
    y = grid.y
    widest_y = anatomy.right_dome_y - 4.0
    climb = np.clip((widest_y - y) / np.float32(widest_y - anatomy.lung_apex_y), 0, 1)
    wall = np.float32(anatomy.lung_half_width) * (1 - climb**2.7) ** np.float32(0.52)
    wall = wall - np.float32(0.03) * np.maximum(y - np.float32(widest_y), 0) + np.float32(0.05)
    mask = np.zeros(grid.shape, dtype=np.float32)
    depth = np.zeros(grid.shape, dtype=np.float32)
    for side, dome_y in ((-1, anatomy.right_dome_y), (1, anatomy.left_dome_y)):
        outwards = side * (grid.x - midline)
        columns = np.flatnonzero((outwards > 0).any(axis=0))
        part = slice(int(columns[0]), int(columns[-1]) + 1)
        outwards = outwards[:, part]
        inside, fullness = _lung(
            from_mediastinum=outwards - _inner_edge(anatomy, y, side),
            from_wall=wall - outwards,
            from_dome=_dome(anatomy, outwards, dome_y) - y,
        )
        mask[:, part] += inside
        depth[:, part] += inside * fullness
    return Lungs(mask=mask, depth=depth, wall=np.maximum(wall, np.float32(0.3)))


def _inner_edge(anatomy: Anatomy, y: FloatArray, side: int) -> FloatArray:
    """How far from the midline a lung begins, by row: beside the great vessels above, the heart below."""
    apex, carina, heart = anatomy.lung_apex_y, anatomy.carina_y, anatomy.heart_y
    rows = [apex - 1, 0.5, carina - 2, carina + 1, heart, heart + 8]
    edge = [2.7, 2.5, 2.7, 3.0, 2.6, 2.6] if side < 0 else [2.7, 2.4, 2.3, 2.4, 2.2, 2.2]
    return np.interp(y, rows, edge).astype(np.float32)


def _dome(anatomy: Anatomy, u: FloatArray, dome_y: float) -> FloatArray:
    """The diaphragm's height: highest at a third of the way out, falling to the costophrenic angle."""
    top = np.float32(0.42 * anatomy.lung_half_width)
    outward = np.maximum(u - top, 0) / (np.float32(anatomy.lung_half_width) - top)
    inward = np.maximum(top - u, 0) / top
    fall: FloatArray = np.float32(anatomy.dome_curve) * outward**2 + np.float32(1.1) * inward**2
    return fall + np.float32(dome_y)


def _lung(
    *, from_mediastinum: FloatArray, from_wall: FloatArray, from_dome: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Whether a lung is there and how deep it is, both 0-1, from the distances to its bounds in cm."""
    inside = (
        soft_edge(-from_mediastinum, 0, 0.7) * soft_edge(-from_wall, 0, 0.45) * soft_edge(-from_dome, 0, 0.35)
    )
    fullness = np.clip(from_mediastinum / np.float32(2.5), 0, 1) * np.clip(from_wall / np.float32(4.5), 0, 1)
    fullness *= np.clip((from_dome + np.float32(1.5)) / np.float32(4.5), 0.2, 1)
    return inside, np.float32(0.42) + np.float32(0.58) * np.sqrt(fullness)


def _heart_and_vessels(anatomy: Anatomy, grid: Grid) -> FloatArray:
    """Heart, right atrium, great vessels and aortic knob, in cm of tissue where lung was."""
    heart_x, heart_y, carina = anatomy.heart_x, anatomy.heart_y, anatomy.carina_y
    half_width, half_height = anatomy.heart_half_width, anatomy.heart_half_height
    tissue = np.zeros(grid.shape, dtype=np.float32)
    for centre, radii, tilt, depth in (
        ((heart_x, heart_y), (half_width, half_height), anatomy.heart_tilt, 9.5),
        ((heart_x + 1.6, heart_y + 2.4), (half_width * 0.82, half_height * 0.7), 0.15, 8.5),  # the apex
        ((heart_x - 3.2, heart_y + 0.9), (3.2, 5.2), 0.0, 7.5),  # right atrium
        ((1.8, carina - 1.9), (anatomy.aortic_knob_radius + 0.3, anatomy.aortic_knob_radius + 0.3), 0.0, 5.5),
        ((2.0, carina + 2.4), (2.3, 3.0), 0.4, 6.0),  # pulmonary trunk
        ((1.4, carina + 3.5), (2.8, 6.0), -0.25, 6.5),  # waist between trunk and heart
        ((-1.0, carina - 2.5), (2.7, 6.5), 0.0, 4.0),  # superior vena cava
    ):
        window, ball = ball_depth(grid, centre, radii, tilt)
        np.maximum(tissue[window], ball * np.float32(depth), out=tissue[window])
    return tissue


def _vessels(rng: np.random.Generator, anatomy: Anatomy, grid: Grid) -> FloatArray:
    """Branching lung vessels from both hila, thinning outwards."""
    picture, pen, px_per_cm = start_drawing(grid, 0.75)
    branches = []
    for side, x, y in ((-1, -2.9, anatomy.carina_y + 2.6), (1, 3.2, anatomy.carina_y + 1.9)):
        for angle in np.linspace(-1.35, 1.5, 9):
            heading = angle + float(rng.normal(0, 0.12))
            branches.append((side, x, y, heading, float(rng.uniform(0.26, 0.42)), 0))
    while branches:
        side, x, y, heading, radius, age = branches.pop()
        length = float(rng.uniform(1.1, 2.0))
        heading += float(rng.normal(0, 0.16))
        end_x, end_y = x + side * np.cos(heading) * length, y + np.sin(heading) * length
        ends = [
            ((px - grid.left) * px_per_cm, (py - grid.top) * px_per_cm) for px, py in ((x, y), (end_x, end_y))
        ]
        shade = int(255 * min(1.0, 0.3 + 1.6 * radius))
        pen.line(ends, fill=shade, width=max(1, round(2 * radius * px_per_cm)))
        if radius > 0.08 and age < 7:
            branches.append((side, end_x, end_y, heading, radius * 0.82, age + 1))
            if rng.random() < 0.6:
                fork = heading + float(rng.choice([-0.6, 0.6]))
                branches.append((side, end_x, end_y, fork, radius * 0.62, age + 2))
    return finish_drawing(picture, grid, 0.09 * px_per_cm + 0.4)


def _belly_and_breasts(rng: np.random.Generator, anatomy: Anatomy, grid: Grid) -> FloatArray:
    """Stomach gas (less tissue) under the left dome, and breast shadows with their lower rim."""
    change = np.zeros(grid.shape, dtype=np.float32)
    if anatomy.bubble_radius:
        radius = anatomy.bubble_radius
        centre = (5.6 + float(rng.uniform(0, 1.5)), anatomy.left_dome_y + 1.0 + radius * 0.8)
        window, ball = ball_depth(grid, centre, (1.25 * radius, 0.8 * radius))
        change[window] -= ball * np.float32(6)
    for _ in range(int(rng.integers(0, 4))):
        centre = float(rng.uniform(-9, 10)), anatomy.left_dome_y + float(rng.uniform(4.5, 9))
        radii = float(rng.uniform(1.0, 2.2)), float(rng.uniform(0.6, 1.3))
        window, ball = ball_depth(grid, centre, radii, float(rng.normal(0, 0.5)))
        change[window] -= ball * np.float32(3)
    if anatomy.breast_size:
        droop = anatomy.right_dome_y - 1.2 + float(rng.uniform(-2.0, 1.5))
        for side in (-1, 1):
            radii = (5.4 * anatomy.breast_size + 1.2, 4.6 * anatomy.breast_size + 1.0)
            centre = side * 8.4, droop - radii[1] + 2.4 + float(rng.normal(0, 0.3))
            window, ball = ball_depth(grid, centre, radii, side * 0.2)
            change[window] += ball * np.float32(4.2 * anatomy.breast_size)
    return change


def _mottle(rng: np.random.Generator, grid: Grid) -> FloatArray:
    """Slow unevenness of fat, muscle and scatter."""
    coarse = Image.fromarray(rng.normal(0, 0.5, size=(14, 14)).astype(np.float32))
    fine = Image.fromarray(rng.normal(0, 0.32, size=(56, 56)).astype(np.float32))
    size = grid.shape[1], grid.shape[0]
    return sum(
        (np.asarray(field.resize(size, Image.Resampling.BICUBIC)) for field in (coarse, fine)),
        start=np.zeros(grid.shape, dtype=np.float32),
    )


def _airways(anatomy: Anatomy, grid: Grid) -> FloatArray:
    """The bore of the trachea and both main bronchi, in cm of air."""
    x, y = anatomy.carina_x, anatomy.carina_y
    air = np.zeros(grid.shape, dtype=np.float32)
    for course, radius, depth in (
        ([(0.1, -13.0), (0.1, -6.0), (x + 0.1, 0.0), (x, y)], 0.9, 5.0),
        ([(x, y - 0.4), (x - 1.4, y + 2.2), (x - 2.9, y + 4.0)], 0.65, 3.2),
        ([(x, y - 0.3), (x + 2.2, y + 1.9), (x + 4.0, y + 2.9)], 0.6, 3.0),
    ):
        path = grid.to_px(smooth_path(course))
        window, distance = distance_to_path(path, shape=grid.shape, reach=grid.px_per_cm)
        bore = np.sqrt(np.maximum(1 - (distance / np.float32(radius * grid.px_per_cm)) ** 2, 0))
        np.maximum(air[window], bore * np.float32(depth), out=air[window])
    return air

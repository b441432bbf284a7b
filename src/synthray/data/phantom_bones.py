"""The phantom's skeleton, in cm of tissue of the same weight as bone. See `phantom_tissue` for the rest."""

import numpy as np

from synthray.data.phantom_anatomy import Anatomy
from synthray.data.phantom_shapes import (
    FloatArray,
    Grid,
    distance_to_path,
    finish_drawing,
    smooth_path,
    soft_edge,
    start_drawing,
)


def build_bones(
    rng: np.random.Generator, anatomy: Anatomy, grid: Grid, *, midline: FloatArray, wall: FloatArray
) -> FloatArray:
    """Ribs, spine and collar bones; `midline` and `wall` (its half width) are the rib cage's, in cm."""
    bones = _ribs(rng, anatomy, grid, midline, wall)
    bones += _spine(anatomy, grid, midline)
    _add_clavicles(bones, anatomy, grid)
    bones *= np.float32(anatomy.bone_density)
    return bones


def _ribs(
    rng: np.random.Generator, anatomy: Anatomy, grid: Grid, midline: FloatArray, wall: FloatArray
) -> FloatArray:
    """Ten pairs: the back part falls gently outwards, the front part returns steeply to the breastbone."""
    spread = np.minimum(np.abs(grid.x - midline) / (wall + np.float32(0.35)), 1)
    circle = np.sqrt(np.maximum(1 - spread * spread, 0))
    strength = rng.uniform(0.8, 1.15, size=16).astype(np.float32)
    turn = np.float32(anatomy.rib_slope)
    back = grid.y - turn * (1 - circle) + np.float32(1.1) * spread * (1 - spread)
    front = grid.y - turn - np.float32(1.15 * anatomy.rib_slope) * circle
    fade = np.clip((spread - np.float32(0.3)) / np.float32(0.25), 0, 1)
    inside = spread < 1
    bones: FloatArray = _rib_family(anatomy, back, strength, (0, 10)) * np.float32(2.8)
    bones += _rib_family(anatomy, front, strength, (0, 7)) * fade * np.float32(1.5)
    rim = np.clip((spread - np.float32(0.9)) / np.float32(0.1), 0, 1) * np.float32(1.0)
    bones *= (1 + rim) * inside
    return bones


def _rib_family(
    anatomy: Anatomy, height: FloatArray, strength: FloatArray, numbers: tuple[int, int]
) -> FloatArray:
    """Equally spaced bars along one field of heights, brighter at their edges like the shell of a bone."""
    phase = (height - np.float32(anatomy.first_rib_y)) / np.float32(anatomy.rib_spacing)
    number = np.rint(phase)
    distance = np.abs(phase - number) * np.float32(anatomy.rib_spacing / anatomy.rib_half_thickness)
    index = number.astype(np.int8)
    strengths = np.where((index >= numbers[0]) & (index <= numbers[1]), strength[np.clip(index, 0, 15)], 0)
    shell = np.float32(0.62) + np.float32(0.5) * distance * distance
    bars: FloatArray = np.clip((1 - distance) * np.float32(3.5), 0, 1) * shell * strengths
    return bars


def _spine(anatomy: Anatomy, grid: Grid, midline: FloatArray) -> FloatArray:
    """Vertebral bodies with discs between them and transverse processes beside them."""
    height = np.float32(2.05 * anatomy.rib_spacing / 2.35)
    disc = np.abs(((grid.y / height) % 1) - np.float32(0.5)) * 2
    body = np.float32(2.3) - np.float32(0.9) * np.clip((disc - np.float32(0.7)) * 4, 0, 1)
    offset = np.abs(grid.x - midline)
    half_width = np.float32(1.7) + np.float32(0.25) * disc**3
    column: FloatArray = np.clip((half_width - offset) / np.float32(0.3), 0, 1) * (
        body + np.float32(0.5) * (offset > 1.2)
    )
    column += np.clip((np.float32(2.9) - offset) / np.float32(0.5), 0, 1) * np.clip(1.6 - disc * 2, 0, 1)
    return column


def build_shoulders(rng: np.random.Generator, anatomy: Anatomy, grid: Grid) -> FloatArray:
    """Shoulder blades over the upper outer lungs, arms and their bones beside the chest, in cm of tissue."""
    picture, pen, px_per_cm = start_drawing(grid, 0.25)
    wide, inner = anatomy.shoulder_half_width, anatomy.lung_half_width - float(rng.uniform(-0.3, 2.2))

    def place(side: int, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [((side * x - grid.left) * px_per_cm, (y - grid.top) * px_per_cm) for x, y in points]

    hang = float(rng.uniform(0.5, 5.0))
    for side in (-1, 1):
        arm = [
            (wide - 2, -2.5),
            (wide + 2.5, -3.2),
            (wide + 5 + hang, 4),
            (wide + 9 + hang, 40),
            (wide + 1 + hang, 40),
            (wide - 0.5, 8),
        ]
        pen.polygon(place(side, arm), fill=105)
    for side in (-1, 1):
        blade = [(wide - 3, -1.8), (inner - 0.8, 0.2), (inner, 9.5), (inner + 1.2, 10.2), (wide - 2.4, 1.5)]
        pen.polygon(place(side, blade), fill=135 if inner < wide - 4 else 120)
        head = place(side, [(wide - 2.6, -2.6), (wide + 1.8, 1.8)])
        pen.ellipse([*map(min, *head), *map(max, *head)], fill=190)
        pen.line(
            place(side, [(wide + 0.3, 0), (wide + 4 + hang * 0.6, 22)]),
            fill=170,
            width=max(1, round(2.2 * px_per_cm)),
        )
    return finish_drawing(picture, grid, 0.16 * px_per_cm + 0.3) * np.float32(9.0 * 0.9)


def _add_clavicles(bones: FloatArray, anatomy: Anatomy, grid: Grid) -> None:
    base, rise, far = anatomy.clavicle_y, anatomy.clavicle_rise, anatomy.shoulder_half_width - 3.5
    for side in (-1, 1):
        course = [(1.6, base + 0.9), (4.5, base), (8.5, base - 0.55 * rise), (far, base - rise)]
        path = grid.to_px(smooth_path([(side * x, y) for x, y in course]))
        window, distance = distance_to_path(path, shape=grid.shape, reach=1.1 * grid.px_per_cm)
        distance /= np.float32(grid.px_per_cm)
        shell = np.float32(0.7) + np.float32(0.7) * np.minimum(distance / np.float32(0.65), 1) ** 2
        bones[window] += soft_edge(distance, 0.66, 0.2) * shell * np.float32(2.7)

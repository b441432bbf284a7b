"""From bodies to pictures: the phantom's X-ray beam and detector.

Draws at somewhat less than half the picture's resolution, turns and enlarges once, and adds the grain at full
resolution.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthray.data.phantom_anatomy import Anatomy, Pose
from synthray.data.phantom_devices import Device, DeviceKind
from synthray.data.phantom_shapes import Grid, distance_to_path, smooth_path, soft_edge
from synthray.data.phantom_tissue import build_tissue

_DRAWING_SCALE = 0.45
_GRAIN_SIDE_PX = 1024
_LEVELS = 2048
# Outer radius in cm, and how much a tube's wall or a line's body weighs against soft tissue.
_TUBES = {DeviceKind.ETT: (0.5, 4.2), DeviceKind.NGT: (0.28, 4.6)}
_LINES = {DeviceKind.CVC: (0.12, 4.4), DeviceKind.SWAN_GANZ: (0.13, 5.0)}


def render_chest(
    rng: np.random.Generator, anatomy: Anatomy, pose: Pose, devices: tuple[Device, ...]
) -> NDArray[np.uint8]:
    """The picture of one patient with devices, uint8 of shape (height_px, width_px), bright where dense."""
    grid = _grid_for(pose)
    tissue = build_tissue(anatomy, grid, haze=pose.haze)
    for device in devices:
        _add_device(tissue, grid, device)
    picture = _turned(_developed(tissue, pose), grid, pose)
    if pose.marker:
        _stamp_marker(picture, pose)
    return _grained(rng, picture, pose)


def _grid_for(pose: Pose) -> Grid:
    """An upright grid that covers the turned view."""
    angle = abs(np.deg2rad(pose.rotation_degrees))
    half_width, half_height = pose.half_extent_cm
    reach_x = half_width * np.cos(angle) + half_height * np.sin(angle) + 0.3
    reach_y = half_width * np.sin(angle) + half_height * np.cos(angle) + 0.3
    px_per_cm = pose.px_per_cm * _DRAWING_SCALE
    shape = round(2 * reach_y * px_per_cm) + 1, round(2 * reach_x * px_per_cm) + 1
    return Grid(pose.centre_x - reach_x, pose.centre_y - reach_y, px_per_cm, shape)


def _add_device(tissue: NDArray[np.float32], grid: Grid, device: Device) -> None:
    path = grid.to_px(smooth_path(device.course))
    if device.kind in _TUBES:
        radius, weight = _TUBES[device.kind]
        window, distance = distance_to_path(path, shape=grid.shape, reach=(radius + 0.1) * grid.px_per_cm + 1)
        distance /= np.float32(grid.px_per_cm)
        soft = max(0.07, 0.9 / grid.px_per_cm)
        wall = np.clip(1 - np.abs(distance - np.float32(radius)) / np.float32(1.4 * soft), 0, 1)
        stripe = soft_edge(distance, 0.07, 1.5 * soft)
        tissue[window] += wall * np.float32(0.55 * weight) + stripe * np.float32(weight)
        return
    radius, weight = _LINES[device.kind]
    window, distance = distance_to_path(path, shape=grid.shape, reach=radius * grid.px_per_cm + 2)
    tissue[window] += soft_edge(distance, radius * grid.px_per_cm, 1.0) * np.float32(weight)


def _developed(tissue: NDArray[np.float32], pose: Pose) -> NDArray[np.uint8]:
    """Film density: a window of thicknesses, bent by gamma and softened at both ends."""
    level = np.linspace(0, 1, _LEVELS) ** pose.gamma
    level = 0.6 * level + 0.4 * level * level * (3 - 2 * level)
    density: NDArray[np.uint8] = (level * 244 + 6).astype(np.uint8)
    scale = np.float32((_LEVELS - 1) / (pose.window_high - pose.window_low))
    index = np.clip((tissue - np.float32(pose.window_low)) * scale, 0, _LEVELS - 1).astype(np.int16)
    developed: NDArray[np.uint8] = density[index]
    return developed


def _turned(drawn: NDArray[np.uint8], grid: Grid, pose: Pose) -> NDArray[np.uint8]:
    """The view of the detector: one affine resampling from the upright grid."""
    angle = np.deg2rad(pose.rotation_degrees)
    step = grid.px_per_cm / pose.px_per_cm
    cos, sin = float(np.cos(angle)) * step, float(np.sin(angle)) * step
    middle_x, middle_y = (
        (pose.centre_x - grid.left) * grid.px_per_cm,
        (pose.centre_y - grid.top) * grid.px_per_cm,
    )
    offset_x = middle_x - cos * pose.width_px / 2 - sin * pose.height_px / 2
    offset_y = middle_y + sin * pose.width_px / 2 - cos * pose.height_px / 2
    view = Image.fromarray(drawn).transform(
        (pose.width_px, pose.height_px),
        Image.Transform.AFFINE,
        (cos, sin, offset_x, -sin, cos, offset_y),
        Image.Resampling.BILINEAR,
    )
    return np.array(view)


def _stamp_marker(picture: NDArray[np.uint8], pose: Pose) -> None:
    """The lead letter L beside the patient's left shoulder."""
    size = max(8, round(1.3 * pose.px_per_cm))
    left, top, stroke = round(pose.width_px * 0.91), round(pose.height_px * 0.05), max(2, size // 5)
    picture[top : top + size, left : left + stroke] = 250
    picture[top + size - stroke : top + size, left : left + round(0.7 * size)] = 250


@functools.cache
def _grain_field() -> NDArray[np.int16]:
    """Film grain of unit deviation in 1/64 levels; pictures take it from different places."""
    rng = np.random.Generator(np.random.PCG64(0))
    field = rng.standard_normal((_GRAIN_SIDE_PX, _GRAIN_SIDE_PX), dtype=np.float32)
    blurred = (field + np.roll(field, 1, axis=0) + np.roll(field, 1, axis=1)) / np.float32(np.sqrt(3))
    grain: NDArray[np.int16] = np.rint(blurred * 64).astype(np.int16)
    return grain


def _grained(rng: np.random.Generator, picture: NDArray[np.uint8], pose: Pose) -> NDArray[np.uint8]:
    field = np.roll(_grain_field(), tuple(rng.integers(_GRAIN_SIDE_PX, size=2)), axis=(0, 1))
    if rng.random() < 0.5:
        field = field.T
    scaled = (field * np.int16(round(pose.noise_levels))) >> 6
    height, width = picture.shape
    repeats = -(-height // _GRAIN_SIDE_PX), -(-width // _GRAIN_SIDE_PX)
    grain = np.tile(scaled, repeats)[:height, :width] if max(repeats) > 1 else scaled[:height, :width]
    return np.clip(picture + grain, 0, 255).astype(np.uint8)

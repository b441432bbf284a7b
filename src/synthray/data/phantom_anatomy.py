"""The phantom's patients: bodies in centimetres, and how each image looks at them.

Devices are placed and labels are decided against these landmarks, so they are plain numbers rather than
pixels. The frame is the viewer's: x grows to the right of the picture (the patient's left), y grows downwards
from the sternal notch. Knows nothing of drawing and must not import it.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Anatomy:
    """One patient's chest; all lengths and positions in cm."""

    lung_half_width: float
    lung_apex_y: float
    right_dome_y: float
    left_dome_y: float
    dome_curve: float
    carina_x: float
    carina_y: float
    heart_x: float
    heart_y: float
    heart_half_width: float
    heart_half_height: float
    heart_tilt: float
    aortic_knob_radius: float
    first_rib_y: float
    rib_spacing: float
    rib_half_thickness: float
    rib_slope: float
    clavicle_y: float
    clavicle_rise: float
    shoulder_half_width: float
    scoliosis: float
    fat: float
    breast_size: float
    bubble_radius: float
    bone_density: float
    lung_density: float
    texture_seed: int

    @property
    def svc_x(self) -> float:
        """Where the superior vena cava runs, right of the midline (the viewer's left)."""
        return self.carina_x - 2.6

    @property
    def hiatus(self) -> tuple[float, float]:
        """Where the oesophagus passes the diaphragm into the stomach."""
        return 1.2, self.left_dome_y + 0.3

    def inspired(self, breath_cm: float) -> "Anatomy":
        """The same chest with its diaphragm lowered by a breath; the heart follows halfway."""
        return replace(
            self,
            right_dome_y=self.right_dome_y + breath_cm,
            left_dome_y=self.left_dome_y + breath_cm,
            heart_y=self.heart_y + breath_cm / 2,
            heart_half_width=self.heart_half_width - breath_cm * 0.15,
        )


@dataclass(frozen=True)
class Pose:
    """One image of a patient: the detector's view, the breath and the exposure."""

    width_px: int
    height_px: int
    px_per_cm: float
    centre_x: float
    centre_y: float
    rotation_degrees: float
    inspiration_cm: float
    window_low: float
    window_high: float
    gamma: float
    noise_levels: float
    haze: float
    marker: bool

    @property
    def half_extent_cm(self) -> tuple[float, float]:
        """Half the width and half the height of the picture."""
        return self.width_px / self.px_per_cm / 2, self.height_px / self.px_per_cm / 2

    def is_visible(self, point: tuple[float, float]) -> bool:
        """Whether a point of the body, in cm, falls inside the picture."""
        column, row = self.to_pixel(point)
        return 0 <= column < self.width_px and 0 <= row < self.height_px

    def to_pixel(self, point: tuple[float, float]) -> tuple[float, float]:
        """The (column, row) in the picture of a point in cm; the view turns about the picture's centre."""
        angle = np.deg2rad(self.rotation_degrees)
        x, y = point[0] - self.centre_x, point[1] - self.centre_y
        across = x * np.cos(angle) - y * np.sin(angle)
        down = x * np.sin(angle) + y * np.cos(angle)
        return (
            float(self.width_px / 2 + across * self.px_per_cm),
            float(self.height_px / 2 + down * self.px_per_cm),
        )


def _bell(
    rng: np.random.Generator,
    mean: float,
    deviation: float,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> float:
    return min(max(float(rng.normal(mean, deviation)), within[0]), within[1])


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A random adult; about half of them have breast shadows."""
    scale = _bell(rng, 1.0, 0.04, within=(0.9, 1.1))
    right_dome_y = _bell(rng, 19.3, 0.9) * scale
    half_width = _bell(rng, 13.3, 0.6) * scale
    return Anatomy(
        lung_half_width=half_width,
        lung_apex_y=_bell(rng, -2.0, 0.4),
        right_dome_y=right_dome_y,
        left_dome_y=right_dome_y + float(rng.uniform(0.5, 1.6)),
        dome_curve=float(rng.uniform(2.6, 4.4)),
        carina_x=_bell(rng, -0.2, 0.25, within=(-0.7, 0.3)),
        carina_y=_bell(rng, 6.2, 0.4) * scale,
        heart_x=_bell(rng, 2.3, 0.3) * scale,
        heart_y=right_dome_y - float(rng.uniform(2.7, 3.8)),
        heart_half_width=_bell(rng, 6.3, 0.6, within=(5.0, 8.0)) * scale,
        heart_half_height=_bell(rng, 5.3, 0.35) * scale,
        heart_tilt=float(rng.uniform(0.3, 0.65)),
        aortic_knob_radius=float(rng.uniform(1.3, 2.0)),
        first_rib_y=_bell(rng, -3.3, 0.4),
        rib_spacing=_bell(rng, 2.35, 0.1) * scale,
        rib_half_thickness=float(rng.uniform(0.5, 0.68)),
        rib_slope=float(rng.uniform(4.2, 6.2)),
        clavicle_y=_bell(rng, 0.2, 0.4),
        clavicle_rise=float(rng.uniform(0.6, 3.0)),
        shoulder_half_width=half_width + float(rng.uniform(3.6, 4.8)),
        scoliosis=_bell(rng, 0.0, 0.35),
        fat=min(0.1 + float(rng.gamma(2.0, 0.5)), 3.0),
        breast_size=float(rng.uniform(0.5, 1.0)) if rng.random() < 0.5 else 0.0,
        bubble_radius=float(rng.uniform(1.3, 2.8)) if rng.random() < 0.75 else 0.0,
        bone_density=float(rng.uniform(0.75, 1.25)),
        lung_density=float(rng.uniform(0.0, 1.0)),
        texture_seed=int(rng.integers(2**32)),
    )


def draw_pose(rng: np.random.Generator, *, longer_side_px: int) -> Pose:
    """A random view of a chest whose longer side has that many pixels."""
    aspect = float(rng.choice([0.82, 0.9, 1.0, 1.0, 1.16, 1.22]))
    width_px = longer_side_px if aspect >= 1 else round(longer_side_px * aspect)
    height_px = longer_side_px if aspect <= 1 else round(longer_side_px / aspect)
    px_per_cm = min(width_px / 34.5, height_px / 34.0) * float(rng.uniform(0.95, 1.06))
    return Pose(
        width_px=width_px,
        height_px=height_px,
        px_per_cm=px_per_cm,
        centre_x=_bell(rng, 0.2, 0.6, within=(-1.5, 1.5)),
        centre_y=_bell(rng, 9.3, 0.8, within=(7.8, 11.0)),
        rotation_degrees=_bell(rng, 0, 1.5, within=(-5, 5)),
        inspiration_cm=_bell(rng, 0, 0.9, within=(-2.5, 1.5)),
        window_low=_bell(rng, 4.0, 0.7),
        window_high=_bell(rng, 28.0, 1.0),
        gamma=float(rng.uniform(0.85, 1.2)),
        noise_levels=float(rng.uniform(1.5, 5.5)),
        haze=float(rng.uniform(0.0, 1.0)),
        marker=bool(rng.random() < 0.7),
    )

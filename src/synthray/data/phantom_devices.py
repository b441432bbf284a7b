"""The phantom's tubes and lines: where they run, and which label their tip earns.

A device is laid first and labelled afterwards from its geometry alone, so every label in train.csv is true by
construction and a test can read it back from the path. The distances follow the usual reading rules (tip of a
tracheal tube 3-7 cm above the carina, central line in the lower superior vena cava, feeding tube well below
the diaphragm). Knows nothing of drawing and must not import it.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from synthray.data.phantom_anatomy import Anatomy, Pose

Point = tuple[float, float]


class DeviceKind(StrEnum):
    """RANZCR's four kinds of tubes and lines."""

    ETT = "ETT"
    NGT = "NGT"
    CVC = "CVC"
    SWAN_GANZ = "Swan Ganz"


@dataclass(frozen=True)
class Device:
    """A tube or line: its course in cm from outside the body to the tip, which is the last point."""

    kind: DeviceKind
    course: tuple[Point, ...]

    @property
    def tip(self) -> Point:
        """The end that the label speaks of."""
        return self.course[-1]


def decide_label(device: Device, anatomy: Anatomy, pose: Pose) -> str:
    """The one of RANZCR's eleven labels that this device earns in this picture."""
    if device.kind is DeviceKind.SWAN_GANZ:
        return "Swan Ganz Catheter Present"
    if device.kind is DeviceKind.ETT:
        return f"ETT - {_judge(anatomy.carina_y - device.tip[1], normal=(3.0, 7.0), borderline=(2.0, 8.5))}"
    if device.kind is DeviceKind.NGT:
        if not pose.is_visible(device.tip):
            return "NGT - Incompletely Imaged"
        below_hiatus = device.tip[1] - anatomy.hiatus[1]
        return f"NGT - {_judge(below_hiatus, normal=(3.0, 99.0), borderline=(1.0, 99.0))}"
    if abs(device.tip[0] - anatomy.svc_x) > 1.0:
        return "CVC - Abnormal"
    below_carina = device.tip[1] - anatomy.carina_y
    return f"CVC - {_judge(below_carina, normal=(0.0, 4.5), borderline=(-2.0, 6.5))}"


def _judge(depth_cm: float, *, normal: tuple[float, float], borderline: tuple[float, float]) -> str:
    if normal[0] <= depth_cm <= normal[1]:
        return "Normal"
    return "Borderline" if borderline[0] <= depth_cm <= borderline[1] else "Abnormal"


def lay_devices(rng: np.random.Generator, anatomy: Anatomy, pose: Pose) -> tuple[Device, ...]:
    """A random set of devices, about as frequent as in RANZCR with the rare ones somewhat more common."""
    devices = []
    if rng.random() < 0.36:
        devices.append(_lay_ett(rng, anatomy))
    if rng.random() < 0.36:
        devices.append(_lay_ngt(rng, anatomy, pose))
    devices += [_lay_cvc(rng, anatomy) for probability in (0.78, 0.14) if rng.random() < probability]
    if rng.random() < 0.05:
        devices.append(_lay_swan_ganz(rng, anatomy))
    return tuple(devices)


def _depth(rng: np.random.Generator, *ranges: tuple[float, float, float]) -> float:
    """A depth from one of several (probability, low, high) ranges, which keep clear of the labels' bounds."""
    chosen = int(rng.choice(len(ranges), p=[probability for probability, _, _ in ranges]))
    return float(rng.uniform(*ranges[chosen][1:]))


def _lay_ett(rng: np.random.Generator, anatomy: Anatomy) -> Device:
    above = _depth(rng, (0.74, 3.2, 6.8), (0.08, 2.1, 2.9), (0.08, 7.1, 8.3), (0.1, -3.0, 1.8))
    x, y = anatomy.carina_x, anatomy.carina_y
    course = [(x + float(rng.normal(0.3, 0.5)), -14.0), (x + 0.15, -8.0)]
    if above >= 0:
        course += [(x + 0.05, (y - above - 8.0) / 2), (x, y - above)]
    else:  # too deep: into the right main bronchus, the steeper one
        course += [(x, y - 4.0), (x - 0.1, y - 0.5), (x + 0.55 * above, y - above)]
    return Device(DeviceKind.ETT, tuple(course))


def _lay_ngt(rng: np.random.Generator, anatomy: Anatomy, pose: Pose) -> Device:
    hiatus_x, hiatus_y = anatomy.hiatus
    edge_cm = pose.centre_y + pose.half_extent_cm[1] - hiatus_y
    deep_end = max(3.4, min(edge_cm - 0.8, 7.0))
    depth = _depth(rng, (0.5, 3.2, deep_end), (0.1, 1.2, 2.8), (0.1, -11.0, 0.8), (0.3, 11.0, 15.0))
    bow = float(rng.normal(0.3, 0.3))
    oesophagus = [(bow + 0.3, -14.0), (bow, -4.0), (bow - 0.1, 3.0), (bow + 0.4, 11.0), (hiatus_x, hiatus_y)]
    if depth < 0:
        tip = (bow + 0.3, hiatus_y + depth)
        return Device(DeviceKind.NGT, (*(point for point in oesophagus if point[1] < tip[1] - 1.5), tip))
    reach = min(float(rng.uniform(2.0, 4.5)), 0.4 + 1.2 * depth)
    stomach = [
        (hiatus_x + reach * t**0.7, hiatus_y + depth * t)
        for t in ((0.5, 1.0) if depth < 3 else (0.3, 0.65, 1.0))
    ]
    return Device(DeviceKind.NGT, (*oesophagus, *stomach))


def _lay_cvc(rng: np.random.Generator, anatomy: Anatomy) -> Device:
    svc, carina = anatomy.svc_x, anatomy.carina_y
    if rng.random() < 0.06:  # from below the collar bone up into the neck instead of down to the heart
        up = ((-16.0, 2.0), (-11.0, -0.6), (-6.0, -0.4), (-3.9, -0.6), (-3.4, -2.5), (-3.3, -5.5))
        return Device(DeviceKind.CVC, up)
    shallow = (0.26 / 2, -1.9, -0.15)
    below = _depth(rng, (0.66, 0.15, 4.3), shallow, (0.13, 4.7, 6.3), (0.04, -3.4, -2.2), (0.04, 6.8, 9.0))
    entries: tuple[tuple[Point, ...], ...] = (
        ((-4.8, -14.0), (-3.8, -6.0), (-3.0, -1.0)),  # right jugular
        ((-12.5, 1.5), (-9.0, -0.6), (-5.5, -0.6), (-3.3, 0.6)),  # right subclavian
        ((-21.0, 9.0), (-17.5, 2.5), (-13.0, -0.4), (-8.0, -1.0), (-3.8, 0.2)),  # right arm
        ((5.0, -14.0), (4.0, -6.0), (2.8, -1.0), (0.4, 1.2)),  # left jugular
        ((12.5, 1.5), (8.5, -0.6), (4.5, -0.4), (0.8, 1.3)),  # left subclavian
    )
    entry = entries[int(rng.choice(len(entries), p=[0.4, 0.15, 0.2, 0.15, 0.1]))]
    tip_y = carina + below
    return Device(DeviceKind.CVC, (*entry, (svc + 0.1, tip_y - 1.5), (svc - 0.1, tip_y)))


def _lay_swan_ganz(rng: np.random.Generator, anatomy: Anatomy) -> Device:
    svc, carina, heart_x, heart_y = anatomy.svc_x, anatomy.carina_y, anatomy.heart_x, anatomy.heart_y
    down = ((-4.8, -14.0), (-3.8, -6.0), (-3.0, -1.0), (svc, carina), (svc, heart_y - 1.0))
    loop = (
        (-1.2, heart_y + 2.2),
        (heart_x, heart_y + 2.4),
        (heart_x + 1.3, heart_y - 1.0),
        (2.0, carina + 3.0),
    )
    left, right = ((4.2, carina + 1.6),), ((-0.5, carina + 2.0), (-3.6, carina + 2.8))
    return Device(DeviceKind.SWAN_GANZ, (*down, *loop, *(left if rng.random() < 0.4 else right)))

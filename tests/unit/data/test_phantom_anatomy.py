"""The phantom's pictures and labels: a chest where a chest should be, and labels that geometry bears out."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synthray.data.discovery import RANZCR_LABELS
from synthray.data.phantom import draw_study, plan_phantom
from synthray.data.phantom_anatomy import Anatomy, Pose, draw_anatomy, draw_pose
from synthray.data.phantom_devices import Device, DeviceKind, decide_label, lay_devices
from synthray.data.phantom_render import render_chest

PATIENTS = range(6)


def _patient(seed: int, longer_side_px: int = 256) -> tuple[Anatomy, Pose]:
    pose = draw_pose(np.random.default_rng([seed, 1]), longer_side_px=longer_side_px)
    return draw_anatomy(np.random.default_rng([seed, 0])).inspired(pose.inspiration_cm), pose


def _picture(anatomy: Anatomy, pose: Pose, devices: tuple[Device, ...] = ()) -> NDArray[np.uint8]:
    return render_chest(np.random.default_rng(0), anatomy, pose, devices)


def _brightness(
    picture: NDArray[np.uint8], pose: Pose, point: tuple[float, float], radius_px: int = 6
) -> float:
    column, row = (round(value) for value in pose.to_pixel(point))
    patch = picture[
        max(row - radius_px, 0) : row + radius_px, max(column - radius_px, 0) : column + radius_px
    ]
    return float(patch.mean())


@pytest.mark.parametrize("seed", PATIENTS)
def test_lungs_are_dark_beside_a_bright_heart_left_of_the_midline_and_a_bright_belly(seed: int) -> None:
    anatomy, pose = _patient(seed)
    picture = _picture(anatomy, pose)
    lungs = [_brightness(picture, pose, (side * 0.55 * anatomy.lung_half_width, 5.0)) for side in (-1, 1)]
    heart = _brightness(picture, pose, (anatomy.heart_x, anatomy.heart_y))
    mirrored = _brightness(picture, pose, (-anatomy.heart_x - 4.0, anatomy.heart_y))
    belly = _brightness(picture, pose, (-6.0, anatomy.right_dome_y + 3.0))
    assert max(lungs) + 30 < heart
    assert max(lungs) + 30 < belly
    assert mirrored + 25 < heart


@pytest.mark.parametrize("seed", PATIENTS)
def test_ribs_cross_the_lungs_as_many_bright_bars(seed: int) -> None:
    anatomy, pose = _patient(seed, longer_side_px=512)
    boneless = _picture(replace(anatomy, bone_density=0.0), pose)
    ribs = _picture(anatomy, pose).astype(int) - boneless
    rows = np.linspace(0.0, anatomy.right_dome_y - 2.0, 300)
    columns_and_rows = [pose.to_pixel((-0.35 * anatomy.lung_half_width, y)) for y in rows]
    brighter = np.array([ribs[int(row), int(column)] > 15 for column, row in columns_and_rows])
    assert 5 <= int((~brighter[:-1] & brighter[1:]).sum()) <= 14
    assert 0.2 < brighter.mean() < 0.8


def test_outside_the_body_is_black() -> None:
    anatomy, pose = _patient(2)
    picture = _picture(replace(anatomy, fat=0.1), replace(pose, width_px=512, height_px=256, marker=False))
    assert picture[:20, :40].mean() < 15


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_device_gets_one_known_label_and_its_tip_lies_where_the_label_says(seed: int) -> None:
    anatomy, pose = _patient(seed)
    for device in lay_devices(np.random.default_rng(seed), anatomy, pose):
        label = decide_label(device, anatomy, pose)
        assert label in RANZCR_LABELS
        assert label.startswith(device.kind)
        if label == "ETT - Normal":
            assert 3 <= anatomy.carina_y - device.tip[1] <= 7
        if label == "NGT - Normal":
            assert device.tip[1] > anatomy.left_dome_y
        if label == "NGT - Incompletely Imaged":
            assert not pose.is_visible(device.tip)
        if label == "CVC - Normal":
            assert anatomy.carina_y <= device.tip[1] <= anatomy.carina_y + 4.5
            assert abs(device.tip[0] - anatomy.svc_x) < 1


@pytest.mark.parametrize(
    ("kind", "tip", "label"),
    [
        (DeviceKind.ETT, (0.0, 2.0), "ETT - Normal"),
        (DeviceKind.ETT, (0.0, 4.5), "ETT - Borderline"),
        (DeviceKind.ETT, (0.0, 6.5), "ETT - Abnormal"),
        (DeviceKind.ETT, (0.0, -4.0), "ETT - Abnormal"),
        (DeviceKind.NGT, (3.0, 24.0), "NGT - Normal"),
        (DeviceKind.NGT, (1.5, 22.0), "NGT - Borderline"),
        (DeviceKind.NGT, (0.5, 15.0), "NGT - Abnormal"),
        (DeviceKind.NGT, (3.0, 99.0), "NGT - Incompletely Imaged"),
        (DeviceKind.CVC, (-2.6, 8.0), "CVC - Normal"),
        (DeviceKind.CVC, (-2.6, 5.0), "CVC - Borderline"),
        (DeviceKind.CVC, (-2.6, 14.0), "CVC - Abnormal"),
        (DeviceKind.CVC, (1.0, 8.0), "CVC - Abnormal"),
        (DeviceKind.SWAN_GANZ, (4.0, 8.0), "Swan Ganz Catheter Present"),
    ],
)
def test_labels_follow_from_the_tip(kind: DeviceKind, tip: tuple[float, float], label: str) -> None:
    body, pose = _patient(0)
    anatomy = replace(body, carina_x=0.0, carina_y=6.5, left_dome_y=20.0)
    device = Device(kind, ((0.0, -14.0), tip))
    assert decide_label(device, anatomy, replace(pose, rotation_degrees=0.0, centre_y=10.0)) == label


def test_a_thousand_studies_show_every_label() -> None:
    images = plan_phantom(num_images=1000, size_px=512, seed=0)
    found = Counter(label for image in images for label in draw_study(image, 0)[0].labels)
    assert set(found) == set(RANZCR_LABELS)
    assert found["CVC - Normal"] > found["CVC - Abnormal"]


@pytest.mark.parametrize("kind", list(DeviceKind))
def test_a_device_brightens_the_picture_along_its_course_and_nowhere_else(kind: DeviceKind) -> None:
    anatomy, pose = _patient(1, longer_side_px=512)
    device = Device(kind, ((-6.0, 2.0), (-6.0, 12.0)))
    change = _picture(anatomy, pose, (device,)).astype(int) - _picture(anatomy, pose)
    rows, columns = np.nonzero(change > 12)
    ends = [pose.to_pixel(point) for point in device.course]
    assert rows.min() == pytest.approx(ends[0][1], abs=12)
    assert rows.max() == pytest.approx(ends[1][1], abs=12)
    assert abs(columns - np.mean([end[0] for end in ends])).max() < 25


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), x=st.floats(-15, 15), y=st.floats(-5, 25))
def test_the_view_keeps_distances(seed: int, x: float, y: float) -> None:
    _, pose = _patient(seed)
    here, there = np.array(pose.to_pixel((x, y))), np.array(pose.to_pixel((x + 3.0, y + 4.0)))
    assert np.linalg.norm(there - here) == pytest.approx(5.0 * pose.px_per_cm)

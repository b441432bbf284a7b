import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from PIL import Image

from synthray.data.framing import BLACK_LEVEL, central_square, content_box, frame

margins = st.integers(0, 25)


@given(left=margins, upper=margins, right=margins, lower=margins)
def test_black_borders_are_cut_off_exactly(left: int, upper: int, right: int, lower: int) -> None:
    picture = np.full((60 + upper + lower, 60 + left + right), BLACK_LEVEL, np.uint8)
    picture[upper : upper + 60, left : left + 60] = 90
    assert content_box(Image.fromarray(picture)) == (left, upper, left + 60, upper + 60)


def test_dark_parts_inside_the_picture_stay() -> None:
    picture = np.full((80, 80), 90, np.uint8)
    picture[20:60] = 0
    assert content_box(Image.fromarray(picture)) == (0, 0, 80, 80)


def test_a_dark_picture_is_not_cropped_to_its_brightest_dot() -> None:
    picture = np.zeros((80, 80), np.uint8)
    assert content_box(Image.fromarray(picture)) == (0, 0, 80, 80)
    picture[10:45, 10:20] = 200
    assert content_box(Image.fromarray(picture)) == (0, 0, 80, 80)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 500), st.integers(1, 500))
def test_the_square_is_the_largest_and_in_the_middle(x: int, y: int, width: int, height: int) -> None:
    left, upper, right, lower = central_square((x, y, x + width, y + height))
    assert right - left == lower - upper == min(width, height)
    assert (left + right, upper + lower) == (2 * x + width, 2 * y + height)


def test_proportions_are_kept() -> None:
    ring = np.zeros((100, 160), np.uint8)
    ring[:, :] = 60
    rows, columns = np.mgrid[:100, :160]
    ring[(rows - 49.5) ** 2 + (columns - 79.5) ** 2 < 30**2] = 200
    framed = np.asarray(frame(Image.fromarray(ring), 50)) > 130
    assert framed.any(axis=0).sum() == framed.any(axis=1).sum() == 30

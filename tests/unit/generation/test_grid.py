from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from synthray.generation.grid import GAP_PX, build_grid, write_grid
from synthray.generation.receipts import Pixels


def tile(value: int, channels: int = 1) -> Pixels:
    return np.full((3, 4, channels), value, dtype=np.uint8)


def test_images_stand_in_rows_with_a_white_gap() -> None:
    sheet = build_grid([tile(0), tile(1), tile(2)], num_columns=2)
    assert sheet.shape == (3 + GAP_PX + 3, 4 + GAP_PX + 4, 1)
    assert np.array_equal(sheet[:3, :4], tile(0))
    assert np.array_equal(sheet[:3, 4 + GAP_PX :], tile(1))
    assert np.array_equal(sheet[3 + GAP_PX :, :4], tile(2))
    assert (sheet[:, 4 : 4 + GAP_PX] == 255).all()
    assert (sheet[3 + GAP_PX :, 4:] == 255).all()


@pytest.mark.parametrize(("num_images", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (5, 2, 3), (16, 4, 4)])
def test_the_sheet_is_as_square_as_possible(num_images: int, rows: int, columns: int) -> None:
    height, width, _ = build_grid([tile(0)] * num_images).shape
    assert (height, width) == (rows * (3 + GAP_PX) - GAP_PX, columns * (4 + GAP_PX) - GAP_PX)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_the_sheet_is_a_png_of_the_images_own_kind(channels: int, mode: str) -> None:
    image = Image.open(BytesIO(write_grid([tile(7, channels)] * 4)))
    assert (image.format, image.mode) == ("PNG", mode)


def test_no_images_make_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        build_grid([])

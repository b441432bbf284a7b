"""Quantities as Kubernetes reads them."""

import pytest

from synthray.api.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("500m", 0.5),
        ("2.5", 2.5),
        ("1k", 1000),
        ("1Ki", 1024),
        ("16Gi", 16 * 2**30),
        ("1.5G", 1.5e9),
    ],
)
def test_a_quantity_is_its_number_times_its_suffix(text: str, value: float) -> None:
    assert parse_quantity(text) == value

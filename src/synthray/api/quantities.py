"""Kubernetes quantities (`4`, `500m`, `16Gi`) as numbers."""

from fractions import Fraction
from typing import Final

_FACTORS: Final = {
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
}


def parse_quantity(text: str) -> Fraction:
    """The number that a quantity of the form of `fields.Quantity` stands for: bytes, or cores."""
    suffix = next((suffix for suffix in _FACTORS if text.endswith(suffix)), "")
    return Fraction(text.removesuffix(suffix)) * _FACTORS.get(suffix, Fraction(1))

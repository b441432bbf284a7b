"""Previews: fixed seeds drawn while training."""

from synthray.training.segment import Segment


def draw_previews(segment: Segment, epoch: int) -> None:
    """Draw them."""
    del segment, epoch

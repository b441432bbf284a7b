"""What a network weighs, counted without running it."""

import torch

from synthray.api.architecture import UNetArchitecture
from synthray.diffusion.unet import build_unet


def count_parameters(architecture: UNetArchitecture) -> int:
    """How many numbers the network learns; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_unet(architecture).parameters())

"""The network: diffusers' own `UNet2DModel`, so that weights load there and back.

diffusers is imported when the first network is built, for that takes seconds.
"""

import threading
from typing import TYPE_CHECKING

import torch

from synthray.api.architecture import UNetArchitecture
from synthray.diffusion.rng import initial_weights_seed

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel


_GLOBAL_GENERATOR = threading.Lock()


def build_unet(architecture: UNetArchitecture) -> "UNet2DModel":
    """The network with whatever weights the current device's generator gives; to be loaded into.

    Called with images (N, C, H, W) and timesteps (N,); answers (N, C, H, W).
    """
    from diffusers.models.unets.unet_2d import UNet2DModel  # noqa: PLC0415 takes seconds

    unet = UNet2DModel(
        sample_size=architecture.resolution_px,
        in_channels=architecture.channels,
        out_channels=architecture.channels,
        layers_per_block=architecture.layers_per_block,
        block_out_channels=architecture.block_out_channels,
        down_block_types=architecture.down_block_types,
        up_block_types=architecture.up_block_types,
        attention_head_dim=architecture.attention_head_dim,
        norm_num_groups=architecture.norm_num_groups,
    )
    if architecture.activation_checkpointing:
        unet.enable_gradient_checkpointing()
    return unet


def init_unet(architecture: UNetArchitecture, seed: int) -> "UNet2DModel":
    """The network with the first weights of a run: on the CPU, float32, a function of the seed alone.

    Leaves torch's global generator as it was; it belongs to the process, so threads take turns.
    """
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(initial_weights_seed(seed))
        return build_unet(architecture)

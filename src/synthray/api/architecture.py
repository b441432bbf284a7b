"""The shape of the denoising network, and the named shapes.

The command line counts steps, bytes and memory from these, so this module must not import torch; the network
itself is built from them in `synthray.diffusion.unet`.
"""

from dataclasses import dataclass, replace

PLAIN_DOWN = "DownBlock2D"
PLAIN_UP = "UpBlock2D"
ATTENTION_DOWN = "AttnDownBlock2D"
ATTENTION_UP = "AttnUpBlock2D"


@dataclass(frozen=True)
class UNetArchitecture:
    """A diffusers `UNet2DModel`: one entry of `block_out_channels` per resolution, the finest first.

    `up_block_types` run from the coarsest to the finest. Block i works at `resolution_px` / 2^i, so the
    resolution must be a multiple of 2^(blocks - 1), and each width a multiple of `norm_num_groups`.
    `activation_checkpointing` trades a second forward pass for memory; it changes no weight's meaning.
    """

    resolution_px: int
    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    channels: int = 1
    layers_per_block: int = 2
    attention_head_dim: int = 8
    norm_num_groups: int = 32
    activation_checkpointing: bool = False

    @property
    def resolution_multiple_px(self) -> int:
        """What the resolution must be a multiple of: each block but the last halves it."""
        return 1 << (len(self.block_out_channels) - 1)


# The network of diffusers' examples/unconditional_image_generation/train_unconditional.py, the same at every
# resolution: attention in the fifth of six blocks (32x32 pixels of a 512x512 image) and in the middle.
UNCONDITIONAL_512 = UNetArchitecture(
    resolution_px=512,
    block_out_channels=(128, 128, 256, 256, 512, 512),
    down_block_types=(PLAIN_DOWN, PLAIN_DOWN, PLAIN_DOWN, PLAIN_DOWN, ATTENTION_DOWN, PLAIN_DOWN),
    up_block_types=(PLAIN_UP, ATTENTION_UP, PLAIN_UP, PLAIN_UP, PLAIN_UP, PLAIN_UP),
    activation_checkpointing=True,
)

# Small enough to learn chests on two CPU cores in minutes.
DEMO_64 = UNetArchitecture(
    resolution_px=64,
    block_out_channels=(16, 32, 48, 80),
    down_block_types=(PLAIN_DOWN, PLAIN_DOWN, PLAIN_DOWN, ATTENTION_DOWN),
    up_block_types=(ATTENTION_UP, PLAIN_UP, PLAIN_UP, PLAIN_UP),
    layers_per_block=1,
    norm_num_groups=8,
)

PRESETS: dict[str, UNetArchitecture] = {
    "unconditional-512": UNCONDITIONAL_512,
    "unconditional-256": replace(UNCONDITIONAL_512, resolution_px=256, activation_checkpointing=False),
    "unconditional-128": replace(UNCONDITIONAL_512, resolution_px=128, activation_checkpointing=False),
    "demo-64": DEMO_64,
}
